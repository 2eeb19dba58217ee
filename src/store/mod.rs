//! The only SQL: one text for SQLite and PostgreSQL, migrations, the change feed. No rules in here.
//!
//! Public face: [`Store::open`]. The verbs are for `directory`, `session` and `identity` alone; who may use one is its
//! receiver's type: [`Reading`] asks, [`Writing`] writes what nobody decides on (last use, used attempts, sweeping), and
//! [`Change`] holds the lock row: every change to the directory and every revocation goes through it, so that they happen
//! one after the other, and their feed entries stand in the order in which they were committed.

mod audit;
mod backup;
mod copy;
mod feed;
mod keys;
mod link;
mod migrations;
mod once;
mod people;
mod postgres;
mod queue;
mod rechecks;
mod refused;
mod relinks;
mod sessions;
mod teams;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod users;
mod words;

use std::fs;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

pub(crate) use self::audit::{AuditRow, AuditSearch};
pub use self::backup::{BackupError, backup};
pub use self::copy::{CopiedTable, CopyError};
pub(crate) use self::feed::{ChangeKind, FeedEntry, SWEPT_AT_ONCE};
pub(crate) use self::keys::KeyRow;
use self::link::{Link, To, within};
pub(crate) use self::once::Taken;
pub(crate) use self::people::{PeopleRows, PeopleSearch, Position, SortBy, SortKey};
use self::postgres::Server;
pub(crate) use self::postgres::{Bell, Heard};
use self::queue::{Queue, Turn};
pub(crate) use self::rechecks::RecheckRow;
pub(crate) use self::refused::RefusedRow;
pub(crate) use self::relinks::RelinkRow;
pub(crate) use self::sessions::{SessionListed, SessionRow, SessionWithUser, Whose};
pub(crate) use self::teams::{LinkRow, MemberRow, TeamRow, place_in_team};
pub(crate) use self::users::UserRow;
pub(crate) use self::words::asked_words;
use crate::clock::UnixTime;
use crate::config;
use crate::telemetry::audit::Event;

/// How long a statement may take, and the wait for a connection.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long SQLite waits for another process's write: shorter than our patience, so that its own error is the one seen.
const BUSY: Duration = Duration::from_secs(3);

/// Less than the second after which PostgreSQL looks for circles, and ends any one of them.
const GIVES_WAY: &str = "SET LOCAL lock_timeout = '300ms'";

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// How long other processes may be busy with making the file.
const OPENING: Duration = Duration::from_secs(30);

/// The database of one instance. Cheap to clone; control plane only.
#[derive(Clone, Debug)]
pub struct Store {
    pools: Pools,
    newly_made: bool,
    /// How long a write may wait for others to begin.
    waiting: Duration,
    /// Writers of this process stand here, not at the database's lock, where each would hold a connection and lose its
    /// patience while others are served in any order.
    queue: Arc<Queue>,
}

/// What [`Store::look`] found.
#[derive(Debug)]
pub enum Found {
    /// No table of ours: the first start makes them.
    Empty,
    /// An older program's: the next start brings it to this one's version.
    Older {
        /// Version of the database.
        found: i64,
        /// The version of this program.
        known: i64,
    },
    /// This program's.
    Current(Store),
}

#[derive(Clone, Debug)]
enum Pools {
    /// SQLite has one writer at a time: a pool of one makes writers wait in a fair queue instead of on its busy timer.
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
    },
    Postgres(Server),
}

/// Why there is no answer. Whoever asked on behalf of a request says 503, never 401 or 403, and lets nobody in.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server or the file does not answer as it should; the text is for operators.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// No answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
    /// It says that it took too long.
    #[error("the database takes too long")]
    Slow,
    /// Nobody answers at its address, or one that is starting or ending.
    #[error("the database can't be reached: {0}")]
    Unreachable(String),
    /// The tables changed under a running program.
    #[error("a newer program has changed the tables of the database; the next try works")]
    Replan,
    /// Another process writes, for too long.
    #[error("the database is locked by another process")]
    Busy,
    /// What it answered is not what we write.
    #[error("the database holds something unreadable: {0}")]
    Unreadable(String),
    /// A newer version of this program has been here.
    #[error("the database is of version {found}, this program knows up to {known}: run the newer program")]
    Newer {
        /// Version of the database.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The folder of the SQLite file is not there.
    #[error("there is no folder {0} to keep the database in: make it, or set VESTIBULE_DATABASE_URL")]
    NoFolder(PathBuf),
}

impl StoreError {
    /// Whether it is only that others are at work.
    const fn passes(&self) -> bool {
        matches!(self, Self::Busy | Self::TimedOut | Self::Slow)
    }

    /// Whether a server may only not be there yet.
    const fn is_of_a_start(&self) -> bool {
        self.passes() || matches!(self, Self::Unreachable(_))
    }
}

impl Store {
    /// Opens the database, makes it where there is none, and brings it to this program's version.
    ///
    /// # Errors
    /// If it cannot be opened, made, or is newer than this program.
    pub async fn open(database: &config::Database) -> Result<Self, StoreError> {
        if let config::Database::Sqlite(file) = database {
            make_file(file)?;
        }
        let mut store = Self::of(database)?;
        let begun = Instant::now();
        if let Pools::Postgres(server) = &store.pools {
            reach(server, begun).await?;
        }
        // While another process makes or closes the file, SQLite says so at once, whatever its busy timer.
        loop {
            match store.migrate().await {
                Err(error) if error.passes() && begun.elapsed() < OPENING => tokio::time::sleep(PAUSE).await,
                outcome => {
                    store.newly_made = outcome?;
                    return Ok(store);
                }
            }
        }
    }

    /// Looks at a database that is there, and changes nothing in it.
    ///
    /// # Errors
    /// If it cannot be opened, or is newer than this program.
    pub async fn look(database: &config::Database) -> Result<Found, StoreError> {
        let store = Self::of(database)?;
        if let Pools::Postgres(server) = &store.pools {
            server.try_once().await?;
        }
        let known = migrations::known();
        match store.version().await? {
            0 => Ok(Found::Empty),
            found if found == known => Ok(Found::Current(store)),
            found if found > known => Err(StoreError::Newer { found, known }),
            found => Ok(Found::Older { found, known }),
        }
    }

    fn of(database: &config::Database) -> Result<Self, StoreError> {
        let pools = match database {
            config::Database::Sqlite(file) => open_sqlite(file),
            config::Database::Postgres(settings) => Pools::Postgres(Server::new(settings)?),
        };
        Ok(Self {
            pools,
            newly_made: false,
            waiting: Duration::ZERO,
            queue: Arc::default(),
        })
    }

    /// The same, for somebody who rather waits than hears that others are at work: a command in a shell. A request is
    /// better told at once.
    #[must_use]
    pub fn patient(self) -> Self {
        Self {
            waiting: OPENING,
            ..self
        }
    }

    /// Whether `open` made it.
    #[must_use]
    pub const fn newly_made(&self) -> bool {
        self.newly_made
    }

    /// Whether it answers now; for `check` and readiness.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.reading().await?.feed().await.map(drop)
    }

    /// Closes all connections; an SQLite file is then whole without its `-wal`.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Pools::Postgres(server) => server.close().await,
        }
    }

    pub(crate) async fn reading(&self) -> Result<Reading, StoreError> {
        let link = match &self.pools {
            Pools::Sqlite { read, .. } => {
                let connection = within(PATIENCE, read.acquire()).await?;
                Link::new(To::SqliteRead(connection), PATIENCE, None)
            }
            Pools::Postgres(server) => {
                let connection = server.acquire().await?;
                Link::new(To::PostgresRead(connection), server.patience(), Some(server.clone()))
            }
        };
        Ok(Reading { link })
    }

    pub(crate) async fn writing(&self) -> Result<Writing, StoreError> {
        // PostgreSQL has as many writers at a time as connections; only those who need the lock row wait for each other.
        let turn = match &self.pools {
            Pools::Sqlite { .. } => Some(self.queue.turn().await?),
            Pools::Postgres(_) => None,
        };
        self.writing_in(turn).await
    }

    /// For what can wait until its next time: the last use of sessions, tidying. On PostgreSQL whoever is at a row goes first,
    /// and this gives up soon (`Busy`): it neither holds up a revocation for long, nor stands with one in a circle until the
    /// server ends either.
    pub(crate) async fn aside(&self) -> Result<Writing, StoreError> {
        let mut writing = self.writing().await?;
        if writing.link.is_postgres() {
            writing.link.script(GIVES_WAY).await?;
        }
        Ok(writing)
    }

    async fn writing_in(&self, turn: Option<Turn>) -> Result<Writing, StoreError> {
        let mut writing = self.begun().await?;
        writing.link.turn = turn.map(Turn::answered);
        Ok(writing)
    }

    async fn begun(&self) -> Result<Writing, StoreError> {
        let begun = Instant::now();
        loop {
            match self.begin().await {
                // Nothing has been done yet that could be done twice.
                Err(error) if error.passes() && begun.elapsed() < self.waiting => tokio::time::sleep(PAUSE).await,
                outcome => return outcome,
            }
        }
    }

    async fn begin(&self) -> Result<Writing, StoreError> {
        let link = match &self.pools {
            // A transaction that reads first and writes later could lose its snapshot to another writer.
            Pools::Sqlite { write, .. } => {
                let transaction = within(PATIENCE, write.begin_with("BEGIN IMMEDIATE")).await?;
                Link::new(To::Sqlite(transaction), PATIENCE, None)
            }
            Pools::Postgres(server) => {
                let transaction = server.begin().await?;
                Link::new(To::Postgres(transaction), server.patience(), Some(server.clone()))
            }
        };
        Ok(Writing {
            reading: Reading { link },
            recorded: Vec::new(),
        })
    }

    /// Where it is heard at once that something changed; None where only asking tells.
    pub(crate) fn bell(&self) -> Option<Bell> {
        match &self.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres(server) => Some(server.bell()),
        }
    }

    pub(crate) async fn change(&self, now: UnixTime) -> Result<Change, StoreError> {
        let turn = self.queue.turn().await?;
        Change::begin(self.writing_in(Some(turn)).await?, now).await
    }
}

/// Asks.
pub(crate) struct Reading {
    link: Link,
}

/// A transaction that writes what nobody decides on.
pub(crate) struct Writing {
    reading: Reading,
    /// What the log is told of once it lasts.
    recorded: Vec<Event>,
}

impl Writing {
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.reading.link.commit().await?;
        self.recorded.iter().for_each(Event::tell);
        Ok(())
    }
}

/// A transaction that holds the lock row: nothing else changes the directory or revokes until it ends.
pub(crate) struct Change {
    writing: Writing,
    feed: i64,
    entries: i64,
    now: UnixTime,
}

impl Change {
    /// Its number in the feed.
    pub(crate) const fn number(&self) -> i64 {
        self.feed
    }

    /// Makes everything since the beginning last, and lets the next one have the lock row.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.writing.commit().await
    }
}

impl Deref for Writing {
    type Target = Reading;
    fn deref(&self) -> &Reading {
        &self.reading
    }
}

impl DerefMut for Writing {
    fn deref_mut(&mut self) -> &mut Reading {
        &mut self.reading
    }
}

impl Deref for Change {
    type Target = Writing;
    fn deref(&self) -> &Writing {
        &self.writing
    }
}

impl DerefMut for Change {
    fn deref_mut(&mut self) -> &mut Writing {
        &mut self.writing
    }
}

/// Makes the file before SQLite would, so that nobody else can ever read it: `-wal` and `-shm` inherit the mode.
fn make_file(file: &Path) -> Result<(), StoreError> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            return Err(StoreError::NoFolder(folder.to_owned()));
        }
        _ => {}
    }
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::Unavailable(format!("{}: {error}", file.display())))
        }
        _ => Ok(()),
    }
}

fn open_sqlite(file: &Path) -> Pools {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL would keep everything through a kill -9, but not through a power cut: a revocation that was answered
        // must not come undone. A sign-in is rare enough to wait for the disk.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .disable_statement_logging();
    let pool = |most| {
        SqlitePoolOptions::new()
            .max_connections(most)
            .acquire_timeout(PATIENCE)
            .idle_timeout(None)
            .max_lifetime(None)
            // SQLite itself rolls back when the disk is full; sqlx's count of transactions then stays wrong for ever.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_lazy_with(options.clone())
    };
    Pools::Sqlite {
        read: pool(4),
        write: pool(1),
    }
}

/// Waits for a server that is only just starting, as it is where everything is started at once.
async fn reach(server: &Server, begun: Instant) -> Result<(), StoreError> {
    let mut told = false;
    loop {
        match server.try_once().await {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > OPENING || !error.is_of_a_start() => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "waiting for the database");
                }
                tokio::time::sleep(PAUSE * 5).await;
            }
        }
    }
}
