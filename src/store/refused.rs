//! Sign-ins that were refused because nobody had added the person: for admins to approve.

use super::link::Row;
use super::{Reading, StoreError, Writing};
use crate::clock::UnixTime;

/// So many are kept, the newest: strangers decide how many knock.
const MOST: i64 = 1_000;

/// A row of `refused`.
#[derive(Clone, Debug)]
pub(crate) struct RefusedRow {
    pub(crate) id: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// As written, and folded.
    pub(crate) email: Option<(String, String)>,
    pub(crate) username: Option<String>,
    pub(crate) name: Option<String>,
    /// The last time.
    pub(crate) at: UnixTime,
    pub(crate) times: i64,
}

impl RefusedRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let shown: Option<String> = row.get("email")?;
        Ok(Self {
            id: row.get("id")?,
            issuer: row.get("issuer")?,
            subject: row.get("subject")?,
            email: shown.zip(row.get("email_folded")?),
            username: row.get("username")?,
            name: row.get("name")?,
            at: UnixTime(row.get("at")?),
            times: row.get("times")?,
        })
    }
}

impl Reading {
    /// The newest first, and how many there are.
    pub(crate) async fn refused(&mut self, limit: i64) -> Result<(Vec<RefusedRow>, i64), StoreError> {
        let sql = "SELECT * FROM refused ORDER BY at DESC, id LIMIT $1";
        let rows = self.link.rows(sql, &[limit.min(MOST).into()]).await?;
        let count = self.link.one("SELECT COUNT(*) AS n FROM refused", &[]).await?;
        let rows = rows.iter().map(RefusedRow::read).collect::<Result<_, _>>()?;
        Ok((rows, count.get("n")?))
    }

    pub(crate) async fn refused_one(&mut self, id: &str) -> Result<Option<RefusedRow>, StoreError> {
        let row = self
            .link
            .row("SELECT * FROM refused WHERE id = $1", &[id.into()])
            .await?;
        row.as_ref().map(RefusedRow::read).transpose()
    }
}

impl Writing {
    /// Remembers one; who knocks again and looks the same is the same row. Who looks otherwise is another one to decide on:
    /// what an admin saw is what they approve.
    pub(crate) async fn remember_refused(&mut self, row: &RefusedRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO refused (id, issuer, subject, email, email_folded, username, name, at, times) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1) ON CONFLICT (issuer, subject) DO UPDATE SET \
                   id = CASE WHEN COALESCE(refused.email, '') = COALESCE(excluded.email, '') \
                   AND COALESCE(refused.username, '') = COALESCE(excluded.username, '') \
                   AND COALESCE(refused.name, '') = COALESCE(excluded.name, '') THEN refused.id ELSE excluded.id END, \
                   email = $4, email_folded = $5, username = $6, name = $7, at = $8, times = refused.times + 1";
        let values = [
            row.id.as_str().into(),
            row.issuer.as_str().into(),
            row.subject.as_str().into(),
            row.email.as_ref().map(|(shown, _)| shown.as_str()).into(),
            row.email.as_ref().map(|(_, folded)| folded.as_str()).into(),
            row.username.as_deref().into(),
            row.name.as_deref().into(),
            row.at.0.into(),
        ];
        self.link.execute(sql, &values).await?;
        let sql =
            "DELETE FROM refused WHERE id IN (SELECT id FROM refused ORDER BY at DESC, id DESC LIMIT $1 OFFSET $2)";
        self.link.execute(sql, &[MOST.into(), MOST.into()]).await.map(drop)
    }

    pub(crate) async fn forget_refused(&mut self, id: &str) -> Result<(), StoreError> {
        self.link
            .execute("DELETE FROM refused WHERE id = $1", &[id.into()])
            .await
            .map(drop)
    }

    /// Whoever came by this identity or with this address is in, or invited.
    pub(crate) async fn forget_refused_person(
        &mut self,
        identity: Option<(&str, &str)>,
        email_folded: Option<&str>,
    ) -> Result<(), StoreError> {
        if let Some((issuer, subject)) = identity {
            let sql = "DELETE FROM refused WHERE issuer = $1 AND subject = $2";
            self.link.execute(sql, &[issuer.into(), subject.into()]).await?;
        }
        if let Some(email) = email_folded {
            self.link
                .execute("DELETE FROM refused WHERE email_folded = $1", &[email.into()])
                .await?;
        }
        Ok(())
    }
}
