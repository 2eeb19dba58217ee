//! The one-time link into a broken set-up, and wrong passwords as they are counted for all processes together.

use super::{Change, Reading, StoreError, Writing};
use crate::clock::UnixTime;
use crate::store::UserRow;

/// The row of `restore_link`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkRow {
    pub(crate) hash: Vec<u8>,
    pub(crate) until: UnixTime,
    pub(crate) used: bool,
}

/// What came of taking a place among wrong passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The place's number.
    Place(i64),
    /// All are taken; since when each.
    Full(Vec<UnixTime>),
}

impl Reading {
    pub(crate) async fn restore_link(&mut self) -> Result<Option<LinkRow>, StoreError> {
        let sql = "SELECT token_hash, until, used FROM restore_link WHERE one = 1";
        let row = self.link.row(sql, &[]).await?;
        row.map(|row| {
            Ok(LinkRow {
                hash: row.get("token_hash")?,
                until: UnixTime(row.get("until")?),
                used: row.get::<i64>("used")? != 0,
            })
        })
        .transpose()
    }

    /// The active admin whose account is the oldest.
    pub(crate) async fn oldest_admin(&mut self) -> Result<Option<UserRow>, StoreError> {
        let sql = "SELECT * FROM users WHERE role = 'admin' AND deactivated = 0 AND signed_in IS NOT NULL \
                   ORDER BY created, id LIMIT 1";
        let row = self.link.row(sql, &[]).await?;
        row.as_ref().map(UserRow::read).transpose()
    }

    /// When the places that are taken were, those of longer ago than `over` aside.
    pub(crate) async fn failures(
        &mut self,
        whose: &[u8],
        over: UnixTime,
        ahead: UnixTime,
    ) -> Result<Vec<(i64, UnixTime)>, StoreError> {
        let sql = "SELECT slot, at FROM failures WHERE whose = $1 AND at > $2 AND at <= $3";
        let rows = self
            .link
            .rows(sql, &[whose.into(), over.0.into(), ahead.0.into()])
            .await?;
        rows.iter()
            .map(|row| Ok((row.get("slot")?, UnixTime(row.get("at")?))))
            .collect()
    }
}

impl Writing {
    /// Takes one of `most` places. Two processes never have the same one: whoever writes second finds it taken.
    pub(crate) async fn take_failure(
        &mut self,
        whose: &[u8],
        most: i64,
        over: UnixTime,
        ahead: UnixTime,
        now: UnixTime,
    ) -> Result<Taken, StoreError> {
        let taken = self.failures(whose, over, ahead).await?;
        let sql = "INSERT INTO failures (whose, slot, at) VALUES ($1, $2, $3) ON CONFLICT (whose, slot) DO UPDATE \
                   SET at = excluded.at WHERE failures.at <= $4 OR failures.at > $5";
        let mut full: Vec<UnixTime> = Vec::new();
        for slot in 0..most {
            if let Some((_, at)) = taken.iter().find(|(other, _)| *other == slot) {
                full.push(*at);
                continue;
            }
            let values = [whose.into(), slot.into(), now.0.into(), over.0.into(), ahead.0.into()];
            if self.link.execute(sql, &values).await? == 1 {
                return Ok(Taken::Place(slot));
            }
            full.push(now);
        }
        Ok(Taken::Full(full))
    }

    pub(crate) async fn give_failure_back(&mut self, whose: &[u8], slot: i64, at: UnixTime) -> Result<(), StoreError> {
        let sql = "DELETE FROM failures WHERE whose = $1 AND slot = $2 AND at = $3";
        self.link
            .execute(sql, &[whose.into(), slot.into(), at.0.into()])
            .await
            .map(drop)
    }

    pub(crate) async fn forget_failures(&mut self, whose: &[u8]) -> Result<(), StoreError> {
        self.link
            .execute("DELETE FROM failures WHERE whose = $1", &[whose.into()])
            .await
            .map(drop)
    }
}

impl Change {
    pub(crate) async fn put_restore_link(&mut self, hash: &[u8], until: UnixTime) -> Result<(), StoreError> {
        self.drop_restore_link().await?;
        let sql = "INSERT INTO restore_link (one, token_hash, until, used) VALUES (1, $1, $2, 0)";
        self.link.execute(sql, &[hash.into(), until.0.into()]).await.map(drop)
    }

    pub(crate) async fn drop_restore_link(&mut self) -> Result<(), StoreError> {
        self.link.execute("DELETE FROM restore_link", &[]).await.map(drop)
    }

    /// Uses the link up; false if it is another, used, or over.
    pub(crate) async fn use_restore_link(&mut self, hash: &[u8], now: UnixTime) -> Result<bool, StoreError> {
        let sql = "UPDATE restore_link SET used = 1 WHERE token_hash = $1 AND used = 0 AND until > $2";
        Ok(self.link.execute(sql, &[hash.into(), now.0.into()]).await? == 1)
    }
}
