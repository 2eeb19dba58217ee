//! People and the identities by which they come.

use super::link::Row;
use super::{Change, Reading, StoreError};
use crate::clock::UnixTime;
use crate::person::{EmailAddress, Role, UserId};

/// A row of `users`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserRow {
    pub(crate) id: UserId,
    /// As written, and folded.
    pub(crate) email: Option<(String, String)>,
    /// As shown, and folded.
    pub(crate) username: Option<(String, String)>,
    pub(crate) name: Option<String>,
    pub(crate) role: Role,
    pub(crate) deactivated: bool,
    pub(crate) created: UnixTime,
    pub(crate) signed_in: Option<UnixTime>,
}

impl UserRow {
    pub(super) fn read(row: &Row) -> Result<Self, StoreError> {
        let pair = |shown: Option<String>, folded: Option<String>| shown.zip(folded);
        Ok(Self {
            id: UserId::new(row.get("id")?),
            email: pair(row.get("email")?, row.get("email_folded")?),
            username: pair(row.get("username")?, row.get("username_folded")?),
            name: row.get("name")?,
            role: row
                .get::<&str>("role")?
                .parse()
                .map_err(|_| StoreError::Unreadable("a role that this program does not know".to_owned()))?,
            deactivated: row.get::<i64>("deactivated")? != 0,
            created: UnixTime(row.get("created")?),
            signed_in: row.get::<Option<i64>>("signed_in")?.map(UnixTime),
        })
    }

    pub(crate) fn set_email(&mut self, email: &EmailAddress) {
        self.email = Some((email.as_str().to_owned(), email.folded().to_owned()));
    }
}

impl Reading {
    pub(crate) async fn user(&mut self, id: &str) -> Result<Option<UserRow>, StoreError> {
        let row = self.link.row("SELECT * FROM users WHERE id = $1", &[id.into()]).await?;
        row.as_ref().map(UserRow::read).transpose()
    }

    pub(crate) async fn user_by_identity(
        &mut self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<UserRow>, StoreError> {
        let sql = "SELECT users.* FROM users JOIN identities ON identities.user_id = users.id \
                   WHERE identities.issuer = $1 AND identities.subject = $2";
        let row = self.link.row(sql, &[issuer.into(), subject.into()]).await?;
        row.as_ref().map(UserRow::read).transpose()
    }

    pub(crate) async fn user_by_email(&mut self, folded: &str) -> Result<Option<UserRow>, StoreError> {
        let row = self
            .link
            .row("SELECT * FROM users WHERE email_folded = $1", &[folded.into()])
            .await?;
        row.as_ref().map(UserRow::read).transpose()
    }

    /// Whether somebody else goes by this name, in any of the columns by which people are named.
    pub(crate) async fn name_taken(&mut self, folded: &str, except: &UserId) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM users WHERE id <> $2 \
                   AND (username_folded = $1 OR email_folded = $1 OR id = $1)";
        let row = self.link.one(sql, &[folded.into(), except.as_str().into()]).await?;
        Ok(row.get::<i64>("n")? > 0)
    }

    pub(crate) async fn has_identity(&mut self, id: &UserId) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM identities WHERE user_id = $1";
        Ok(self.link.one(sql, &[id.as_str().into()]).await?.get::<i64>("n")? > 0)
    }

    pub(crate) async fn users(&mut self) -> Result<Vec<UserRow>, StoreError> {
        let rows = self.link.rows("SELECT * FROM users ORDER BY created, id", &[]).await?;
        rows.iter().map(UserRow::read).collect()
    }

    pub(crate) async fn any_user(&mut self) -> Result<bool, StoreError> {
        Ok(self
            .link
            .one("SELECT COUNT(*) AS n FROM users", &[])
            .await?
            .get::<i64>("n")?
            > 0)
    }

    /// How many admins besides this one are not deactivated.
    pub(crate) async fn other_active_admins(&mut self, id: &UserId) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM users WHERE role = 'admin' AND deactivated = 0 AND id <> $1";
        self.link.one(sql, &[id.as_str().into()]).await?.get("n")
    }

    /// Whether it is decided who the first admin is.
    pub(crate) async fn admin_settled(&mut self) -> Result<bool, StoreError> {
        let row = self
            .link
            .one("SELECT admin_settled FROM instance WHERE one = 1", &[])
            .await?;
        Ok(row.get::<i64>("admin_settled")? != 0)
    }
}

impl Change {
    pub(crate) async fn insert_user(&mut self, user: &UserRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO users (id, email, email_folded, username, username_folded, name, role, deactivated, \
                   created, signed_in) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        self.write_user(sql, user).await
    }

    pub(crate) async fn update_user(&mut self, user: &UserRow) -> Result<(), StoreError> {
        let sql = "UPDATE users SET email = $2, email_folded = $3, username = $4, username_folded = $5, name = $6, \
                   role = $7, deactivated = $8, created = $9, signed_in = $10 WHERE id = $1";
        self.write_user(sql, user).await
    }

    async fn write_user(&mut self, sql: &'static str, user: &UserRow) -> Result<(), StoreError> {
        let (email, username) = (user.email.as_ref(), user.username.as_ref());
        let values = [
            user.id.as_str().into(),
            email.map(|(shown, _)| shown.as_str()).into(),
            email.map(|(_, folded)| folded.as_str()).into(),
            username.map(|(shown, _)| shown.as_str()).into(),
            username.map(|(_, folded)| folded.as_str()).into(),
            user.name.as_deref().into(),
            user.role.as_str().into(),
            i64::from(user.deactivated).into(),
            user.created.0.into(),
            user.signed_in.map(|time| time.0).into(),
        ];
        self.link.execute(sql, &values).await.map(drop)
    }

    pub(crate) async fn link_identity(&mut self, issuer: &str, subject: &str, user: &UserId) -> Result<(), StoreError> {
        let values = [issuer.into(), subject.into(), user.as_str().into(), self.now.0.into()];
        self.link
            .execute(
                "INSERT INTO identities (issuer, subject, user_id, created) VALUES ($1, $2, $3, $4)",
                &values,
            )
            .await
            .map(drop)
    }

    /// With the identities and sessions.
    pub(crate) async fn delete_user(&mut self, id: &UserId) -> Result<(), StoreError> {
        self.link
            .execute("DELETE FROM users WHERE id = $1", &[id.as_str().into()])
            .await
            .map(drop)
    }

    pub(crate) async fn settle_admin(&mut self) -> Result<(), StoreError> {
        self.link
            .execute("UPDATE instance SET admin_settled = 1 WHERE one = 1", &[])
            .await
            .map(drop)
    }
}
