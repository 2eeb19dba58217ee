//! The provider as signing in sees it: known or not, and what comes back from it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::claims::{self, ForSession, Need};
use super::client::{self, Client};
use super::discovery::{self, Metadata, NotDiscovered, shown};
use super::http::ProviderClient;
use super::id_token::{self, Expected, NotTaken};
use super::keys::Keys;
use super::token::{self, NoTokens};
use super::userinfo::{self, NoUserinfo};
use super::{end_session, start};
use crate::clock::UnixTime;
use crate::config::{AuthMethod, EntryRules, Oidc, Settings};
use crate::directory::Arrival;
use crate::sign_in::attempt::Attempt;
use crate::sign_in::{CannotStart, ProviderState};
use crate::telemetry::{self, metrics};

/// Metadata and keys are looked at again after this.
const REFRESH: Duration = Duration::from_hours(1);
/// Waits between looks that fail.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// How long somebody who wants to sign in waits for a provider that is not known yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// The OpenID provider.
#[derive(Debug)]
pub(in crate::sign_in) struct Provider {
    settings: Oidc,
    /// Who asks.
    client: Client,
    /// How it is asked.
    http: ProviderClient,
    /// None until metadata and keys were read once.
    known: ArcSwapOption<Metadata>,
    keys: Keys,
    /// Why the last look failed, if it did.
    trouble: ArcSwapOption<String>,
    /// Somebody wants to sign in and cannot.
    wanted: Notify,
    /// Counts looks.
    looks: watch::Sender<u64>,
}

/// What the browser brought back (OpenID Connect Core 1.0, sections 3.1.2.5 and 3.1.2.6).
#[derive(Default)]
pub(in crate::sign_in) struct Returned {
    pub(in crate::sign_in) code: Option<String>,
    pub(in crate::sign_in) id_token: Option<String>,
    pub(in crate::sign_in) error: Option<String>,
    pub(in crate::sign_in) error_description: Option<String>,
    /// RFC 9207.
    pub(in crate::sign_in) iss: Option<String>,
}

/// Whom the provider vouches for.
pub(in crate::sign_in) struct Vouched {
    pub(in crate::sign_in) arrival: Arrival,
    pub(in crate::sign_in) amr: Option<Value>,
    pub(in crate::sign_in) auth_time: Option<Value>,
    pub(in crate::sign_in) sid: Option<String>,
    pub(in crate::sign_in) id_token: SecretString,
    pub(in crate::sign_in) refresh_token: Option<SecretString>,
}

/// Why the provider vouches for nobody. The texts are for the log.
#[derive(Debug, thiserror::Error)]
pub(in crate::sign_in) enum Failure {
    /// Not known yet, down, or too slow: later it may work.
    #[error("the provider is away: {0}")]
    Away(String),
    /// The person, or the provider on their behalf, said no.
    #[error("the provider says access_denied")]
    Denied,
    /// Something between this gateway and the provider is set wrong.
    #[error("{0}")]
    SetWrong(String),
    /// The answer does not hold: tampered with, old, or for somebody else.
    #[error("{0}")]
    DoesNotHold(String),
}

impl Provider {
    pub(in crate::sign_in) fn new(oidc: &Oidc, settings: &Settings) -> Result<Self, CannotStart> {
        Ok(Self {
            settings: oidc.clone(),
            client: client::client(oidc, settings.redirect_uri())?,
            http: ProviderClient::new(settings.ca_file.as_deref(), &settings.provider_proxy)?,
            known: ArcSwapOption::empty(),
            keys: Keys::new(),
            trouble: ArcSwapOption::empty(),
            wanted: Notify::new(),
            looks: watch::Sender::new(0),
        })
    }

    /// Looks at the provider until `stop` fires: every hour, and again soon while it cannot be read.
    pub(in crate::sign_in) async fn run(&self, stop: CancellationToken) {
        let mut wait = FIRST_WAIT;
        loop {
            let pause = match self.look().await {
                Ok(()) => {
                    self.succeeded();
                    wait = FIRST_WAIT;
                    REFRESH
                }
                Err(error) => {
                    self.failed(&error);
                    let pause = wait;
                    wait = (wait * 2).min(LONGEST_WAIT);
                    pause
                }
            };
            self.looks.send_modify(|looks| *looks += 1);
            metrics().provider(match self.state() {
                ProviderState::None => telemetry::Provider::None,
                ProviderState::Unknown(_) => telemetry::Provider::Unknown,
                ProviderState::Known => telemetry::Provider::Known,
                ProviderState::Stale(_) => telemetry::Provider::Stale,
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.wanted_after(FIRST_WAIT.min(pause)) => {}
            }
        }
    }

    /// How it stands.
    pub(in crate::sign_in) fn state(&self) -> ProviderState {
        let trouble = self.trouble.load_full().map(|text| text.as_str().to_owned());
        match (self.known.load().is_some(), trouble) {
            (true, None) => ProviderState::Known,
            (true, Some(why)) => ProviderState::Stale(why),
            (false, why) => ProviderState::Unknown(why.unwrap_or_else(|| "it has not answered yet".to_owned())),
        }
    }

    pub(in crate::sign_in) fn settings(&self) -> &Oidc {
        &self.settings
    }

    /// Where a browser goes to sign in.
    pub(in crate::sign_in) async fn sign_in_address(
        &self,
        attempt: &Attempt,
        someone_else: bool,
    ) -> Result<Url, Failure> {
        let metadata = self.metadata().await?;
        Ok(start::authorization_request(
            &self.client,
            &metadata,
            &self.settings,
            attempt,
            someone_else,
        ))
    }

    /// Where a browser goes to sign out there, if the provider has such a place and is known.
    pub(in crate::sign_in) fn sign_out_address(
        &self,
        id_token: Option<&SecretString>,
        state: &str,
        back_to: &str,
    ) -> Option<Url> {
        let metadata = self.known.load_full()?;
        end_session::address(
            &metadata,
            &self.settings,
            &self.keys.current(),
            id_token,
            state,
            back_to,
        )
    }

    /// Whom the provider vouches for in its answer to `attempt`. The caller has checked `state`, and that the attempt is
    /// used for the first time.
    pub(in crate::sign_in) async fn complete(
        &self,
        returned: Returned,
        attempt: &Attempt,
        rules: &EntryRules,
        now: UnixTime,
    ) -> Result<Vouched, Failure> {
        let metadata = self.metadata().await?;
        self.check_iss_parameter(&metadata, returned.iss.as_deref(), returned.id_token.is_some())?;
        if let Some(error) = &returned.error {
            return Err(failure_of(error, returned.error_description.as_deref()));
        }
        let missing = |what| Failure::DoesNotHold(format!("the provider's answer brings no {what}"));
        let (id_token, access_token, refresh_token) = match self.settings.auth_method {
            AuthMethod::Pkce => {
                let code = returned.code.ok_or_else(|| missing("code"))?;
                let tokens =
                    token::exchange(&self.http, &self.client, &metadata, &self.settings, &code, attempt).await?;
                (tokens.id_token, tokens.access_token, tokens.refresh_token)
            }
            AuthMethod::Implicit => {
                let id_token = returned.id_token.ok_or_else(|| missing("id_token"))?;
                (SecretString::from(id_token), None, None)
            }
        };

        let verified = self
            .keys
            .verify(id_token.expose_secret(), &self.http, &metadata.jwks_uri, now)
            .await
            .map_err(NotTaken::from)?;
        let claims = id_token::check(
            verified,
            &Expected {
                issuer: &self.settings.issuer,
                client_id: &self.settings.client_id,
                nonce: &attempt.nonce,
                access_token: access_token.as_ref().map(ExposeSecret::expose_secret),
            },
        )?;
        let userinfo = self.userinfo(&metadata, &claims, access_token.as_ref(), rules).await?;
        let ForSession { amr, auth_time, sid } = claims::for_session(&claims);
        Ok(Vouched {
            arrival: claims::arrival(&claims, userinfo.as_ref(), &self.settings)?,
            amr,
            auth_time,
            sid,
            id_token,
            refresh_token,
        })
    }

    /// One look: metadata, then keys. What is known stays until it is known better.
    async fn look(&self) -> Result<(), NotDiscovered> {
        let metadata = discovery::fetch(&self.http, &self.settings).await?;
        self.keys.fetch(&self.http, &metadata.jwks_uri).await?;
        self.known.store(Some(Arc::new(metadata)));
        Ok(())
    }

    fn succeeded(&self) {
        let before = self.trouble.swap(None);
        if before.is_some() || *self.looks.borrow() == 0 {
            tracing::info!(issuer = %self.settings.issuer, keys = self.keys.current().len(), "the provider is known");
        }
    }

    /// Says it once for each reason, not with every look.
    fn failed(&self, error: &NotDiscovered) {
        let why = error.to_string();
        if self.trouble.load().as_deref() != Some(&why) {
            let can = if self.known.load().is_some() {
                "what is known of it stays"
            } else {
                "nobody can sign in"
            };
            tracing::warn!(issuer = %self.settings.issuer, "the provider cannot be read ({can}): {why}");
            self.trouble.store(Some(Arc::new(why)));
        }
    }

    async fn wanted_after(&self, pause: Duration) {
        tokio::time::sleep(pause).await;
        self.wanted.notified().await;
    }

    /// The metadata; a provider that is not known yet is looked at again, and waited for a little.
    async fn metadata(&self) -> Result<Arc<Metadata>, Failure> {
        let mut looks = self.looks.subscribe();
        if let Some(metadata) = self.known.load_full() {
            return Ok(metadata);
        }
        self.wanted.notify_one();
        // Whether a look ended or patience did, what is known now decides.
        let _ = tokio::time::timeout(PATIENCE, looks.changed()).await;
        self.known.load_full().ok_or_else(|| match self.state() {
            ProviderState::Unknown(why) | ProviderState::Stale(why) => Failure::Away(why),
            ProviderState::None | ProviderState::Known => Failure::Away("it has just come".to_owned()),
        })
    }

    /// RFC 9207, section 2.4: against answers of another provider. One that is there is checked also where none was
    /// announced; an answer that holds an ID token says its issuer there, and providers leave the parameter out.
    fn check_iss_parameter(&self, metadata: &Metadata, iss: Option<&str>, id_token: bool) -> Result<(), Failure> {
        match iss {
            None if !metadata.iss_parameter || id_token => Ok(()),
            Some(iss) if iss == self.settings.issuer => Ok(()),
            _ => Err(Failure::DoesNotHold(
                "the answer's iss parameter is missing or not the issuer (RFC 9207)".to_owned(),
            )),
        }
    }

    async fn userinfo(
        &self,
        metadata: &Metadata,
        claims: &Map<String, Value>,
        access_token: Option<&SecretString>,
        rules: &EntryRules,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        let need = claims::need(claims, &self.settings, rules);
        let (Some(endpoint), Some(access_token)) = (&metadata.userinfo_endpoint, access_token) else {
            return Ok(None);
        };
        if need == Need::Nothing {
            return Ok(None);
        }
        let sub = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        match userinfo::fetch(&self.http, endpoint, access_token, sub).await {
            Ok(found) => Ok(Some(found)),
            Err(error @ NoUserinfo::SomebodyElse) => Err(Failure::DoesNotHold(format!("userinfo: {error}"))),
            Err(error @ (NoUserinfo::NoAnswer(_) | NoUserinfo::Status(_))) if need == Need::Must => {
                Err(Failure::Away(format!("userinfo: {error}")))
            }
            // Then what is missing stays missing; the rules decide whether that is enough.
            Err(error) => {
                tracing::warn!("userinfo says nothing: {error}");
                Ok(None)
            }
        }
    }
}

impl From<NotTaken> for Failure {
    fn from(error: NotTaken) -> Self {
        Self::DoesNotHold(format!("the ID token is not taken: {error}"))
    }
}

impl From<NoTokens> for Failure {
    fn from(error: NoTokens) -> Self {
        let text = error.to_string();
        match error {
            NoTokens::NoAnswer(_) | NoTokens::Down(_) => Self::Away(text),
            NoTokens::Client { .. } | NoTokens::NoEndpoint | NoTokens::NoIdToken => Self::SetWrong(text),
            NoTokens::Refused(_) | NoTokens::NotUnderstood(_) => Self::DoesNotHold(text),
        }
    }
}

/// An error of the authorization endpoint (RFC 6749, section 4.1.2.1; OpenID Connect Core 1.0, section 3.1.2.6). Nothing of
/// it is shown to the person.
fn failure_of(error: &str, description: Option<&str>) -> Failure {
    let text = match description {
        Some(description) => format!("the provider answers {} ({})", shown(error), shown(description)),
        None => format!("the provider answers {}", shown(error)),
    };
    match error {
        "access_denied" => Failure::Denied,
        "server_error" | "temporarily_unavailable" => Failure::Away(text),
        "invalid_request"
        | "unauthorized_client"
        | "unsupported_response_type"
        | "invalid_scope"
        | "request_not_supported"
        | "request_uri_not_supported"
        | "registration_not_supported" => Failure::SetWrong(text),
        _ => Failure::DoesNotHold(text),
    }
}
