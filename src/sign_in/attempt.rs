//! A sign-in under way: what must be remembered between sending a browser to the provider, or showing it the form, and its
//! return, in a sealed cookie per attempt, so that several tabs can sign in at once and nothing is stored for strangers.
//!
//! The cookie binds the attempt to the browser that began it. That an attempt counts once is the session room's to
//! remember ([`crate::session::Sessions::use_attempt`]).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::{cookies, hex};
use crate::clock::UnixTime;
use crate::config::PublicUrl;
use crate::seal::{self, Sealer};

/// How long somebody may take at the provider or over the form, in seconds.
pub(super) const LIFETIME: i64 = 600;
/// All attempt cookies of a browser together, names and values: request heads have limits everywhere on the way.
const LONGEST_TOGETHER: usize = 6 * 1024;
/// The purpose of the seal.
const PURPOSE: &str = "attempt";

/// One sign-in under way.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Attempt {
    #[serde(skip)]
    pub(super) id: String,
    /// The unguessable part of `state`.
    secret: String,
    /// Ties the ID token to this attempt (OpenID Connect Core 1.0, section 15.5.2).
    pub(super) nonce: String,
    /// PKCE (RFC 7636, section 4.1).
    pub(super) verifier: String,
    /// Checked by `return_to`.
    pub(super) return_to: String,
    started: UnixTime,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attempt({})", self.id)
    }
}

/// What is found for a `state` in the cookies of a browser.
#[derive(Debug)]
pub(super) enum Found {
    /// The attempt that this browser began, still in time. Whether it was used before is not yet known.
    Open(Attempt),
    /// The attempt that this browser began, too long ago.
    Expired(Attempt),
    /// None: another browser's, a used one, or made up.
    None,
}

impl Attempt {
    fn new(return_to: String, now: UnixTime) -> Self {
        Self {
            id: hex(&seal::random::<8>()),
            secret: URL_SAFE_NO_PAD.encode(seal::random::<32>()),
            nonce: URL_SAFE_NO_PAD.encode(seal::random::<32>()),
            verifier: URL_SAFE_NO_PAD.encode(seal::random::<32>()),
            return_to,
            started: now,
        }
    }

    /// The `state` parameter: the id, so that the callback finds its cookie, and a secret.
    pub(super) fn state(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// Until when its id must be remembered as used.
    pub(super) fn expires(&self) -> UnixTime {
        self.started.plus(LIFETIME)
    }
}

/// Writes and reads the cookies of attempts.
#[derive(Debug)]
pub(super) struct Attempts {
    /// What every name begins with: `<cookie name>-a-`.
    prefix: String,
    secure: bool,
    sealer: Arc<Sealer>,
}

impl Attempts {
    pub(super) fn new(public: &PublicUrl, sealer: Arc<Sealer>) -> Self {
        Self {
            prefix: format!("{}-a-", public.cookie_name()),
            secure: public.https,
            sealer,
        }
    }

    /// Begins an attempt; the `Set-Cookie` values keep it and delete what is too much of `others`, the oldest first.
    pub(super) fn begin(
        &self,
        return_to: String,
        others: &[(String, String)],
        now: UnixTime,
    ) -> (Attempt, Vec<HeaderValue>) {
        let attempt = Attempt::new(return_to, now);
        let name = format!("{}{}", self.prefix, attempt.id);
        let value = self.sealed(&name, &attempt);

        let mut others: Vec<_> = others
            .iter()
            .filter(|(name, _)| self.is_ours(name))
            .map(|(name, value)| (self.opened(name, value).map(|other| other.started), name, value))
            .collect();
        // The youngest first; what does not open, or is over, is the oldest.
        others.sort_by_key(|(started, ..)| std::cmp::Reverse(*started));
        let mut room = LONGEST_TOGETHER.saturating_sub(name.len() + value.len());
        let mut set = vec![cookies::keep(&name, &value, LIFETIME, self.secure)];
        for (started, name, value) in others {
            let size = name.len() + value.len();
            let alive = started.is_some_and(|started| now.since(started) < LIFETIME);
            if alive && size <= room {
                room -= size;
            } else {
                room = 0;
                set.push(cookies::delete(name, self.secure));
            }
        }
        (attempt, set.into_iter().flatten().collect())
    }

    /// The attempt that `state` names, if this browser began it.
    pub(super) fn find(&self, state: &str, cookies: &[(String, String)], now: UnixTime) -> Found {
        let Some((id, secret)) = state.split_once('.') else {
            return Found::None;
        };
        let name = format!("{}{id}", self.prefix);
        let same = |attempt: &Attempt| {
            aws_lc_rs::constant_time::verify_slices_are_equal(attempt.secret.as_bytes(), secret.as_bytes()).is_ok()
        };
        let attempt = cookies
            .iter()
            .filter(|(cookie, _)| *cookie == name)
            .filter_map(|(name, value)| self.opened(name, value))
            .find(same);
        match attempt {
            None => Found::None,
            // An attempt of the future was sealed before the clock was set back: nobody knows how long ago.
            Some(attempt) if (0..LIFETIME).contains(&now.since(attempt.started)) => Found::Open(attempt),
            Some(attempt) => Found::Expired(attempt),
        }
    }

    /// The name of an attempt's cookie.
    pub(super) fn name(&self, id: &str) -> Option<String> {
        (!id.is_empty()).then(|| format!("{}{id}", self.prefix))
    }

    /// The `Set-Cookie` value that deletes an attempt's cookie.
    pub(super) fn delete(&self, id: &str) -> Option<HeaderValue> {
        cookies::delete(&format!("{}{id}", self.prefix), self.secure)
    }

    /// Whether a cookie has a name that we give: what else looks similar is not ours to delete.
    fn is_ours(&self, name: &str) -> bool {
        name.strip_prefix(&self.prefix)
            .is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    }

    fn sealed(&self, name: &str, attempt: &Attempt) -> String {
        // Strings and a number always serialize; an empty value would open as nothing.
        let plain = serde_json::to_vec(attempt).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(self.sealer.seal(PURPOSE, name, &plain))
    }

    fn opened(&self, name: &str, value: &str) -> Option<Attempt> {
        let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let plain = self.sealer.open(PURPOSE, name, &sealed).ok()?;
        let mut attempt: Attempt = serde_json::from_slice(&plain).ok()?;
        name.strip_prefix(&self.prefix)?.clone_into(&mut attempt.id);
        Some(attempt)
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! Attempts for the unit tests of the steps.

    use std::sync::Arc;

    use http::HeaderValue;

    use super::{Attempt, Attempts};
    use crate::clock::UnixTime;
    use crate::config::PublicUrl;
    use crate::seal::{Sealer, SecretKey};

    pub(in crate::sign_in) const NOW: UnixTime = UnixTime(1_800_000_000);

    pub(in crate::sign_in) fn attempts() -> Attempts {
        let public = PublicUrl {
            https: false,
            host: "localhost".into(),
            port: Some(4180),
        };
        // One key is enough to make a sealer.
        Attempts::new(&public, Arc::new(Sealer::new(&[SecretKey::generate()]).unwrap()))
    }

    pub(in crate::sign_in) fn begun(return_to: &str) -> (Attempt, Vec<HeaderValue>) {
        attempts().begin(return_to.to_owned(), &[], NOW)
    }
}

#[cfg(test)]
mod tests;
