//! Databases for tests: SQLite always, PostgreSQL where VESTIBULE_TEST_POSTGRES names one (`tests/run.sh` does).

use std::path::PathBuf;
use std::str::FromStr as _;

use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::{Pools, Store};
use crate::config::Database;
use crate::seal;

/// A fresh database, gone with this.
pub(crate) struct Place {
    pub(crate) database: Database,
    folder: TempDir,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            database: Database::Sqlite(folder.path().join("vestibule.db")),
            folder,
        }
    }

    /// As another process would open it.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.database).await.unwrap()
    }

    /// Where the SQLite file is.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("vestibule.db")
    }
}

/// A fresh place of each kind that this machine has.
pub(crate) async fn places() -> Vec<Place> {
    let mut places = vec![Place::sqlite()];
    #[expect(clippy::disallowed_methods, reason = "no setting of the product")]
    if let Ok(url) = std::env::var("VESTIBULE_TEST_POSTGRES") {
        // A schema of its own: faster made than a database.
        let schema = format!("t_{}", seal::random_name());
        let mut connection = PgConnectOptions::from_str(&url).unwrap().connect().await.unwrap();
        let sql = AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let joint = if url.contains('?') { '&' } else { '?' };
        places.push(Place {
            database: Database::Postgres(SecretString::from(format!(
                "{url}{joint}options=-c%20search_path%3D{schema}"
            ))),
            folder: tempfile::tempdir().unwrap(),
        });
    }
    places
}

/// Does to the database what no verb does: damage.
pub(crate) async fn damage(store: &Store, sql: &'static str) {
    match &store.pools {
        Pools::Sqlite { write, .. } => drop(sqlx::raw_sql(sql).execute(write).await.unwrap()),
        Pools::Postgres(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
    }
}
