//! The way out at the provider (OpenID Connect RP-Initiated Logout 1.0, section 2).

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::discovery::Metadata;
use crate::config::Oidc;
use crate::jose::{self, KeySet};

/// A longer hint makes an address that servers refuse.
const LONGEST_HINT: usize = 6 * 1024;

/// Where a browser ends its session at the provider, if that has such a place.
///
/// The hint is sent only where its key is still among the provider's: Keycloak answers 400 to one under a removed key, and
/// merely asks a question without one.
pub(super) fn address(
    metadata: &Metadata,
    settings: &Oidc,
    keys: &KeySet,
    id_token: Option<&SecretString>,
    state: &str,
    back_to: &str,
) -> Option<Url> {
    let mut url = metadata.end_session_endpoint.clone()?;
    let hint = id_token
        .map(ExposeSecret::expose_secret)
        .filter(|hint| hint.len() <= LONGEST_HINT && jose::unverified_kid(hint).is_some_and(|kid| keys.has(&kid)));
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", &settings.client_id)
            .append_pair("post_logout_redirect_uri", back_to)
            .append_pair("state", state);
        if let Some(hint) = hint {
            query.append_pair("id_token_hint", hint);
        }
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use secrecy::SecretString;
    use serde_json::{Value, json};

    use super::super::testing;
    use super::address;
    use crate::jose::KeySet;

    fn token(header: &Value, length: usize) -> SecretString {
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        SecretString::from(format!("{header}.{}", "x".repeat(length)))
    }

    fn query(id_token: Option<&SecretString>, kids: &[&str]) -> Vec<(String, String)> {
        let settings = testing::settings();
        let jwks: Vec<_> = kids
            .iter()
            .map(|kid| json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([1; 32]), "kid": kid }))
            .collect();
        let keys = KeySet::read(json!({ "keys": jwks }).to_string().as_bytes()).unwrap();
        let metadata = testing::metadata_with(&json!({}), &settings);
        let url = address(
            &metadata,
            &settings,
            &keys,
            id_token,
            "s",
            "https://app.example.com/logout",
        )
        .unwrap();
        assert!(url.as_str().starts_with("https://id.example.com/logout?"));
        url.query_pairs().into_owned().collect()
    }

    fn hinted(id_token: &SecretString, kids: &[&str]) -> bool {
        query(Some(id_token), kids)
            .iter()
            .any(|(name, _)| name == "id_token_hint")
    }

    #[test]
    fn client_state_and_return_address_are_always_sent() {
        let query = query(None, &[]);
        for (name, value) in [
            ("client_id", "app"),
            ("state", "s"),
            ("post_logout_redirect_uri", "https://app.example.com/logout"),
        ] {
            assert!(query.contains(&(name.into(), value.into())), "{name}");
        }
    }

    #[test]
    fn a_hint_is_sent_only_while_its_key_is_there_and_up_to_6_kb() {
        let header = json!({ "alg": "RS256", "kid": "k" });
        assert!(hinted(&token(&header, 1000), &["j", "k"]));
        assert!(!hinted(&token(&header, 1000), &["j"]));
        assert!(!hinted(&token(&header, 1000), &[]));
        assert!(!hinted(&token(&header, 6 * 1024), &["k"]));
        assert!(!hinted(&token(&json!({ "alg": "RS256" }), 1000), &["k"]));
        assert!(!hinted(&SecretString::from("nonsense".to_owned()), &["k"]));
    }

    #[test]
    fn a_provider_without_the_place_is_not_visited() {
        let settings = testing::settings();
        let metadata = testing::metadata_with(&json!({ "end_session_endpoint": null }), &settings);
        assert!(address(&metadata, &settings, &KeySet::default(), None, "s", "b").is_none());
    }
}
