//! Who was refused because nobody had added them, for admins to approve with one click.

use serde_json::json;

use super::access::{Acting, watched};
use super::invitations::make_room;
use super::pages::Page;
use super::people::{about_person, new_id, plain};
use super::rules::Action;
use super::{Actor, ChangeError, User};
use crate::clock::UnixTime;
use crate::person::{EmailAddress, Role};
use crate::store::{RefusedRow, Store, UserRow};
use crate::telemetry::audit::{Event, Kind};

/// Somebody who was refused.
#[derive(Clone, Debug)]
pub struct RefusedArrival {
    /// The row's id.
    pub id: String,
    /// The issuer, or the word `ldap`.
    pub issuer: String,
    /// The stable id there.
    pub subject: String,
    /// The address, which counts as verified.
    pub email: Option<String>,
    /// As claimed, made fit to be shown.
    pub username: Option<String>,
    /// As claimed, made fit to be shown.
    pub name: Option<String>,
    /// The last time.
    pub at: UnixTime,
    /// How often.
    pub times: u64,
}

/// The newest of them, and how many there are; at most 1,000 are kept.
///
/// # Errors
/// If whoever acts may not see them.
pub async fn refused(store: &Store, actor: &Actor, limit: usize) -> Result<Page<RefusedArrival>, ChangeError> {
    let mut reading = store.reading().await?;
    Acting::read(&mut reading, actor).await?.must_here(Action::SeeRefused)?;
    let shown = |row: RefusedRow| RefusedArrival {
        id: row.id,
        issuer: row.issuer,
        subject: row.subject,
        email: row.email.map(|(shown, _)| shown),
        username: row.username,
        name: row.name,
        at: row.at,
        times: u64::try_from(row.times).unwrap_or_default(),
    };
    let (rows, total) = reading.refused(i64::try_from(limit).unwrap_or(i64::MAX)).await?;
    Ok(Page {
        rows: rows.into_iter().map(shown).collect(),
        next: None,
        previous: None,
        total: u64::try_from(total).ok(),
    })
}

/// Lets one of them in: exactly this identity, at its next sign-in.
///
/// # Errors
/// If the row is gone, the address has an account by now, or whoever acts may not.
pub async fn approve(store: &Store, actor: &Actor, id: &str, role: Role, now: UnixTime) -> Result<User, ChangeError> {
    let action = Action::Approve;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        Acting::read(&mut change, actor).await?.must_here(action)?;
        let row = change.refused_one(&plain(id)).await?.ok_or(ChangeError::Gone)?;
        if let Some(other) = change.user_by_identity(&row.issuer, &row.subject).await? {
            return Err(ChangeError::IdentityTaken(other.called().to_owned()));
        }
        let email = row.email.as_ref().map(|(shown, _)| EmailAddress::parse(shown));
        let email = email.transpose().map_err(|_| ChangeError::Gone)?;
        if let Some(email) = &email {
            make_room(&mut change, email, now).await?;
        }
        let user = UserRow {
            name: row.name.clone(),
            invited_by: Some(actor.name().to_owned()),
            ..UserRow::new(new_id(), email.as_ref(), role, now)
        };
        change.insert_user(&user).await?;
        // The admin saw this identity, not everybody who may once have the address.
        change.link_identity(&row.issuer, &row.subject, &user.id).await?;
        if role == Role::Admin {
            change.settle_admin().await?;
        }
        change.forget_refused(&row.id).await?;
        let event = about_person(Kind::Invitation, actor, &user, "approved")
            .detail("issuer", &row.issuer)
            .detail("subject", &row.subject)
            .after(json!({ "role": role }));
        change.record(event, now).await?;
        change.commit().await?;
        Ok(user.into())
    });
    watched(store, actor, action, id, now, doing).await
}

/// Takes one of them off the list. Who knocks again is on it again.
///
/// # Errors
/// If the row is gone, or whoever acts may not.
pub async fn dismiss(store: &Store, actor: &Actor, id: &str, now: UnixTime) -> Result<(), ChangeError> {
    let action = Action::DismissRefused;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        Acting::read(&mut change, actor).await?.must_here(action)?;
        let row = change.refused_one(&plain(id)).await?.ok_or(ChangeError::Gone)?;
        change.forget_refused(&row.id).await?;
        let email = row.email.as_ref().map_or("", |(shown, _)| shown);
        let event = Event::new(Kind::Invitation, actor)
            .detail("how", "dismissed")
            .detail("email", email)
            .detail("issuer", &row.issuer)
            .detail("subject", &row.subject);
        change.record(event, now).await?;
        Ok(change.commit().await?)
    });
    watched(store, actor, action, id, now, doing).await
}
