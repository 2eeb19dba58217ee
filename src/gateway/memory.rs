//! What a connection remembers of the cookies that it brought last: a browser sends the same ones with every request of a
//! page, and neither hashing nor looking them up need be done again.
//!
//! It is the cache's word, not another one: as soon as anything was taken out of the cache, and once a second, the cache is
//! asked ([`Sessions::still`]).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use zeroize::Zeroizing;

use super::cookies::{self, Taken};
use crate::clock::UnixTime;
use crate::seal;
use crate::session::{Moment, Session, Sessions};

/// A longer field is not remembered: it would be kept for as long as the connection idles.
const LONGEST_FIELD: usize = 1024;

/// Of one connection.
#[derive(Default)]
pub struct Memory(Mutex<Option<Remembered>>);

struct Remembered {
    /// The only `Cookie` field, byte for byte.
    field: Zeroizing<Vec<u8>>,
    /// What goes on of it.
    rest: Option<HeaderValue>,
    session: Arc<Session>,
    moment: Moment,
}

impl Memory {
    /// The session of these cookies, if they are the ones that are remembered and the cache would say the same; and what
    /// goes on of them.
    pub fn recall(&self, headers: &HeaderMap, sessions: &Sessions, now: UnixTime) -> Option<(Arc<Session>, Taken)> {
        let field = only_field(headers)?;
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = remembered.as_ref()?;
        // Behind a proxy a connection is many people's: the time of a comparison must not tell one another's cookie.
        let is_same = seal::is_same(field.as_bytes(), &remembered.field);
        (is_same && sessions.still(&remembered.session, remembered.moment, now)).then(|| {
            let rest = remembered.rest.clone();
            (Arc::clone(&remembered.session), Taken::Known(rest))
        })
    }

    /// Remembers what was found at `moment`.
    pub fn keep(&self, headers: &HeaderMap, session: &Arc<Session>, moment: Moment) {
        let field = only_field(headers).filter(|field| field.len() <= LONGEST_FIELD);
        let remembered = field.map(|field| Remembered {
            field: Zeroizing::new(field.as_bytes().to_vec()),
            rest: cookies::without_ours(field.as_bytes()),
            session: Arc::clone(session),
            moment,
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = remembered;
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory(…)")
    }
}

fn only_field(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut fields = headers.get_all(COOKIE).iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => Some(field),
        _ => None,
    }
}
