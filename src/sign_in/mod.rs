//! Signing in: from "nobody" to a session, and back out. Knows providers and directories, nothing of upstreams.
//!
//! Public face: the gateway turns a request on one of our sign-in paths into a [`Visit`] and gets back a finished
//! response. Rooms inside: `login`, `password`, `callback` and `logout` (what happens on these paths), `oidc/` (the
//! provider, one file a step), `ldap/` (the directory, likewise), `failures` and `device` (guessing is stopped), `recheck` (whether they
//! are still there), `attempt` (the sealed cookie of a sign-in under way), `provision` (who gets in, as whom), `return_to`
//! (where they go afterwards), `restore` (the one-time link), `answers` (what people are told).

mod answers;
mod attempt;
mod callback;
mod cookies;
mod device;
mod failures;
pub mod ldap;
mod login;
mod logout;
pub mod oidc;
mod password;
mod provision;
mod recheck;
mod restore;
pub mod return_to;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Response};
use tokio_util::sync::CancellationToken;

use self::answers::Answers;
use self::attempt::Attempts;
use self::device::Devices;
use self::failures::Failures;
use self::ldap::Directory;
use self::oidc::Provider;
pub use self::restore::RESTORE_PATH;
use self::return_to::OurPaths;
use crate::clock::UnixTime;
use crate::config::{EntryRules, PublicUrl, Settings};
use crate::pages::Pages;
use crate::seal::Sealer;
use crate::session::{Session, Sessions};
use crate::store::Store;
use crate::telemetry::audit::Actor;

/// A browser on one of our sign-in paths, its request strictly read: the Host is the public URL's.
#[derive(Debug)]
pub struct Visit {
    /// GET, HEAD or POST; HEAD is answered as GET, the body is dropped by the gateway.
    pub method: Method,
    /// The raw query.
    pub query: Option<String>,
    /// The body of a POST with `application/x-www-form-urlencoded`, at most 1 MiB; None otherwise.
    pub form: Option<Bytes>,
    /// The session cookie's value, whether or not a session belongs to it.
    pub session_cookie: Option<String>,
    /// Name and value of every attempt cookie (`<cookie name>-a-<id>`) that the browser sent.
    pub attempt_cookies: Vec<(String, String)>,
    /// The device cookie's value (`<cookie name>-d`).
    pub device_cookie: Option<String>,
    /// The live session, if there is one.
    pub session: Option<Arc<Session>>,
    /// The browser's address, forwarding headers from trusted proxies considered.
    pub client: IpAddr,
    /// `User-Agent`, as it was sent.
    pub user_agent: Option<String>,
    /// `Sec-Fetch-Site` is `cross-site` or `same-site`, or `Origin` is there and not ours (`null` included).
    pub cross_site: bool,
    /// `Sec-Fetch-Dest` says that a page loads this as a part of itself: a picture, a script, a frame.
    pub embedded: bool,
    /// The request's id, for logs and pages.
    pub request_id: Arc<str>,
}

impl Visit {
    /// Who knocks, for the audit log.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::at_the_door(Some(self.client), Some(self.request_id.to_string()))
    }
}

/// How the provider stands, for `/readyz`, `check` and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderState {
    /// No provider is set.
    None,
    /// Nothing is known of it yet; people cannot sign in. Says why.
    Unknown(String),
    /// Its metadata and keys are known; the last look succeeded.
    Known,
    /// Its metadata and keys are known from before; the last look failed. Says why.
    Stale(String),
}

/// Said when signing in cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// The CA file cannot be used.
    #[error("VESTIBULE_CA_FILE: {0}")]
    CaFile(String),
    /// The proxy cannot be used.
    #[error("HTTPS_PROXY: {0}")]
    Proxy(String),
    /// The issuer is no address.
    #[error("OIDC_ISSUER: {0}")]
    Issuer(String),
    /// No redirect URI comes out of the public URL and the callback's path.
    #[error("VESTIBULE_PUBLIC_URL, VESTIBULE_CALLBACK_PATH: {0}")]
    RedirectUri(String),
}

/// Everything about signing in. Control plane.
#[derive(Debug)]
pub struct SignIn {
    provider: Option<Provider>,
    ldap: Option<password::Ldap>,
    /// Wrong links, where there is a link.
    restore: Option<Failures>,
    devices: Devices,
    entry: Arc<ArcSwap<EntryRules>>,
    attempts: Attempts,
    sealer: Arc<Sealer>,
    sessions: Arc<Sessions>,
    store: Store,
    answers: Answers,
    public: PublicUrl,
    paths: OurPaths,
    /// Where the provider sends people after signing out.
    signed_out: String,
}

impl SignIn {
    /// Sets signing in up; nothing is asked of the provider before [`SignIn::run`] runs. `entry` is looked at with every
    /// sign-in.
    ///
    /// # Errors
    /// If the CA file, the proxy or an address cannot be used.
    pub fn new(
        settings: &Settings,
        entry: Arc<ArcSwap<EntryRules>>,
        sealer: Arc<Sealer>,
        store: Store,
        sessions: Arc<Sessions>,
        pages: Pages,
    ) -> Result<Self, CannotStart> {
        let provider = settings
            .oidc
            .as_ref()
            .map(|oidc| Provider::new(oidc, settings))
            .transpose()?;
        let ldap = settings
            .ldap
            .as_ref()
            .filter(|ldap| ldap.login)
            .map(|ldap| {
                Ok(password::Ldap {
                    directory: Directory::new(ldap, settings)
                        .map_err(|error| CannotStart::CaFile(error.to_string()))?,
                    failures: Failures::new(Some(store.clone()), ldap.failures, ldap.failures_address),
                })
            })
            .transpose()?;
        Ok(Self {
            provider,
            ldap,
            restore: settings.restore.then(|| Failures::new(None, 1, restore::WRONG_LINKS)),
            devices: Devices::new(&settings.public, Arc::clone(&sealer)),
            entry,
            attempts: Attempts::new(&settings.public, Arc::clone(&sealer)),
            sealer,
            sessions,
            store,
            answers: Answers::new(pages, &settings.instance_name),
            public: settings.public.clone(),
            signed_out: settings.post_logout_redirect_uri(),
            paths: OurPaths {
                public: settings.public.clone(),
                callback: settings.callback_path.clone(),
                logout: settings.logout_path.clone(),
            },
        })
    }

    /// Discovers the provider and keeps its metadata and keys fresh, and looks again at people of the directory who are signed
    /// in, until `stop` fires.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(Box::pin(recheck::run(self, &stop)), async {
            match &self.provider {
                Some(provider) => Box::pin(provider.run(stop.clone())).await,
                None => stop.cancelled().await,
            }
        });
    }

    /// How the provider stands.
    #[must_use]
    pub fn provider_state(&self) -> ProviderState {
        self.provider.as_ref().map_or(ProviderState::None, Provider::state)
    }

    /// `GET|POST /.vestibule/login`: the form and what it brings, or straight on to the provider when that is all there is.
    pub async fn login(&self, visit: Visit, now: UnixTime) -> Response<Bytes> {
        login::answer(self, &visit, now).await
    }

    /// `GET|POST` on the redirect URI (OpenID Connect Core 1.0, section 3.1.2.5).
    pub async fn callback(&self, visit: Visit, now: UnixTime) -> Response<Bytes> {
        callback::answer(self, &visit, now).await
    }

    /// `GET|POST /.vestibule/restore`: the one-time link, where there is one.
    pub async fn restore(&self, visit: Visit, now: UnixTime) -> Response<Bytes> {
        restore::answer(self, &visit, now).await
    }

    /// `GET|POST /logout`: ends the session here and, where the provider supports it, there.
    pub async fn logout(&self, visit: Visit, now: UnixTime) -> Response<Bytes> {
        logout::answer(self, &visit, now).await
    }
}

/// Bytes in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
