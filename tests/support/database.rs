//! A PostgreSQL schema of a test's own, where `VESTIBULE_TEST_POSTGRES` names a server.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use vestibule::config::{Database, Postgres, PostgresTls};

/// The address of a fresh schema; None without a server.
pub async fn schema() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the gateway's settings are not concerned")]
    let url = std::env::var("VESTIBULE_TEST_POSTGRES").ok()?;
    let schema = format!("t_{:016x}", u64::from_ne_bytes(vestibule::seal::random()));
    let mut connection = PgConnectOptions::from_str(&url).unwrap().connect().await.unwrap();
    let sql = AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let joint = if url.contains('?') { '&' } else { '?' };
    Some(format!("{url}{joint}options=-c%20search_path%3D{schema}"))
}

/// A schema of its own, where `VESTIBULE_TEST_ON=postgres` says that a test that otherwise takes SQLite happens there;
/// tests/run.sh runs them on both.
pub async fn on_postgres() -> Option<Database> {
    #[expect(clippy::disallowed_methods, reason = "the gateway's settings are not concerned")]
    let wanted = std::env::var("VESTIBULE_TEST_ON").is_ok_and(|on| on == "postgres");
    if !wanted {
        return None;
    }
    let url = schema().await.expect("VESTIBULE_TEST_POSTGRES names no server");
    Some(Database::Postgres(Postgres {
        url: url.into(),
        place: "test".to_owned(),
        host: None,
        tls: PostgresTls::Prefer,
        ca_files: vec![],
        pool: 2,
        timeout: Duration::from_secs(4),
    }))
}
