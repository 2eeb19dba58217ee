//! Sessions whose identity is asked about again while they live: which are due, and what becomes of them. Who is asked, and
//! what an answer means, the sign-in knows. Work is taken in small pieces under a lease, so that of several processes one
//! does it.

use std::time::Duration;

use super::Unavailable;
use super::sessions::{Sessions, cut, seconds};
use crate::clock::UnixTime;
use crate::person::UserId;
use crate::seal;
use crate::store::{ChangeKind, RecheckRow, StoreError};
use crate::telemetry::audit::{Actor, Event, Kind};

/// How long a piece of work is one process's, in seconds; after that it is due again.
const LEASE: i64 = 60;

/// A session that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// The public id.
    pub sid: String,
    /// The account.
    pub user: UserId,
    /// The identity's stable id.
    pub subject: String,
    /// When the person signed in.
    pub signed_in: UnixTime,
    /// When it was last said that they may.
    pub vouched: UnixTime,
    groups: (Vec<String>, bool),
}

impl Due {
    fn of(row: RecheckRow) -> Result<Self, StoreError> {
        let unreadable = |_| StoreError::Unreadable(format!("session {}", row.sid));
        Ok(Self {
            groups: (
                serde_json::from_str(&row.groups).map_err(unreadable)?,
                row.groups_truncated,
            ),
            sid: row.sid,
            user: row.user,
            subject: row.subject,
            signed_in: row.created,
            vouched: row.vouched,
        })
    }
}

impl Sessions {
    /// Takes up to `most` sessions by `method` that nobody has looked at for `interval`.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn take_due(
        &self,
        method: &str,
        interval: Duration,
        most: u32,
        now: UnixTime,
    ) -> Result<Vec<Due>, Unavailable> {
        let mut writing = self.store.aside().await?;
        let rows = writing
            .claim_rechecks(method, seconds(interval), now.plus(LEASE), i64::from(most), now)
            .await?;
        writing.commit().await?;
        Ok(rows.into_iter().map(Due::of).collect::<Result<_, _>>()?)
    }

    /// Sessions by `method` that nobody has vouched for since `before`.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn unvouched(&self, method: &str, before: UnixTime, now: UnixTime) -> Result<Vec<Due>, Unavailable> {
        let rows = self.store.reading().await?.unvouched(method, before, now).await?;
        Ok(rows.into_iter().map(Due::of).collect::<Result<_, _>>()?)
    }

    /// These may go on, and are looked at again after `interval`, or a little before: by its `sid`, each at its own time, so
    /// that those who came together do not stay together.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn vouch_for(&self, whom: &[&Due], interval: Duration, now: UnixTime) -> Result<(), Unavailable> {
        if whom.is_empty() {
            return Ok(());
        }
        let mut whom = whom.to_vec();
        // In the order in which others write them, too.
        whom.sort_unstable_by(|one, other| one.sid.cmp(&other.sid));
        let mut writing = self.store.aside().await?;
        for due in whom {
            let again = now.plus(seconds(interval) - early(&due.sid, seconds(interval)));
            writing.vouch(&due.sid, again, now).await?;
        }
        Ok(writing.commit().await?)
    }

    /// Gives a live session other groups; assertions tell them within a second. Says whether they are others.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn take_groups(&self, due: &Due, groups: Vec<String>, now: UnixTime) -> Result<bool, Unavailable> {
        let groups = cut(groups);
        if groups == due.groups {
            return Ok(false);
        }
        let text = serde_json::to_string(&groups.0).map_err(|error| StoreError::Unreadable(error.to_string()))?;
        let mut change = self.store.change(now).await?;
        change.set_session_groups(&due.sid, &text, groups.1).await?;
        change.publish(ChangeKind::User, due.user.as_str()).await?;
        change.commit().await?;
        Ok(true)
    }

    /// Whether these are other groups than the session has.
    #[must_use]
    pub fn regroups(due: &Due, groups: &[String]) -> bool {
        let now = cut(groups.to_vec());
        // What was cut off may have changed, too.
        now.1 || now != due.groups
    }

    /// Ends a session because of what the look found, for this reason; false if it has ended already.
    ///
    /// # Errors
    /// If the store does not answer; then it has not ended.
    pub async fn end_due(&self, due: &Due, reason: &str, now: UnixTime) -> Result<bool, Unavailable> {
        let mut change = self.store.change(now).await?;
        if !change.delete_session(&due.sid).await? {
            return Ok(false);
        }
        change.publish(ChangeKind::Session, &due.sid).await?;
        let user = change.user(due.user.as_str()).await?;
        let name = user.and_then(|user| user.email).map(|(shown, _)| shown);
        let event = Event::new(Kind::Revocation, &Actor::system())
            .about("user", due.user.as_str(), name.as_deref().unwrap_or_default())
            .detail("how", "looked at again in the directory")
            .detail("reason", reason)
            .detail("subject", &due.subject)
            .detail("sid", &due.sid);
        change.record(event, now).await?;
        change.commit().await?;
        self.end_here(&due.sid);
        Ok(true)
    }
}

/// Up to a tenth of the interval, by the session.
fn early(sid: &str, interval: i64) -> i64 {
    let [first, second, ..] = seal::sha256(sid.as_bytes());
    let part = i64::from(u16::from_be_bytes([first, second]));
    interval.saturating_mul(part) / (10 * i64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::early;

    #[test]
    fn sessions_are_looked_at_a_little_early_each_at_its_own_time() {
        let times: std::collections::BTreeSet<i64> = (0..200).map(|sid| early(&sid.to_string(), 900)).collect();
        assert!(times.iter().all(|early| (0..=90).contains(early)), "{times:?}");
        assert!(times.len() > 50, "{times:?}");
        assert_eq!(early("a", 0), 0);
    }
}
