//! The authorization request: where a browser is sent to sign in (OpenID Connect Core 1.0, section 3.1.2.1; for `implicit`
//! section 3.2.2.1 with OAuth 2.0 Form Post Response Mode).

use url::Url;

use super::discovery::Metadata;
use crate::config::{AuthMethod, Oidc};
use crate::sign_in::attempt::Attempt;

/// Scopes that are always asked for.
pub(super) const SCOPES: [&str; 3] = ["openid", "profile", "email"];

/// The address at the provider that begins `attempt`. `someone_else`: the provider must not just return the person who is
/// signed in there.
pub(super) fn authorization_request(
    metadata: &Metadata,
    settings: &Oidc,
    redirect_uri: &str,
    attempt: &Attempt,
    someone_else: bool,
) -> Url {
    let mut url = metadata.authorization_endpoint.clone();
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", &settings.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", &scopes(settings))
            .append_pair("state", &attempt.state())
            .append_pair("nonce", &attempt.nonce);
        match settings.auth_method {
            AuthMethod::Pkce => query
                .append_pair("response_type", "code")
                .append_pair("code_challenge", &attempt.challenge())
                .append_pair("code_challenge_method", "S256"),
            AuthMethod::Implicit => query
                .append_pair("response_type", "id_token")
                .append_pair("response_mode", "form_post"),
        };
        if someone_else {
            // Keycloak ignores the first and returns the same person.
            let prompt = if metadata.selects_account {
                "select_account"
            } else {
                "login"
            };
            query.append_pair("prompt", prompt);
        }
    }
    url
}

fn scopes(settings: &Oidc) -> String {
    let mut scopes = SCOPES.to_vec();
    for scope in &settings.custom_scopes {
        if !scopes.contains(&scope.as_str()) {
            scopes.push(scope);
        }
    }
    scopes.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::{authorization_request, scopes};
    use crate::config::AuthMethod;
    use crate::sign_in::attempt;

    fn request(metadata: &serde_json::Value, method: AuthMethod, someone_else: bool) -> Vec<(String, String)> {
        let mut settings = testing::settings();
        settings.auth_method = method;
        let metadata = testing::metadata_with(metadata, &settings);
        let (attempt, _) = attempt::testing::begun("/a");
        let url = authorization_request(
            &metadata,
            &settings,
            "https://app.example.com/oidc/callback",
            &attempt,
            someone_else,
        );
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
        assert_eq!(scopes(&settings), "openid profile email groups");
    }

    #[test]
    fn an_authorization_endpoint_keeps_the_query_it_has() {
        let announced = serde_json::json!({ "authorization_endpoint": "https://id.example.com/authorize?p=b2c_1" });
        let pairs = request(&announced, AuthMethod::Pkce, false);
        assert_eq!(value(&pairs, "p"), Some("b2c_1"));
    }
}
