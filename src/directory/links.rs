//! The groups that teams follow.

use serde_json::json;

use super::access::{Acting, watched};
use super::names;
use super::rules::Action;
use super::teams::{about, to_change, visible};
use super::{Actor, ChangeError, Version};
use crate::clock::UnixTime;
use crate::person::Role;
use crate::store::{ChangeKind, LinkRow, Store};
use crate::telemetry::audit::Kind;

/// A group that a team follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedGroup {
    /// The group, without a leading slash.
    pub group: String,
    /// What its people are in the team.
    pub role: Role,
}

/// Lets a team follow a group: its people are in the team with this role from their next sign-in on. A link that is there
/// gets another role, which counts at once.
///
/// # Errors
/// If there is no such team, the group's name cannot be one, or whoever acts may not.
pub async fn follow_group(
    store: &Store,
    actor: &Actor,
    team: &str,
    group: &str,
    role: Role,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<(), ChangeError> {
    let action = Action::FollowGroup;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let row = to_change(&mut change, actor, action, team, expected).await?;
        let group = names::group(group);
        if group.is_empty() || group.chars().count() > names::LONGEST_GROUP || group.chars().any(char::is_control) {
            return Err(ChangeError::NotAName(
                group.to_owned(),
                "a group has a name of 1 to 512 characters without control characters",
            ));
        }
        let links = change.links_of(&row.id).await?;
        let before = links.iter().find(|link| link.group == group).map(|link| link.role);
        if before == Some(role) {
            return Ok(());
        }
        let link = LinkRow {
            team: row.id.clone(),
            group: group.to_owned(),
            role,
        };
        change.put_link(&link).await?;
        change.touch_team(&row.id).await?;
        if before.is_some() {
            change.publish(ChangeKind::Team, &row.id).await?;
        }
        let mut event = about(Kind::TeamChange, actor, &row)
            .detail("how", "follows a group")
            .detail("group", group)
            .after(json!({ "role": role }));
        if let Some(before) = before {
            event = event.before(json!({ "role": before }));
        }
        change.record(event, now).await?;
        Ok(change.commit().await?)
    });
    watched(store, actor, action, team, now, doing).await
}

/// How many would be out of a team that no longer followed this group.
///
/// # Errors
/// If there is no such team or link, or whoever acts may not end it.
pub async fn only_by_group(store: &Store, actor: &Actor, team: &str, group: &str) -> Result<u64, ChangeError> {
    let mut reading = store.reading().await?;
    let acting = Acting::read(&mut reading, actor).await?;
    let row = visible(&mut reading, &acting, Action::UnfollowGroup, team).await?;
    let group = followed(&reading.links_of(&row.id).await?, group)?;
    let people = reading.count_by_group_alone(&row.id, &group).await?;
    Ok(u64::try_from(people).unwrap_or_default())
}

/// The name of the link that is meant: as it is shown, else as a provider writes it. What is shown may begin with a slash, too.
fn followed(links: &[LinkRow], typed: &str) -> Result<String, ChangeError> {
    let named = |name: &str| links.iter().find(|link| link.group == name);
    let link = named(typed).or_else(|| named(names::group(typed)));
    Ok(link.ok_or(ChangeError::Gone)?.group.clone())
}

/// Lets a team no longer follow a group; who was in it by this group alone is out.
///
/// # Errors
/// If there is no such team or link, or whoever acts may not.
pub async fn unfollow_group(
    store: &Store,
    actor: &Actor,
    team: &str,
    group: &str,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<(), ChangeError> {
    let action = Action::UnfollowGroup;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let row = to_change(&mut change, actor, action, team, expected).await?;
        let group = followed(&change.links_of(&row.id).await?, group)?;
        change.delete_link(&row.id, &group).await?;
        change.touch_team(&row.id).await?;
        change.publish(ChangeKind::Team, &row.id).await?;
        let event = about(Kind::TeamChange, actor, &row)
            .detail("how", "no longer follows a group")
            .detail("group", &group);
        change.record(event, now).await?;
        Ok(change.commit().await?)
    });
    watched(store, actor, action, team, now, doing).await
}
