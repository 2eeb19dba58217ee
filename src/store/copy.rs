//! Moving an instance from one database to another: all tables there are, derived from the migrations, so that a table
//! that is added is moved without anybody thinking of it.
//!
//! One transaction on each side: what is read is as of one moment, and what is written is there whole and verified, or not
//! at all.

use std::collections::BTreeSet;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::link::{Link, Row, To, Value, in_its_words};
use super::migrations::{MIGRATING, STEPS};
use super::{Pools, Store, StoreError, within};
use crate::seal;

/// Rows read and written together.
const PIECE: usize = 200;

/// A table that was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub name: String,
    /// How many rows it has.
    pub rows: usize,
    /// SHA-256 over its rows, the same on both sides.
    pub checksum: String,
}

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of the databases does not answer, or not as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something in the target.
    #[error("nothing was copied: the target is not empty (there is something in {0}); give it an empty database")]
    NotEmpty(String),
    /// Somebody wrote to the source meanwhile.
    #[error(
        "nothing was copied: the source changed meanwhile, and the change would have been lost; stop the gateways that use it first"
    )]
    Changed,
    /// What was written is read differently.
    #[error("nothing was copied: {0} came out differently on the other side")]
    Differs(String),
}

impl Store {
    /// Copies everything into an empty database, and compares.
    ///
    /// # Errors
    /// If the target is not empty, the source changes meanwhile, or something differs: then the target is as it was.
    pub async fn copy_to(&self, target: &Self) -> Result<Vec<CopiedTable>, CopyError> {
        let tables = tables().await?;
        let mut from = self.snapshot().await?;
        // The first that is read is what fixes the moment.
        let feed = feed(&mut from).await?;
        let mut to = target.writing().await?.reading.link;
        unhurried(&mut to).await?;
        lock_if_empty(&mut to, &tables).await?;
        let mut copied = Vec::with_capacity(tables.len());
        for table in &tables {
            let mut digests = Vec::new();
            let mut walk = table.walk();
            while let Some(piece) = walk.next(&mut from).await? {
                table.write(&mut to, &piece).await?;
                digests.extend(piece.iter().map(|row| digest(row)));
            }
            copied.push(CopiedTable {
                name: table.name.clone(),
                rows: digests.len(),
                checksum: checksum(digests),
            });
        }
        for (table, copied) in tables.iter().zip(&copied) {
            let there = table.digests(&mut to).await?;
            if there.len() != copied.rows || checksum(there) != copied.checksum {
                return Err(CopyError::Differs(table.name.clone()));
            }
        }
        if self.reading().await?.feed().await? != feed {
            return Err(CopyError::Changed);
        }
        to.commit().await?;
        Ok(copied)
    }

    /// A connection that sees everything as of one moment.
    async fn snapshot(&self) -> Result<Link, StoreError> {
        let mut link = match &self.pools {
            Pools::Sqlite { read, .. } => {
                Link::new(To::Sqlite(within(MIGRATING, read.begin()).await?), MIGRATING, None)
            }
            Pools::Postgres(server) => Link::new(To::Postgres(server.begin().await?), MIGRATING, None),
        };
        if link.is_postgres() {
            link.script("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                .await?;
        }
        unhurried(&mut link).await?;
        Ok(link)
    }
}

/// A copy takes as long as it takes.
async fn unhurried(link: &mut Link) -> Result<(), StoreError> {
    link.patience = MIGRATING;
    if link.is_postgres() {
        link.script("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
            .await?;
    }
    Ok(())
}

/// Makes sure that nobody has been there, and that nobody comes before we are done.
async fn lock_if_empty(to: &mut Link, tables: &[Table]) -> Result<(), CopyError> {
    if to.is_postgres() {
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        to.script(&format!("LOCK TABLE {} IN EXCLUSIVE MODE", names.join(", ")))
            .await?;
    }
    for table in tables {
        let sql = if table.name == "instance" {
            // Made with the tables; what it says of an instance that nobody has used.
            "SELECT COUNT(*) AS n FROM instance WHERE feed <> 0 OR admin_settled <> 0".to_owned()
        } else {
            format!("SELECT COUNT(*) AS n FROM {}", table.name)
        };
        if to.one(AssertSqlSafe(sql), &[]).await?.get::<i64>("n")? > 0 {
            return Err(CopyError::NotEmpty(table.name.clone()));
        }
    }
    to.execute("DELETE FROM instance", &[]).await?;
    Ok(())
}

async fn feed(link: &mut Link) -> Result<i64, StoreError> {
    link.one("SELECT feed FROM instance WHERE one = 1", &[])
        .await?
        .get("feed")
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    Text,
    Bytes,
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cell {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Cell {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Int(value) => Value::MaybeInt(*value),
            Self::Text(value) => Value::MaybeText(value.as_deref()),
            Self::Bytes(value) => Value::MaybeBytes(value.as_deref()),
        }
    }
}

/// A table as the migrations make it.
#[derive(Clone, Debug)]
struct Table {
    name: String,
    columns: Vec<(String, Kind)>,
    /// The places of the primary key's columns.
    key: Vec<usize>,
}

/// All rows of a table by its primary key, a piece after the other.
struct Walk<'a> {
    table: &'a Table,
    after: Option<Vec<Cell>>,
    over: bool,
}

impl Walk<'_> {
    async fn next(&mut self, link: &mut Link) -> Result<Option<Vec<Vec<Cell>>>, StoreError> {
        if self.over {
            return Ok(None);
        }
        let piece = self.table.read(link, self.after.as_ref()).await?;
        self.over = piece.len() < PIECE;
        self.after = piece.last().cloned();
        Ok(Some(piece))
    }
}

impl Table {
    fn walk(&self) -> Walk<'_> {
        Walk {
            table: self,
            after: None,
            over: false,
        }
    }

    /// The rows that come after this one by the primary key, a piece of them.
    async fn read(&self, link: &mut Link, after: Option<&Vec<Cell>>) -> Result<Vec<Vec<Cell>>, StoreError> {
        let columns = self.names(0..self.columns.len());
        let key = self.names(self.key.iter().copied());
        let places: Vec<String> = (1..=self.key.len()).map(|place| format!("${place}")).collect();
        let since = if after.is_some() {
            format!("WHERE ({key}) > ({})", places.join(", "))
        } else {
            String::new()
        };
        let sql = format!(
            "SELECT {columns} FROM {} {since} ORDER BY {key} LIMIT {PIECE}",
            self.name
        );
        let values: Vec<Value<'_>> = after.map_or_else(Vec::new, |row| {
            self.key.iter().filter_map(|at| row.get(*at)).map(Cell::value).collect()
        });
        let rows = link.rows(AssertSqlSafe(sql), &values).await?;
        rows.iter().map(|row| self.cells(row)).collect()
    }

    async fn write(&self, link: &mut Link, rows: &[Vec<Cell>]) -> Result<(), StoreError> {
        let columns = self.names(0..self.columns.len());
        // SQLite takes 32,766 values in a statement, PostgreSQL 65,535.
        for piece in rows.chunks(50) {
            let mut place = 0;
            let rows: Vec<String> = piece
                .iter()
                .map(|row| {
                    let places: Vec<String> = row
                        .iter()
                        .map(|_| {
                            place += 1;
                            format!("${place}")
                        })
                        .collect();
                    format!("({})", places.join(", "))
                })
                .collect();
            let sql = format!("INSERT INTO {} ({columns}) VALUES {}", self.name, rows.join(", "));
            let values: Vec<Value<'_>> = piece.iter().flatten().map(Cell::value).collect();
            link.execute(AssertSqlSafe(sql), &values).await?;
        }
        Ok(())
    }

    async fn digests(&self, link: &mut Link) -> Result<Vec<[u8; 32]>, StoreError> {
        let mut digests = Vec::new();
        let mut walk = self.walk();
        while let Some(piece) = walk.next(link).await? {
            digests.extend(piece.iter().map(|row| digest(row)));
        }
        Ok(digests)
    }

    fn cells(&self, row: &Row) -> Result<Vec<Cell>, StoreError> {
        let cells = self.columns.iter().map(|(name, kind)| {
            Ok(match kind {
                Kind::Int => Cell::Int(row.get(name)?),
                Kind::Text => Cell::Text(row.get(name)?),
                Kind::Bytes => Cell::Bytes(row.get(name)?),
            })
        });
        cells.collect()
    }

    fn names(&self, places: impl Iterator<Item = usize>) -> String {
        let names: Vec<String> = places
            .filter_map(|at| self.columns.get(at))
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        names.join(", ")
    }
}

/// Lengths go before values, so that two rows that differ never read the same.
fn digest(row: &[Cell]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for cell in row {
        let value = match cell {
            Cell::Int(value) => value.map(|value| value.to_be_bytes().to_vec()),
            Cell::Text(value) => value.as_ref().map(|text| text.as_bytes().to_vec()),
            Cell::Bytes(value) => value.clone(),
        };
        match value {
            None => bytes.push(0),
            Some(value) => {
                bytes.push(1);
                bytes.extend((value.len() as u64).to_be_bytes());
                bytes.extend(value);
            }
        }
    }
    seal::sha256(&bytes)
}

/// Databases sort text differently; so the rows' digests are sorted.
fn checksum(mut digests: Vec<[u8; 32]>) -> String {
    digests.sort_unstable();
    let whole = seal::sha256(digests.as_flattened());
    whole
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// All tables as the migrations make them, each after those that it refers to. They are made once more, in memory, and
/// asked: then nothing can be forgotten.
async fn tables() -> Result<Vec<Table>, StoreError> {
    let failed = |error: sqlx::Error| StoreError::Unreadable(error.to_string());
    let mut scratch = SqliteConnectOptions::new()
        .in_memory(true)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(failed)?;
    for step in STEPS {
        let sql = AssertSqlSafe(in_its_words(step, false));
        sqlx::raw_sql(sql).execute(&mut scratch).await.map_err(failed)?;
    }
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    )
    .fetch_all(&mut scratch)
    .await
    .map_err(failed)?;
    let mut waiting = Vec::new();
    for name in names {
        let described = sqlx::query("SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid")
            .bind(&name)
            .fetch_all(&mut scratch)
            .await
            .map_err(failed)?;
        let mut columns = Vec::new();
        let mut key = Vec::new();
        for (at, column) in described.iter().enumerate() {
            let kind = match column.get::<String, _>("type").as_str() {
                "BIGINT" | "INTEGER" => Kind::Int,
                "TEXT" => Kind::Text,
                "BLOB" => Kind::Bytes,
                other => return Err(StoreError::Unreadable(format!("{name} has a column of type {other}"))),
            };
            columns.push((column.get::<String, _>("name"), kind));
            let place: i64 = column.get("pk");
            if place > 0 {
                key.push((place, at));
            }
        }
        key.sort_unstable();
        let refers: Vec<String> = sqlx::query_scalar("SELECT \"table\" FROM pragma_foreign_key_list($1)")
            .bind(&name)
            .fetch_all(&mut scratch)
            .await
            .map_err(failed)?;
        let key = key.into_iter().map(|(_, at)| at).collect();
        waiting.push((Table { name, columns, key }, refers));
    }
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut tables = Vec::new();
    while !waiting.is_empty() {
        let ready = |(table, refers): &mut (Table, Vec<String>)| {
            refers.iter().all(|other| *other == table.name || done.contains(other))
        };
        let now: Vec<(Table, Vec<String>)> = waiting.extract_if(.., ready).collect();
        if now.is_empty() {
            return Err(StoreError::Unreadable(
                "tables that refer to each other in a circle".to_owned(),
            ));
        }
        for (table, _) in now {
            done.insert(table.name.clone());
            tables.push(table);
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests;
