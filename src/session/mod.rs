//! Sessions: the token in the cookie, the record in the store, the cache in between, and the signal that fires when a
//! session ends.
//!
//! Public face: the data plane calls [`Sessions::cached`] and [`Session`]'s methods; everything `async` here is the
//! control plane's. [`Sessions::run`] must run as long as the gateway does: it hears what other processes changed.

mod cache;
mod follow;
mod live;
mod recheck;
mod records;
mod sessions;
#[cfg(test)]
mod tests;
mod token;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

pub use self::live::Session;
pub use self::recheck::Due;
pub use self::records::{list, newest, one, people};
pub use self::sessions::Sessions;
pub use self::token::Token;
use crate::clock::UnixTime;
use crate::person::UserId;
use crate::store::StoreError;

/// What the cache knows of a token.
#[derive(Debug)]
pub enum Cached {
    /// A live session, already counted as used now.
    Live(Arc<Session>),
    /// Known to be none: made up, ended or expired.
    None,
    /// The store must be asked.
    Unknown,
    /// The store has been away for over 60 s: nothing can be said (503).
    Unavailable,
}

/// When a session was looked up, as [`Sessions::still`] must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    forgotten: u64,
    now: UnixTime,
}

/// Said when the store does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the session store does not answer")]
pub struct Unavailable(#[from] pub(crate) StoreError);

/// How long sessions live.
#[derive(Clone, Copy, Debug)]
pub struct SessionRules {
    /// `SESSION_LENGTH`.
    pub length: Duration,
    /// `VESTIBULE_SESSION_IDLE`.
    pub idle: Option<Duration>,
    /// `VESTIBULE_AUDIT_DAYS`: the store is tidied by the same hand.
    pub audit_kept: Duration,
    /// `VESTIBULE_SESSION_CACHE`, in bytes; what a session takes is estimated.
    pub cache: u64,
}

/// A sign-in that succeeded.
#[derive(Debug)]
pub struct NewSession {
    /// Who was admitted.
    pub user: UserId,
    /// The identity by which they came.
    pub issuer: String,
    /// The identity by which they came.
    pub subject: String,
    /// `oidc`, `ldap` or `restore`.
    pub method: &'static str,
    /// How the account was found, for the audit log.
    pub how: &'static str,
    /// The provider's or directory's groups.
    pub groups: Vec<String>,
    /// As the provider sent it.
    pub amr: Option<serde_json::Value>,
    /// As the provider sent it.
    pub auth_time: Option<serde_json::Value>,
    /// The provider's own session id (`sid` of the ID token).
    pub provider_sid: Option<String>,
    /// Kept sealed, for the logout's hint.
    pub id_token: Option<SecretString>,
    /// Kept sealed.
    pub refresh_token: Option<SecretString>,
    /// From where, so that people know their sessions again.
    pub from: Device,
}

/// What is known of where somebody signs in; believed for nothing, shown only.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// `User-Agent` as the browser sent it; a beginning of it is kept.
    pub user_agent: Option<String>,
    /// The browser's address.
    pub address: Option<IpAddr>,
}

/// Why no session was begun.
#[derive(Debug, thiserror::Error)]
pub enum CannotBegin {
    /// The account was deactivated or removed between admission and this.
    #[error("the account is not active")]
    NotActive,
    /// The store does not answer: 503.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<StoreError> for CannotBegin {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(Unavailable(error))
    }
}

/// What the provider gave at sign-in, handed out when the session ends there, too.
#[derive(Debug, Default)]
pub struct ProviderTokens {
    /// The raw ID token.
    pub id_token: Option<SecretString>,
    /// The refresh token.
    pub refresh_token: Option<SecretString>,
}

/// A session as `vestibule sessions list` and the console show it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The public id.
    pub sid: String,
    /// The account.
    pub user: UserId,
    /// The account's address.
    pub email: Option<String>,
    /// When it began.
    pub created: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
    /// The last request, to the minute.
    pub last_seen: UnixTime,
    /// `User-Agent` at sign-in, as it was sent.
    pub user_agent: Option<String>,
    /// The address at sign-in.
    pub address: Option<String>,
    /// `oidc`, `ldap` or `restore`.
    pub method: &'static str,
}
