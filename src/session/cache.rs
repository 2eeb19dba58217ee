//! Sessions by the hash of their token, bounded in bytes; and a count of what was taken out, by which whoever remembers a
//! session besides finds out that the cache must be asked. Nothing can be taken out without being counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;

use super::live::Session;
use super::token::TokenHash;

/// The cache.
pub(super) struct Cache {
    sessions: Moka<TokenHash, Arc<Session>>,
    forgotten: AtomicU64,
}

impl Cache {
    /// With room for `bytes`, by an estimate.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            sessions: Moka::builder()
                .max_capacity(bytes)
                .weigher(|_, session: &Arc<Session>| session.weight())
                // The least recently used go first: nobody can push out people who are at work by signing in often.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            forgotten: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, hash: &TokenHash) -> Option<Arc<Session>> {
        self.sessions.get(hash)
    }

    pub(super) fn insert(&self, hash: TokenHash, session: Arc<Session>) {
        self.sessions.insert(hash, session);
    }

    /// Takes a session out, and out of what connections remember.
    pub(super) fn forget(&self, hash: &TokenHash) {
        self.sessions.invalidate(hash);
        // After it: whoever looked before sees another count.
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes all out.
    pub(super) fn forget_all(&self) {
        self.sessions.invalidate_all();
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    /// How often something was taken out. What was thrown out for want of room does not count: it was good.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    /// Lets go of what was thrown out.
    pub(super) fn tidy(&self) {
        self.sessions.run_pending_tasks();
    }
}
