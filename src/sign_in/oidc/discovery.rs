//! What a provider says of itself (OpenID Connect Discovery 1.0), read tolerantly: a wrong type in what we don't need is as
//! if it were missing. The issuer is compared byte for byte, and endpoints of an https issuer are https.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::{Map, Value};
use url::Url;

use super::http::{Answer, NoAnswer, ProviderClient};
use crate::config::{ClientAuth, Oidc};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Announces no prompts, takes `select_account`, and answers 400 to `login`.
const GOOGLE: &str = "https://accounts.google.com";

/// The metadata that signing in needs; addresses that we ask are already those of the back channel.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    /// Where browsers go to sign in.
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Option<Url>,
    pub(super) jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    /// Where browsers go to sign out (OpenID Connect RP-Initiated Logout 1.0).
    pub(super) end_session_endpoint: Option<Url>,
    /// RFC 9207, section 3.
    pub(super) iss_parameter: bool,
    /// Whether the token endpoint takes `client_secret_basic`; said or by default.
    pub(super) takes_basic: bool,
    /// Whether `prompt=select_account` does something (Initiating User Registration 1.0, section 4).
    pub(super) selects_account: bool,
    /// Lists as they were announced; None where nothing is said.
    pub(super) announced: Announced,
}

/// What a provider announces that `check` compares with the settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Announced {
    pub(super) response_types: Option<Vec<String>>,
    pub(super) response_modes: Option<Vec<String>>,
    pub(super) challenge_methods: Option<Vec<String>>,
    pub(super) token_auth_methods: Option<Vec<String>>,
    pub(super) signing_algorithms: Option<Vec<String>>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) claims: Option<Vec<String>>,
}

/// Why nothing is known of a provider.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotDiscovered {
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("{0} answers {1}: is OIDC_ISSUER the issuer's whole address (Keycloak: with /realms/<realm>)?")]
    Status(String, StatusCode),
    #[error("{0} redirects, which is not followed: it points to {1}; set OIDC_ISSUER to the issuer found there")]
    Redirect(String, String),
    #[error("{0} is no JSON object: is OIDC_ISSUER the address of an OpenID provider?")]
    NotJson(String),
    #[error("the provider at OIDC_ISSUER={set} calls itself {found}; they must be the same, byte for byte: {fix}")]
    Issuer { set: String, found: String, fix: String },
    #[error("the provider announces no usable {0}")]
    Missing(&'static str),
    #[error("the provider announces {0}={1}, but endpoints of an https issuer must be https")]
    NotHttps(&'static str, String),
    #[error("{0} holds no keys (JWKS)")]
    NoKeys(String),
    #[error("OIDC_ISSUER={0} is no URL")]
    IssuerIsNoUrl(String),
}

/// Asks the provider for its metadata.
pub(super) async fn fetch(client: &ProviderClient, settings: &Oidc) -> Result<Metadata, NotDiscovered> {
    let url = back_channel(&well_known(&settings.issuer)?, settings)?;
    let answer = client.ask(json_request(&url)).await?;
    Metadata::read(&document(&url, &answer)?, settings)
}

/// The body of a 200; what other answers mean for the issuer's address.
pub(super) fn document(url: &Url, answer: &Answer) -> Result<Bytes, NotDiscovered> {
    match (&answer.location, answer.status) {
        (_, StatusCode::OK) => Ok(answer.body.clone()),
        (Some(location), status) if status.is_redirection() => Err(NotDiscovered::Redirect(
            url.to_string(),
            shown(location.trim_end_matches(WELL_KNOWN)),
        )),
        (_, status) => Err(NotDiscovered::Status(url.to_string(), status)),
    }
}

pub(super) fn json_request(url: &Url) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    // A parsed URL's text is a URI; should it ever not be, the empty one that stays has no host and is not asked.
    if let Ok(uri) = url.as_str().parse() {
        *request.uri_mut() = uri;
    }
    request
        .headers_mut()
        .insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    request
}

impl Metadata {
    /// Reads a discovery document.
    pub(super) fn read(document: &[u8], settings: &Oidc) -> Result<Self, NotDiscovered> {
        let document: Map<String, Value> =
            serde_json::from_slice(document).map_err(|_| NotDiscovered::NotJson(settings.issuer.clone()))?;
        let found = document
            .get("issuer")
            .and_then(Value::as_str)
            .ok_or(NotDiscovered::Missing("issuer"))?;
        // OpenID Connect Discovery 1.0, section 4.3.
        if found != settings.issuer {
            return Err(NotDiscovered::Issuer {
                set: settings.issuer.clone(),
                found: shown(found),
                fix: likely_fix(&settings.issuer, found),
            });
        }

        let asked = |name| endpoint(&document, name, settings, Channel::Back);
        let visited = |name| endpoint(&document, name, settings, Channel::Front);
        let list = |name: &str| strings(&document, name);
        let announced = Announced {
            response_types: list("response_types_supported"),
            response_modes: list("response_modes_supported"),
            challenge_methods: list("code_challenge_methods_supported"),
            token_auth_methods: list("token_endpoint_auth_methods_supported"),
            signing_algorithms: list("id_token_signing_alg_values_supported"),
            scopes: list("scopes_supported"),
            claims: list("claims_supported"),
        };
        let has = |list: Option<&Vec<String>>, word: &str| list.map(|list| list.iter().any(|item| item == word));
        Ok(Self {
            authorization_endpoint: visited("authorization_endpoint")?
                .ok_or(NotDiscovered::Missing("authorization_endpoint"))?,
            token_endpoint: asked("token_endpoint")?,
            jwks_uri: asked("jwks_uri")?.ok_or(NotDiscovered::Missing("jwks_uri"))?,
            userinfo_endpoint: asked("userinfo_endpoint")?,
            end_session_endpoint: visited("end_session_endpoint")?,
            iss_parameter: document
                .get("authorization_response_iss_parameter_supported")
                .is_some_and(|value| *value == true || value == "true"),
            // The default is basic: OpenID Connect Discovery 1.0, section 3.
            takes_basic: has(announced.token_auth_methods.as_ref(), "client_secret_basic").unwrap_or(true),
            selects_account: has(list("prompt_values_supported").as_ref(), "select_account")
                .unwrap_or(settings.issuer == GOOGLE),
            announced,
        })
    }

    /// How the client shows who it is at the token endpoint; never `Auto`.
    pub(super) fn client_auth(&self, settings: &Oidc) -> ClientAuth {
        match settings.client_auth {
            _ if settings.client_secret.is_none() => ClientAuth::None,
            ClientAuth::Auto if self.takes_basic => ClientAuth::Basic,
            ClientAuth::Auto => ClientAuth::Post,
            set => set,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Channel {
    /// We ask it.
    Back,
    /// Browsers go there.
    Front,
}

fn endpoint(
    document: &Map<String, Value>,
    name: &'static str,
    settings: &Oidc,
    channel: Channel,
) -> Result<Option<Url>, NotDiscovered> {
    let Some(url) = document
        .get(name)
        .and_then(Value::as_str)
        .and_then(|text| Url::parse(text).ok())
        .filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host() && url.username().is_empty())
    else {
        return Ok(None);
    };
    // A provider that is asked by its inner name may announce that (Keycloak's hostname-backchannel-dynamic): the
    // operator has named it.
    let named = channel == Channel::Back
        && settings
            .backchannel
            .as_ref()
            .is_some_and(|base| base.origin() == url.origin());
    if named {
        return Ok(Some(url));
    }
    if settings.issuer.starts_with("https:") && url.scheme() != "https" {
        return Err(NotDiscovered::NotHttps(name, url.to_string()));
    }
    match channel {
        Channel::Front => Ok(Some(url)),
        Channel::Back => back_channel(&url, settings).map(Some),
    }
}

/// The issuer's address with the well-known path (OpenID Connect Discovery 1.0, section 4.1).
fn well_known(issuer: &str) -> Result<Url, NotDiscovered> {
    Url::parse(&format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/')))
        .map_err(|_| NotDiscovered::IssuerIsNoUrl(shown(issuer)))
}

/// `url` as `OIDC_BACKCHANNEL_URL` reaches it: what is below the issuer is below that, what is elsewhere on the issuer's
/// origin is elsewhere on that one's; other origins stay. A back channel without a path replaces the origin alone.
fn back_channel(url: &Url, settings: &Oidc) -> Result<Url, NotDiscovered> {
    let not_url = || NotDiscovered::IssuerIsNoUrl(shown(&settings.issuer));
    let issuer = Url::parse(&settings.issuer).map_err(|_| not_url())?;
    let Some(base) = settings
        .backchannel
        .as_ref()
        .filter(|_| url.origin() == issuer.origin())
    else {
        return Ok(url.clone());
    };
    let below = url
        .path()
        .strip_prefix(issuer.path().trim_end_matches('/'))
        .filter(|rest| rest.starts_with('/') && base.path() != "/");
    let path = match below {
        Some(rest) => format!("{}{rest}", base.path().trim_end_matches('/')),
        None => url.path().to_owned(),
    };
    let mut there = base.clone();
    there.set_path(&path);
    there.set_query(url.query());
    there.set_fragment(None);
    Ok(there)
}

/// What to write instead, guessed from how the two differ.
fn likely_fix(set: &str, found: &str) -> String {
    let shown_found = shown(found);
    if set.trim_end_matches('/') == found.trim_end_matches('/') {
        let slash = if found.ends_with('/') { "with" } else { "without" };
        return format!("set OIDC_ISSUER={shown_found} ({slash} the slash at the end)");
    }
    let entra = |text: &str| text.contains("login.microsoftonline.") || text.contains("sts.windows.net");
    if found.contains("{tenantid}") {
        return "set OIDC_ISSUER=https://login.microsoftonline.com/<tenant id>/v2.0, the tenant's own; \
                common, organizations and consumers are not supported"
            .to_owned();
    }
    if entra(set) && entra(found) {
        return format!(
            "set OIDC_ISSUER={shown_found} if that is your tenant, or the address ending in /v2.0 (and \
             accessTokenAcceptedVersion 2 in the app's manifest)"
        );
    }
    format!("it points to {shown_found}; if that is your provider, set OIDC_ISSUER={shown_found}")
}

/// Text from outside, fit for a log line.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(300).flat_map(char::escape_debug).collect()
}

fn strings(document: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    let list = document.get(name)?.as_array()?;
    Some(list.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect())
}

#[cfg(test)]
mod tests;
