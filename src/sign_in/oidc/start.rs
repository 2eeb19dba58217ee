//! The authorization request: where a browser is sent to sign in (OpenID Connect Core 1.0, section 3.1.2.1; for `implicit`
//! section 3.2.2.1 with OAuth 2.0 Form Post Response Mode).

use openidconnect::core::{CoreAuthPrompt, CoreResponseType};
use openidconnect::{AuthUrl, AuthenticationFlow, CsrfToken, Nonce, PkceCodeChallenge, PkceCodeVerifier, Scope};
use url::Url;

use super::client::Client;
use super::discovery::Metadata;
use crate::config::{AuthMethod, Oidc};
use crate::sign_in::attempt::Attempt;

/// Scopes that are always asked for.
pub(super) const SCOPES: [&str; 3] = ["openid", "profile", "email"];

/// The address at the provider that begins `attempt`. `someone_else`: the provider must not just return the person who is
/// signed in there.
pub(super) fn authorization_request(
    client: &Client,
    metadata: &Metadata,
    settings: &Oidc,
    attempt: &Attempt,
    someone_else: bool,
) -> Url {
    let client = client
        .clone()
        .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()));
    let flow = match settings.auth_method {
        AuthMethod::Pkce => AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
        AuthMethod::Implicit => AuthenticationFlow::Implicit(false),
    };
    let (state, nonce) = (attempt.state(), attempt.nonce.clone());
    let mut request = client
        .authorize_url(flow, move || CsrfToken::new(state), move || Nonce::new(nonce))
        .add_scopes(scopes(settings));
    request = match settings.auth_method {
        AuthMethod::Pkce => request.set_pkce_challenge(challenge(attempt)),
        AuthMethod::Implicit => request.add_extra_param("response_mode", "form_post"),
    };
    if someone_else {
        // Keycloak ignores the first and returns the same person.
        request = request.add_prompt(if metadata.selects_account {
            CoreAuthPrompt::SelectAccount
        } else {
            CoreAuthPrompt::Login
        });
    }
    // State and nonce come back beside it; the attempt has them.
    let (url, _, _) = request.url();
    url
}

/// S256 (RFC 7636, section 4.2). The library asserts that a verifier has 43 to 128 characters: an attempt's has 43, and
/// comes out of its cookie only under our seal.
fn challenge(attempt: &Attempt) -> PkceCodeChallenge {
    PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(attempt.verifier.clone()))
}

fn scopes(settings: &Oidc) -> Vec<Scope> {
    let mut scopes = SCOPES.to_vec();
    for scope in &settings.custom_scopes {
        if !scopes.contains(&scope.as_str()) {
            scopes.push(scope);
        }
    }
    scopes.into_iter().map(|scope| Scope::new(scope.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::authorization_request;
    use crate::config::{AuthMethod, Oidc};
    use crate::sign_in::attempt::{self, Attempt};

    fn request(metadata: &serde_json::Value, method: AuthMethod, someone_else: bool) -> Vec<(String, String)> {
        let mut settings = testing::settings();
        settings.auth_method = method;
        let (attempt, _) = attempt::testing::begun("/a");
        request_with(metadata, &settings, &attempt, someone_else)
    }

    fn request_with(
        metadata: &serde_json::Value,
        settings: &Oidc,
        attempt: &Attempt,
        someone_else: bool,
    ) -> Vec<(String, String)> {
        let metadata = testing::metadata_with(metadata, settings);
        let client = testing::client(settings);
        let url = authorization_request(&client, &metadata, settings, attempt, someone_else);
        assert!(url.as_str().starts_with("https://id.example.com/authorize?"));
        url.query_pairs().into_owned().collect()
    }

    fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let mut values = pairs.iter().filter(|(key, _)| key == name);
        let first = values.next();
        assert!(values.next().is_none(), "{name} stands twice");
        first.map(|(_, value)| value.as_str())
    }

    #[test]
    fn the_code_flow_asks_with_s256_and_shows_no_secret() {
        let pairs = request(&serde_json::json!({}), AuthMethod::Pkce, false);
        assert_eq!(value(&pairs, "response_type"), Some("code"));
        assert_eq!(value(&pairs, "code_challenge_method"), Some("S256"));
        assert_eq!(value(&pairs, "code_challenge").map(str::len), Some(43));
        assert_eq!(
            value(&pairs, "redirect_uri"),
            Some("https://app.example.com/oidc/callback")
        );
        assert_eq!(value(&pairs, "scope"), Some("openid profile email"));
        assert_eq!(value(&pairs, "nonce").map(str::len), Some(43));
        assert!(value(&pairs, "state").is_some_and(|state| state.len() > 43));
        for absent in ["prompt", "response_mode", "client_secret", "code_verifier"] {
            assert_eq!(value(&pairs, absent), None, "{absent}");
        }
    }

    /// RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_the_rfcs() {
        let (mut attempt, _) = attempt::testing::begun("/");
        attempt.verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into();
        let pairs = request_with(&serde_json::json!({}), &testing::settings(), &attempt, false);
        assert_eq!(
            value(&pairs, "code_challenge"),
            Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
        );
    }

    #[test]
    fn state_and_nonce_are_the_attempts_own() {
        let (attempt, _) = attempt::testing::begun("/");
        let pairs = request_with(&serde_json::json!({}), &testing::settings(), &attempt, false);
        assert_eq!(value(&pairs, "state"), Some(attempt.state().as_str()));
        assert_eq!(value(&pairs, "nonce"), Some(attempt.nonce.as_str()));
    }

    #[test]
    fn implicit_asks_for_an_id_token_by_form_post() {
        let pairs = request(&serde_json::json!({}), AuthMethod::Implicit, false);
        assert_eq!(value(&pairs, "response_type"), Some("id_token"));
        assert_eq!(value(&pairs, "response_mode"), Some("form_post"));
        assert_eq!(value(&pairs, "code_challenge"), None);
        assert!(value(&pairs, "nonce").is_some());
    }

    #[test]
    fn someone_else_is_asked_for_in_the_words_that_the_provider_knows() {
        let pairs = request(&serde_json::json!({}), AuthMethod::Pkce, true);
        assert_eq!(value(&pairs, "prompt"), Some("login"));
        let announced = serde_json::json!({ "prompt_values_supported": ["none", "login"] });
        assert_eq!(
            value(&request(&announced, AuthMethod::Pkce, true), "prompt"),
            Some("login")
        );
        let announced = serde_json::json!({ "prompt_values_supported": ["login", "select_account"] });
        assert_eq!(
            value(&request(&announced, AuthMethod::Pkce, true), "prompt"),
            Some("select_account")
        );
        // Google says nothing and takes this only.
        let mut settings = testing::settings();
        settings.issuer = "https://accounts.google.com".to_owned();
        let metadata = testing::metadata_with(&serde_json::json!({ "issuer": settings.issuer }), &settings);
        assert!(metadata.selects_account);
    }

    #[test]
    fn extra_scopes_are_added_once() {
        let mut settings = testing::settings();
        settings.custom_scopes = vec!["groups".into(), "email".into(), "groups".into()];
        let (attempt, _) = attempt::testing::begun("/a");
        let pairs = request_with(&serde_json::json!({}), &settings, &attempt, false);
        assert_eq!(value(&pairs, "scope"), Some("openid profile email groups"));
    }

    #[test]
    fn an_authorization_endpoint_keeps_the_query_it_has() {
        let announced = serde_json::json!({ "authorization_endpoint": "https://id.example.com/authorize?p=b2c_1" });
        let pairs = request(&announced, AuthMethod::Pkce, false);
        assert_eq!(value(&pairs, "p"), Some("b2c_1"));
    }
}
