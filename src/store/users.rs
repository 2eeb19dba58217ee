//! People and the identities by which they come.

use super::link::Row;
use super::words::{sort_email, sort_name, sort_seen};
use super::{Change, Reading, StoreError};
use crate::clock::UnixTime;
use crate::person::{EmailAddress, Role, UserId};
use crate::telemetry::audit::Who;

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
    /// Raised by every change that an admin makes, so that a form drawn before is known to be old; not by sign-ins, which
    /// would make every form old that is open at that moment.
    pub(crate) version: i64,
    /// An invitation's end.
    pub(crate) expires: Option<UnixTime>,
    /// Who made the invitation, by name.
    pub(crate) invited_by: Option<String>,
}

/// A row of `identities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdentityRow {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) user: UserId,
    pub(crate) created: UnixTime,
}

impl IdentityRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            issuer: row.get("issuer")?,
            subject: row.get("subject")?,
            user: UserId::new(row.get("user_id")?),
            created: UnixTime(row.get("created")?),
        })
    }
}

impl UserRow {
    /// Somebody new, whom nobody has seen yet.
    pub(crate) fn new(id: UserId, email: Option<&EmailAddress>, role: Role, created: UnixTime) -> Self {
        Self {
            id,
            email: email.map(|email| (email.as_str().to_owned(), email.folded().to_owned())),
            username: None,
            name: None,
            role,
            deactivated: false,
            created,
            signed_in: None,
            version: 1,
            expires: None,
            invited_by: None,
        }
    }

    /// Where the account stands, as it is filtered by.
    pub(crate) const fn status(&self) -> &'static str {
        match (self.deactivated, self.signed_in) {
            (true, _) => "deactivated",
            (false, None) => "invited",
            (false, Some(_)) => "active",
        }
    }

    /// What people call the account: its address, else its user name, else its id.
    pub(crate) fn called(&self) -> &str {
        let username = self.username.as_ref().map(|(shown, _)| shown.as_str());
        let email = self.email.as_ref().map(|(shown, _)| shown.as_str());
        email.or(username).unwrap_or(self.id.as_str())
    }

    /// As whoever acts.
    pub(crate) fn as_actor(&self) -> Who {
        Who::Person {
            user: self.id.clone(),
            name: self.called().to_owned(),
        }
    }

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
            version: row.get("version")?,
            expires: row.get::<Option<i64>>("invited_until")?.map(UnixTime),
            invited_by: row.get("invited_by")?,
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

    /// Whether there is an active admin besides this one; with `invited`, somebody who can still become one counts, too.
    pub(crate) async fn another_admin(
        &mut self,
        id: &UserId,
        invited: bool,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        // Who came by the one-time link alone is active, and has no way in without another.
        let sql = "SELECT COUNT(*) AS n FROM users WHERE role = 'admin' AND id <> $1 \
                   AND ((status = 'active' AND EXISTS (SELECT 1 FROM identities WHERE user_id = users.id)) \
                   OR ($2 = 1 AND status = 'invited' AND (invited_until IS NULL OR invited_until > $3)))";
        let values = [id.as_str().into(), i64::from(invited).into(), now.0.into()];
        Ok(self.link.one(sql, &values).await?.get::<i64>("n")? > 0)
    }

    /// How many admins can sign in.
    pub(crate) async fn active_admins(&mut self) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM users WHERE role = 'admin' AND status = 'active' \
                   AND EXISTS (SELECT 1 FROM identities WHERE user_id = users.id)";
        self.link.one(sql, &[]).await?.get("n")
    }

    /// The identities of one person, oldest first.
    pub(crate) async fn identities(&mut self, id: &UserId) -> Result<Vec<IdentityRow>, StoreError> {
        let sql = "SELECT * FROM identities WHERE user_id = $1 ORDER BY created, issuer, subject";
        let rows = self.link.rows(sql, &[id.as_str().into()]).await?;
        rows.iter().map(IdentityRow::read).collect()
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
                   created, signed_in, version, invited_until, invited_by, status, sort_email, sort_name, sort_seen) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
        self.write_user(sql, user).await?;
        self.write_words(user).await
    }

    pub(crate) async fn update_user(&mut self, before: &UserRow, user: &UserRow) -> Result<(), StoreError> {
        let sql = "UPDATE users SET email = $2, email_folded = $3, username = $4, username_folded = $5, name = $6, \
                   role = $7, deactivated = $8, created = $9, signed_in = $10, version = $11, invited_until = $12, \
                   invited_by = $13, status = $14, sort_email = $15, sort_name = $16, sort_seen = $17 WHERE id = $1";
        self.write_user(sql, user).await?;
        if (&before.email, &before.username, &before.name) != (&user.email, &user.username, &user.name) {
            return self.write_words(user).await;
        }
        if (before.role, before.status(), before.signed_in) != (user.role, user.status(), user.signed_in) {
            return self.sort_words(user).await;
        }
        Ok(())
    }

    async fn write_user(&mut self, sql: &'static str, user: &UserRow) -> Result<(), StoreError> {
        let (email, username) = (user.email.as_ref(), user.username.as_ref());
        let sort_name = sort_name(user);
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
            user.version.into(),
            user.expires.map(|time| time.0).into(),
            user.invited_by.as_deref().into(),
            user.status().into(),
            sort_email(user).into(),
            sort_name.as_str().into(),
            sort_seen(user).into(),
        ];
        self.link.execute(sql, &values).await.map(drop)
    }

    /// Takes an identity away from whoever has it.
    pub(crate) async fn unlink_identity(&mut self, issuer: &str, subject: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM identities WHERE issuer = $1 AND subject = $2";
        self.link.execute(sql, &[issuer.into(), subject.into()]).await.map(drop)
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
