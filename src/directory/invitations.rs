//! People who are added before they come. An invitation is an account that nobody has signed in to yet: it waits for the
//! first sign-in with its verified e-mail address.

use serde_json::json;

use super::access::{Acting, watched};
use super::members::by_hand_row;
use super::people::{about_person, delete, keep_an_admin, new_id, visible};
use super::rules::Action;
use super::teams::find_team;
use super::{Actor, ChangeError, User};
use crate::clock::UnixTime;
use crate::person::{EmailAddress, Role, TeamId};
use crate::store::{Change, Store, UserRow};
use crate::telemetry::audit::Kind;

/// The most at a time.
pub(super) const MOST: usize = 1_000;

/// Somebody to add.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// The address that finds it.
    pub email: EmailAddress,
    /// Role in the instance.
    pub role: Role,
    /// Teams, with the role in each.
    pub teams: Vec<(TeamId, Role)>,
    /// From when on it admits nobody.
    pub expires: Option<UnixTime>,
}

/// Adds people: all or none. `email_needed` is [`EntryRules::email_needed`](crate::config::EntryRules): where people have no
/// address, nobody could meet an invitation.
///
/// # Errors
/// If one of them is there already, a team is not, people have no addresses, or whoever acts may not.
pub async fn invite(
    store: &Store,
    actor: &Actor,
    invitations: &[Invitation],
    email_needed: bool,
    now: UnixTime,
) -> Result<Vec<User>, ChangeError> {
    let action = Action::Invite;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        Acting::read(&mut change, actor).await?.must_here(action)?;
        if !email_needed {
            return Err(ChangeError::NoAddresses);
        }
        if invitations.len() > MOST {
            return Err(ChangeError::TooMany(MOST));
        }
        let mut users = Vec::with_capacity(invitations.len());
        for invitation in invitations {
            users.push(add(&mut change, actor, invitation, now).await?.into());
        }
        change.commit().await?;
        Ok(users)
    });
    let first = invitations.first().map_or("", |first| first.email.as_str());
    watched(store, actor, action, first, now, doing).await
}

async fn add(
    change: &mut Change,
    actor: &Actor,
    invitation: &Invitation,
    now: UnixTime,
) -> Result<UserRow, ChangeError> {
    let Invitation {
        email,
        role,
        teams,
        expires,
    } = invitation;
    make_room(change, email, now).await?;
    let user = UserRow {
        expires: *expires,
        invited_by: Some(actor.name().to_owned()),
        ..UserRow::new(new_id(), Some(email), *role, now)
    };
    change.insert_user(&user).await?;
    if *role == Role::Admin {
        change.settle_admin().await?;
    }
    let mut names = serde_json::Map::new();
    for (team, role) in teams {
        let team = find_team(change, team.as_str()).await?;
        change.put_member(&by_hand_row(&team, &user, *role)).await?;
        change.touch_team(&team.id).await?;
        names.insert(team.name, json!(role));
    }
    change.forget_refused_person(None, Some(email.folded())).await?;
    let event = about_person(Kind::Invitation, actor, &user, "added")
        .after(json!({ "role": role, "teams": names, "expires": expires.map(|time| time.0) }));
    change.record(event, now).await?;
    Ok(user)
}

/// Takes an invitation back.
///
/// # Errors
/// If there is none, they have signed in meanwhile, or whoever acts may not.
pub async fn withdraw(store: &Store, actor: &Actor, who: &str, now: UnixTime) -> Result<User, ChangeError> {
    let action = Action::Withdraw;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let acting = Acting::read(&mut change, actor).await?;
        let user = visible(&mut change, &acting, action, who).await?;
        if user.signed_in.is_some() {
            return Err(ChangeError::NotAnInvitation(user.called().to_owned()));
        }
        keep_an_admin(&mut change, &user, now).await?;
        delete(&mut change, &user).await?;
        let event = about_person(Kind::Invitation, actor, &user, "withdrawn").before(json!({ "role": user.role }));
        change.record(event, now).await?;
        change.commit().await?;
        Ok(user.into())
    });
    watched(store, actor, action, who, now, doing).await
}

/// An invitation that has expired gives way to another of the same address.
pub(super) async fn make_room(change: &mut Change, email: &EmailAddress, now: UnixTime) -> Result<(), ChangeError> {
    match change.user_by_email(email.folded()).await? {
        Some(before) if has_expired(&before, now) => Ok(delete(change, &before).await?),
        Some(_) => Err(ChangeError::AlreadyThere(email.clone())),
        None => Ok(()),
    }
}

/// Whether this is an invitation that admits nobody any more.
pub(super) fn has_expired(user: &UserRow, now: UnixTime) -> bool {
    user.status() == "invited" && user.expires.is_some_and(|expires| expires <= now)
}
