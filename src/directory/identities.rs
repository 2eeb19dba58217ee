//! The identities by which people come.

use serde_json::json;

use super::access::watched;
use super::admit::usable_id;
use super::people::{person, to_change};
use super::rules::Action;
use super::{Actor, ChangeError, Person, event_about};
use crate::clock::UnixTime;
use crate::person::EmailAddress;
use crate::store::{ChangeKind, Store, StoreError};
use crate::telemetry::audit::Kind;

/// Links a further identity to an account: from then on who comes by it is this person.
///
/// # Errors
/// If there is nobody, the identity is another account's, or whoever acts may not.
pub async fn link(
    store: &Store,
    actor: &Actor,
    who: &str,
    issuer: &str,
    subject: &str,
    now: UnixTime,
) -> Result<Person, ChangeError> {
    let action = Action::LinkIdentity;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let before = to_change(&mut change, actor, action, who, None).await?;
        if !usable_id(issuer) || !usable_id(subject) {
            return Err(ChangeError::NoIdentity);
        }
        match change.user_by_identity(issuer, subject).await? {
            Some(other) if other.id == before.id => return Ok(()),
            Some(other) => return Err(ChangeError::IdentityTaken(other.called().to_owned())),
            None => {}
        }
        let mut user = before.clone();
        user.version += 1;
        change.update_user(&before, &user).await?;
        change.link_identity(issuer, subject, &user.id).await?;
        change.forget_refused_person(Some((issuer, subject)), None).await?;
        let event = event_about(Kind::IdentityChange, actor, &user)
            .detail("how", "linked")
            .after(json!({ "issuer": issuer, "subject": subject }));
        change.record(event, now).await?;
        Ok(change.commit().await?)
    });
    watched(store, actor, action, who, now, doing).await?;
    person(store, actor, who).await
}

/// Takes an identity from an account and ends the sessions that began by it, and the places in teams that came from its
/// groups.
///
/// # Errors
/// If there is nobody, the identity is not theirs or their only one, or whoever acts may not.
pub async fn unlink(
    store: &Store,
    actor: &Actor,
    who: &str,
    issuer: &str,
    subject: &str,
    now: UnixTime,
) -> Result<Person, ChangeError> {
    let action = Action::UnlinkIdentity;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        let before = to_change(&mut change, actor, action, who, None).await?;
        let identities = change.identities(&before.id).await?;
        if !identities
            .iter()
            .any(|identity| identity.issuer == issuer && identity.subject == subject)
        {
            return Err(ChangeError::Gone);
        }
        if identities.len() == 1 {
            return Err(ChangeError::LastIdentity(before.called().to_owned()));
        }
        let mut user = before.clone();
        user.version += 1;
        change.update_user(&before, &user).await?;
        change.unlink_identity(issuer, subject).await?;
        // Where another of theirs is at the same issuer, its groups come back at the next sign-in by it.
        change.delete_members_from(&user.id, issuer).await?;
        change.publish(ChangeKind::User, user.id.as_str()).await?;
        for sid in change.delete_sessions_by(issuer, subject).await? {
            change.publish(ChangeKind::Session, &sid).await?;
        }
        let event = event_about(Kind::IdentityChange, actor, &user)
            .detail("how", "unlinked")
            .before(json!({ "issuer": issuer, "subject": subject }));
        change.record(event, now).await?;
        Ok(change.commit().await?)
    });
    watched(store, actor, action, who, now, doing).await?;
    person(store, actor, who).await
}

/// The address of the account that an identity belongs to.
///
/// # Errors
/// If the store does not answer.
pub async fn address_of(store: &Store, issuer: &str, subject: &str) -> Result<Option<EmailAddress>, StoreError> {
    let user = store.reading().await?.user_by_identity(issuer, subject).await?;
    let (shown, _) = user.and_then(|user| user.email).unzip();
    Ok(shown.and_then(|shown| EmailAddress::parse(&shown).ok()))
}
