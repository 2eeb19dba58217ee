//! A PostgreSQL schema of a test's own, where `VESTIBULE_TEST_POSTGRES` names a server.

use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

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
