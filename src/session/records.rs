//! Sessions as admins see them. Ending them is the directory's, which knows who may.

use super::{Listed, Unavailable};
use crate::clock::UnixTime;
use crate::person::{LDAP, UserId};
use crate::store::{SessionWithUser, Store, StoreError};

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

/// How somebody signed in, as the store spells it.
pub(super) fn method_of(word: &str) -> Result<&'static str, StoreError> {
    ["oidc", LDAP, "restore"]
        .into_iter()
        .find(|method| *method == word)
        .ok_or_else(|| StoreError::Unreadable("a way to sign in that this program does not know".to_owned()))
}
