//! Which server is asked, and the connections under the service account that are kept for the next search: a bounded number
//! to each server. One that turns out dead is replaced before anybody's sign-in hears of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::Unusable;
use super::connection::Connection;
use crate::config::{Ldap, LdapServer};
use crate::telemetry::metrics;

/// How long a server that could not be used is asked after the others.
const REST: Duration = Duration::from_secs(30);
/// Connections under the service account to one server.
const MOST: usize = 8;
/// How long a search waits for one of them.
const WAIT: Duration = Duration::from_secs(5);
/// How long one is kept unused; firewalls forget later.
const IDLE: Duration = Duration::from_mins(1);
/// How old one may become, so that a service account that is not let in any more is noticed.
const OLDEST: Duration = Duration::from_mins(5);
/// What a kept connection may take: one whose other end is gone without a word is replaced after this.
const IMPATIENCE: Duration = Duration::from_secs(3);

/// What is done on a connection under the service account. It may be done twice.
pub(super) type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unusable>> + Send + 'a>>;

/// The servers, and the connections to them.
#[derive(Debug)]
pub(super) struct Pool {
    places: Vec<Place>,
    tls: Arc<ClientConfig>,
    start_tls: bool,
    bind: Option<(String, SecretString)>,
}

#[derive(Debug)]
struct Place {
    server: LdapServer,
    /// Until when it is asked last.
    rests: Mutex<Option<Instant>>,
    room: Semaphore,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    connection: Connection,
    opened: Instant,
    used: Instant,
}

impl Pool {
    pub(super) fn new(settings: &Ldap, tls: Arc<ClientConfig>) -> Self {
        let place = |server: &LdapServer| Place {
            server: server.clone(),
            rests: Mutex::default(),
            room: Semaphore::new(MOST),
            kept: Mutex::default(),
        };
        Self {
            places: settings.servers.iter().map(place).collect(),
            tls,
            start_tls: settings.start_tls,
            bind: settings.bind.clone(),
        }
    }

    /// The servers in the order in which they are asked: as set, those that failed a moment ago last.
    pub(super) fn order(&self) -> Vec<usize> {
        let now = Instant::now();
        let rests = |at: &usize| {
            let place = self.places.get(*at);
            place.is_some_and(|place| lock(&place.rests).is_some_and(|until| until > now))
        };
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.sort_by_key(rests);
        order
    }

    /// Remembers how a server did.
    pub(super) fn noted<T>(&self, at: usize, outcome: Result<T, Unusable>) -> Result<T, Unusable> {
        let failed = outcome.as_ref().is_err_and(Unusable::is_the_servers);
        if let Some(place) = self.places.get(at) {
            *lock(&place.rests) = failed.then(|| Instant::now() + REST);
        }
        if let Err(error) = &outcome {
            metrics().directory_failures.inc();
            tracing::warn!("a directory server can't be used: {error}");
        }
        outcome
    }

    pub(super) fn server(&self, at: usize) -> Option<&LdapServer> {
        self.places.get(at).map(|place| &place.server)
    }

    /// A fresh connection under nobody's name.
    pub(super) async fn open(&self, at: usize) -> Result<Connection, Unusable> {
        let server = self.server(at).ok_or(Unusable::NoServer)?;
        Connection::open(server, &self.tls, self.start_tls).await
    }

    /// A fresh connection under the service account.
    pub(super) async fn service(&self, at: usize) -> Result<Connection, Unusable> {
        let mut connection = self.open(at).await?;
        if let Some((name, password)) = &self.bind {
            let result = connection.bind(name, password).await?;
            if result.rc != 0 {
                return Err(Unusable::ServiceAccount {
                    server: Arc::clone(connection.server()),
                    code: result.rc,
                    text: result.text,
                });
            }
        }
        Ok(connection)
    }

    /// Takes a step under the service account, at the first server that can be used.
    pub(super) async fn search<T>(
        &self,
        step: impl for<'a> Fn(&'a mut Connection) -> Step<'a, T> + Send + Sync,
    ) -> Result<T, Unusable> {
        let mut last = Unusable::NoServer;
        for at in self.order() {
            match self.noted(at, self.search_at(at, &step).await) {
                Err(error) => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    async fn search_at<T>(
        &self,
        at: usize,
        step: &(impl for<'a> Fn(&'a mut Connection) -> Step<'a, T> + Send + Sync),
    ) -> Result<T, Unusable> {
        let place = self.places.get(at).ok_or(Unusable::NoServer)?;
        let waited = timeout(WAIT, place.room.acquire()).await;
        let Ok(Ok(_room)) = waited else {
            return Err(Unusable::Broken {
                server: place.server.to_string().into(),
                why: format!("its {MOST} connections were all in use for {} s", WAIT.as_secs()),
            });
        };
        if let Some(mut kept) = place.take() {
            kept.connection.hurry(IMPATIENCE);
            match step(&mut kept.connection).await {
                // It had died meanwhile, and so have the others, perhaps: the step is taken anew.
                Err(Unusable::Broken { .. }) => {
                    metrics().directory_replaced.inc();
                    place.forget();
                }
                done => {
                    place.keep(kept);
                    return done;
                }
            }
        }
        let opened = Instant::now();
        let mut connection = self.service(at).await?;
        let done = step(&mut connection).await;
        place.keep(Kept {
            connection,
            opened,
            used: opened,
        });
        done
    }
}

impl Place {
    /// The connection that was used last: the others grow old and go.
    fn take(&self) -> Option<Kept> {
        let mut kept = lock(&self.kept);
        kept.retain_mut(|kept| {
            kept.used.elapsed() < IDLE && kept.opened.elapsed() < OLDEST && kept.connection.is_sound()
        });
        kept.pop()
    }

    fn keep(&self, mut kept: Kept) {
        if kept.connection.is_sound() {
            kept.used = Instant::now();
            lock(&self.kept).push(kept);
        }
    }

    fn forget(&self) {
        lock(&self.kept).clear();
    }
}

/// Nothing here is left half done when a holder panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
