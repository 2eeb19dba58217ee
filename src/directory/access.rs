//! Whether whoever acts may: their role as it is in the same transaction, not as it was when they signed in.

use std::pin::Pin;

use super::rules::{Action, Relation, may};
use super::{ChangeError, note};
use crate::clock::UnixTime;
use crate::person::{Role, UserId};
use crate::store::{Reading, Store};
use crate::telemetry::audit::{Actor, Event, Kind, Who};

/// Who acts, as the store has them now.
pub(super) struct Acting {
    /// None: whoever may read the database, and the gateway itself.
    person: Option<(UserId, Role)>,
}

impl Acting {
    pub(super) async fn read(reading: &mut Reading, actor: &Actor) -> Result<Self, ChangeError> {
        let person = match &actor.who {
            Who::Shell | Who::System | Who::Provider => None,
            Who::Stranger => return Err(ChangeError::NotAllowed),
            Who::Person { user, .. } => {
                // Deactivated or gone since they were let in: may do nothing more.
                let row = reading.user(user.as_str()).await?;
                let row = row
                    .filter(|row| row.status() == "active")
                    .ok_or(ChangeError::NotAllowed)?;
                Some((row.id, row.role))
            }
        };
        Ok(Self { person })
    }

    /// An account of theirs or another's.
    pub(super) fn must(&self, action: Action, on: &UserId) -> Result<(), ChangeError> {
        let theirs = self.person.as_ref().is_some_and(|(user, _)| user == on);
        self.check(
            action,
            if theirs {
                Relation::Themselves
            } else {
                Relation::Another
            },
        )
    }

    /// Something of the instance.
    pub(super) fn must_here(&self, action: Action) -> Result<(), ChangeError> {
        self.check(action, Relation::Instance)
    }

    /// Something of a team.
    pub(super) async fn must_in(&self, reading: &mut Reading, action: Action, team: &str) -> Result<(), ChangeError> {
        let relation = match &self.person {
            Some((user, role)) if *role != Role::Admin => {
                let rows = reading.membership(team, user).await?;
                match rows.iter().map(|row| row.role).max_by_key(|role| role.strength()) {
                    Some(Role::Admin) => Relation::TeamAdmin,
                    Some(_) => Relation::TeamMember,
                    None => Relation::OtherTeam,
                }
            }
            _ => Relation::OtherTeam,
        };
        self.check(action, relation)
    }

    /// The account of who acts, unless they may see everything of this kind.
    pub(super) fn only_theirs(&self, action: Action) -> Option<&UserId> {
        self.person
            .as_ref()
            .filter(|(_, role)| !may(*role, Relation::Instance, action))
            .map(|(user, _)| user)
    }

    fn check(&self, action: Action, relation: Relation) -> Result<(), ChangeError> {
        match &self.person {
            None => Ok(()),
            Some((_, role)) if may(*role, relation, action) => Ok(()),
            Some(_) => Err(ChangeError::NotAllowed),
        }
    }
}

/// Does something. Where somebody tried to change what they may not, the audit log says so: nothing of the transaction is
/// left to say it with, so this is a write of its own, and one that fails leaves the answer as it is (it is no already). Boxed,
/// as it would otherwise lie in the future twice.
pub(super) async fn watched<T>(
    store: &Store,
    actor: &Actor,
    action: Action,
    on: &str,
    now: UnixTime,
    doing: Pin<Box<impl Future<Output = Result<T, ChangeError>>>>,
) -> Result<T, ChangeError> {
    let outcome = doing.await;
    if let Err(ChangeError::NotAllowed) = &outcome {
        let event = Event::new(Kind::Denied, actor)
            .detail("action", action.as_str())
            .detail("on", on);
        note(store, event, now).await;
    }
    outcome
}

/// Whether whoever acts may do this to the instance, which is not the directory's to do. An attempt that is refused stands in
/// the audit log.
///
/// # Errors
/// [`ChangeError::NotAllowed`] if not; or the store does not answer.
pub async fn attempt(store: &Store, actor: &Actor, action: Action, now: UnixTime) -> Result<(), ChangeError> {
    let doing = Box::pin(check(store, actor, action, None));
    watched(store, actor, action, "", now, doing).await
}

/// Whether whoever acts may do this to an account or the instance, or see it, for what is not the directory's to do.
///
/// # Errors
/// [`ChangeError::NotAllowed`] if not; or the store does not answer.
pub async fn check(store: &Store, actor: &Actor, action: Action, on: Option<&UserId>) -> Result<(), ChangeError> {
    let mut reading = store.reading().await?;
    let acting = Acting::read(&mut reading, actor).await?;
    match on {
        Some(user) => acting.must(action, user),
        None => acting.must_here(action),
    }
}
