//! Sessions: the token in the cookie, the record in the store, the cache in between, and the signal that fires when a
//! session ends.
//!
//! Public face: the data plane calls [`Sessions::cached`] and [`Session`]'s methods; everything `async` here is the
//! control plane's.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::UnixTime;
use crate::identity::{CannotSign, Claims, IdentityHeaders, KeyRing};

/// What a session cookie holds, checked for its form and its keyed check: nobody made it up.
#[derive(Clone)]
pub struct Token {}

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

    /// Fires when the session ends by logout, revocation or deactivation.
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
pub struct Unavailable;

/// All sessions of the instance.
#[derive(Debug)]
pub struct Sessions {}

impl Sessions {
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
}
