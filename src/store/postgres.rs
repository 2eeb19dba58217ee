//! Connections to a PostgreSQL server: how they are made, what happens when it is away, and hearing that something changed.

use std::fmt;
use std::fs;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgSslMode, Postgres};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Transaction};

use super::StoreError;
use super::link::within;
use crate::config::{self, PostgresTls};

/// While the server is known to be away, nobody waits longer than this to hear so again.
const WHILE_AWAY: Duration = Duration::from_millis(500);
/// Beyond the time limit that the server itself keeps: who answers late is there, who does not is not.
const BEYOND: Duration = Duration::from_secs(1);
/// Between two tries to hear of changes again.
const DEAF: Duration = Duration::from_secs(1);
/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(20);
/// On this channel gateways hear that somebody changed something. What it is, the feed says: a bell that rings too often
/// or not at all does no harm.
pub(super) const CHANNEL: &str = "vestibule";

/// A server. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Server(Arc<Inner>);

struct Inner {
    options: PgConnectOptions,
    connections: u32,
    timeout: Duration,
    pool: ArcSwap<PgPool>,
    /// Whether the last to ask for a connection got none.
    away: AtomicBool,
    renewed: Mutex<Instant>,
}

/// The options hold the password, and would tell it.
impl fmt::Debug for Inner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Server")
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Connects to nobody yet.
    pub(super) fn new(settings: &config::Postgres) -> Result<Self, StoreError> {
        let options = options(settings)?;
        Ok(Self(Arc::new(Inner {
            pool: ArcSwap::from_pointee(pool(&options, settings.pool, settings.timeout)),
            options,
            connections: settings.pool,
            timeout: settings.timeout,
            away: AtomicBool::new(false),
            renewed: Mutex::new(Instant::now()),
        })))
    }

    /// How long an answer may take.
    pub(super) fn patience(&self) -> Duration {
        self.0.timeout + BEYOND
    }

    /// One connection of its own, to learn why there is none: the pool only says that time was up.
    pub(super) async fn try_once(&self) -> Result<(), StoreError> {
        let mut connection: PgConnection = within(self.patience(), self.0.options.connect()).await?;
        within(self.patience(), refuse_a_standby(&mut connection)).await?;
        drop(within(self.patience(), connection.close()).await);
        Ok(())
    }

    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        let pool = self.0.pool.load_full();
        self.got(within(self.wait(), pool.acquire()).await)
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let pool = self.0.pool.load_full();
        self.got(within(self.wait(), pool.begin()).await)
    }

    pub(super) async fn close(&self) {
        self.0.pool.load_full().close().await;
    }

    /// A connection did not answer in time, not even that it is late: the others probably lead to the same server that is
    /// gone (it was cut off, or another took its name), and TCP would hold on to it for a quarter of an hour. New ones
    /// find who is there now.
    pub(super) fn suspect(&self) {
        // Nobody panics while holding it.
        let mut renewed = self.0.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is merely slow should not get ever more connections.
        if renewed.elapsed() < self.0.timeout {
            return;
        }
        *renewed = Instant::now();
        let fresh = pool(&self.0.options, self.0.connections, self.0.timeout);
        let old = self.0.pool.swap(Arc::new(fresh));
        tokio::spawn(async move { old.close().await });
    }

    fn wait(&self) -> Duration {
        if self.0.away.load(Ordering::Relaxed) {
            WHILE_AWAY.min(self.0.timeout)
        } else {
            self.0.timeout
        }
    }

    fn got<T>(&self, connection: Result<T, StoreError>) -> Result<T, StoreError> {
        let was_away = self.0.away.swap(connection.is_err(), Ordering::Relaxed);
        if matches!(connection, Err(StoreError::TimedOut)) && !was_away {
            self.suspect();
        }
        connection
    }

    /// Where it is heard that something changed.
    pub(super) fn bell(&self) -> Bell {
        // A connection of its own, so that the smallest pool is enough.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(self.0.timeout)
            .connect_lazy_with(self.0.options.clone());
        Bell { pool, listener: None }
    }
}

/// Hears at once that something changed, where the poll would hear it later.
pub(crate) struct Bell {
    pool: PgPool,
    listener: Option<PgListener>,
}

/// What [`Bell::wait`] heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Something changed.
    Change,
    /// The connection broke: what changed meanwhile was not heard, and perhaps it is another server that answers next.
    Lost,
}

impl Bell {
    /// Waits until there is something to hear.
    pub(crate) async fn wait(&mut self) -> Heard {
        let Some(listener) = &mut self.listener else {
            loop {
                match self.listen().await {
                    // What changed before we listened.
                    Ok(()) => return Heard::Change,
                    Err(error) => tracing::debug!(%error, "changes are heard by the poll alone"),
                }
                tokio::time::sleep(DEAF).await;
            }
        };
        if let Ok(Some(_)) = listener.try_recv().await {
            tokio::time::sleep(TOGETHER).await;
            while listener.next_buffered().is_some() {}
            return Heard::Change;
        }
        self.listener = None;
        Heard::Lost
    }

    async fn listen(&mut self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        self.listener = Some(listener);
        Ok(())
    }
}

fn pool(options: &PgConnectOptions, connections: u32, timeout: Duration) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(timeout)
        .after_connect(|connection, _| Box::pin(refuse_a_standby(connection)))
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .connect_lazy_with(options.clone())
}

fn options(settings: &config::Postgres) -> Result<PgConnectOptions, StoreError> {
    let unusable = |why: String| StoreError::Unavailable(why);
    let mut authorities = Vec::new();
    for file in &settings.ca_files {
        let pem = fs::read(file).map_err(|error| unusable(format!("{}: {error}", file.display())))?;
        authorities.extend(pem);
        authorities.push(b'\n');
    }
    let timeout = settings.timeout.as_millis().to_string();
    let mut options = PgConnectOptions::from_str(settings.url.expose_secret())
        // What the error says could repeat the password.
        .map_err(|_| unusable("VESTIBULE_DATABASE_URL is no PostgreSQL address".to_owned()))?
        // Whatever the environment of psql says.
        .ssl_mode(match settings.tls {
            PostgresTls::Off => PgSslMode::Disable,
            PostgresTls::Prefer => PgSslMode::Prefer,
            PostgresTls::Require => PgSslMode::Require,
            PostgresTls::VerifyCa => PgSslMode::VerifyCa,
            PostgresTls::VerifyFull => PgSslMode::VerifyFull,
        })
        .ssl_root_cert_from_pem(authorities)
        // The server gives up, too, so that a gateway that stopped waiting holds no lock.
        .options([
            ("statement_timeout", timeout.as_str()),
            ("lock_timeout", timeout.as_str()),
            ("idle_in_transaction_session_timeout", "10000"),
            // A page of people is some rows by an index, in memory as a rule. The default is of turning disks, and has the
            // server rather read a whole table.
            ("random_page_cost", "1.1"),
        ])
        .disable_statement_logging();
    if let Some(host) = &settings.host {
        options = options.host(host);
    }
    if options.get_application_name().is_none() {
        options = options.application_name("vestibule");
    }
    Ok(options)
}

/// A server that takes no writes (a standby, after a failover that went the other way) is no server.
async fn refuse_a_standby(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(connection)
        .await?;
    if standby {
        return Err(sqlx::Error::Configuration(
            "the server is a standby and takes no writes; VESTIBULE_DATABASE_URL must lead to the primary".into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
