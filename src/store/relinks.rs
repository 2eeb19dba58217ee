//! Accounts that wait for their identity at another provider or directory.

use super::link::Row;
use super::users::UserRow;
use super::{Change, Reading, StoreError};
use crate::clock::UnixTime;
use crate::person::UserId;

/// A row of `relinks`: who next comes from this issuer with this address is this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelinkRow {
    pub(crate) issuer: String,
    pub(crate) email_folded: String,
    pub(crate) user: UserId,
    /// Where the identities are that it takes the place of.
    pub(crate) from_issuer: String,
    pub(crate) until: UnixTime,
}

impl RelinkRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            issuer: row.get("issuer")?,
            email_folded: row.get("email_folded")?,
            user: UserId::new(row.get("user_id")?),
            from_issuer: row.get("from_issuer")?,
            until: UnixTime(row.get("until")?),
        })
    }
}

impl Reading {
    pub(crate) async fn relink(&mut self, issuer: &str, email_folded: &str) -> Result<Option<RelinkRow>, StoreError> {
        let sql = "SELECT * FROM relinks WHERE issuer = $1 AND email_folded = $2";
        let row = self.link.row(sql, &[issuer.into(), email_folded.into()]).await?;
        row.as_ref().map(RelinkRow::read).transpose()
    }

    /// All identities at an issuer with their accounts.
    pub(crate) async fn identities_at(&mut self, issuer: &str) -> Result<Vec<(String, UserRow)>, StoreError> {
        let sql = "SELECT users.*, identities.subject AS subject_there FROM identities \
                   JOIN users ON users.id = identities.user_id WHERE identities.issuer = $1 \
                   ORDER BY users.sort_email, users.id, identities.subject";
        let rows = self.link.rows(sql, &[issuer.into()]).await?;
        rows.iter()
            .map(|row| Ok((row.get("subject_there")?, UserRow::read(row)?)))
            .collect()
    }
}

impl Change {
    pub(crate) async fn await_relink(&mut self, row: &RelinkRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO relinks (issuer, email_folded, user_id, from_issuer, until) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (issuer, email_folded) DO UPDATE SET user_id = $3, from_issuer = $4, until = $5";
        let values = [
            row.issuer.as_str().into(),
            row.email_folded.as_str().into(),
            row.user.as_str().into(),
            row.from_issuer.as_str().into(),
            row.until.0.into(),
        ];
        self.link.execute(sql, &values).await.map(drop)
    }

    pub(crate) async fn forget_relinks_of(&mut self, user: &UserId) -> Result<(), StoreError> {
        let sql = "DELETE FROM relinks WHERE user_id = $1";
        self.link.execute(sql, &[user.as_str().into()]).await.map(drop)
    }

    /// Of one move; says whose.
    pub(crate) async fn forget_relinks(&mut self, from: &str, to: &str) -> Result<Vec<UserId>, StoreError> {
        let sql = "DELETE FROM relinks WHERE from_issuer = $1 AND issuer = $2 RETURNING user_id";
        let rows = self.link.rows(sql, &[from.into(), to.into()]).await?;
        rows.iter().map(|row| row.get("user_id").map(UserId::new)).collect()
    }
}
