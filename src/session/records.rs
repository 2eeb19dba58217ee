//! Sessions as admins see them. Ending them is the directory's, which knows who may.

use super::{Listed, Unavailable};
use crate::clock::UnixTime;
use crate::person::{LDAP, UserId};
use crate::store::{SessionListed, Store, StoreError, Whose};

/// Live sessions, newest first, of one person or of all.
///
/// # Errors
/// If the store does not answer.
pub async fn list(store: &Store, of: Option<&UserId>, now: UnixTime) -> Result<Vec<Listed>, Unavailable> {
    let whose = of.map_or(Whose::Everybodys, Whose::Of);
    let rows = store.reading().await?.sessions(whose, i64::MAX, now).await?;
    Ok(rows.into_iter().map(listed).collect::<Result<_, _>>()?)
}

/// The newest live sessions of one person, and whether there are more.
///
/// # Errors
/// If the store does not answer.
pub async fn newest(
    store: &Store,
    of: &UserId,
    limit: usize,
    now: UnixTime,
) -> Result<(Vec<Listed>, bool), Unavailable> {
    let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = store.reading().await?.sessions(Whose::Of(of), one_more, now).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok((rows.into_iter().map(listed).collect::<Result<_, _>>()?, more))
}

/// The live session of this public id.
///
/// # Errors
/// If the store does not answer.
pub async fn one(store: &Store, sid: &str, now: UnixTime) -> Result<Option<Listed>, Unavailable> {
    let rows = store.reading().await?.sessions(Whose::This(sid), 1, now).await?;
    Ok(rows.into_iter().next().map(listed).transpose()?)
}

/// Who has a live session.
///
/// # Errors
/// If the store does not answer.
pub async fn people(store: &Store, now: UnixTime) -> Result<Vec<UserId>, Unavailable> {
    Ok(store.reading().await?.users_with_sessions(now).await?)
}

fn listed(row: SessionListed) -> Result<Listed, StoreError> {
    Ok(Listed {
        method: method_of(&row.method)?,
        sid: row.sid,
        user: row.user,
        email: row.email,
        created: row.created,
        expires: row.expires,
        last_seen: row.last_seen,
        user_agent: row.user_agent,
        address: row.address,
    })
}

/// How somebody signed in, as the store spells it.
pub(super) fn method_of(word: &str) -> Result<&'static str, StoreError> {
    ["oidc", LDAP, "restore"]
        .into_iter()
        .find(|method| *method == word)
        .ok_or_else(|| StoreError::Unreadable("a way to sign in that this program does not know".to_owned()))
}
