//! Sessions as admins see them; works beside a running gateway, which hears of it within a second.

use super::{Listed, Unavailable};
use crate::clock::UnixTime;
use crate::person::UserId;
use crate::store::{ChangeKind, SessionWithUser, Store, StoreError};
use crate::telemetry::audit::{self, Kind};

/// Live sessions, newest first, of one person or of all.
///
/// # Errors
/// If the store does not answer.
pub async fn list(store: &Store, of: Option<&UserId>, now: UnixTime) -> Result<Vec<Listed>, Unavailable> {
    let mut reading = store.reading().await?;
    let rows = match of {
        Some(user) => reading.sessions_of(user, now).await?,
        None => reading.sessions(now).await?,
    };
    Ok(listed(rows)?)
}

fn listed(rows: Vec<SessionWithUser>) -> Result<Vec<Listed>, StoreError> {
    let mut listed = Vec::with_capacity(rows.len());
    for row in rows {
        listed.push(Listed {
            method: method_of(&row.session.method)?,
            sid: row.session.sid,
            user: row.user.id,
            email: row.user.email.map(|(shown, _)| shown),
            created: row.session.created,
            expires: row.session.expires,
            last_seen: row.session.last_seen,
            user_agent: row.session.user_agent,
            address: row.session.address,
        });
    }
    Ok(listed)
}

/// Ends the session of this public id; false if there is none.
///
/// # Errors
/// If the store does not answer.
pub async fn revoke(store: &Store, sid: &str, now: UnixTime) -> Result<bool, Unavailable> {
    let mut change = store.change(now).await?;
    if !change.delete_session(sid).await? {
        return Ok(false);
    }
    change.publish(ChangeKind::Session, sid).await?;
    change.commit().await?;
    audit::event(Kind::Revocation, &[("sid", sid)]);
    Ok(true)
}

/// Ends all sessions of one person; says how many.
///
/// # Errors
/// If the store does not answer.
pub async fn revoke_all_of(store: &Store, user: &UserId, now: UnixTime) -> Result<u64, Unavailable> {
    let mut change = store.change(now).await?;
    let ended = change.delete_sessions_of(user).await?;
    if ended == 0 {
        return Ok(0);
    }
    change.publish(ChangeKind::UserEnded, user.as_str()).await?;
    change.commit().await?;
    audit::event(Kind::Revocation, &[("user", user.as_str()), ("how", "all sessions")]);
    Ok(ended)
}

/// How somebody signed in, as the store spells it.
pub(super) fn method_of(word: &str) -> Result<&'static str, StoreError> {
    ["oidc", "ldap", "restore"]
        .into_iter()
        .find(|method| *method == word)
        .ok_or_else(|| StoreError::Unreadable("a way to sign in that this program does not know".to_owned()))
}
