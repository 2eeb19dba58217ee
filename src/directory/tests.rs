//! Each test runs on SQLite, and on PostgreSQL where there is one.

mod access;
mod admins;
mod arriving;
mod entry;
mod people;
mod relink;
mod teams;

use std::sync::Arc;

use super::*;
use crate::config::EntryRules;
use crate::store::Store;
use crate::store::testing::{damage, places};

const ISSUER: &str = "https://id.example";
const NOW: UnixTime = UnixTime(1_800_000_000);

fn rules() -> EntryRules {
    EntryRules {
        provisioning: true,
        initial_admins: Vec::new(),
        default_role: Role::Member,
        allowed_domains: None,
        allowed_groups: None,
        names_follow: false,
        email_needed: true,
        follow_group_claims: false,
        follow_ldap_groups: false,
    }
}

fn email(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

/// Somebody with everything in order.
fn arrival(subject: &str) -> Arrival {
    Arrival {
        issuer: ISSUER.to_owned(),
        subject: subject.to_owned(),
        email: ClaimedEmail::Verified(email(&format!("{subject}@example.com"))),
        username: Some(subject.to_owned()),
        name: Some(format!("{subject} Example")),
        groups: Ok(Vec::new()),
        hosted_domain: None,
    }
}

async fn user_of(store: &Store, admitted: &Admitted) -> User {
    find(store, admitted.user.as_str()).await.unwrap()
}

async fn admit(store: &Store, arrival: &Arrival, rules: &EntryRules, now: UnixTime) -> Result<Admitted, Refused> {
    super::admit(store, arrival, rules, &Actor::at_the_door(None, None), now).await
}

async fn add(store: &Store, email: &EmailAddress, role: Role, now: UnixTime) -> Result<User, ChangeError> {
    let invitation = Invitation {
        email: email.clone(),
        role,
        teams: Vec::new(),
        expires: None,
    };
    let added = invite(store, &Actor::shell(), &[invitation], true, now).await?;
    Ok(added.into_iter().next().unwrap())
}

async fn set_role(store: &Store, who: &str, role: Role, now: UnixTime) -> Result<User, ChangeError> {
    super::set_role(store, &Actor::shell(), who, role, None, now).await
}

async fn deactivate(store: &Store, who: &str, now: UnixTime) -> Result<User, ChangeError> {
    super::deactivate(store, &Actor::shell(), who, None, now).await
}

async fn activate(store: &Store, who: &str, now: UnixTime) -> Result<User, ChangeError> {
    super::activate(store, &Actor::shell(), who, None, now).await
}

async fn remove(store: &Store, who: &str, now: UnixTime) -> Result<User, ChangeError> {
    super::remove(store, &Actor::shell(), who, None, now).await
}

/// What the store holds of people, to see that a refusal left nothing behind.
async fn everything(store: &Store) -> (Vec<UserRow>, i64) {
    let mut reading = store.reading().await.unwrap();
    (reading.users().await.unwrap(), reading.feed().await.unwrap())
}

async fn refused(store: &Store, arrival: &Arrival, rules: &EntryRules) -> Refused {
    let before = everything(store).await;
    let refused = admit(store, arrival, rules, NOW).await.unwrap_err();
    assert_eq!(everything(store).await, before, "a refusal changed something");
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_newcomer_many_times_at_once_is_one_account() {
    for place in places().await {
        let store = place.open().await;
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap().user })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(list(&store).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deactivated_stay_out_and_the_removed_begin_anew() {
    for place in places().await {
        let store = place.open().await;
        admit(&store, &arrival("boss"), &rules(), NOW).await.unwrap();
        let ann = admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        deactivate(&store, "ANN@example.com", NOW).await.unwrap();
        assert!(matches!(
            refused(&store, &arrival("ann"), &rules()).await,
            Refused::Deactivated
        ));
        assert_eq!(user_of(&store, &ann).await.status, Status::Deactivated);
        activate(&store, ann.user.as_str(), NOW).await.unwrap();
        assert_eq!(
            admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap().user,
            ann.user
        );
        set_role(&store, "ann@example.com", Role::Admin, NOW).await.unwrap();
        remove(&store, "ann@example.com", NOW).await.unwrap();
        let again = admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        assert_ne!(again.user, ann.user);
        assert_eq!((again.how, again.role), (How::Provisioned, Role::Member));
        // An invitation can be taken back, and can be deactivated.
        add(&store, &email("new@example.com"), Role::Admin, NOW).await.unwrap();
        deactivate(&store, "new@example.com", NOW).await.unwrap();
        assert!(matches!(
            refused(&store, &arrival("new"), &rules()).await,
            Refused::Deactivated
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_names_are_unique_however_they_are_written() {
    for place in places().await {
        let store = place.open().await;
        let mut names = Vec::new();
        for (subject, claimed) in [
            ("a1", Some("ann")),
            ("a2", Some("ANN")),
            ("a3", Some("a\u{200b}nn\n")),
            ("a4", None),
            ("a5", Some("\u{202e}\u{0}")),
            ("a6", Some("a1@example.com")),
            ("a7", Some("a7@example.com")),
        ] {
            let mut someone = arrival(subject);
            someone.username = claimed.map(str::to_owned);
            let admitted = admit(&store, &someone, &rules(), NOW).await.unwrap();
            names.push(user_of(&store, &admitted).await.username.unwrap());
        }
        // Another's address is no name for oneself, one's own is.
        assert_eq!(names, ["ann", "a2", "a3", "a4", "a5", "a6", "a7@example.com"]);
        // Same claimed name, same local part: numbered.
        let mut numbered = Vec::new();
        for (n, domain) in ["b.example", "c.example", "d.example"].into_iter().enumerate() {
            let mut someone = arrival(&format!("n{n}"));
            someone.username = Some("Ann".to_owned());
            someone.email = ClaimedEmail::Verified(email(&format!("ann@{domain}")));
            let admitted = admit(&store, &someone, &rules(), NOW).await.unwrap();
            numbered.push(user_of(&store, &admitted).await.username.unwrap());
        }
        assert_eq!(numbered, ["Ann-2", "Ann-3", "Ann-4"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_follow_the_claims_only_where_they_are_told_to() {
    for place in places().await {
        let store = place.open().await;
        admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        admit(&store, &arrival("bob"), &rules(), NOW).await.unwrap();
        let mut renamed = arrival("ann");
        renamed.username = Some("anna".to_owned());
        renamed.name = Some("Anna\r\nX-Role: admin".to_owned());
        let user = user_of(&store, &admit(&store, &renamed, &rules(), NOW).await.unwrap()).await;
        assert_eq!(
            (user.username.as_deref(), user.name.as_deref()),
            (Some("ann"), Some("ann Example"))
        );
        let mut follow = rules();
        follow.names_follow = true;
        let user = user_of(&store, &admit(&store, &renamed, &follow, NOW).await.unwrap()).await;
        assert_eq!(
            (user.username.as_deref(), user.name.as_deref()),
            (Some("anna"), Some("Anna X-Role: admin"))
        );
        renamed.username = Some("BOB".to_owned());
        renamed.name = None;
        let user = user_of(&store, &admit(&store, &renamed, &follow, NOW).await.unwrap()).await;
        assert_eq!(
            (user.username.as_deref(), user.name.as_deref()),
            (Some("anna"), Some("Anna X-Role: admin"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_with_no_identity_is_no_reason_to_let_the_last_one_go() {
    for place in places().await {
        let store = place.open().await;
        let Ok(Link::New(secret)) = restore_link(&store, NOW).await else {
            panic!("there is a link already");
        };
        let made = restore(&store, &secret, &Actor::shell(), NOW).await.unwrap();
        assert!(made.is_some());
        add(&store, &email("bob@example.com"), Role::Admin, NOW).await.unwrap();
        admit(&store, &arrival("bob"), &rules(), NOW).await.unwrap();
        let bob = "bob@example.com";
        assert!(matches!(
            deactivate(&store, bob, NOW).await,
            Err(ChangeError::LastAdmin(_))
        ));
        assert!(one_admin_only(&store).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_named_by_address_or_id_and_added_once() {
    for place in places().await {
        let store = place.open().await;
        assert!(is_empty(&store).await.unwrap());
        let ann = add(&store, &email("Ann@Example.com"), Role::Viewer, NOW).await.unwrap();
        assert!(!is_empty(&store).await.unwrap());
        assert_eq!(
            (ann.status, ann.email.as_deref()),
            (Status::Invited, Some("Ann@Example.com"))
        );
        let again = add(&store, &email("ann@example.com"), Role::Admin, NOW).await;
        assert!(matches!(again, Err(ChangeError::AlreadyThere(_))));
        assert_eq!(find(&store, "ann@example.COM").await.unwrap().id, ann.id);
        assert_eq!(find(&store, ann.id.as_str()).await.unwrap().role, Role::Viewer);
        for nobody in ["", "@", "x@example.com", "u_x", "ann", "%"] {
            assert!(
                matches!(find(&store, nobody).await, Err(ChangeError::NoSuchPerson(_))),
                "{nobody}"
            );
            assert!(
                matches!(remove(&store, nobody, NOW).await, Err(ChangeError::NoSuchPerson(_))),
                "{nobody}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_an_error_and_lets_nobody_in() {
    for place in places().await {
        let store = place.open().await;
        admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        damage(&store, "UPDATE users SET role = 'root'").await;
        let why = admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap_err();
        assert!(matches!(why, Refused::Unavailable(StoreError::Unreadable(_))), "{why}");
    }
}
