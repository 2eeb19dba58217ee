//! What admins do with people. A person is named by e-mail address or id.

use serde_json::json;

use super::access::{Acting, watched};
use super::pages::{Cursor, Page, asked, page};
use super::rules::Action;
use super::{
    Actor, ChangeError, GroupRole, Identity, Membership, Person, Status, User, Version, event_about, unchanged,
};
use crate::clock::UnixTime;
use crate::config::EntryRules;
use crate::person::{EmailAddress, Role, TeamId, UserId};
use crate::store::{
    Change, ChangeKind, MemberRow, PeopleRows, PeopleSearch, Position, Reading, SortBy, Store, StoreError, TeamRow,
    UserRow, asked_words,
};
use crate::telemetry::audit::{Event, Kind};

/// Whom to show, in which order.
#[derive(Clone, Debug, Default)]
pub struct PeopleQuery {
    /// Beginnings of words of addresses, user names and names; each must be there.
    pub search: String,
    /// Only this role.
    pub role: Option<Role>,
    /// Only those who stand so.
    pub status: Option<Status>,
    /// Only members of this team.
    pub team: Option<TeamId>,
    /// The order.
    pub sort: Sort,
    /// The other way round.
    pub descending: bool,
    /// Which page; None for the first.
    pub after: Option<Cursor>,
    /// Rows of a page.
    pub limit: usize,
}

/// What people are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// E-mail address.
    #[default]
    Email,
    /// Full name, else user name, else address.
    Name,
    /// When the account was made.
    Created,
    /// The last sign-in; who never signed in comes first.
    LastSignIn,
}

impl Sort {
    const fn by(self) -> SortBy {
        match self {
            Self::Email => SortBy::Email,
            Self::Name => SortBy::Name,
            Self::Created => SortBy::Created,
            Self::LastSignIn => SortBy::SignedIn,
        }
    }
}

/// Everybody, by age of the account: for whoever may read the database.
///
/// # Errors
/// If the store does not answer.
pub async fn list(store: &Store) -> Result<Vec<User>, StoreError> {
    Ok(store
        .reading()
        .await?
        .users()
        .await?
        .into_iter()
        .map(User::from)
        .collect())
}

/// One page of people.
///
/// # Errors
/// If whoever acts may not see them.
pub async fn people(store: &Store, actor: &Actor, query: &PeopleQuery) -> Result<Page<User>, ChangeError> {
    let mut reading = store.reading().await?;
    Acting::read(&mut reading, actor).await?.must_here(Action::SeePeople)?;
    // A place in another order is none in this one.
    let from = query.after.as_ref().and_then(Cursor::position);
    let from = from.filter(|from| query.sort.by().fits(&from.key));
    let search = PeopleSearch {
        words: asked_words(&query.search),
        role: query.role,
        status: query.status.map(Status::as_str),
        team: query.team.as_ref().map(TeamId::as_str),
        sort: query.sort.by(),
        descending: query.descending,
        from: from.as_ref(),
        limit: asked(query.limit),
    };
    let PeopleRows { rows, total } = reading.people(&search).await?;
    let place = |row: &UserRow, backwards| Position {
        key: query.sort.by().key(row),
        id: row.id.to_string(),
        backwards,
    };
    let mut page = page(rows, query.limit, from.as_ref(), place).map(User::from);
    page.total = total;
    Ok(page)
}

/// The person of this e-mail address or id: for whoever may read the database.
///
/// # Errors
/// If there is none.
pub async fn find(store: &Store, who: &str) -> Result<User, ChangeError> {
    Ok(named(&mut store.reading().await?, who).await?.into())
}

/// One person, with identities and teams.
///
/// # Errors
/// If there is none, or whoever acts may not see them.
pub async fn person(store: &Store, actor: &Actor, who: &str) -> Result<Person, ChangeError> {
    let mut reading = store.reading().await?;
    let acting = Acting::read(&mut reading, actor).await?;
    let user = visible(&mut reading, &acting, Action::SeePerson, who).await?;
    let identities = reading.identities(&user.id).await?;
    let teams = memberships(reading.memberships(&user.id).await?);
    Ok(Person {
        user: user.into(),
        identities: identities
            .into_iter()
            .map(|row| Identity {
                issuer: row.issuer,
                subject: row.subject,
                linked: row.created,
            })
            .collect(),
        teams,
    })
}

/// Rows by name of the team, together by team.
fn memberships(rows: Vec<(TeamRow, MemberRow)>) -> Vec<Membership> {
    let mut teams: Vec<Membership> = Vec::new();
    for (team, row) in rows {
        if teams.last().is_none_or(|last| last.team.as_str() != team.id) {
            teams.push(Membership {
                team: TeamId::new(&team.id),
                name: team.name,
                role: row.role,
                by_hand: None,
                by_group: Vec::new(),
            });
        }
        if let Some(last) = teams.last_mut() {
            add_reason(&mut last.role, &mut last.by_hand, &mut last.by_group, row);
        }
    }
    teams
}

/// Takes one reason to be in a team in: the strongest role counts.
pub(super) fn add_reason(role: &mut Role, by_hand: &mut Option<Role>, by_group: &mut Vec<GroupRole>, row: MemberRow) {
    if row.role.strength() > role.strength() {
        *role = row.role;
    }
    if row.by_hand() {
        *by_hand = Some(row.role);
    } else {
        by_group.push(GroupRole {
            issuer: row.source,
            group: row.group,
            role: row.role,
        });
    }
}

/// Changes a role; live sessions show it within a second.
///
/// # Errors
/// If there is nobody, they are the last active admin, or whoever acts may not.
pub async fn set_role(
    store: &Store,
    actor: &Actor,
    who: &str,
    role: Role,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<User, ChangeError> {
    let action = Action::SetRole;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let before = to_change(&mut change, actor, action, who, expected).await?;
        if before.role == role {
            return Ok(before.into());
        }
        keep_an_admin(&mut change, &before, now).await?;
        let mut user = before.clone();
        user.role = role;
        user.version += 1;
        change.update_user(&before, &user).await?;
        if role == Role::Admin {
            change.settle_admin().await?;
        }
        change.publish(ChangeKind::User, user.id.as_str()).await?;
        let event = event_about(Kind::RoleChange, actor, &user)
            .before(json!({ "role": before.role }))
            .after(json!({ "role": role }));
        change.record(event, now).await?;
        change.commit().await?;
        Ok(user.into())
    });
    watched(store, actor, action, who, now, doing).await
}

/// Deactivates an account and ends its sessions.
///
/// # Errors
/// If there is nobody, they are the last active admin, or whoever acts may not.
pub async fn deactivate(
    store: &Store,
    actor: &Actor,
    who: &str,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<User, ChangeError> {
    let action = Action::DeactivatePerson;
    let doing = Box::pin(set_status(store, actor, action, who, expected, now));
    watched(store, actor, action, who, now, doing).await
}

/// Lets a deactivated person sign in again.
///
/// # Errors
/// If there is nobody, or whoever acts may not.
pub async fn activate(
    store: &Store,
    actor: &Actor,
    who: &str,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<User, ChangeError> {
    let action = Action::ActivatePerson;
    let doing = Box::pin(set_status(store, actor, action, who, expected, now));
    watched(store, actor, action, who, now, doing).await
}

async fn set_status(
    store: &Store,
    actor: &Actor,
    action: Action,
    who: &str,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<User, ChangeError> {
    let deactivated = action == Action::DeactivatePerson;
    let mut change = store.change(now).await?;
    let before = to_change(&mut change, actor, action, who, expected).await?;
    if before.deactivated == deactivated {
        return Ok(before.into());
    }
    let mut user = before.clone();
    user.deactivated = deactivated;
    user.version += 1;
    if deactivated {
        keep_an_admin(&mut change, &before, now).await?;
        change.delete_sessions_of(&user.id).await?;
        change.publish(ChangeKind::UserEnded, user.id.as_str()).await?;
    }
    change.update_user(&before, &user).await?;
    let how = if deactivated { "deactivated" } else { "activated" };
    let event = event_about(Kind::StatusChange, actor, &user)
        .detail("how", how)
        .before(json!({ "status": before.status() }))
        .after(json!({ "status": user.status() }));
    change.record(event, now).await?;
    change.commit().await?;
    Ok(user.into())
}

/// Removes an account, its identities, places in teams and sessions. The id is never used again; the audit log stays.
///
/// # Errors
/// If there is nobody, they are the last active admin, or whoever acts may not.
pub async fn remove(
    store: &Store,
    actor: &Actor,
    who: &str,
    expected: Option<Version>,
    now: UnixTime,
) -> Result<User, ChangeError> {
    let action = Action::RemovePerson;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let user = to_change(&mut change, actor, action, who, expected).await?;
        keep_an_admin(&mut change, &user, now).await?;
        delete(&mut change, &user).await?;
        let event = event_about(Kind::StatusChange, actor, &user)
            .detail("how", "removed")
            .before(json!({ "status": user.status(), "role": user.role }));
        change.record(event, now).await?;
        change.commit().await?;
        Ok(user.into())
    });
    watched(store, actor, action, who, now, doing).await
}

/// Takes an account away with all that hangs on it.
pub(super) async fn delete(change: &mut Change, user: &UserRow) -> Result<(), StoreError> {
    for (team, _) in change.memberships(&user.id).await? {
        change.touch_team(&team.id).await?;
    }
    change.delete_user(&user.id).await?;
    change.publish(ChangeKind::UserEnded, user.id.as_str()).await
}

/// Ends one session, by its public id.
///
/// # Errors
/// If there is none, or whoever acts may not.
pub async fn end_session(store: &Store, actor: &Actor, sid: &str, now: UnixTime) -> Result<(), ChangeError> {
    let action = Action::EndSessions;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let acting = Acting::read(&mut change, actor).await?;
        let sid = &plain(sid);
        let Some(user) = change.user_of_session(sid).await? else {
            acting.must_here(action)?;
            return Err(ChangeError::Gone);
        };
        acting.must(action, &user.id)?;
        change.delete_session(sid).await?;
        change.publish(ChangeKind::Session, sid).await?;
        let event = event_about(Kind::Revocation, actor, &user).detail("sid", sid);
        change.record(event, now).await?;
        Ok(change.commit().await?)
    });
    watched(store, actor, action, sid, now, doing).await
}

/// Ends all sessions of one person; says how many.
///
/// # Errors
/// If there is nobody, or whoever acts may not.
pub async fn end_sessions(store: &Store, actor: &Actor, who: &str, now: UnixTime) -> Result<u64, ChangeError> {
    let action = Action::EndSessions;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let acting = Acting::read(&mut change, actor).await?;
        let user = visible(&mut change, &acting, action, who).await?;
        let ended = change.delete_sessions_of(&user.id).await?;
        // Also if the store has none: what some process may still have as live ends with it.
        change.publish(ChangeKind::UserEnded, user.id.as_str()).await?;
        let event = event_about(Kind::Revocation, actor, &user)
            .detail("how", "all sessions")
            .detail("sessions", &ended.to_string());
        change.record(event, now).await?;
        change.commit().await?;
        Ok(ended)
    });
    watched(store, actor, action, who, now, doing).await
}

/// Whether the next stranger to sign in becomes the admin: nobody signed in yet, no admin was added, and there are no
/// initial admins. Worth a warning at start.
///
/// # Errors
/// If the store does not answer.
pub async fn first_admin_open(store: &Store, rules: &EntryRules) -> Result<bool, StoreError> {
    Ok(rules.provisioning && rules.initial_admins.is_empty() && !store.reading().await?.admin_settled().await?)
}

/// Whether there is no account and no invitation at all.
///
/// # Errors
/// If the store does not answer.
pub async fn is_empty(store: &Store) -> Result<bool, StoreError> {
    Ok(!store.reading().await?.any_user().await?)
}

/// Whether no more than one admin can sign in: worth a hint to make a second.
///
/// # Errors
/// If the store does not answer.
pub async fn one_admin_only(store: &Store) -> Result<bool, StoreError> {
    Ok(store.reading().await?.active_admins().await? <= 1)
}

/// The person of this name, if whoever acts may. Who may not see everybody hears the same whether or not there is one.
pub(super) async fn visible(
    reading: &mut Reading,
    acting: &Acting,
    action: Action,
    who: &str,
) -> Result<UserRow, ChangeError> {
    match named(reading, who).await {
        Ok(user) => acting.must(action, &user.id).map(|()| user),
        Err(ChangeError::NoSuchPerson(who)) => {
            acting.must_here(action)?;
            Err(ChangeError::NoSuchPerson(who))
        }
        Err(error) => Err(error),
    }
}

/// The row of somebody who is to be changed, as it was looked at.
pub(super) async fn to_change(
    change: &mut Change,
    actor: &Actor,
    action: Action,
    who: &str,
    expected: Option<Version>,
) -> Result<UserRow, ChangeError> {
    let acting = Acting::read(change, actor).await?;
    let user = visible(change, &acting, action, who).await?;
    unchanged(expected, user.version)?;
    Ok(user)
}

pub(super) async fn named(reading: &mut Reading, who: &str) -> Result<UserRow, ChangeError> {
    let found = if who.contains('@') {
        match EmailAddress::parse(who) {
            Ok(email) => reading.user_by_email(email.folded()).await?,
            Err(_) => None,
        }
    } else {
        reading.user(&plain(who)).await?
    };
    found.ok_or_else(|| ChangeError::NoSuchPerson(who.to_owned()))
}

/// PostgreSQL takes no NUL in a text; no id has one.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "")
}

/// An instance always has an admin who can sign in. Decided under the lock row, so that two admins cannot demote each other
/// at the same moment.
///
/// Who was only invited does not count beside an active admin: they may never come, and cannot help an instance that has
/// locked itself out. Where nobody is active yet, the last one who is invited stays.
pub(super) async fn keep_an_admin(change: &mut Change, user: &UserRow, now: UnixTime) -> Result<(), ChangeError> {
    let expired = user.expires.is_some_and(|expires| expires <= now);
    let invited = user.status() == "invited";
    if user.role != Role::Admin || user.deactivated || invited && expired {
        return Ok(());
    }
    if change.another_admin(&user.id, invited, now).await? {
        return Ok(());
    }
    Err(ChangeError::LastAdmin(user.called().to_owned()))
}

/// An event about an invitation or account that is told by its own words.
pub(super) fn about_person(kind: Kind, actor: &Actor, user: &UserRow, how: &str) -> Event {
    event_about(kind, actor, user).detail("how", how)
}

/// The id that a new account gets.
pub(super) fn new_id() -> UserId {
    UserId::new(&format!("u_{}", crate::seal::random_name()))
}
