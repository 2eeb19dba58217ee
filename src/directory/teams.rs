//! Teams: what they are called, who is in them as what, and which groups they follow. A team is named by id or name.

use serde_json::json;

use super::access::{Acting, watched};
use super::links::LinkedGroup;
use super::names;
use super::pages::{Cursor, Page, asked, page};
use super::people::{add_reason, plain};
use super::rules::Action;
use super::{Actor, ChangeError, GroupRole, Status, User, Version, unchanged};
use crate::clock::UnixTime;
use crate::person::{Role, TeamId, UserId};
use crate::seal;
use crate::store::{
    Change, ChangeKind, LinkRow, MemberRow, Position, Reading, SortKey, Store, TeamRow, UserRow, place_in_team,
};
use crate::telemetry::audit::{Event, Kind};

/// A team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// The stable id.
    pub id: TeamId,
    /// What it is called, also to apps.
    pub name: String,
    /// When it was made.
    pub created: UnixTime,
    /// Raised by every change that an admin makes; not by who comes and goes with a group.
    pub version: Version,
    /// How many are in it.
    pub members: u64,
}

/// One team, with a page of its members.
#[derive(Clone, Debug)]
pub struct TeamView {
    /// The team.
    pub team: Team,
    /// Who is in it, by name.
    pub members: Page<Member>,
    /// The groups that it follows, by name.
    pub groups: Vec<LinkedGroup>,
    /// Whether whoever asked may put people in and out.
    pub may_set_members: bool,
}

/// Somebody in a team.
#[derive(Clone, Debug)]
pub struct Member {
    /// The account.
    pub user: UserId,
    /// Its address.
    pub email: Option<String>,
    /// Its user name.
    pub username: Option<String>,
    /// Full name.
    pub name: Option<String>,
    /// Where the account stands.
    pub status: Status,
    /// The strongest of the roles below.
    pub role: Role,
    /// The role given by hand.
    pub by_hand: Option<Role>,
    /// What comes from groups: not edited by hand.
    pub by_group: Vec<GroupRole>,
}

impl Team {
    pub(super) fn of(row: TeamRow, members: i64) -> Self {
        Self {
            id: TeamId::new(&row.id),
            name: row.name,
            created: row.created,
            version: Version(row.version),
            members: u64::try_from(members).unwrap_or_default(),
        }
    }
}

/// One page of teams by name: all, or one's own for who may not see all.
///
/// # Errors
/// If whoever acts has no account any more.
pub async fn teams(
    store: &Store,
    actor: &Actor,
    search: &str,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<Team>, ChangeError> {
    let mut reading = store.reading().await?;
    let acting = Acting::read(&mut reading, actor).await?;
    let from = after.and_then(Cursor::position);
    let search = plain(&names::fold(search.trim()));
    let of = acting.only_theirs(Action::SeeTeams);
    let rows = reading.teams(of, &search, from.as_ref(), asked(limit)).await?;
    let place = |(row, _): &(TeamRow, i64), backwards| Position {
        key: SortKey::Text(row.folded.clone()),
        id: row.id.clone(),
        backwards,
    };
    Ok(page(rows, limit, from.as_ref(), place).map(|(row, members)| Team::of(row, members)))
}

/// One team, with a page of its members.
///
/// # Errors
/// If there is none, or whoever acts may not see it.
pub async fn team(
    store: &Store,
    actor: &Actor,
    team: &str,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<TeamView, ChangeError> {
    let mut reading = store.reading().await?;
    let acting = Acting::read(&mut reading, actor).await?;
    let row = visible(&mut reading, &acting, Action::SeeTeam, team).await?;
    let may_set_members = acting.must_in(&mut reading, Action::SetMember, &row.id).await.is_ok();
    let from = after.and_then(Cursor::position);
    let people = reading.team_people(&row.id, from.as_ref(), asked(limit)).await?;
    let people = page(people, limit, from.as_ref(), place_in_team);
    let mut reasons = Vec::with_capacity(people.rows.len());
    for user in &people.rows {
        reasons.push(reading.membership(&row.id, &user.id).await?);
    }
    let mut reasons = reasons.into_iter();
    let members = people.map(|user| member(user, reasons.next().unwrap_or_default()));
    let groups = reading.links_of(&row.id).await?;
    let count = reading.count_members(&row.id).await?;
    Ok(TeamView {
        team: Team::of(row, count),
        members,
        groups: groups
            .into_iter()
            .map(|link| LinkedGroup {
                group: link.group,
                role: link.role,
            })
            .collect(),
        may_set_members,
    })
}

pub(super) fn member(user: UserRow, reasons: Vec<MemberRow>) -> Member {
    let User {
        id,
        email,
        username,
        name,
        status,
        ..
    } = user.into();
    let (mut role, mut by_hand, mut by_group) = (Role::Viewer, None, Vec::new());
    for row in reasons {
        add_reason(&mut role, &mut by_hand, &mut by_group, row);
    }
    Member {
        user: id,
        email,
        username,
        name,
        status,
        role,
        by_hand,
        by_group,
    }
}

/// Makes a team. It follows the group of its name from the first on: that counts where groups are followed at all, and can
/// be taken away.
///
/// # Errors
/// If the name cannot be one or is taken, or whoever acts may not.
pub async fn create_team(store: &Store, actor: &Actor, name: &str, now: UnixTime) -> Result<Team, ChangeError> {
    let action = Action::CreateTeam;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        Acting::read(&mut change, actor).await?.must_here(action)?;
        let name = free_name(&mut change, name, None).await?;
        let row = TeamRow {
            id: format!("t_{}", seal::random_name()),
            folded: names::fold(&name),
            name,
            created: now,
            version: 1,
        };
        change.insert_team(&row).await?;
        let link = LinkRow {
            team: row.id.clone(),
            group: names::group(&row.name).to_owned(),
            role: Role::Member,
        };
        if !link.group.is_empty() {
            change.put_link(&link).await?;
        }
        let event = about(Kind::TeamChange, actor, &row)
            .detail("how", "created")
            .after(json!({ "name": row.name }));
        change.record(event, now).await?;
        change.commit().await?;
        Ok(Team::of(row, 0))
    });
    watched(store, actor, action, name, now, doing).await
}

/// Gives a team another name; live sessions show it within a second. The groups that it follows stay.
///
/// # Errors
/// If there is none, the name cannot be one or is taken, or whoever acts may not.
pub async fn rename_team(
    store: &Store,
    actor: &Actor,
    team: &str,
    name: &str,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<Team, ChangeError> {
    let action = Action::RenameTeam;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let before = to_change(&mut change, actor, action, team, expected).await?;
        let name = free_name(&mut change, name, Some(&before.id)).await?;
        let members = change.count_members(&before.id).await?;
        if name == before.name {
            return Ok(Team::of(before, members));
        }
        let folded = names::fold(&name);
        change.rename_team(&before.id, &name, &folded).await?;
        change.publish(ChangeKind::Team, &before.id).await?;
        let event = about(Kind::TeamChange, actor, &before)
            .detail("how", "renamed")
            .before(json!({ "name": before.name }))
            .after(json!({ "name": name }));
        change.record(event, now).await?;
        change.commit().await?;
        let row = TeamRow {
            name,
            folded,
            version: before.version + 1,
            ..before
        };
        Ok(Team::of(row, members))
    });
    watched(store, actor, action, team, now, doing).await
}

/// Ends a team; nobody is in it any more.
///
/// # Errors
/// If there is none, or whoever acts may not.
pub async fn delete_team(
    store: &Store,
    actor: &Actor,
    team: &str,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<(), ChangeError> {
    let action = Action::DeleteTeam;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let row = to_change(&mut change, actor, action, team, expected).await?;
        let members = change.count_members(&row.id).await?;
        change.delete_team(&row.id).await?;
        change.publish(ChangeKind::Team, &row.id).await?;
        let event = about(Kind::TeamChange, actor, &row)
            .detail("how", "deleted")
            .before(json!({ "name": row.name, "members": members }));
        change.record(event, now).await?;
        Ok(change.commit().await?)
    });
    watched(store, actor, action, team, now, doing).await
}

pub(super) fn about(kind: Kind, actor: &Actor, team: &TeamRow) -> Event {
    Event::new(kind, actor).about("team", &team.id, &team.name)
}

async fn free_name(change: &mut Change, name: &str, except: Option<&str>) -> Result<String, ChangeError> {
    let name = names::team(name)?;
    match change.team_by_name(&names::fold(&name)).await? {
        Some(other) if except != Some(other.id.as_str()) => Err(ChangeError::TeamExists(other.name)),
        _ => Ok(name),
    }
}

/// The team of this id or name, if whoever acts may. Who may not see all teams hears the same whether or not there is one.
pub(super) async fn visible(
    reading: &mut Reading,
    acting: &Acting,
    action: Action,
    team: &str,
) -> Result<TeamRow, ChangeError> {
    match find_team(reading, team).await {
        Ok(row) => {
            acting.must_in(reading, action, &row.id).await?;
            Ok(row)
        }
        Err(ChangeError::NoSuchTeam(team)) => {
            acting.must_here(action)?;
            Err(ChangeError::NoSuchTeam(team))
        }
        Err(error) => Err(error),
    }
}

/// By id first: a team that somebody names like another's id must not stand in its place.
pub(super) async fn find_team(reading: &mut Reading, team: &str) -> Result<TeamRow, ChangeError> {
    let text = plain(team);
    let found = match reading.team(&text).await? {
        Some(row) => Some(row),
        None => reading.team_by_name(&names::fold(text.trim())).await?,
    };
    found.ok_or_else(|| ChangeError::NoSuchTeam(team.to_owned()))
}

/// The row of a team that is to be changed, as it was looked at.
pub(super) async fn to_change(
    change: &mut Change,
    actor: &Actor,
    action: Action,
    team: &str,
    expected: Option<Version>,
) -> Result<TeamRow, ChangeError> {
    let acting = Acting::read(change, actor).await?;
    let row = visible(change, &acting, action, team).await?;
    unchanged(expected, row.version)?;
    Ok(row)
}
