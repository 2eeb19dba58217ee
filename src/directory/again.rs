//! Somebody who is signed in already, asked about again: would they be let in now, and what do they go by?

use super::admit::{check_domain, check_groups};
use super::{Actor, Arrival, Refused, Who, groups, names};
use crate::clock::UnixTime;
use crate::config::EntryRules;
use crate::person::UserId;
use crate::store::{ChangeKind, Store, UserRow};

/// Judges the person of a live session, whose account is `of`, by the rules of entry as they are now. Names follow where a sign-in's would, and places in
/// teams where the groups are others than before (`regrouped`).
///
/// # Errors
/// [`Refused`] says why they would not be let in now.
pub async fn look_again(
    store: &Store,
    of: &UserId,
    arrival: &Arrival,
    regrouped: bool,
    rules: &EntryRules,
    now: UnixTime,
) -> Result<(), Refused> {
    check_groups(arrival, rules)?;
    check_domain(arrival, rules)?;
    let known = store
        .reading()
        .await?
        .user_by_identity(&arrival.issuer, &arrival.subject)
        .await?;
    // By now it may be another account's.
    let user = known.filter(|user| user.id == *of).ok_or(Refused::NotInvited)?;
    if user.deactivated {
        return Err(Refused::Deactivated);
    }
    // The lock row is taken only where there is something to change.
    let renamed = rules.names_follow && differs(&user, arrival);
    let moves = rules.follow_ldap_groups && regrouped;
    if !renamed && !moves {
        return Ok(());
    }
    let mut change = store.change(now).await?;
    let before = change.user_by_identity(&arrival.issuer, &arrival.subject).await?;
    let Some(before) = before.filter(|user| user.id == *of) else {
        return Err(Refused::NotInvited);
    };
    let mut user = before.clone();
    if renamed {
        names::follow(&mut change, &mut user, arrival).await?;
    }
    if user != before {
        change.publish(ChangeKind::User, user.id.as_str()).await?;
        change.update_user(&before, &user).await?;
    }
    if moves {
        let provider = Actor::system().with(Who::Provider);
        groups::follow(&mut change, &user, arrival, true, &provider, now).await?;
    }
    Ok(change.commit().await?)
}

fn differs(user: &UserRow, arrival: &Arrival) -> bool {
    let name = names::full_name(arrival.name.as_deref());
    let username = names::username(arrival.username.as_deref());
    let shown = user.username.as_ref().map(|(shown, _)| shown);
    (name.is_some() && name != user.name) || (username.is_some() && username.as_ref() != shown)
}
