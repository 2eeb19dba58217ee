//! The identity assertion, the key ring that signs it, and the JWKS that lets an app verify it.
//!
//! Public face: [`Claims`] say who somebody is; [`KeyRing::headers`] makes the finished header values of them.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};

use crate::clock::UnixTime;
use crate::person::{Role, UserId};

/// Who somebody is, as of their sign-in and their account: what the assertion, the plain headers and `whoami` tell.
#[derive(Clone, Debug)]
pub struct Claims {
    /// The user's stable id here.
    pub sub: UserId,
    /// Absent only where people need none.
    pub email: Option<String>,
    /// Unique in the instance.
    pub username: String,
    /// Full name.
    pub name: Option<String>,
    /// Role in the instance.
    pub role: Role,
    /// The provider's groups as of sign-in.
    pub groups: Vec<String>,
    /// The session's public id: neither the token nor derived from it.
    pub sid: String,
    /// How they signed in: `oidc`, `ldap` or `restore`.
    pub method: &'static str,
    /// `amr` as the provider sent it.
    pub amr: Option<serde_json::Value>,
    /// `auth_time` as the provider sent it.
    pub auth_time: Option<serde_json::Value>,
}

/// The finished header values of one session, valid until `resign_at`.
#[derive(Debug)]
pub struct IdentityHeaders {
    /// From this time on they must be made anew (30 s before the assertion expires).
    pub resign_at: UnixTime,
    /// Name and value of every identity header, the assertion's marked sensitive; absent values are not in it.
    pub values: Vec<(HeaderName, HeaderValue)>,
}

/// Said when nothing can be signed.
#[derive(Debug, thiserror::Error)]
#[error("the assertion could not be signed")]
pub struct CannotSign;

/// Signs assertions and publishes keys. Cheap to share; the data plane calls `headers` and `jwks` only.
#[derive(Debug)]
pub struct KeyRing {}

impl KeyRing {
    /// Makes the header values that tell the upstream who this is (CONTRACT, section 4).
    ///
    /// # Errors
    /// If signing fails; then nothing may be forwarded on behalf of the user.
    pub fn headers(&self, _claims: &Claims, _now: UnixTime) -> Result<IdentityHeaders, CannotSign> {
        Err(CannotSign)
    }

    /// The JWKS document (RFC 7517, section 5), finished.
    #[must_use]
    pub fn jwks(&self) -> Arc<bytes::Bytes> {
        Arc::default()
    }
}

/// The claims as `whoami` tells them: the assertion's without `nbf`, `exp`, `aud`.
#[must_use]
pub fn whoami(_claims: &Claims) -> serde_json::Value {
    serde_json::Value::Null
}
