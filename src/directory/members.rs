//! Who is put into a team by hand, and out of it.

use serde_json::json;

use super::access::{Acting, watched};
use super::people::named;
use super::rules::Action;
use super::teams::{Member, Team, member, to_change, visible};
use super::{Actor, ChangeError, Version, Who};
use crate::clock::UnixTime;
use crate::person::Role;
use crate::store::{Change, ChangeKind, MemberRow, Reading, Store, StoreError, TeamRow, UserRow};
use crate::telemetry::audit::{Event, Kind};

/// Puts somebody into a team by hand, or gives them another role in it. Beside what comes from groups: the stronger
/// counts, so a role by hand that would not count is refused.
///
/// # Errors
/// If there is no such team or person, a group gives them as much, or whoever acts may not.
pub async fn set_member(
    store: &Store,
    actor: &Actor,
    team: &str,
    who: &str,
    role: Role,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<(), ChangeError> {
    let action = Action::SetMember;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let row = to_change(&mut change, actor, action, team, expected).await?;
        let user = named(&mut change, who).await?;
        let reasons = change.membership(&row.id, &user.id).await?;
        let (by_hand, by_group): (Vec<_>, Vec<_>) = reasons.into_iter().partition(MemberRow::by_hand);
        let enough = by_group.iter().find(|reason| reason.role.strength() >= role.strength());
        match (by_hand.first(), enough) {
            (Some(reason), _) if reason.role == role => return Ok(()),
            (None, Some(reason)) => return Err(ChangeError::FromGroup(reason.group.clone())),
            // Put in as somebody new: what was given before is changed where it is seen. A shell says what is to be.
            (Some(_), _) if expected.is_none() && matches!(actor.who, Who::Person { .. }) => {
                return Err(ChangeError::InTeamAlready(user.called().to_owned()));
            }
            _ => {}
        }
        let before = strongest(by_hand.iter().chain(&by_group));
        let member = by_hand_row(&row, &user, role);
        change.put_member(&member).await?;
        change.touch_team(&row.id).await?;
        let after = strongest(by_group.iter().chain([&member]));
        tell_member(&mut change, actor, &row, &user, (before, after), "by hand", now).await?;
        Ok(change.commit().await?)
    });
    watched(store, actor, action, team, now, doing).await
}

/// Takes somebody out of a team who was put in by hand. What a group gives stays.
///
/// # Errors
/// If there is no such team or person, they are not in it or only by a group, or whoever acts may not.
pub async fn remove_member(
    store: &Store,
    actor: &Actor,
    team: &str,
    who: &str,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<(), ChangeError> {
    let action = Action::RemoveMember;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let row = to_change(&mut change, actor, action, team, expected).await?;
        let user = in_team(&mut change, who).await?;
        let reasons = change.membership(&row.id, &user.id).await?;
        change.delete_member(by_hand(&reasons, who)?).await?;
        change.touch_team(&row.id).await?;
        let before = strongest(reasons.iter());
        let after = strongest(reasons.iter().filter(|reason| !reason.by_hand()));
        tell_member(&mut change, actor, &row, &user, (before, after), "by hand", now).await?;
        Ok(change.commit().await?)
    });
    watched(store, actor, action, team, now, doing).await
}

/// Somebody who can be taken out of a team by hand, and the team.
///
/// # Errors
/// As [`remove_member`].
pub async fn member_by_hand(
    store: &Store,
    actor: &Actor,
    team: &str,
    who: &str,
) -> Result<(Team, Member), ChangeError> {
    let mut reading = store.reading().await?;
    let acting = Acting::read(&mut reading, actor).await?;
    let row = visible(&mut reading, &acting, Action::RemoveMember, team).await?;
    let user = in_team(&mut reading, who).await?;
    let reasons = reading.membership(&row.id, &user.id).await?;
    by_hand(&reasons, who)?;
    let count = reading.count_members(&row.id).await?;
    Ok((Team::of(row, count), member(user, reasons)))
}

/// Whether there is such a person at all, and what they are called, is not a team admin's to learn.
async fn in_team(reading: &mut Reading, who: &str) -> Result<UserRow, ChangeError> {
    match named(reading, who).await {
        Err(ChangeError::NoSuchPerson(_)) => Err(ChangeError::NotInTeam(who.to_owned())),
        found => found,
    }
}

fn by_hand<'a>(reasons: &'a [MemberRow], who: &str) -> Result<&'a MemberRow, ChangeError> {
    let by_hand = reasons.iter().find(|reason| reason.by_hand());
    by_hand.ok_or_else(|| match reasons.first() {
        Some(reason) => ChangeError::FromGroup(reason.group.clone()),
        None => ChangeError::NotInTeam(who.to_owned()),
    })
}

pub(super) fn strongest<'a>(reasons: impl Iterator<Item = &'a MemberRow>) -> Option<Role> {
    reasons.map(|row| row.role).max_by_key(|role| role.strength())
}

pub(super) fn by_hand_row(team: &TeamRow, user: &UserRow, role: Role) -> MemberRow {
    MemberRow {
        team: team.id.clone(),
        user: user.id.clone(),
        source: String::new(),
        group: String::new(),
        role,
    }
}

/// Writes down that somebody's place in a team changed, and lets their sessions show it.
pub(super) async fn tell_member(
    change: &mut Change,
    actor: &Actor,
    team: &TeamRow,
    user: &UserRow,
    (before, after): (Option<Role>, Option<Role>),
    how: &str,
    now: UnixTime,
) -> Result<(), StoreError> {
    change.publish(ChangeKind::User, user.id.as_str()).await?;
    let mut event = Event::new(Kind::MembershipChange, actor)
        .about("user", user.id.as_str(), user.called())
        .detail("team", &team.name)
        .detail("team_id", &team.id)
        .detail("how", how);
    if let Some(role) = before {
        event = event.before(json!({ "role": role }));
    }
    if let Some(role) = after {
        event = event.after(json!({ "role": role }));
    }
    change.record(event, now).await
}
