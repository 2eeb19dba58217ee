//! What admins do with people. A person is named by e-mail address or id.

use super::{ChangeError, User, tell};
use crate::clock::UnixTime;
use crate::config::EntryRules;
use crate::person::{EmailAddress, Role, UserId};
use crate::seal;
use crate::store::{Change, ChangeKind, Reading, Store, StoreError, UserRow};
use crate::telemetry::audit::Kind;

/// Everybody, by age of the account.
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

/// The person of this e-mail address or id.
///
/// # Errors
/// If there is none.
pub async fn find(store: &Store, who: &str) -> Result<User, ChangeError> {
    Ok(named(&mut store.reading().await?, who).await?.into())
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

/// Adds an invitation.
///
/// # Errors
/// If the address has an account or invitation.
pub async fn add(store: &Store, email: &EmailAddress, role: Role, now: UnixTime) -> Result<User, ChangeError> {
    let mut change = store.change(now).await?;
    if change.user_by_email(email.folded()).await?.is_some() {
        return Err(ChangeError::AlreadyThere(email.clone()));
    }
    let user = UserRow {
        id: UserId::new(&format!("u_{}", seal::random_name())),
        email: Some((email.as_str().to_owned(), email.folded().to_owned())),
        username: None,
        name: None,
        role,
        deactivated: false,
        created: now,
        signed_in: None,
    };
    change.insert_user(&user).await?;
    if role == Role::Admin {
        change.settle_admin().await?;
    }
    change.commit().await?;
    tell(Kind::Provisioning, "added", &user);
    Ok(user.into())
}

/// Changes a role; live sessions show it within a second.
///
/// # Errors
/// If there is nobody, or they are the last active admin.
pub async fn set_role(store: &Store, who: &str, role: Role, now: UnixTime) -> Result<User, ChangeError> {
    let mut change = store.change(now).await?;
    let mut user = named(&mut change, who).await?;
    if role != Role::Admin {
        keep_an_admin(&mut change, &user).await?;
    }
    let was = std::mem::replace(&mut user.role, role);
    change.update_user(&user).await?;
    if role == Role::Admin {
        change.settle_admin().await?;
    }
    change.publish(ChangeKind::User, user.id.as_str()).await?;
    change.commit().await?;
    tell(Kind::RoleChange, &format!("was {was}"), &user);
    Ok(user.into())
}

/// Deactivates an account and ends its sessions.
///
/// # Errors
/// If there is nobody, or they are the last active admin.
pub async fn deactivate(store: &Store, who: &str, now: UnixTime) -> Result<User, ChangeError> {
    let mut change = store.change(now).await?;
    let mut user = named(&mut change, who).await?;
    keep_an_admin(&mut change, &user).await?;
    user.deactivated = true;
    change.update_user(&user).await?;
    change.delete_sessions_of(&user.id).await?;
    change.publish(ChangeKind::UserEnded, user.id.as_str()).await?;
    change.commit().await?;
    tell(Kind::StatusChange, "deactivated", &user);
    Ok(user.into())
}

/// Lets a deactivated person sign in again.
///
/// # Errors
/// If there is nobody.
pub async fn activate(store: &Store, who: &str, now: UnixTime) -> Result<User, ChangeError> {
    let mut change = store.change(now).await?;
    let mut user = named(&mut change, who).await?;
    user.deactivated = false;
    change.update_user(&user).await?;
    change.commit().await?;
    tell(Kind::StatusChange, "activated", &user);
    Ok(user.into())
}

/// Removes an account, its identities and its sessions. The id is never used again.
///
/// # Errors
/// If there is nobody, or they are the last active admin.
pub async fn remove(store: &Store, who: &str, now: UnixTime) -> Result<User, ChangeError> {
    let mut change = store.change(now).await?;
    let user = named(&mut change, who).await?;
    keep_an_admin(&mut change, &user).await?;
    change.delete_user(&user.id).await?;
    change.publish(ChangeKind::UserEnded, user.id.as_str()).await?;
    change.commit().await?;
    tell(Kind::StatusChange, "removed", &user);
    Ok(user.into())
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

async fn named(reading: &mut Reading, who: &str) -> Result<UserRow, ChangeError> {
    let found = if who.contains('@') {
        match EmailAddress::parse(who) {
            Ok(email) => reading.user_by_email(email.folded()).await?,
            Err(_) => None,
        }
    } else {
        reading.user(who).await?
    };
    found.ok_or_else(|| ChangeError::NoSuchPerson(who.to_owned()))
}

/// An instance always has an admin who may sign in; an invited one counts. Decided under the lock row, so that two admins
/// cannot demote each other at the same moment.
async fn keep_an_admin(change: &mut Change, user: &UserRow) -> Result<(), ChangeError> {
    let is_one = user.role == Role::Admin && !user.deactivated;
    if is_one && change.other_active_admins(&user.id).await? == 0 {
        let name = user.email.as_ref().map_or(user.id.as_str(), |(shown, _)| shown);
        return Err(ChangeError::LastAdmin(name.to_owned()));
    }
    Ok(())
}
