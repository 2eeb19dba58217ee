//! The identity assertion, the key ring that signs it, and the JWKS that lets an app verify it.
//!
//! Public face: [`Claims`] say who somebody is; [`KeyRing::headers`] makes the finished header values of them.

mod assertion;
mod key;
mod plain;
mod ring;
#[cfg(test)]
mod tests;

use http::header::{HeaderName, HeaderValue};

pub use self::ring::{KeyRing, ROTATED_EVERY, check, list, rotate, that_do_not_open};
use crate::clock::UnixTime;
use crate::config::IdentityField;
use crate::person::{Role, UserId};
use crate::store::StoreError;

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
    /// Teams, by name, with the role in each.
    pub teams: Vec<(String, Role)>,
    /// The provider's groups as of sign-in.
    pub groups: Vec<String>,
    /// Whether `groups` is only the beginning of what the provider sent.
    pub groups_truncated: bool,
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
    /// Nor are they to be used before this time (`nbf`), should the clock step back.
    pub not_before: UnixTime,
    /// Name and value of every identity header, the assertion's marked sensitive; absent values are not in it.
    pub values: Vec<(HeaderName, HeaderValue)>,
}

/// Said when nothing can be signed.
#[derive(Debug, thiserror::Error)]
#[error("the assertion could not be signed")]
pub struct CannotSign;

/// What the assertions of this instance say besides the person.
#[derive(Clone, Debug)]
pub struct AssertionSettings {
    /// `iss`: the public origin.
    pub issuer: String,
    /// `aud`: an origin.
    pub audience: String,
    /// Further identity headers, by the app's names.
    pub upstream_headers: Vec<(HeaderName, IdentityField)>,
}

/// Why there is no key ring. Without one the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A signing key in the store was sealed with another secret key, or is damaged.
    #[error(
        "the signing key {0} does not open: give VESTIBULE_SECRET_KEY (or its file) the key it was sealed with, or make \
         new ones with `vestibule keys rotate --now`"
    )]
    DoesNotOpen(String),
    /// There is no key to sign with.
    #[error("there is no signing key in the store")]
    NoKey,
    /// The cryptographic library makes no keys.
    #[error("no signing key could be made")]
    CannotMake,
}

/// A key as `vestibule keys list` shows it.
#[derive(Clone, Debug)]
pub struct ListedKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// When it was made and published.
    pub created: UnixTime,
    /// From when on it signs; None for the next one while nothing is planned.
    pub signs_from: Option<UnixTime>,
    /// Until when it signs.
    pub signs_until: Option<UnixTime>,
    /// What it does now.
    pub state: KeyState,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, does not sign yet.
    Next,
    /// Signs.
    Signing,
    /// Published until nothing signed by it is valid.
    Old,
}

impl KeyState {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Old => "old",
        }
    }
}

/// What a rotation did.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The key that signs from `at` on.
    pub kid: String,
    /// When it takes over; now or later.
    pub at: UnixTime,
}

/// Names of all identity headers that every request may carry; the gateway strips them from what comes from outside,
/// with those of `VESTIBULE_UPSTREAM_HEADERS`.
pub static HEADER_NAMES: [HeaderName; 7] = [
    HeaderName::from_static("x-vestibule-assertion"),
    HeaderName::from_static("x-forwarded-user"),
    HeaderName::from_static("x-forwarded-email"),
    HeaderName::from_static("x-forwarded-preferred-username"),
    HeaderName::from_static("x-forwarded-role"),
    HeaderName::from_static("x-forwarded-groups"),
    HeaderName::from_static("x-forwarded-teams"),
];
