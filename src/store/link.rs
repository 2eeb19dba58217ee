//! One connection, of either database, with the same few verbs: the only place that knows there are two.

use std::future::Future;

use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteError, SqliteRow};
use sqlx::{AssertSqlSafe, Decode, Row as _, Transaction, Type};

use super::{PATIENCE, StoreError};

/// A connection, in a transaction or not. Dropped without `commit`, a transaction is rolled back.
pub(super) enum Link {
    Sqlite(Transaction<'static, Sqlite>),
    SqliteRead(PoolConnection<Sqlite>),
    Postgres(Transaction<'static, Postgres>),
    PostgresRead(PoolConnection<Postgres>),
}

/// A value for `$1` and its like.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Int(i64),
    MaybeInt(Option<i64>),
    Text(&'a str),
    MaybeText(Option<&'a str>),
    Bytes(&'a [u8]),
    MaybeBytes(Option<&'a [u8]>),
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),*) => {
        $(impl<'a> From<$from> for Value<'a> {
            fn from(value: $from) -> Self {
                Self::$variant(value)
            }
        })*
    };
}
value_from!(i64 => Int, Option<i64> => MaybeInt, &'a str => Text, Option<&'a str> => MaybeText, &'a [u8] => Bytes,
    Option<&'a [u8]> => MaybeBytes);

/// One row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(super) fn get<'r, T>(&'r self, column: &str) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(error_of)
    }
}

macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        let mut query = sqlx::query($sql);
        for value in $values {
            query = match *value {
                Value::Int(value) => query.bind(value),
                Value::MaybeInt(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::MaybeText(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
                Value::MaybeBytes(value) => query.bind(value),
            };
        }
        query
    }};
}

impl Link {
    /// Runs a statement; says how many rows it changed.
    pub(super) async fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(link) => within(bound!(sql, values).execute(&mut **link))
                .await
                .map(|done| done.rows_affected()),
            Self::SqliteRead(link) => within(bound!(sql, values).execute(&mut **link))
                .await
                .map(|done| done.rows_affected()),
            Self::Postgres(link) => within(bound!(sql, values).execute(&mut **link))
                .await
                .map(|done| done.rows_affected()),
            Self::PostgresRead(link) => within(bound!(sql, values).execute(&mut **link))
                .await
                .map(|done| done.rows_affected()),
        }
    }

    /// All rows of an answer.
    pub(super) async fn rows(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let sqlite = |rows: Vec<SqliteRow>| rows.into_iter().map(Row::Sqlite).collect();
        let postgres = |rows: Vec<PgRow>| rows.into_iter().map(Row::Postgres).collect();
        match self {
            Self::Sqlite(link) => within(bound!(sql, values).fetch_all(&mut **link)).await.map(sqlite),
            Self::SqliteRead(link) => within(bound!(sql, values).fetch_all(&mut **link)).await.map(sqlite),
            Self::Postgres(link) => within(bound!(sql, values).fetch_all(&mut **link)).await.map(postgres),
            Self::PostgresRead(link) => within(bound!(sql, values).fetch_all(&mut **link)).await.map(postgres),
        }
    }

    /// The one row of an answer that has one or none.
    pub(super) async fn row(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// The one row of an answer that always has one.
    pub(super) async fn one(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Row, StoreError> {
        self.row(sql, values)
            .await?
            .ok_or_else(|| StoreError::Unreadable("a row that is always there is not".to_owned()))
    }

    /// Runs several statements of our own, without values. `{bytes}` is the database's word for bytes.
    pub(super) async fn script(&mut self, sql: &str) -> Result<(), StoreError> {
        let bytes = if self.is_postgres() { "BYTEA" } else { "BLOB" };
        let script = sqlx::raw_sql(AssertSqlSafe(sql.replace("{bytes}", bytes)));
        match self {
            Self::Sqlite(link) => within(script.execute(&mut **link)).await.map(drop),
            Self::SqliteRead(link) => within(script.execute(&mut **link)).await.map(drop),
            Self::Postgres(link) => within(script.execute(&mut **link)).await.map(drop),
            Self::PostgresRead(link) => within(script.execute(&mut **link)).await.map(drop),
        }
    }

    pub(super) const fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_) | Self::PostgresRead(_))
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(transaction) => within(transaction.commit()).await,
            Self::Postgres(transaction) => within(transaction.commit()).await,
            Self::SqliteRead(_) | Self::PostgresRead(_) => Ok(()),
        }
    }
}

/// Nothing waits for the database longer than this house's patience: a store that hangs is a store that is away.
pub(super) async fn within<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(error_of),
        Err(_) => Err(StoreError::TimedOut),
    }
}

fn error_of(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::PoolTimedOut => StoreError::TimedOut,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StoreError::Unreadable(error.to_string())
        }
        sqlx::Error::Database(error) if is_busy(error.as_ref()) => StoreError::Busy,
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// SQLITE_BUSY, plain or extended (the low byte is the plain code).
fn is_busy(error: &dyn DatabaseError) -> bool {
    let sqlite = error.try_downcast_ref::<SqliteError>();
    sqlite
        .and_then(|error| error.code()?.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}
