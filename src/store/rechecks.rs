//! Sessions whose identity is asked about again while they live.

use super::link::Row;
use super::{Change, Reading, StoreError, Writing};
use crate::clock::UnixTime;
use crate::person::UserId;

/// A session that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecheckRow {
    pub(crate) sid: String,
    pub(crate) user: UserId,
    pub(crate) subject: String,
    pub(crate) created: UnixTime,
    pub(crate) vouched: UnixTime,
    /// JSON.
    pub(crate) groups: String,
    pub(crate) groups_truncated: bool,
}

macro_rules! columns {
    () => {
        "sid, user_id, subject, created, vouched, provider_groups, groups_truncated"
    };
}
macro_rules! is_due {
    () => {
        "(recheck_at <= $3 OR recheck_at > $4 OR (recheck_at IS NULL AND created <= $5))"
    };
}

impl RecheckRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let created = row.get("created")?;
        Ok(Self {
            sid: row.get("sid")?,
            user: UserId::new(row.get("user_id")?),
            subject: row.get("subject")?,
            created: UnixTime(created),
            vouched: UnixTime(row.get::<Option<i64>>("vouched")?.unwrap_or(created)),
            groups: row.get("provider_groups")?,
            groups_truncated: row.get::<i64>("groups_truncated")? != 0,
        })
    }
}

impl Reading {
    /// Sessions of a method that nobody has vouched for since `before`.
    pub(crate) async fn unvouched(
        &mut self,
        method: &str,
        before: UnixTime,
        now: UnixTime,
    ) -> Result<Vec<RecheckRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM sessions WHERE method = $1 AND COALESCE(vouched, created) <= $2 AND expires > $3"
        );
        let rows = self
            .link
            .rows(sql, &[method.into(), before.0.into(), now.0.into()])
            .await?;
        rows.iter().map(RecheckRow::read).collect()
    }
}

impl Writing {
    /// Takes up to `most` sessions of a method that are due, so that nobody else does before `lease`. One that was planned
    /// further ahead than an `interval` is due, too: the interval was longer then.
    pub(crate) async fn claim_rechecks(
        &mut self,
        method: &str,
        interval: i64,
        lease: UnixTime,
        most: i64,
        now: UnixTime,
    ) -> Result<Vec<RecheckRow>, StoreError> {
        // The condition stands twice: PostgreSQL looks at a row again that another replica has taken meanwhile.
        let sql = concat!(
            "UPDATE sessions SET recheck_at = $2 WHERE method = $1 AND ",
            is_due!(),
            " AND sid IN (SELECT sid FROM sessions WHERE method = $1 AND expires > $3 AND ",
            is_due!(),
            " ORDER BY COALESCE(recheck_at, created) LIMIT $6) RETURNING ",
            columns!()
        );
        let values = [
            method.into(),
            lease.0.into(),
            now.0.into(),
            now.plus(interval).0.into(),
            now.plus(-interval).0.into(),
            most.into(),
        ];
        self.link
            .rows(sql, &values)
            .await?
            .iter()
            .map(RecheckRow::read)
            .collect()
    }

    pub(crate) async fn vouch(&mut self, sid: &str, again: UnixTime, now: UnixTime) -> Result<(), StoreError> {
        let sql = "UPDATE sessions SET vouched = $2, recheck_at = $3 WHERE sid = $1";
        self.link
            .execute(sql, &[sid.into(), now.0.into(), again.0.into()])
            .await
            .map(drop)
    }
}

impl Change {
    pub(crate) async fn set_session_groups(
        &mut self,
        sid: &str,
        groups: &str,
        truncated: bool,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE sessions SET provider_groups = $2, groups_truncated = $3 WHERE sid = $1";
        self.link
            .execute(sql, &[sid.into(), groups.into(), i64::from(truncated).into()])
            .await
            .map(drop)
    }
}
