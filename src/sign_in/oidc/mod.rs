//! OpenID Connect, one file a step: `discovery` and `keys` (what the provider says of itself), `start` (the way there),
//! `token`, `id_token`, `userinfo`, `claims` (the way back), `end_session` (the way out), `probe` (for `check`); `client` is
//! ourselves as the library knows us, `http` how we ask.
//!
//! Public face: [`Provider`]. `openidconnect` writes the authorization request (`start`) and the exchange of the code
//! (`token`), over our own HTTP client: limits on size and time, no redirects (`http`). The rest it leaves to us. Its claim
//! types refuse a whole ID token for `name: 7` or `updated_at` as a date, its verifier knows no `azp`, `nbf`, leeway or
//! several keys without `kid`, its metadata refuses odd but harmless documents. So the ID token goes as it came to `jose`
//! and `id_token`; metadata, userinfo and the token answer are read by tolerant types of our own.

mod claims;
mod client;
mod discovery;
mod end_session;
mod http;
mod id_token;
mod keys;
mod probe;
mod provider;
mod start;
mod token;
mod userinfo;

pub use probe::{Finding, Findings, NotReached, probe};
pub(super) use provider::{Failure, Provider, Returned};

#[cfg(test)]
mod testing {
    //! A provider's papers, for the unit tests of the steps.

    use serde_json::{Value, json};

    use super::client::{self, Client};
    use super::discovery::Metadata;
    use crate::config::{AuthMethod, ClientAuth, EmailVerified, Oidc};

    pub(super) const REDIRECT_URI: &str = "https://app.example.com/oidc/callback";

    pub(super) fn client(settings: &Oidc) -> Client {
        client::client(settings, REDIRECT_URI.to_owned()).unwrap()
    }

    pub(super) fn settings() -> Oidc {
        Oidc {
            issuer: "https://id.example.com".into(),
            client_id: "app".into(),
            client_secret: Some("secret".to_owned().into()),
            auth_method: AuthMethod::Pkce,
            client_auth: ClientAuth::Auto,
            custom_scopes: vec![],
            backchannel: None,
            email_claim: Some("email".into()),
            username_claim: "preferred_username".into(),
            groups_claim: "groups".into(),
            subject_claim: "sub".into(),
            email_verified: EmailVerified::UnlessDenied,
        }
    }

    /// A discovery document with `changes`; null removes.
    pub(super) fn document(changes: &Value) -> Vec<u8> {
        let mut document = json!({
            "issuer": "https://id.example.com",
            "authorization_endpoint": "https://id.example.com/authorize",
            "token_endpoint": "https://id.example.com/token",
            "jwks_uri": "https://id.example.com/jwks",
            "userinfo_endpoint": "https://id.example.com/userinfo",
            "end_session_endpoint": "https://id.example.com/logout",
        });
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        document.to_string().into_bytes()
    }

    pub(super) fn metadata_with(changes: &Value, settings: &Oidc) -> Metadata {
        Metadata::read(&document(changes), settings).unwrap()
    }
}
