//! Sessions: the token in the cookie, the record in the store, the cache in between, and the signal that fires when a
//! session ends.
//!
//! Public face: the data plane calls [`Sessions::cached`] and [`Session`]'s methods; everything `async` here is the
//! control plane's. [`Sessions::run`] must run as long as the gateway does: it hears what other processes changed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::clock::UnixTime;
use crate::identity::{CannotSign, Claims, IdentityHeaders, KeyRing};
use crate::person::UserId;
use crate::seal::Sealer;
use crate::store::{Store, StoreError};

/// What a session cookie holds. Only [`Sessions::begin`] makes one; the store knows its hash alone.
#[derive(Clone)]
pub struct Token {
    text: SecretString,
}

impl Token {
    /// The cookie's value.
    #[must_use]
    pub fn cookie_value(&self) -> &str {
        secrecy::ExposeSecret::expose_secret(&self.text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A live session, shared by every request that uses it.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// Who it is.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        unimplemented!()
    }

    /// When it ends whatever happens.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        unimplemented!()
    }

    /// Fires when the session ends by logout, revocation, deactivation or in time.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        unimplemented!()
    }

    /// The finished header values, signed anew when less than 30 s of the assertion are left.
    ///
    /// # Errors
    /// If signing anew fails.
    pub fn headers(&self, _keys: &KeyRing, _now: UnixTime) -> Result<Arc<IdentityHeaders>, CannotSign> {
        unimplemented!()
    }
}

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

/// Said when the store does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the session store does not answer")]
pub struct Unavailable(#[from] StoreError);

/// How long sessions live.
#[derive(Clone, Copy, Debug)]
pub struct SessionRules {
    /// `SESSION_LENGTH`.
    pub length: Duration,
    /// `VESTIBULE_SESSION_IDLE`.
    pub idle: Option<Duration>,
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

/// What the provider gave at sign-in, handed out when the session ends there, too.
#[derive(Debug, Default)]
pub struct ProviderTokens {
    /// The raw ID token.
    pub id_token: Option<SecretString>,
    /// The refresh token.
    pub refresh_token: Option<SecretString>,
}

/// A session as `vestibule sessions list` shows it.
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
    /// `oidc`, `ldap` or `restore`.
    pub method: &'static str,
}

/// All sessions of the instance.
#[derive(Debug)]
pub struct Sessions {}

impl Sessions {
    /// Takes up the store's feed where it stands.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn open(
        _store: Store,
        _sealer: Arc<Sealer>,
        _rules: SessionRules,
        _now: UnixTime,
    ) -> Result<Arc<Self>, Unavailable> {
        unimplemented!()
    }

    /// Data plane: what is known of a cookie's value without asking anybody.
    #[must_use]
    pub fn cached(&self, _cookie: &[u8], _now: UnixTime) -> Cached {
        unimplemented!()
    }

    /// Control plane: asks the store for a cookie's value and remembers the answer.
    ///
    /// # Errors
    /// If the store does not answer: 503, never 401.
    pub async fn find(&self, _cookie: &[u8], _now: UnixTime) -> Result<Option<Arc<Session>>, Unavailable> {
        unimplemented!()
    }

    /// Begins a session. The one whose cookie the browser still has, `replaces`, ends 30 s later.
    ///
    /// # Errors
    /// If the account is no longer active, or the store does not answer.
    pub async fn begin(
        &self,
        _new: NewSession,
        _replaces: Option<&[u8]>,
        _now: UnixTime,
    ) -> Result<(Token, Arc<Session>), CannotBegin> {
        unimplemented!()
    }

    /// Ends a session here; hands out the provider's tokens, so that it can be ended there.
    ///
    /// # Errors
    /// If the store does not answer; then it has not ended.
    pub async fn end(&self, _session: &Session, _now: UnixTime) -> Result<ProviderTokens, Unavailable> {
        unimplemented!()
    }

    /// Marks the attempt of this id as used; false if it was used before. Kept until `until`.
    ///
    /// # Errors
    /// If the store does not answer; then the attempt must not count.
    pub async fn use_attempt(&self, _id: &str, _until: UnixTime) -> Result<bool, Unavailable> {
        unimplemented!()
    }

    /// Follows the store: hears what other processes changed, writes what was used, cleans up. Never returns.
    pub async fn run(&self, _keys: &KeyRing) {
        unimplemented!()
    }

    /// Writes what `run` has not yet written; before the process ends.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn flush(&self) -> Result<(), Unavailable> {
        unimplemented!()
    }

    /// Seconds since the store last answered; for readiness.
    #[must_use]
    pub fn away_for(&self, _now: UnixTime) -> i64 {
        unimplemented!()
    }

    /// How many live sessions this process knows; for the metric.
    #[must_use]
    pub fn known(&self) -> usize {
        unimplemented!()
    }
}

/// Live sessions, newest first, of one person or of all.
///
/// # Errors
/// If the store does not answer.
pub async fn list(_store: &Store, _of: Option<&UserId>, _now: UnixTime) -> Result<Vec<Listed>, Unavailable> {
    unimplemented!()
}

/// Ends the session of this public id; false if there is none.
///
/// # Errors
/// If the store does not answer.
pub async fn revoke(_store: &Store, _sid: &str, _now: UnixTime) -> Result<bool, Unavailable> {
    unimplemented!()
}

/// Ends all sessions of one person; says how many.
///
/// # Errors
/// If the store does not answer.
pub async fn revoke_all_of(_store: &Store, _user: &UserId, _now: UnixTime) -> Result<u64, Unavailable> {
    unimplemented!()
}
