//! Following the store: hears what other processes changed, ends what is over, writes what was used, cleans up.
//!
//! Who hears writes nothing: writing may wait for others, and a revocation must be heard meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::live::Life;
use super::sessions::{Sessions, seconds};
use super::{SessionRules, Unavailable};
use crate::clock::UnixTime;
use crate::identity::{KeyRing, KeyRingError};
use crate::store::{Bell, ChangeKind, FeedEntry, Heard, Reading, SWEPT_AT_ONCE, StoreError};

/// A change by another process is heard within this; where the database calls, at once.
const POLL: Duration = Duration::from_millis(250);
/// How often sessions that are over are looked for; their connections end by it.
const SWEEP: Duration = Duration::from_secs(5);
const UPKEEP: Duration = Duration::from_mins(1);
/// After such a gap (the machine slept) the feed may have been cleaned up beyond where we stand.
const MISSED: Duration = Duration::from_mins(10);

impl Sessions {
    /// Follows the store as long as the gateway runs. Never returns; stop it by dropping it.
    pub async fn run(&self, keys: &KeyRing) {
        self.run_at(keys, SWEEP, UPKEEP).await;
    }

    /// Each at its own pace, and none waits for another.
    pub(super) async fn run_at(&self, keys: &KeyRing, sweep: Duration, upkeep: Duration) {
        tokio::join!(
            Box::pin(self.listen(keys)),
            Box::pin(self.end_in_time(sweep)),
            Box::pin(self.tidy(keys, upkeep))
        );
    }

    async fn listen(&self, keys: &KeyRing) {
        let mut tick = often(POLL);
        let (mut rings, _listening) = rings(self.store.bell());
        let (mut answered, mut reloaded) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Some(heard) = rings.recv() => {
                    // A server that fell may have taken changes with it that were committed, and another one goes on
                    // from the same number.
                    if heard == Heard::Lost {
                        self.lost.store(true, Ordering::SeqCst);
                    }
                }
            }
            let now = UnixTime::now();
            if answered.elapsed() > MISSED {
                self.lost.store(true, Ordering::SeqCst);
            }
            match self.follow(keys, now).await {
                Ok(()) => answered = Instant::now(),
                // A clock that was set back must not lengthen our patience.
                Err(_) if answered.elapsed() > Duration::from_mins(1) => {
                    self.contact.store(i64::MIN, Ordering::Relaxed);
                }
                Err(_) => {}
            }
            // Also without a word in the feed: old ones go by the clock.
            if reloaded.elapsed() >= UPKEEP {
                reloaded = Instant::now();
                warn(
                    reload(keys, now).await.map_err(Unavailable),
                    "the signing keys could not be read again",
                );
            }
        }
    }

    async fn end_in_time(&self, every: Duration) {
        let mut tick = often(every);
        loop {
            tick.tick().await;
            warn(
                self.end_over(UnixTime::now()).await,
                "sessions that are over could not be taken out of the store",
            );
        }
    }

    async fn tidy(&self, keys: &KeyRing, every: Duration) {
        let mut tick = often(every);
        loop {
            tick.tick().await;
            let now = UnixTime::now();
            warn(self.upkeep(now).await, "the store could not be tidied");
            // What is at hand goes on signing meanwhile.
            if let Err(error) = keys.tend(now).await {
                tracing::error!(%error, "the signing keys could not be tended: none was made to take over, old ones stay");
            }
        }
    }

    /// Hears at once what was changed a moment ago, so that the very next request shows it. A failure is no matter: the
    /// follower hears it soon.
    pub async fn catch_up(&self, keys: &KeyRing, now: UnixTime) {
        drop(self.follow(keys, now).await);
    }

    /// One look at the feed.
    pub(super) async fn follow(&self, keys: &KeyRing, now: UnixTime) -> Result<(), Unavailable> {
        // One after the other: `applied` must not go back.
        let _one = self.following.lock().await;
        match self.hear(keys, now).await {
            Ok(()) => {
                self.contact.store(now.0, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                if !self.lost.swap(true, Ordering::SeqCst) {
                    tracing::warn!(%error, "the store does not answer; cached sessions go on for a minute");
                }
                Err(error.into())
            }
        }
    }

    async fn hear(&self, keys: &KeyRing, now: UnixTime) -> Result<(), StoreError> {
        let mut reading = self.store.reading().await?;
        let feed = reading.feed().await?;
        let applied = self.applied.load(Ordering::SeqCst);
        // A smaller number than before: the database was put back from a copy.
        if self.lost.load(Ordering::SeqCst) || feed < applied {
            return self.look_at_everything(&mut reading, feed, keys, now).await;
        }
        if feed == applied {
            return Ok(());
        }
        let entries = reading.changes_after(applied).await?;
        if entries.iter().any(|entry| entry.kind.is_none()) {
            return self.look_at_everything(&mut reading, feed, keys, now).await;
        }
        let newest = entries.last().map_or(feed, |entry| entry.feed.max(feed));
        // First this, then the dropping: see `remember`.
        self.applied.store(newest, Ordering::SeqCst);
        for entry in &entries {
            self.apply(entry, &mut reading, keys, now).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        entry: &FeedEntry,
        reading: &mut Reading,
        keys: &KeyRing,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        match entry.kind {
            Some(ChangeKind::User) => {
                for (_, life) in self.registry.pick(|life| life.user.as_str() == entry.subject) {
                    self.cache.forget(&life.hash);
                }
            }
            Some(ChangeKind::UserEnded) => {
                let known = self.registry.pick(|life| life.user.as_str() == entry.subject);
                for (_, life) in &known {
                    self.cache.forget(&life.hash);
                }
                if !known.is_empty() {
                    // Not all of them blindly: who was activated again since may have signed in again.
                    let still = reading.sids_of(&entry.subject).await?.into_iter().collect();
                    self.end_all_but(known.iter().map(|(sid, _)| sid.as_str()), &still, now);
                }
            }
            Some(ChangeKind::Session) => {
                if let Some(life) = self.registry.life(&entry.subject) {
                    match reading.session_expires(&entry.subject).await? {
                        Some(expires) => life.shorten(expires, now),
                        None => self.end_here(&entry.subject),
                    }
                }
            }
            Some(ChangeKind::Keys) => reload(keys, now).await?,
            // Of many people at once, and rare: all are read again at their next request.
            Some(ChangeKind::Team) => {
                self.drops.fetch_add(1, Ordering::SeqCst);
                self.cache.forget_all();
            }
            None => {}
        }
        Ok(())
    }

    /// After a lost connection the cache is dropped, not patched, and every live session is compared with the store.
    async fn look_at_everything(
        &self,
        reading: &mut Reading,
        feed: i64,
        keys: &KeyRing,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        self.applied.store(feed, Ordering::SeqCst);
        self.drops.fetch_add(1, Ordering::SeqCst);
        self.cache.forget_all();
        self.gone.invalidate_all();
        let known = self.registry.pick(|_| true);
        let still = reading.live_sids(now).await?.into_iter().collect();
        self.end_all_but(known.iter().map(|(sid, _)| sid.as_str()), &still, now);
        reload(keys, now).await?;
        if self.lost.swap(false, Ordering::SeqCst) {
            tracing::info!("the store answers again");
        }
        Ok(())
    }

    fn end_all_but<'a>(&self, known: impl Iterator<Item = &'a str>, still: &HashMap<String, UnixTime>, now: UnixTime) {
        for sid in known {
            match still.get(sid) {
                Some(expires) => {
                    if let Some(life) = self.registry.life(sid) {
                        life.shorten(*expires, now);
                    }
                }
                None => self.end_here(sid),
            }
        }
    }

    /// Ends what is over, here and in the store: a clock that steps back revives nothing that was once seen to be over.
    pub(super) async fn end_over(&self, now: UnixTime) -> Result<(), Unavailable> {
        let over = self.registry.over(now, Instant::now());
        for (sid, _) in &over {
            self.end_here(sid);
        }
        let mut over: Vec<String> = over.into_iter().map(|(sid, _)| sid).collect();
        let SessionRules { idle, .. } = self.rules;
        let idlers = self.registry.pick(|life| life.is_idle(now, idle));
        if over.is_empty() && idlers.is_empty() {
            return Ok(());
        }
        let mut change = self.store.change(now).await?;
        for (sid, life) in idlers {
            // Another process may have seen it more lately.
            if let Some(last_seen) = change.session_last_seen(&sid).await? {
                life.seen_elsewhere(last_seen);
            }
            if life.is_idle(now, idle) {
                self.end_here(&sid);
                over.push(sid);
            }
        }
        // Told to the others: whoever has it as live still, by a clock that is behind or a request that is not written down
        // yet, could be reached by no revocation once the row is gone.
        for sid in &over {
            if change.delete_session(sid).await? {
                change.publish(ChangeKind::Session, sid).await?;
            }
        }
        Ok(change.commit().await?)
    }

    /// One piece of work that fails keeps no other from being done.
    pub(super) async fn upkeep(&self, now: UnixTime) -> Result<(), Unavailable> {
        let flushed = self.flush().await;
        // What was evicted is let go of first.
        self.cache.tidy();
        self.registry.give_up_unheld();
        // Other processes write what they saw once a minute, too.
        let unused_since = self.rules.idle.map(|idle| now.plus(-seconds(idle).saturating_add(180)));
        let ended = match unused_since {
            // While it could not be written down what was used here, nobody knows what was not.
            Some(since) if flushed.is_ok() => self.end_unused(since, now).await,
            _ => Ok(()),
        };
        let swept = self.sweep(now).await;
        let audited = self.sweep_audit(now).await;
        flushed.and(ended).and(swept).and(audited)
    }

    /// In pieces, so that nobody who signs in waits for all of them.
    async fn sweep(&self, now: UnixTime) -> Result<(), Unavailable> {
        loop {
            let mut writing = self.store.aside().await?;
            let swept = writing.sweep(now).await?;
            writing.commit().await?;
            if i64::try_from(swept).is_ok_and(|swept| swept < SWEPT_AT_ONCE) {
                return Ok(());
            }
        }
    }

    async fn sweep_audit(&self, now: UnixTime) -> Result<(), Unavailable> {
        let before = now.plus(-seconds(self.rules.audit_kept));
        loop {
            let mut writing = self.store.aside().await?;
            let swept = writing.sweep_audit(before, SWEPT_AT_ONCE).await?;
            writing.commit().await?;
            if i64::try_from(swept).is_ok_and(|swept| swept < SWEPT_AT_ONCE) {
                return Ok(());
            }
        }
    }

    /// Ends sessions that no process has seen used since, also those that it does not know itself.
    async fn end_unused(&self, since: UnixTime, now: UnixTime) -> Result<(), Unavailable> {
        if !self.store.reading().await?.any_session_unused(since).await? {
            return Ok(());
        }
        loop {
            let mut change = self.store.change(now).await?;
            let ended = change.delete_sessions_unused(since, SWEPT_AT_ONCE).await?;
            for sid in &ended {
                change.publish(ChangeKind::Session, sid).await?;
            }
            change.commit().await?;
            if i64::try_from(ended.len()).is_ok_and(|ended| ended < SWEPT_AT_ONCE) {
                return Ok(());
            }
        }
    }

    /// Writes what `run` has not yet written; before the process ends.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn flush(&self) -> Result<(), Unavailable> {
        let mut used = self.registry.pick(|life| life.unwritten().is_some());
        // Two processes that write the same rows in two orders would wait for each other.
        used.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        // In pieces, so that nobody who signs in waits for all of them.
        let mut outcome = Ok(());
        for piece in used.chunks(500) {
            match self.write_use(piece).await {
                // Somebody is at one of these rows; the other pieces are written.
                Err(Unavailable(StoreError::Busy)) => outcome = Err(Unavailable(StoreError::Busy)),
                other => other?,
            }
        }
        outcome
    }

    async fn write_use(&self, of: &[(String, Arc<Life>)]) -> Result<(), Unavailable> {
        let fresh: Vec<(&str, UnixTime)> = of
            .iter()
            .filter_map(|(sid, life)| Some((sid.as_str(), life.unwritten()?)))
            .collect();
        let mut writing = self.store.aside().await?;
        writing.touch_sessions(&fresh).await?;
        writing.commit().await?;
        let written: HashMap<&str, UnixTime> = fresh.into_iter().collect();
        for (sid, life) in of {
            if let Some(last_seen) = written.get(sid.as_str()) {
                life.wrote(*last_seen);
            }
        }
        Ok(())
    }
}

fn often(every: Duration) -> Interval {
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// What the bell says, by a task of its own: connecting may take longer than our poll. Ends with the handle.
fn rings(bell: Option<Bell>) -> (mpsc::Receiver<Heard>, Option<AbortOnDropHandle<()>>) {
    let (sender, receiver) = mpsc::channel(1);
    let listening = bell.map(|mut bell| {
        AbortOnDropHandle::new(tokio::spawn(async move {
            while sender.send(bell.wait().await).await.is_ok() {}
        }))
    });
    (receiver, listening)
}

/// A key that does not open is for the operator to see; it does not mean that the store is away.
async fn reload(keys: &KeyRing, now: UnixTime) -> Result<(), StoreError> {
    match keys.reload(now).await {
        Err(KeyRingError::Store(error)) => Err(error),
        Err(error) => {
            tracing::error!(%error, "the signing keys could not be read again; the ones at hand stay");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn warn(outcome: Result<(), Unavailable>, what: &str) {
    if let Err(Unavailable(error)) = outcome {
        tracing::warn!(%error, "{what}");
    }
}
