//! The only SQL: one text for SQLite and PostgreSQL, migrations, the change feed. No rules in here.
//!
//! Public face: [`Store::open`]. The verbs on it are for `directory`, `session` and `identity` alone.

use crate::config;

/// The database of one instance. Cheap to clone; control plane only.
#[derive(Clone, Debug)]
pub struct Store {}

/// Why there is no answer. Whoever asked on behalf of a request says 503, never 401 or 403, and lets nobody in.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server or the file does not answer as it should; the text is for operators.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// No answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
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
    NoFolder(std::path::PathBuf),
}

impl Store {
    /// Opens the database, makes it where there is none, and brings it to this program's version.
    ///
    /// # Errors
    /// If it cannot be opened, made, or is newer than this program.
    pub async fn open(_database: &config::Database) -> Result<Self, StoreError> {
        unimplemented!()
    }

    /// Whether `open` made it.
    #[must_use]
    pub fn newly_made(&self) -> bool {
        unimplemented!()
    }

    /// Whether it answers now; for `check` and readiness.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        unimplemented!()
    }
}
