//! The way into a set-up that nobody can sign in to any more: one link, for one sign-in, as an admin.
//!
//! There is one link a store, whatever the number of replicas and restarts; only its hash is kept. While one is open, no other
//! is made: several replicas that start together would take each other's away, and the operator would hold a dead one. Once
//! one was used, no other is made until the gateway has been started without `LOCAL_RESTORE`: left set, it would write a key
//! to the house into the logs at every start.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::people::new_id;
use super::{Actor, event_about, names};
use crate::clock::UnixTime;
use crate::person::{Role, UserId};
use crate::seal;
use crate::store::{Store, StoreError, UserRow};
use crate::telemetry::audit::Kind;

/// How long a link is good for, in seconds.
const LIFETIME: i64 = 15 * 60;
/// What the account is called that is made where there is no admin.
const NAME: &str = "restore";

/// How the link stands at a start.
#[derive(Debug)]
pub enum Link {
    /// Made now: its secret, which is shown once.
    New(SecretString),
    /// Another start has one that is good until then.
    Open(UnixTime),
    /// It was used.
    Used,
}

/// Makes the link, unless there is one.
///
/// # Errors
/// If the store does not answer.
pub async fn restore_link(store: &Store, now: UnixTime) -> Result<Link, StoreError> {
    let mut change = store.change(now).await?;
    match change.restore_link().await? {
        Some(link) if link.used => return Ok(Link::Used),
        Some(link) if link.until > now && link.until <= now.plus(LIFETIME) => return Ok(Link::Open(link.until)),
        _ => {}
    }
    let secret = seal::random_name();
    change.put_restore_link(&hash(&secret), now.plus(LIFETIME)).await?;
    change.commit().await?;
    Ok(Link::New(secret.into()))
}

/// Takes the link away: the gateway was started without it.
///
/// # Errors
/// If the store does not answer.
pub async fn no_restore_link(store: &Store, now: UnixTime) -> Result<(), StoreError> {
    if store.reading().await?.restore_link().await?.is_none() {
        return Ok(());
    }
    let mut change = store.change(now).await?;
    change.drop_restore_link().await?;
    change.commit().await
}

/// Whether this is the link's secret, and the link still good.
///
/// # Errors
/// If the store does not answer.
pub async fn opens(store: &Store, secret: &SecretString, now: UnixTime) -> Result<bool, StoreError> {
    let link = store.reading().await?.restore_link().await?;
    Ok(link.is_some_and(|link| link.hash == hash(secret.expose_secret()) && !link.used && link.until > now))
}

/// Uses the link up, and says whom it signs in: the oldest active admin, or one that is made. None if it is not good.
///
/// # Errors
/// If the store does not answer.
pub async fn restore(
    store: &Store,
    secret: &SecretString,
    door: &Actor,
    now: UnixTime,
) -> Result<Option<UserId>, StoreError> {
    let mut change = store.change(now).await?;
    if !change.use_restore_link(&hash(secret.expose_secret()), now).await? {
        return Ok(None);
    }
    let user = if let Some(admin) = change.oldest_admin().await? {
        admin.id
    } else {
        let id = new_id();
        let mut username = names::free(&mut change, &id, NAME).await?;
        if username.is_none() {
            let other = format!("{NAME}-{}", seal::random_name());
            username = names::free(&mut change, &id, &other).await?;
        }
        let user = UserRow {
            id,
            email: None,
            username,
            name: Some("Restore".to_owned()),
            role: Role::Admin,
            deactivated: false,
            created: now,
            signed_in: Some(now),
            version: 1,
            expires: None,
            invited_by: None,
        };
        change.insert_user(&user).await?;
        change.settle_admin().await?;
        let event = event_about(Kind::Provisioning, door, &user)
            .detail("how", "restore link: there was no active admin")
            .after(json!({ "role": user.role, "username": NAME }));
        change.record(event, now).await?;
        user.id
    };
    change.commit().await?;
    Ok(Some(user))
}

fn hash(secret: &str) -> [u8; 32] {
    seal::sha256(secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{LIFETIME, Link, no_restore_link, opens, restore, restore_link};
    use crate::clock::UnixTime;
    use crate::directory::{self, Actor};
    use crate::person::Role;
    use crate::store::Store;
    use crate::store::testing::places;
    use secrecy::SecretString;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    async fn new_link(store: &Store, now: UnixTime) -> SecretString {
        match restore_link(store, now).await.unwrap() {
            Link::New(secret) => secret,
            other => panic!("{other:?}"),
        }
    }

    async fn sign_in(store: &Store, secret: &SecretString, now: UnixTime) -> Option<crate::person::UserId> {
        restore(store, secret, &Actor::system(), now).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn there_is_one_link_a_store_whatever_is_started_and_it_works_once() {
        for place in places().await {
            let (store, other) = (place.open().await, place.open().await);
            let secret = new_link(&store, NOW).await;
            for process in [&store, &other] {
                assert!(
                    matches!(restore_link(process, NOW.plus(5)).await.unwrap(), Link::Open(until) if until == NOW.plus(LIFETIME))
                );
            }
            assert!(!opens(&store, &"another".into(), NOW).await.unwrap());
            assert_eq!(sign_in(&store, &"another".into(), NOW).await, None);
            assert!(opens(&other, &secret, NOW).await.unwrap());
            assert!(!opens(&other, &secret, NOW.plus(LIFETIME)).await.unwrap());
            assert_eq!(sign_in(&store, &secret, NOW.plus(LIFETIME)).await, None);
            // Over: another one, and the first is none any more.
            let second = new_link(&store, NOW.plus(LIFETIME)).await;
            assert!(!opens(&store, &secret, NOW.plus(LIFETIME)).await.unwrap());
            let now = NOW.plus(LIFETIME + 1);
            let (a, b) = tokio::join!(sign_in(&store, &second, now), sign_in(&other, &second, now));
            assert!(a.is_some() != b.is_some(), "once");
            assert_eq!(sign_in(&store, &second, now).await, None);
            // Left set, it opens no other; switched off and on, it does.
            assert!(matches!(
                restore_link(&other, now.plus(86_400)).await.unwrap(),
                Link::Used
            ));
            no_restore_link(&store, now).await.unwrap();
            new_link(&other, now).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_signs_in_the_oldest_active_admin_or_makes_one() {
        for place in places().await {
            let store = place.open().await;
            let link = async |now: UnixTime| {
                no_restore_link(&store, now).await.unwrap();
                new_link(&store, now).await
            };
            let made = sign_in(&store, &link(NOW).await, NOW).await.unwrap();
            let users = directory::list(&store).await.unwrap();
            assert_eq!(users.len(), 1);
            let user = &users[0];
            assert_eq!((&user.id, user.role), (&made, Role::Admin));
            assert_eq!((user.username.as_deref(), &user.email), (Some("restore"), &None));
            // There is one now.
            let later = NOW.plus(60);
            assert_eq!(sign_in(&store, &link(later).await, later).await, Some(made));
            assert_eq!(directory::list(&store).await.unwrap().len(), 1);
        }
    }
}
