//! Databases for tests: SQLite always, PostgreSQL where VESTIBULE_TEST_POSTGRES names one (`tests/run.sh` does).

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::{Pools, Store};
use crate::config::{Database, Postgres, PostgresTls};
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
    places.extend(Place::postgres().await);
    places
}

impl Place {
    /// None where `VESTIBULE_TEST_POSTGRES` names no server.
    pub(crate) async fn postgres() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "no setting of the product")]
        let url = std::env::var("VESTIBULE_TEST_POSTGRES").ok()?;
        // A schema of its own: faster made than a database.
        let schema = format!("t_{}", seal::random_name());
        let mut connection = PgConnectOptions::from_str(&url).unwrap().connect().await.unwrap();
        let sql = AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let joint = if url.contains('?') { '&' } else { '?' };
        Some(Self {
            database: Database::Postgres(Postgres {
                url: SecretString::from(format!("{url}{joint}options=-c%20search_path%3D{schema}")),
                place: "test".to_owned(),
                host: None,
                tls: PostgresTls::Prefer,
                ca_files: Vec::new(),
                pool: 8,
                timeout: Duration::from_secs(4),
            }),
            folder: tempfile::tempdir().unwrap(),
        })
    }

    /// How the server is spoken to.
    pub(crate) fn server(&mut self) -> &mut Postgres {
        match &mut self.database {
            Database::Postgres(server) => server,
            Database::Sqlite(_) => panic!("it is a file"),
        }
    }
}

/// Makes everybody of this process who would change something wait, for as long as this is held.
pub(crate) async fn hold_the_line(store: &Store) -> impl Send + use<> {
    store.queue.turn().await.unwrap()
}

/// Does to the database what no verb does: damage.
pub(crate) async fn damage(store: &Store, sql: impl Into<String>) {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.into()));
    match &store.pools {
        Pools::Sqlite { write, .. } => drop(sql.execute(write).await.unwrap()),
        Pools::Postgres(server) => {
            let mut connection = server.acquire().await.unwrap();
            sql.execute(&mut *connection).await.unwrap();
        }
    }
}
