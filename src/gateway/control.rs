//! The data plane's one handle to the control plane: a bounded number of questions under way, and nothing else crosses.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Response;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::clock::UnixTime;
use crate::console::{self, Console};
use crate::session::{Session, Sessions};
use crate::sign_in::{SignIn, Visit};
use crate::telemetry::metrics;

/// Session questions under way at once; each is one indexed read.
const MOST_LOOKUPS: usize = 1024;
/// Sign-in steps under way at once; each may wait ten seconds for a provider, and the store takes one after the other: a
/// company that comes in at nine o'clock waits in line, and is not sent away.
const MOST_VISITS: usize = 2_048;
/// Pages of the console being made at once: few people administer, and they must not get into the way of many who work.
const MOST_CONSOLE_PAGES: usize = 32;
/// Of them those of one person, by however many sessions: nobody keeps the admins out who would take something away.
const MOST_PAGES_EACH: usize = 4;

/// Asks the control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    runtime: Handle,
    lookups: Arc<Semaphore>,
    visits: Arc<Semaphore>,
    console_pages: Arc<Semaphore>,
    readers: Arc<Readers>,
    sessions: Arc<Sessions>,
    sign_in: Arc<SignIn>,
    console: Arc<Console>,
}

/// The control plane has too much to do, or the store does not answer: 503.
#[derive(Debug, thiserror::Error)]
#[error("the control plane does not answer")]
pub struct NoAnswer;

/// What a browser wants of the sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `/.vestibule/login`.
    Login,
    /// The redirect URI.
    Callback,
    /// The logout paths.
    Logout,
    /// The one-time link.
    Restore,
}

impl Control {
    /// A handle for the services that run on `runtime`.
    #[must_use]
    pub fn new(runtime: Handle, sessions: Arc<Sessions>, sign_in: Arc<SignIn>, console: Arc<Console>) -> Self {
        Self {
            runtime,
            lookups: Arc::new(Semaphore::new(MOST_LOOKUPS)),
            visits: Arc::new(Semaphore::new(MOST_VISITS)),
            console_pages: Arc::new(Semaphore::new(MOST_CONSOLE_PAGES)),
            readers: Arc::default(),
            sessions,
            sign_in,
            console,
        }
    }

    /// Asks the store for a session cookie's value.
    pub async fn find_session(&self, cookie: String, now: UnixTime) -> Result<Option<Arc<Session>>, NoAnswer> {
        let sessions = Arc::clone(&self.sessions);
        self.ask(
            &self.lookups,
            async move { sessions.find(cookie.as_bytes(), now).await },
        )
        .await?
        .map_err(|_| NoAnswer)
    }

    /// Takes a sign-in step.
    pub async fn visit(&self, step: Step, visit: Visit, now: UnixTime) -> Result<Response<Bytes>, NoAnswer> {
        let sign_in = Arc::clone(&self.sign_in);
        self.ask(&self.visits, async move {
            match step {
                Step::Login => sign_in.login(visit, now).await,
                Step::Callback => sign_in.callback(visit, now).await,
                Step::Logout => sign_in.logout(visit, now).await,
                Step::Restore => sign_in.restore(visit, now).await,
            }
        })
        .await
    }

    /// Opens a page of the console, or does what a form of it asks for.
    pub async fn console(&self, visit: console::Visit, now: UnixTime) -> Result<Response<Bytes>, NoAnswer> {
        let Some(turn) = self.readers.turn(visit.session.claims().sub.as_str()) else {
            metrics().control_refusals.inc();
            return Err(NoAnswer);
        };
        let console = Arc::clone(&self.console);
        self.ask(&self.console_pages, async move {
            let page = console.answer(visit, now).await;
            drop(turn);
            page
        })
        .await
    }

    /// Runs `question` on the control plane, or refuses at once when too many are under way.
    async fn ask<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        question: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| {
            metrics().control_refusals.inc();
            NoAnswer
        })?;
        let answer = self.runtime.spawn(async move {
            let answer = question.await;
            drop(place);
            answer
        });
        answer.await.map_err(|error| {
            tracing::error!(%error, "a task of the control plane failed");
            NoAnswer
        })
    }
}

/// How many pages each person is having made.
#[derive(Debug, Default)]
struct Readers(Mutex<HashMap<String, usize>>);

/// One page's turn, over when it is dropped.
struct Turn {
    readers: Arc<Readers>,
    whose: String,
}

impl Readers {
    fn turn(self: &Arc<Self>, whose: &str) -> Option<Turn> {
        let mut pages = self.lock();
        let taken = pages.entry(whose.to_owned()).or_default();
        (*taken < MOST_PAGES_EACH).then(|| {
            *taken += 1;
            Turn {
                readers: Arc::clone(self),
                whose: whose.to_owned(),
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut pages = self.readers.lock();
        if let Some(taken) = pages.get_mut(&self.whose) {
            *taken -= 1;
            if *taken == 0 {
                pages.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{MOST_PAGES_EACH, Readers};

    #[test]
    fn one_person_takes_a_few_places_and_leaves_the_rest_to_others() {
        let readers = Arc::new(Readers::default());
        let turns: Vec<_> = (0..MOST_PAGES_EACH).map(|_| readers.turn("a").unwrap()).collect();
        assert!(readers.turn("a").is_none() && readers.turn("b").is_some());
        drop(turns);
        assert!(readers.turn("a").is_some());
        assert!(readers.lock().is_empty(), "nobody who is done is remembered");
    }
}
