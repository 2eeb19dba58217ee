//! Sessions at rest.

use super::link::{Question, Row};
use super::{Change, Reading, StoreError, UserRow, Writing};
use crate::clock::UnixTime;
use crate::person::UserId;

/// Sessions whose use one statement writes down.
const TOUCHED_AT_ONCE: usize = 100;

/// A row of `sessions`.
#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    pub(crate) token_hash: Vec<u8>,
    pub(crate) sid: String,
    pub(crate) user: UserId,
    pub(crate) created: UnixTime,
    pub(crate) expires: UnixTime,
    pub(crate) last_seen: UnixTime,
    pub(crate) method: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) provider_sid: Option<String>,
    /// JSON.
    pub(crate) groups: String,
    pub(crate) groups_truncated: bool,
    /// JSON.
    pub(crate) amr: Option<String>,
    /// JSON.
    pub(crate) auth_time: Option<String>,
    /// Sealed under the `sid`.
    pub(crate) id_token: Option<Vec<u8>>,
    /// Sealed under the `sid`.
    pub(crate) refresh_token: Option<Vec<u8>>,
    pub(crate) user_agent: Option<String>,
    pub(crate) address: Option<String>,
}

/// A session as it is listed: without what is sealed in it.
pub(crate) struct SessionListed {
    pub(crate) sid: String,
    pub(crate) user: UserId,
    pub(crate) email: Option<String>,
    pub(crate) created: UnixTime,
    pub(crate) expires: UnixTime,
    pub(crate) last_seen: UnixTime,
    pub(crate) method: String,
    pub(crate) user_agent: Option<String>,
    pub(crate) address: Option<String>,
}

/// Which sessions are listed.
#[derive(Clone, Copy)]
pub(crate) enum Whose<'a> {
    Everybodys,
    Of(&'a UserId),
    /// The one of this public id.
    This(&'a str),
}

/// A session and its user.
pub(crate) struct SessionWithUser {
    pub(crate) session: SessionRow,
    pub(crate) user: UserRow,
}

impl SessionRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            token_hash: row.get("token_hash")?,
            sid: row.get("sid")?,
            user: UserId::new(row.get("user_id")?),
            created: UnixTime(row.get("session_created")?),
            expires: UnixTime(row.get("expires")?),
            last_seen: UnixTime(row.get("last_seen")?),
            method: row.get("method")?,
            issuer: row.get("issuer")?,
            subject: row.get("subject")?,
            provider_sid: row.get("provider_sid")?,
            groups: row.get("provider_groups")?,
            groups_truncated: row.get::<i64>("groups_truncated")? != 0,
            amr: row.get("amr")?,
            auth_time: row.get("auth_time")?,
            id_token: row.get("id_token")?,
            refresh_token: row.get("refresh_token")?,
            user_agent: row.get("user_agent")?,
            address: row.get("address")?,
        })
    }

    fn read_with_user(row: &Row) -> Result<SessionWithUser, StoreError> {
        Ok(SessionWithUser {
            session: Self::read(row)?,
            user: UserRow::read(row)?,
        })
    }
}

impl SessionListed {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            sid: row.get("sid")?,
            user: UserId::new(row.get("user_id")?),
            email: row.get("email")?,
            created: UnixTime(row.get("session_created")?),
            expires: UnixTime(row.get("expires")?),
            last_seen: UnixTime(row.get("last_seen")?),
            method: row.get("method")?,
            user_agent: row.get("user_agent")?,
            address: row.get("address")?,
        })
    }
}

/// Both tables have a `created`.
macro_rules! select_sessions {
    ($rest:literal) => {
        concat!(
            "SELECT users.*, sessions.created AS session_created, token_hash, sid, user_id, expires, last_seen, method, ",
            "issuer, subject, provider_sid, provider_groups, groups_truncated, amr, auth_time, id_token, refresh_token, ",
            "user_agent, address ",
            "FROM sessions JOIN users ON users.id = sessions.user_id ",
            $rest
        )
    };
}

impl Reading {
    /// The session of this hash with its user, and the number of the newest change, all as of one moment.
    pub(crate) async fn session(&mut self, hash: &[u8]) -> Result<(Option<SessionWithUser>, i64), StoreError> {
        // The feed's row is always there, the session's perhaps not; one statement sees one moment.
        let sql = concat!(
            "SELECT instance.feed AS feed_now, found.* FROM instance LEFT JOIN (",
            select_sessions!("WHERE token_hash = $1"),
            ") AS found ON 1 = 1 WHERE instance.one = 1"
        );
        let row = self.link.one(sql, &[hash.into()]).await?;
        let feed = row.get("feed_now")?;
        if row.get::<Option<String>>("sid")?.is_none() {
            return Ok((None, feed));
        }
        Ok((Some(SessionRow::read_with_user(&row)?), feed))
    }

    /// Live sessions, newest first.
    pub(crate) async fn sessions(
        &mut self,
        whose: Whose<'_>,
        limit: i64,
        now: UnixTime,
    ) -> Result<Vec<SessionListed>, StoreError> {
        let mut question = Question::default();
        question
            .say("SELECT sid, user_id, email, sessions.created AS session_created, expires, last_seen, method, user_agent, ")
            .say("address FROM sessions JOIN users ON users.id = sessions.user_id WHERE expires > ")
            .value(now.0);
        match whose {
            Whose::Everybodys => &mut question,
            Whose::Of(user) => question.say(" AND user_id = ").value(user.as_str()),
            Whose::This(sid) => question.say(" AND sid = ").value(sid),
        };
        question.say(" ORDER BY sessions.created DESC, sid LIMIT ").value(limit);
        let rows = self.link.answer(question).await?;
        rows.iter().map(SessionListed::read).collect()
    }

    /// Who has a live session.
    pub(crate) async fn users_with_sessions(&mut self, now: UnixTime) -> Result<Vec<UserId>, StoreError> {
        let sql = "SELECT DISTINCT user_id FROM sessions WHERE expires > $1 ORDER BY user_id";
        let rows = self.link.rows(sql, &[now.0.into()]).await?;
        rows.iter().map(|row| row.get("user_id").map(UserId::new)).collect()
    }

    /// Whose session this is.
    pub(crate) async fn user_of_session(&mut self, sid: &str) -> Result<Option<UserRow>, StoreError> {
        let sql = "SELECT users.* FROM sessions JOIN users ON users.id = sessions.user_id WHERE sid = $1";
        let row = self.link.row(sql, &[sid.into()]).await?;
        row.as_ref().map(UserRow::read).transpose()
    }

    /// The sealed ID token and refresh token of a session.
    pub(crate) async fn provider_tokens(
        &mut self,
        sid: &str,
    ) -> Result<(Option<Vec<u8>>, Option<Vec<u8>>), StoreError> {
        let sql = "SELECT id_token, refresh_token FROM sessions WHERE sid = $1";
        match self.link.row(sql, &[sid.into()]).await? {
            Some(row) => Ok((row.get("id_token")?, row.get("refresh_token")?)),
            None => Ok((None, None)),
        }
    }

    /// Public ids of all sessions in the store whose user may have one, with when they end.
    pub(crate) async fn live_sids(&mut self, now: UnixTime) -> Result<Vec<(String, UnixTime)>, StoreError> {
        let sql = "SELECT sid, expires FROM sessions JOIN users ON users.id = sessions.user_id \
                   WHERE expires > $1 AND deactivated = 0";
        read_sids(&self.link.rows(sql, &[now.0.into()]).await?)
    }

    /// Public ids of one user's sessions, with when they end.
    pub(crate) async fn sids_of(&mut self, user: &str) -> Result<Vec<(String, UnixTime)>, StoreError> {
        let sql = "SELECT sid, expires FROM sessions JOIN users ON users.id = sessions.user_id \
                   WHERE user_id = $1 AND deactivated = 0";
        read_sids(&self.link.rows(sql, &[user.into()]).await?)
    }

    pub(crate) async fn any_session_unused(&mut self, since: UnixTime) -> Result<bool, StoreError> {
        let sql = "SELECT sid FROM sessions WHERE last_seen < $1 LIMIT 1";
        Ok(self.link.row(sql, &[since.0.into()]).await?.is_some())
    }

    /// When a session ends; None if it is not there.
    pub(crate) async fn session_expires(&mut self, sid: &str) -> Result<Option<UnixTime>, StoreError> {
        let row = self
            .link
            .row("SELECT expires FROM sessions WHERE sid = $1", &[sid.into()])
            .await?;
        row.map(|row| row.get("expires").map(UnixTime)).transpose()
    }
}

impl Writing {
    pub(crate) async fn session_last_seen(&mut self, sid: &str) -> Result<Option<UnixTime>, StoreError> {
        let row = self
            .link
            .row("SELECT last_seen FROM sessions WHERE sid = $1", &[sid.into()])
            .await?;
        row.map(|row| row.get("last_seen").map(UnixTime)).transpose()
    }

    /// Writes down when sessions were last used, many with one statement: a row is nobody else's while this goes on.
    pub(crate) async fn touch_sessions(&mut self, seen: &[(&str, UnixTime)]) -> Result<(), StoreError> {
        for piece in seen.chunks(TOUCHED_AT_ONCE) {
            let Some(last) = piece.last() else { continue };
            // The last once more, up to a whole piece: one text, which the database plans once.
            let rows = piece.iter().chain(std::iter::repeat(last)).take(TOUCHED_AT_ONCE);
            let mut question = Question::default();
            // Both databases call them so.
            question.say("UPDATE sessions SET last_seen = fresh.column2 FROM (VALUES ");
            for (at, (sid, last_seen)) in rows.enumerate() {
                question.say(if at == 0 { "(" } else { ", (" }).value(*sid).say(", ");
                question.value(last_seen.0).say(")");
            }
            question.say(") AS fresh WHERE sessions.sid = fresh.column1 AND sessions.last_seen < fresh.column2");
            self.link.answer(question).await?;
        }
        Ok(())
    }
}

impl Change {
    pub(crate) async fn insert_session(&mut self, row: &SessionRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO sessions (token_hash, sid, user_id, created, expires, last_seen, method, issuer, subject, \
                   provider_sid, provider_groups, groups_truncated, amr, auth_time, id_token, refresh_token, user_agent, \
                   address) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
        let values = [
            row.token_hash.as_slice().into(),
            row.sid.as_str().into(),
            row.user.as_str().into(),
            row.created.0.into(),
            row.expires.0.into(),
            row.last_seen.0.into(),
            row.method.as_str().into(),
            row.issuer.as_str().into(),
            row.subject.as_str().into(),
            row.provider_sid.as_deref().into(),
            row.groups.as_str().into(),
            i64::from(row.groups_truncated).into(),
            row.amr.as_deref().into(),
            row.auth_time.as_deref().into(),
            row.id_token.as_deref().into(),
            row.refresh_token.as_deref().into(),
            row.user_agent.as_deref().into(),
            row.address.as_deref().into(),
        ];
        self.link.execute(sql, &values).await.map(drop)
    }

    /// Lets a session end at `expires` if it would later; says its public id, if it is there.
    pub(crate) async fn shorten_session(
        &mut self,
        hash: &[u8],
        expires: UnixTime,
    ) -> Result<Option<String>, StoreError> {
        let sql = "UPDATE sessions SET expires = $2 WHERE token_hash = $1 AND expires > $2 RETURNING sid";
        let row = self.link.row(sql, &[hash.into(), expires.0.into()]).await?;
        row.map(|row| row.get("sid")).transpose()
    }

    pub(crate) async fn delete_session(&mut self, sid: &str) -> Result<bool, StoreError> {
        Ok(self
            .link
            .execute("DELETE FROM sessions WHERE sid = $1", &[sid.into()])
            .await?
            > 0)
    }

    /// Those that began by this identity; says their public ids.
    pub(crate) async fn delete_sessions_by(&mut self, issuer: &str, subject: &str) -> Result<Vec<String>, StoreError> {
        let sql = "DELETE FROM sessions WHERE issuer = $1 AND subject = $2 RETURNING sid";
        let rows = self.link.rows(sql, &[issuer.into(), subject.into()]).await?;
        rows.iter().map(|row| row.get("sid")).collect()
    }

    /// Those that were last used before, at most so many; says their public ids.
    pub(crate) async fn delete_sessions_unused(
        &mut self,
        since: UnixTime,
        most: i64,
    ) -> Result<Vec<String>, StoreError> {
        let sql = "DELETE FROM sessions WHERE token_hash IN \
                   (SELECT token_hash FROM sessions WHERE last_seen < $1 LIMIT $2) RETURNING sid";
        let rows = self.link.rows(sql, &[since.0.into(), most.into()]).await?;
        rows.iter().map(|row| row.get("sid")).collect()
    }

    pub(crate) async fn delete_sessions_of(&mut self, user: &UserId) -> Result<u64, StoreError> {
        self.link
            .execute("DELETE FROM sessions WHERE user_id = $1", &[user.as_str().into()])
            .await
    }
}

fn read_sids(rows: &[Row]) -> Result<Vec<(String, UnixTime)>, StoreError> {
    rows.iter()
        .map(|row| Ok((row.get("sid")?, UnixTime(row.get("expires")?))))
        .collect()
}
