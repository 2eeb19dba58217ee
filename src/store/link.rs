//! One connection, of either database, with the same few verbs: the only place that knows there are two.

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteError, SqliteRow};
use sqlx::{AssertSqlSafe, Connection as _, Decode, Row as _, SqlSafeStr, Transaction, Type};

use super::StoreError;
use super::postgres::Server;
use super::queue::Turn;

/// A connection, in a transaction or not. Dropped without `commit`, a transaction is rolled back.
pub(super) struct Link {
    to: To,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// Who has to hear of one that does not come.
    server: Option<Server>,
    /// Given on when it is over: the last of the fields, after the transaction.
    pub(super) turn: Option<Turn>,
}

pub(super) enum To {
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

/// A question that depends on what is asked for, put together from pieces.
#[derive(Default)]
pub(super) struct Question<'a> {
    text: String,
    values: Vec<Value<'a>>,
}

impl<'a> Question<'a> {
    /// Adds a piece of ours.
    pub(super) fn say(&mut self, piece: &'static str) -> &mut Self {
        self.text.push_str(piece);
        self
    }

    /// Adds a value: `$1` and its like.
    pub(super) fn value(&mut self, value: impl Into<Value<'a>>) -> &mut Self {
        self.values.push(value.into());
        // Writing to a String does not fail.
        let _ = write!(self.text, "${}", self.values.len());
        self
    }

    /// Puts a question behind pieces that have no values.
    #[cfg(test)]
    pub(super) fn append(&mut self, other: Self) {
        debug_assert!(self.values.is_empty(), "numbers would be given twice");
        self.text.push_str(&other.text);
        self.values = other.values;
    }
}

/// Statements of ours with the database's words in them: `{bytes}` for bytes, `{text}` for text that sorts by its bytes,
/// `{by_key}` for a table whose rows lie in the order of its key, where there is such a thing.
pub(super) fn in_its_words(sql: &str, postgres: bool) -> String {
    let (bytes, text, by_key) = if postgres {
        ("BYTEA", "TEXT COLLATE \"C\"", "")
    } else {
        ("BLOB", "TEXT", "WITHOUT ROWID")
    };
    let sql = sql.replace("{bytes}", bytes).replace("{text}", text);
    sql.replace("{by_key}", by_key)
}

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
    pub(super) const fn new(to: To, patience: Duration, server: Option<Server>) -> Self {
        Self {
            to,
            patience,
            server,
            turn: None,
        }
    }

    /// Runs a statement; says how many rows it changed.
    pub(super) async fn execute(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let (sql, patience) = (sql.into_sql_str(), self.patience);
        let done = match &mut self.to {
            To::Sqlite(link) => within(patience, bound!(sql, values).execute(&mut **link))
                .await
                .map(|done| done.rows_affected()),
            To::SqliteRead(link) => within(patience, bound!(sql, values).execute(&mut **link))
                .await
                .map(|done| done.rows_affected()),
            To::Postgres(link) => within(patience, bound!(sql, values).execute(&mut **link))
                .await
                .map(|done| done.rows_affected()),
            To::PostgresRead(link) => within(patience, bound!(sql, values).execute(&mut **link))
                .await
                .map(|done| done.rows_affected()),
        };
        self.heard(done).await
    }

    /// All rows of an answer.
    pub(super) async fn rows(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let (sql, patience) = (sql.into_sql_str(), self.patience);
        let sqlite = |rows: Vec<SqliteRow>| rows.into_iter().map(Row::Sqlite).collect();
        let postgres = |rows: Vec<PgRow>| rows.into_iter().map(Row::Postgres).collect();
        let rows = match &mut self.to {
            To::Sqlite(link) => within(patience, bound!(sql, values).fetch_all(&mut **link))
                .await
                .map(sqlite),
            To::SqliteRead(link) => within(patience, bound!(sql, values).fetch_all(&mut **link))
                .await
                .map(sqlite),
            To::Postgres(link) => within(patience, bound!(sql, values).fetch_all(&mut **link))
                .await
                .map(postgres),
            To::PostgresRead(link) => {
                let mut rows = within(patience, bound!(sql.clone(), values).fetch_all(&mut **link)).await;
                if matches!(rows, Err(StoreError::Replan)) {
                    within(patience, link.clear_cached_statements()).await?;
                    rows = within(patience, bound!(sql, values).fetch_all(&mut **link)).await;
                }
                rows.map(postgres)
            }
        };
        self.heard(rows).await
    }

    /// The rows of a question that was put together.
    pub(super) async fn answer(&mut self, question: Question<'_>) -> Result<Vec<Row>, StoreError> {
        // From pieces that are all ours, with `$1` and its like for what is not.
        self.rows(AssertSqlSafe(question.text), &question.values).await
    }

    /// The one row of an answer that has one or none.
    pub(super) async fn row(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// The one row of an answer that always has one.
    pub(super) async fn one(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<Row, StoreError> {
        self.row(sql, values)
            .await?
            .ok_or_else(|| StoreError::Unreadable("a row that is always there is not".to_owned()))
    }

    /// Runs several statements of our own, without values, in the database's words.
    pub(super) async fn script(&mut self, sql: &str) -> Result<(), StoreError> {
        let script = sqlx::raw_sql(AssertSqlSafe(in_its_words(sql, self.is_postgres())));
        let patience = self.patience;
        let done = match &mut self.to {
            To::Sqlite(link) => within(patience, script.execute(&mut **link)).await.map(drop),
            To::SqliteRead(link) => within(patience, script.execute(&mut **link)).await.map(drop),
            To::Postgres(link) => within(patience, script.execute(&mut **link)).await.map(drop),
            To::PostgresRead(link) => within(patience, script.execute(&mut **link)).await.map(drop),
        };
        self.heard(done).await
    }

    pub(super) const fn is_postgres(&self) -> bool {
        matches!(self.to, To::Postgres(_) | To::PostgresRead(_))
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        let done = match self.to {
            To::Sqlite(transaction) => within(self.patience, transaction.commit()).await,
            To::Postgres(transaction) => within(self.patience, transaction.commit()).await,
            To::SqliteRead(_) | To::PostgresRead(_) => Ok(()),
        };
        if let (Err(StoreError::TimedOut), Some(server)) = (&done, &self.server) {
            server.suspect();
        }
        if let (Err(_), Some(turn)) = (&done, &mut self.turn) {
            turn.failed();
        }
        done
    }

    /// Looks at how an answer came out, for the sake of those who ask next.
    async fn heard<T>(&mut self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let (Err(_), Some(turn)) = (&answer, &mut self.turn) {
            turn.failed();
        }
        match &answer {
            Err(StoreError::TimedOut) => {
                if let Some(server) = &self.server {
                    server.suspect();
                }
            }
            // A newer program has just changed the tables. What this transaction did is lost; the next one works.
            Err(StoreError::Replan) => {
                if let To::Postgres(link) = &mut self.to {
                    drop(within(self.patience, link.clear_cached_statements()).await);
                }
            }
            _ => {}
        }
        answer
    }
}

/// Nothing waits for the database longer than this house's patience: a store that hangs is a store that is away.
pub(super) async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(patience, answer).await {
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
        sqlx::Error::Database(error) => match class(error.as_ref()) {
            Class::Busy => StoreError::Busy,
            Class::Slow => StoreError::Slow,
            Class::Gone => StoreError::Unreachable(error.to_string()),
            Class::Replan => StoreError::Replan,
            Class::Other => StoreError::Unavailable(error.to_string()),
        },
        // TLS says so when it does not like a certificate: waiting makes it no better.
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::Unavailable(error.to_string())
        }
        sqlx::Error::Io(error) => StoreError::Unreachable(error.to_string()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

enum Class {
    Busy,
    Slow,
    Gone,
    Replan,
    Other,
}

/// What an error of the database means to whoever asked: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
/// and <https://sqlite.org/rescode.html>.
fn class(error: &dyn DatabaseError) -> Class {
    let code = error.code();
    if error.try_downcast_ref::<SqliteError>().is_some() {
        // SQLITE_BUSY, plain or extended (the low byte is the plain code).
        let code = code.and_then(|code| code.parse::<u32>().ok());
        return if code.is_some_and(|code| code & 0xff == 5) {
            Class::Busy
        } else {
            Class::Other
        };
    }
    match code.as_deref() {
        // lock_not_available, serialization_failure, deadlock_detected
        Some("55P03" | "40001" | "40P01") => Class::Busy,
        // query_canceled: the statement's time was up
        Some("57014") => Class::Slow,
        // too_many_connections, idle_in_transaction_session_timeout, admin_shutdown, crash_shutdown, cannot_connect_now,
        // and what happens to connections
        Some("53300" | "25P03" | "57P01" | "57P02" | "57P03") => Class::Gone,
        Some(code) if code.starts_with("08") => Class::Gone,
        // "cached plan must not change result type"
        Some("0A000") => Class::Replan,
        _ => Class::Other,
    }
}
