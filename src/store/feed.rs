//! The change feed: what other processes must hear of, in the order in which it was committed.

use super::{Change, Reading, StoreError, Writing};
use crate::clock::UnixTime;

/// What an entry of the feed is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// Something that an assertion tells about a user changed; the subject is the user's id.
    User,
    /// Sessions of a user were ended; the subject is the user's id.
    UserEnded,
    /// A session was ended or shortened; the subject is its public id.
    Session,
    /// The signing keys changed.
    Keys,
    /// Something that the assertions of many tell about their teams changed; the subject is the team's id.
    Team,
}

impl ChangeKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::UserEnded => "user-ended",
            Self::Session => "session",
            Self::Keys => "keys",
            Self::Team => "team",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::User, Self::UserEnded, Self::Session, Self::Keys, Self::Team]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// One entry of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedEntry {
    pub(crate) feed: i64,
    /// None for a kind that a newer program writes: then everything must be looked at again.
    pub(crate) kind: Option<ChangeKind>,
    pub(crate) subject: String,
}

impl Change {
    pub(super) async fn begin(mut writing: Writing, now: UnixTime) -> Result<Self, StoreError> {
        // Whoever listens hears it when this is committed, and not before.
        let sql = if writing.link.is_postgres() {
            "UPDATE instance SET feed = feed + 1 WHERE one = 1 RETURNING feed, pg_notify('vestibule', '')"
        } else {
            "UPDATE instance SET feed = feed + 1 WHERE one = 1 RETURNING feed"
        };
        let row = writing.link.one(sql, &[]).await?;
        let feed = row.get("feed")?;
        Ok(Self {
            writing,
            feed,
            entries: 0,
            now,
        })
    }

    pub(crate) async fn publish(&mut self, kind: ChangeKind, subject: &str) -> Result<(), StoreError> {
        self.entries += 1;
        let values = [
            self.feed.into(),
            self.entries.into(),
            kind.as_str().into(),
            subject.into(),
            self.now.0.into(),
        ];
        self.link
            .execute(
                "INSERT INTO changes (feed, part, kind, subject, at) VALUES ($1, $2, $3, $4, $5)",
                &values,
            )
            .await
            .map(drop)
    }
}

impl Reading {
    /// The number of the newest committed change.
    pub(crate) async fn feed(&mut self) -> Result<i64, StoreError> {
        self.link
            .one("SELECT feed FROM instance WHERE one = 1", &[])
            .await?
            .get("feed")
    }

    /// Entries with a greater number, in order.
    pub(crate) async fn changes_after(&mut self, feed: i64) -> Result<Vec<FeedEntry>, StoreError> {
        let sql = "SELECT feed, kind, subject FROM changes WHERE feed > $1 ORDER BY feed, part";
        self.link
            .rows(sql, &[feed.into()])
            .await?
            .iter()
            .map(|row| {
                Ok(FeedEntry {
                    feed: row.get("feed")?,
                    kind: ChangeKind::parse(row.get("kind")?),
                    subject: row.get("subject")?,
                })
            })
            .collect()
    }
}

/// Sessions that one sweep takes away.
pub(crate) const SWEPT_AT_ONCE: i64 = 2000;

impl Writing {
    /// Marks an attempt as used; false if it was before.
    pub(crate) async fn use_attempt(&mut self, id: &str, until: UnixTime) -> Result<bool, StoreError> {
        let sql = "INSERT INTO used_attempts (id, until) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        Ok(self.link.execute(sql, &[id.into(), until.0.into()]).await? == 1)
    }

    /// Takes away what nobody can ask for any more: expired sessions and attempts, feed entries of over an hour ago. Of
    /// sessions at most [`SWEPT_AT_ONCE`]: a hundred thousand that are over together must not hold up who signs in. Says how
    /// many it were.
    ///
    /// A session's row stays for some minutes: another process may have a clock that is behind, and what it still has as live
    /// must be within reach of a revocation.
    pub(crate) async fn sweep(&mut self, now: UnixTime) -> Result<u64, StoreError> {
        let expired = self
            .link
            .execute(
                "DELETE FROM sessions WHERE token_hash IN \
                 (SELECT token_hash FROM sessions WHERE expires <= $1 LIMIT $2)",
                &[now.plus(-600).0.into(), SWEPT_AT_ONCE.into()],
            )
            .await?;
        self.link
            .execute("DELETE FROM used_attempts WHERE until <= $1", &[now.0.into()])
            .await?;
        self.link
            .execute("DELETE FROM failures WHERE at < $1", &[now.plus(-3600).0.into()])
            .await?;
        self.link
            .execute("DELETE FROM changes WHERE at < $1", &[now.plus(-3600).0.into()])
            .await?;
        Ok(expired)
    }
}
