//! What `vestibule check` says of the provider: whether it answers, and what of its announcements does not fit the
//! settings.

use super::discovery::{self, Metadata, NotDiscovered};
use super::http::ProviderClient;
use super::keys::Keys;
use super::start::SCOPES;
use crate::config::{AuthMethod, ClientAuth, Oidc, Settings};
use crate::jose::Algorithm;
use crate::sign_in::CannotStart;

/// What was found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// To be registered at the provider as redirect URI.
    pub redirect_uri: String,
    /// To be registered at the provider as address after logout.
    pub post_logout_redirect_uri: String,
    /// How many keys can verify ID tokens.
    pub keys: usize,
    /// What an operator should know.
    pub findings: Vec<Finding>,
}

/// One line for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Sign-ins will probably fail.
    Warning(String),
    /// Good to know.
    Note(String),
}

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    /// No issuer is set.
    #[error("OIDC_ISSUER is not set")]
    NotSet,
    /// The CA file or the proxy cannot be used.
    #[error(transparent)]
    CannotStart(#[from] CannotStart),
    /// It does not answer as a provider does.
    #[error("{0}")]
    NotDiscovered(String),
}

impl From<NotDiscovered> for NotReached {
    fn from(error: NotDiscovered) -> Self {
        Self::NotDiscovered(error.to_string())
    }
}

/// Asks the provider once for its metadata and keys.
///
/// # Errors
/// If it does not answer as a provider does.
pub async fn probe(settings: &Settings) -> Result<Findings, NotReached> {
    let oidc = settings.oidc.as_ref().ok_or(NotReached::NotSet)?;
    let client = ProviderClient::new(settings.ca_file.as_deref(), &settings.provider_proxy)?;
    let metadata = discovery::fetch(&client, oidc).await?;
    let keys = Keys::new();
    keys.fetch(&client, &metadata.jwks_uri).await?;
    let keys = keys.current().len();
    let mut findings = compare(&metadata, oidc);
    if keys == 0 {
        findings.push(Finding::Warning(
            "none of the provider's keys can verify an ID token here (RSA of 2048 bits, P-256, P-384, Ed25519)"
                .to_owned(),
        ));
    }
    Ok(Findings {
        redirect_uri: settings.redirect_uri(),
        post_logout_redirect_uri: settings.post_logout_redirect_uri(),
        keys,
        findings,
    })
}

/// What of the provider's announcements does not fit the settings. What is not announced is not held against it, but for
/// form_post, whose default is said (OpenID Connect Discovery 1.0, section 3).
fn compare(metadata: &Metadata, settings: &Oidc) -> Vec<Finding> {
    let announced = &metadata.announced;
    let lacks =
        |list: &Option<Vec<String>>, word: &str| list.as_ref().is_some_and(|list| !list.iter().any(|it| it == word));
    let mut findings = Vec::new();
    let mut warn = |text: String| findings.push(Finding::Warning(text));

    match settings.auth_method {
        AuthMethod::Pkce => {
            if lacks(&announced.response_types, "code") {
                warn("the provider does not announce response_type code; OIDC_AUTH_METHOD=pkce needs it".to_owned());
            }
            if lacks(&announced.challenge_methods, "S256") {
                warn("the provider does not announce PKCE with S256; OIDC_AUTH_METHOD=pkce needs it".to_owned());
            }
            if metadata.token_endpoint.is_none() {
                warn("the provider announces no usable token_endpoint; OIDC_AUTH_METHOD=pkce needs one".to_owned());
            }
            if let Some(text) = unfit_client_auth(metadata, settings) {
                warn(text);
            }
        }
        AuthMethod::Implicit => {
            if lacks(&announced.response_types, "id_token") {
                warn(
                    "the provider does not announce response_type id_token; OIDC_AUTH_METHOD=implicit needs it"
                        .to_owned(),
                );
            }
            if announced.response_modes.is_none() || lacks(&announced.response_modes, "form_post") {
                warn(
                    "the provider announces no response_mode form_post; OIDC_AUTH_METHOD=implicit needs it (try pkce)"
                        .to_owned(),
                );
            }
        }
    }
    if let Some(list) = &announced.signing_algorithms
        && !list.iter().any(|name| Algorithm::named(name).is_some())
    {
        warn(format!(
            "the provider signs ID tokens with nothing that is accepted here: {}",
            list.join(", ")
        ));
    }
    for scope in SCOPES
        .into_iter()
        .chain(settings.custom_scopes.iter().map(String::as_str))
    {
        if lacks(&announced.scopes, scope) {
            warn(format!("the provider does not announce the scope {scope}"));
        }
    }

    let mut note = |text: String| findings.push(Finding::Note(text));
    let claims = [
        ("OIDC_EMAIL_CLAIM", settings.email_claim.as_deref()),
        ("OIDC_USERNAME_CLAIM", Some(settings.username_claim.as_str())),
        ("OIDC_SUBJECT_CLAIM", Some(settings.subject_claim.as_str())),
    ];
    for (setting, claim) in claims {
        if let Some(claim) = claim
            && !claim.contains('.')
            && lacks(&announced.claims, claim)
        {
            note(format!("the provider does not announce the claim {claim} ({setting})"));
        }
    }
    if metadata.end_session_endpoint.is_none() {
        note("the provider has no end_session_endpoint: logout ends the session here only".to_owned());
    }
    findings
}

fn unfit_client_auth(metadata: &Metadata, settings: &Oidc) -> Option<String> {
    let list = metadata.announced.token_auth_methods.as_ref()?;
    let method = match metadata.client_auth(settings) {
        ClientAuth::Post => "client_secret_post",
        ClientAuth::None => "none",
        ClientAuth::Basic | ClientAuth::Auto => "client_secret_basic",
    };
    (!list.iter().any(|announced| announced == method)).then(|| {
        format!(
            "the provider announces the client authentications {}, and {method} would be used (OIDC_CLIENT_AUTH, \
             OIDC_CLIENT_SECRET)",
            list.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing;
    use super::{Finding, compare};
    use crate::config::{AuthMethod, ClientAuth};

    fn warnings(announced: &Value, method: AuthMethod, auth: ClientAuth) -> String {
        let mut settings = testing::settings();
        settings.auth_method = method;
        settings.client_auth = auth;
        let metadata = testing::metadata_with(announced, &settings);
        compare(&metadata, &settings)
            .into_iter()
            .filter_map(|finding| match finding {
                Finding::Warning(text) => Some(text + "\n"),
                Finding::Note(_) => None,
            })
            .collect()
    }

    #[test]
    fn a_provider_that_announces_what_is_needed_gets_no_warning() {
        let announced = json!({
            "response_types_supported": ["code", "id_token"],
            "response_modes_supported": ["query", "form_post"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "id_token_signing_alg_values_supported": ["RS256", "HS256"],
            "scopes_supported": ["openid", "profile", "email"],
        });
        assert_eq!(warnings(&announced, AuthMethod::Pkce, ClientAuth::Auto), "");
        assert_eq!(warnings(&announced, AuthMethod::Implicit, ClientAuth::Auto), "");
        assert_eq!(warnings(&json!({}), AuthMethod::Pkce, ClientAuth::Auto), "");
    }

    #[test]
    fn implicit_without_form_post_is_told() {
        assert!(warnings(&json!({}), AuthMethod::Implicit, ClientAuth::Auto).contains("form_post"));
        let announced = json!({ "response_modes_supported": ["query", "fragment"] });
        assert!(warnings(&announced, AuthMethod::Implicit, ClientAuth::Auto).contains("form_post"));
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_setting() {
        for (announced, told) in [
            (json!({ "code_challenge_methods_supported": ["plain"] }), "S256"),
            (
                json!({ "response_types_supported": ["id_token"] }),
                "response_type code",
            ),
            (json!({ "token_endpoint": 7 }), "token_endpoint"),
            (
                json!({ "token_endpoint_auth_methods_supported": ["private_key_jwt"] }),
                "OIDC_CLIENT_AUTH",
            ),
            (
                json!({ "id_token_signing_alg_values_supported": ["ES512", "HS256"] }),
                "signs ID tokens",
            ),
            (json!({ "scopes_supported": ["openid", "profile"] }), "scope email"),
        ] {
            let warnings = warnings(&announced, AuthMethod::Pkce, ClientAuth::Auto);
            assert!(warnings.contains(told), "{announced}: {warnings}");
        }
        let post_only = json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] });
        assert_eq!(warnings(&post_only, AuthMethod::Pkce, ClientAuth::Auto), "");
        assert!(warnings(&post_only, AuthMethod::Pkce, ClientAuth::Basic).contains("client_secret_basic"));
    }
}
