//! Places in teams that come from groups: looked at anew at every sign-in.
//!
//! They belong to the issuer by whose word they are there. A claim that is empty or missing ends them; one that cannot be
//! read whole changes nothing, because nobody knows what it says, and the audit log tells. Where groups are not followed
//! (any more), nothing is left that nobody could take away by hand.

use super::members::{strongest, tell_member};
use super::{Actor, Arrival, event_about, names};
use crate::clock::UnixTime;
use crate::store::{Change, MemberRow, StoreError, TeamRow, UserRow};
use crate::telemetry::audit::Kind;

/// More groups than this nobody needs to be looked up by.
const MOST: usize = 5_000;

/// Makes somebody's places in teams those of their groups. `actor` is the provider.
pub(super) async fn follow(
    change: &mut Change,
    user: &UserRow,
    arrival: &Arrival,
    followed: bool,
    actor: &Actor,
    now: UnixTime,
) -> Result<(), StoreError> {
    let reasons = change.memberships(&user.id).await?;
    let groups = match &arrival.groups {
        _ if !followed => Vec::new(),
        Ok(groups) => usable(groups),
        Err(why) => {
            let event = event_about(Kind::GroupSync, actor, user)
                .detail("how", "places in teams stay as they were")
                .detail("reason", &why.to_string())
                .detail("issuer", &arrival.issuer);
            return change.record(event, now).await;
        }
    };
    let mut wanted = Vec::new();
    if !groups.is_empty() {
        for link in change.links_to(&groups).await? {
            wanted.push(MemberRow {
                team: link.team,
                user: user.id.clone(),
                source: arrival.issuer.clone(),
                group: link.group,
                role: link.role,
            });
        }
    }
    let theirs = |row: &MemberRow| row.source == arrival.issuer;
    let mut changed: Vec<String> = Vec::new();
    for (_, row) in reasons.iter().filter(|(_, row)| theirs(row) && !wanted.contains(row)) {
        // One whose role alone is another's is written over below.
        if !wanted.iter().any(|new| new.team == row.team && new.group == row.group) {
            change.delete_member(row).await?;
        }
        changed.push(row.team.clone());
    }
    for row in &wanted {
        if !reasons.iter().any(|(_, old)| old == row) {
            change.put_member(row).await?;
            changed.push(row.team.clone());
        }
    }
    changed.sort_unstable();
    changed.dedup();
    for team in changed {
        let Some(row) = team_of(change, &reasons, &team).await? else {
            continue;
        };
        let in_team = |row: &&MemberRow| row.team == team;
        let before = strongest(reasons.iter().map(|(_, row)| row).filter(in_team));
        let stays = reasons.iter().map(|(_, row)| row).filter(|row| !theirs(row));
        let after = strongest(stays.chain(&wanted).filter(in_team));
        tell_member(change, actor, &row, user, (before, after), "by group", now).await?;
    }
    Ok(())
}

async fn team_of(
    change: &mut Change,
    reasons: &[(TeamRow, MemberRow)],
    id: &str,
) -> Result<Option<TeamRow>, StoreError> {
    match reasons.iter().find(|(team, _)| team.id == id) {
        Some((team, _)) => Ok(Some(team.clone())),
        None => change.team(id).await,
    }
}

/// Names as links have them; what can be no link is not looked up.
fn usable(groups: &[String]) -> Vec<String> {
    let mut usable: Vec<String> = groups
        .iter()
        .take(MOST)
        .map(|group| names::group(group))
        .filter(|group| !group.is_empty() && !group.chars().any(char::is_control))
        .map(str::to_owned)
        .collect();
    usable.sort_unstable();
    usable.dedup();
    usable
}
