//! Client connections and tunnels under watch: a session that ends, or a gateway that drains, ends what it carries.
//!
//! A request costs the watch nothing but a pointer comparison: each thread looks over its own connections four times a
//! second instead of every answer waiting for its session's signal.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::forwarded::Peer;
use super::listen::Guest;
use super::memory::Memory;
use super::stream::Phase;
use crate::clock::UnixTime;
use crate::session::Session;

/// A client's connection.
#[derive(Debug)]
pub struct ClientConnection {
    /// The other end.
    pub peer: Peer,
    /// What it is doing.
    pub phase: Arc<Phase>,
    /// Who may end it.
    pub watch: Arc<Watch>,
    /// Whose cookies it brought last.
    pub memory: Memory,
    /// Counted until whatever it became ends.
    _guest: Guest,
}

impl ClientConnection {
    /// One that has just begun.
    pub fn new(peer: Peer, phase: Arc<Phase>, watch: Arc<Watch>, guest: Guest) -> Arc<Self> {
        Arc::new(Self {
            peer,
            phase,
            watch,
            memory: Memory::default(),
            _guest: guest,
        })
    }
}

/// How often each thread looks: with the poll of the store's feed, who was deactivated is out within a second.
pub const LOOK: Duration = Duration::from_millis(250);
/// Looks after which an answer that is no stream is cut.
const PATIENCE: u8 = 4;

/// What the watch tells a connection or tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Finish what is under way, take nothing more.
    Drain,
    /// End now.
    Cut,
}

/// One thing under watch.
#[derive(Debug)]
pub struct Watch {
    order: AtomicU8,
    waker: AtomicWaker,
    /// Of the task that carries the request's body: another than the answer's.
    upload: AtomicWaker,
    /// A long stream of events: ends when the gateway drains.
    is_stream: AtomicBool,
    /// Whether an answer to this session's user is under way.
    carries: AtomicBool,
    /// How many looks its session has been seen ended in.
    seen_ended: AtomicU8,
    session: Mutex<Option<Arc<Session>>>,
    /// When the app's answer is due, in milliseconds on [`steady`]'s scale.
    due: AtomicU64,
}

/// No answer is awaited.
const NOT_DUE: u64 = u64::MAX;
/// It is late.
const LATE: u64 = 0;

impl Default for Watch {
    fn default() -> Self {
        Self {
            order: AtomicU8::new(NONE),
            waker: AtomicWaker::new(),
            upload: AtomicWaker::new(),
            is_stream: AtomicBool::new(false),
            carries: AtomicBool::new(false),
            seen_ended: AtomicU8::new(0),
            session: Mutex::default(),
            due: AtomicU64::new(NOT_DUE),
        }
    }
}

const NONE: u8 = 0;
const DRAIN: u8 = 1;
const CUT: u8 = 2;

impl Watch {
    /// What is ordered; the task is woken when that changes.
    pub fn poll(&self, cx: &Context<'_>) -> Option<Order> {
        self.waker.register(cx.waker());
        match self.order.load(Ordering::Acquire) {
            DRAIN => Some(Order::Drain),
            CUT => Some(Order::Cut),
            _ => None,
        }
    }

    /// Whether the request's body must end now; its task is woken when that changes.
    pub fn cuts_upload(&self, cx: &Context<'_>) -> bool {
        self.upload.register(cx.waker());
        self.order.load(Ordering::Acquire) == CUT
    }

    /// From now on an answer on behalf of `session` is under way.
    pub fn carry(&self, session: &Arc<Session>) {
        let mut watched = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if !watched.as_ref().is_some_and(|watched| Arc::ptr_eq(watched, session)) {
            *watched = Some(Arc::clone(session));
        }
        self.seen_ended.store(0, Ordering::Relaxed);
        self.carries.store(true, Ordering::Relaxed);
    }

    /// End now.
    pub fn cut(&self) {
        self.order(CUT);
    }

    /// Finish what is under way.
    pub fn drain(&self) {
        self.order(DRAIN);
    }

    /// The answer under way is a stream that need not end.
    pub fn carries_stream(&self) {
        self.is_stream.store(true, Ordering::SeqCst);
        // It began while the gateway drained: either it is seen here or by `Watchman::drain`.
        if self.order.load(Ordering::SeqCst) == DRAIN {
            self.order(CUT);
        }
    }

    /// The answer is finished.
    pub fn end_of_answer(&self) {
        self.carries.store(false, Ordering::Relaxed);
        self.is_stream.store(false, Ordering::Relaxed);
    }

    /// The app's answer is awaited until then, or no longer; the task that polls the watch is woken when it is late.
    pub fn expect(&self, until: Option<Instant>) {
        self.due.store(until.map_or(NOT_DUE, steady), Ordering::Relaxed);
    }

    /// Whether the app's answer is late.
    pub fn is_due(&self) -> bool {
        self.due.load(Ordering::Relaxed) == LATE
    }

    fn order(&self, order: u8) {
        self.order.fetch_max(order, Ordering::SeqCst);
        self.waker.wake();
        self.upload.wake();
    }

    /// Whether what it carries belongs to a session that has ended.
    fn has_ended(&self, now: UnixTime) -> bool {
        self.carries.load(Ordering::Relaxed)
            && self
                .session
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .is_some_and(|session| session.ended().is_cancelled() || session.expires_at() <= now)
    }
}

/// All that one thread watches.
#[derive(Debug, Default)]
pub struct Watchman {
    watched: Mutex<HashMap<u64, Arc<Watch>>>,
    next: AtomicU64,
    draining: AtomicBool,
}

/// Takes its watch off the list when dropped.
#[derive(Debug)]
pub struct Watching {
    watchman: Arc<Watchman>,
    id: u64,
}

impl Watchman {
    /// Puts something under watch for as long as the answer is kept.
    pub fn watch(self: &Arc<Self>, watch: &Arc<Watch>) -> Watching {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, Arc::clone(watch));
        if self.draining.load(Ordering::Acquire) {
            watch.order(DRAIN);
        }
        Watching {
            watchman: Arc::clone(self),
            id,
        }
    }

    /// Looks over everything; called every [`LOOK`]. A stream of an ended session is cut at once, another answer after a
    /// second, so that a short one under way still arrives.
    pub fn look(&self, now: UnixTime) {
        let steady_now = steady(Instant::now());
        for watch in self.lock().values() {
            if watch.due.load(Ordering::Relaxed) <= steady_now {
                watch.due.store(LATE, Ordering::Relaxed);
                watch.waker.wake();
            }
            let is_over = watch.has_ended(now)
                && (watch.is_stream.load(Ordering::Relaxed)
                    || watch.seen_ended.fetch_add(1, Ordering::Relaxed) >= PATIENCE);
            if is_over {
                watch.order(CUT);
            }
        }
    }

    /// Tells everything to finish; streams end at once.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        for watch in self.lock().values() {
            watch.order(DRAIN);
            if watch.is_stream.load(Ordering::SeqCst) {
                watch.order(CUT);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Watch>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since this was first asked, and one.
fn steady(at: Instant) -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(at.saturating_duration_since(*BEGAN).as_millis()).map_or(u64::MAX, |millis| millis.saturating_add(1))
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watchman.lock().remove(&self.id);
    }
}

const _: () = assert!(NONE < DRAIN && DRAIN < CUT, "a stronger order replaces a weaker one");
