//! OpenID Connect, one file a step: `discovery` and `keys` (what the provider says of itself), `start` (the way there),
//! `token`, `id_token`, `userinfo`, `claims` (the way back), `end_session` (the way out), `probe` (for `check`).
//!
//! Public face: [`Provider`]. No OpenID library is used: the request is an address of eight parameters, the exchange one
//! POST; everything in between (tolerant claims and metadata, `azp`, `nbf`, keys without `kid`, limits on answers) would
//! have to be done beside it, and it brings forty crates, among them `rsa` with RUSTSEC-2023-0071.

mod claims;
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
pub(super) use provider::{Failure, Provider, Returned, Vouched};

#[cfg(test)]
mod testing {
    //! A provider's papers, for the unit tests of the steps.

    use serde_json::{Value, json};

    use super::discovery::Metadata;
    use crate::config::{AuthMethod, ClientAuth, EmailVerified, Oidc};

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
