//! Live sessions in this process: what requests share, and the registry that keeps one end signal a session.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio_util::sync::CancellationToken;

use super::token::TokenHash;
use crate::clock::UnixTime;
use crate::identity::{CannotSign, Claims, IdentityHeaders, KeyRing};
use crate::person::UserId;

/// A live session, shared by every request that uses it.
pub struct Session {
    claims: Claims,
    pub(super) life: Arc<Life>,
    headers: ArcSwapOption<IdentityHeaders>,
}

impl Session {
    pub(super) fn new(claims: Claims, life: Arc<Life>) -> Self {
        Self {
            claims,
            life,
            headers: ArcSwapOption::empty(),
        }
    }

    /// A guess at the bytes it takes with its finished headers, for the cache.
    pub(super) fn weight(&self) -> u32 {
        let teams: usize = self.claims.teams.iter().map(|(name, _)| name.len() + 32).sum();
        let groups = self.claims.groups.iter().map(|group| group.len() + 24).sum::<usize>() + teams;
        // The groups and teams stand in the claims, at most 6 kB of assertion, and the plain list.
        u32::try_from(3000 + groups + groups.min(6000)).unwrap_or(u32::MAX)
    }

    /// Who it is.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// When it ends whatever happens.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        UnixTime(self.life.expires.load(Ordering::Relaxed))
    }

    /// Fires when the session ends by logout, revocation, deactivation, or in time (within a few seconds).
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.life.ended
    }

    /// The finished header values, signed anew when less than 30 s of the assertion are left.
    ///
    /// Whoever finds them old signs; two who find it at once both do, and either's are good: no lock.
    ///
    /// # Errors
    /// If signing anew fails.
    pub fn headers(&self, keys: &KeyRing, now: UnixTime) -> Result<Arc<IdentityHeaders>, CannotSign> {
        if let Some(headers) = self.headers.load_full()
            && headers.not_before <= now
            && now < headers.resign_at
        {
            return Ok(headers);
        }
        let headers = Arc::new(keys.headers(&self.claims, now)?);
        self.headers.store(Some(Arc::clone(&headers)));
        Ok(headers)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("sid", &self.claims.sid)
            .field("user", &self.claims.sub)
            .finish_non_exhaustive()
    }
}

/// What all [`Session`] objects of one session share, however often it is read from the store.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) user: UserId,
    pub(super) hash: TokenHash,
    pub(super) ended: CancellationToken,
    expires: AtomicI64,
    last_seen: AtomicI64,
    /// `last_seen` as the store has it.
    written: AtomicI64,
    /// Set when the session is to end soon: by the steady clock, which nobody can set back.
    dies: Mutex<Option<Instant>>,
}

impl Life {
    pub(super) fn new(user: UserId, hash: TokenHash, expires: UnixTime, last_seen: UnixTime) -> Self {
        Self {
            user,
            hash,
            ended: CancellationToken::new(),
            expires: AtomicI64::new(expires.0),
            last_seen: AtomicI64::new(last_seen.0),
            written: AtomicI64::new(last_seen.0),
            dies: Mutex::new(None),
        }
    }

    /// Lets it end at `expires` if it would later.
    pub(super) fn shorten(&self, expires: UnixTime, now: UnixTime) {
        if self.expires.fetch_min(expires.0, Ordering::Relaxed) > expires.0 {
            let left = Duration::from_secs(expires.since(now).try_into().unwrap_or_default());
            *lock(&self.dies) = Some(Instant::now() + left);
        }
    }

    /// A request came.
    pub(super) fn touch(&self, now: UnixTime) {
        // Written only when it changes: the line is shared by all threads that carry this person's requests.
        if self.last_seen.load(Ordering::Relaxed) != now.0 {
            self.last_seen.store(now.0, Ordering::Relaxed);
        }
    }

    /// Another process has seen it, too.
    pub(super) fn seen_elsewhere(&self, at: UnixTime) {
        self.last_seen.fetch_max(at.0, Ordering::Relaxed);
        self.written.fetch_max(at.0, Ordering::Relaxed);
    }

    /// `last_seen`, if the store does not have it yet.
    pub(super) fn unwritten(&self) -> Option<UnixTime> {
        let last_seen = self.last_seen.load(Ordering::Relaxed);
        (last_seen > self.written.load(Ordering::Relaxed)).then_some(UnixTime(last_seen))
    }

    pub(super) fn wrote(&self, last_seen: UnixTime) {
        self.written.fetch_max(last_seen.0, Ordering::Relaxed);
    }

    /// Ends it, whatever the clock says from now on.
    pub(super) fn end(&self) {
        self.expires.store(i64::MIN, Ordering::Relaxed);
        self.ended.cancel();
    }

    pub(super) fn is_expired(&self, now: UnixTime) -> bool {
        now.0 >= self.expires.load(Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self, now: UnixTime, idle: Option<Duration>) -> bool {
        let unused = now.0.saturating_sub(self.last_seen.load(Ordering::Relaxed));
        idle.is_some_and(|idle| u64::try_from(unused).is_ok_and(|unused| unused >= idle.as_secs()))
    }

    /// Whether it is to end sooner than the store was told at first.
    fn is_to_die(&self) -> bool {
        lock(&self.dies).is_some()
    }

    /// Whether the steady clock says that it is over.
    fn is_dead(&self, steady: Instant) -> bool {
        lock(&self.dies).is_some_and(|dies| dies <= steady)
    }
}

/// The lives of the sessions that this process holds somewhere, by public id: a few hundred bytes each. One is kept for as
/// long as somebody may wait on its signal (a WebSocket does for days), whether or not the cache still has its session;
/// what nobody holds any more is given up, so that this is bounded by the cache and the open connections. Control plane only.
#[derive(Debug, Default)]
pub(super) struct Registry {
    lives: Mutex<HashMap<String, Arc<Life>>>,
}

impl Registry {
    /// The life of this session: the one that is known, or `new`.
    pub(super) fn adopt(&self, sid: &str, new: Life) -> Arc<Life> {
        let mut lives = lock(&self.lives);
        Arc::clone(lives.entry(sid.to_owned()).or_insert_with(|| Arc::new(new)))
    }

    pub(super) fn life(&self, sid: &str) -> Option<Arc<Life>> {
        lock(&self.lives).get(sid).cloned()
    }

    pub(super) fn remove(&self, sid: &str) -> Option<Arc<Life>> {
        lock(&self.lives).remove(sid)
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.lives).len()
    }

    /// All that `wanted` picks.
    pub(super) fn pick(&self, wanted: impl Fn(&Life) -> bool) -> Vec<(String, Arc<Life>)> {
        let lives = lock(&self.lives);
        let picked = lives.iter().filter(|(_, life)| wanted(life));
        picked.map(|(sid, life)| (sid.clone(), Arc::clone(life))).collect()
    }

    /// Gives up what only this holds and the store has all of: whoever brings such a session's cookie again finds it there.
    pub(super) fn give_up_unheld(&self) {
        let mut lives = lock(&self.lives);
        // Counted under the lock: nobody adopts one meanwhile.
        lives.retain(|_, life| Arc::strong_count(life) > 1 || life.unwritten().is_some() || life.is_to_die());
        let (held, room) = (lives.len(), lives.capacity());
        if room > 4 * held + 1024 {
            lives.shrink_to(2 * held);
        }
    }

    /// Those that are over by either clock.
    pub(super) fn over(&self, now: UnixTime, steady: Instant) -> Vec<(String, Arc<Life>)> {
        self.pick(|life| life.is_expired(now) || life.is_dead(steady))
    }
}

/// Nothing here is left half done when a holder panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
