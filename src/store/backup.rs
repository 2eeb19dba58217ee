//! A copy of an SQLite file while a gateway writes to it.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::{BUSY, StoreError};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something already.
    #[error("{0} is there already, and is not overwritten")]
    Exists(PathBuf),
    /// SQLite takes names of letters alone.
    #[error("{0:?} is no name in UTF-8, as SQLite needs it: give the copy another")]
    NoName(PathBuf),
    /// It can't be written.
    #[error("{path} can't be written: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// There is nothing to copy.
    #[error("there is no database {0}")]
    NoDatabase(PathBuf),
    /// The database says no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was written is not whole.
    #[error("the copy is not whole ({0}): the disk may be full, or the database damaged")]
    NotWhole(String),
}

/// Copies the SQLite file `from` as of one moment into the new file `to`, for its owner alone; says how many bytes. Does
/// not bring the database to this program's version: before an update, a backup is made with what is there.
///
/// # Errors
/// If `to` is there, or can't be written; then there is no file.
pub async fn backup(from: &Path, to: &Path) -> Result<u64, BackupError> {
    if !from.is_file() {
        return Err(BackupError::NoDatabase(from.to_owned()));
    }
    let io = |source: io::Error| BackupError::Io {
        path: to.to_owned(),
        source,
    };
    let name = to.to_str().ok_or_else(|| BackupError::NoName(to.to_owned()))?;
    // SQLite takes an empty file; so nobody else can ever read it.
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let file = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
        _ => io(error),
    })?;
    let written = async {
        copy(from, name).await?;
        // The name must survive a power cut as well.
        file.sync_all().map_err(io)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(io)?;
        file.metadata().map(|found| found.len()).map_err(io)
    };
    let outcome = written.await;
    if outcome.is_err() {
        drop(fs::remove_file(to));
    }
    outcome
}

async fn copy(from: &Path, to: &str) -> Result<(), BackupError> {
    let failed = |error: sqlx::Error| StoreError::Unavailable(error.to_string());
    let open = |file: &Path| {
        SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(BUSY)
            .disable_statement_logging()
    };
    let mut source = open(from).connect().await.map_err(failed)?;
    let copied = sqlx::query("VACUUM INTO $1").bind(to).execute(&mut source).await;
    source.close().await.map_err(failed)?;
    copied.map_err(failed)?;
    let mut written = open(Path::new(to)).connect().await.map_err(failed)?;
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut written)
        .await
        .map_err(failed)?;
    written.close().await.map_err(failed)?;
    if found != ["ok"] {
        return Err(BackupError::NotWhole(found.join("; ")));
    }
    Ok(())
}
