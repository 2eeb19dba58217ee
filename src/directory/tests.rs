//! Each test runs on SQLite, and on PostgreSQL where there is one.

mod access;
mod arriving;
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
async fn the_first_user_ever_is_admin_and_nobody_after() {
    for place in places().await {
        let store = place.open().await;
        assert!(first_admin_open(&store, &rules()).await.unwrap());
        let ann = admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        assert_eq!((ann.role, ann.how), (Role::Admin, How::FirstAdmin));
        let bob = admit(&store, &arrival("bob"), &rules(), NOW).await.unwrap();
        assert_eq!((bob.role, bob.how), (Role::Member, How::Provisioned));
        assert!(!first_admin_open(&store, &rules()).await.unwrap());
        // Remembered, even when the directory is empty again.
        damage(&store, "DELETE FROM identities; DELETE FROM users").await;
        let eve = admit(&store, &arrival("eve"), &rules(), NOW).await.unwrap();
        assert_eq!(eve.role, Role::Member);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_first_sign_ins_at_once_one_becomes_admin() {
    for place in places().await {
        // Two stores, as two processes would have.
        let stores = [place.open().await, place.open().await];
        let tasks: Vec<_> = (0..40)
            .map(|n| {
                let store = stores[n % 2].clone();
                tokio::spawn(async move { admit(&store, &arrival(&format!("p{n}")), &rules(), NOW).await.unwrap() })
            })
            .collect();
        let mut admins = 0;
        for task in tasks {
            admins += usize::from(task.await.unwrap().role == Role::Admin);
        }
        assert_eq!(admins, 1);
        assert_eq!(list(&stores[0]).await.unwrap().len(), 40);
    }
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
async fn an_added_admin_settles_who_the_first_admin_is() {
    for place in places().await {
        let store = place.open().await;
        add(&store, &email("boss@example.com"), Role::Admin, NOW).await.unwrap();
        let stranger = admit(&store, &arrival("stranger"), &rules(), NOW).await.unwrap();
        assert_eq!(stranger.role, Role::Member);
        let boss = admit(&store, &arrival("boss"), &rules(), NOW).await.unwrap();
        assert_eq!((boss.role, boss.how), (Role::Admin, How::Invited));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_member_who_comes_first_stays_member_and_settles_it() {
    for place in places().await {
        let store = place.open().await;
        add(&store, &email("ann@example.com"), Role::Viewer, NOW).await.unwrap();
        assert!(first_admin_open(&store, &rules()).await.unwrap());
        assert_eq!(
            admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap().role,
            Role::Viewer
        );
        assert_eq!(
            admit(&store, &arrival("eve"), &rules(), NOW).await.unwrap().role,
            Role::Member
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_admins_are_admins_and_then_no_stranger_is() {
    for place in places().await {
        let store = place.open().await;
        let mut rules = rules();
        rules.initial_admins = vec![email("Boss@Example.com")];
        assert!(!first_admin_open(&store, &rules).await.unwrap());
        let stranger = admit(&store, &arrival("stranger"), &rules, NOW).await.unwrap();
        assert_eq!(stranger.role, Role::Member);
        let mut unverified = arrival("liar");
        unverified.email = ClaimedEmail::Unverified(email("boss@example.com"));
        assert!(matches!(
            refused(&store, &unverified, &rules).await,
            Refused::EmailUnverified
        ));
        // They count as added.
        rules.provisioning = false;
        let boss = admit(&store, &arrival("boss"), &rules, NOW).await.unwrap();
        assert_eq!((boss.role, boss.how), (Role::Admin, How::InitialAdmin));
        // The setting taken away does not make the next stranger the first.
        let next = admit(&store, &arrival("next"), &self::rules(), NOW).await.unwrap();
        assert_eq!(next.role, Role::Member);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_provisioning_only_the_added_get_in_by_verified_address() {
    for place in places().await {
        let store = place.open().await;
        let mut rules = rules();
        rules.provisioning = false;
        assert!(matches!(
            refused(&store, &arrival("ann"), &rules).await,
            Refused::NotInvited
        ));
        add(&store, &email("Ann@example.COM"), Role::Member, NOW).await.unwrap();
        let mut ann = arrival("ann");
        ann.email = ClaimedEmail::Unverified(email("ann@example.com"));
        assert!(matches!(refused(&store, &ann, &rules).await, Refused::EmailUnverified));
        let admitted = admit(&store, &arrival("ann"), &rules, NOW).await.unwrap();
        assert_eq!(admitted.how, How::Invited);
        // The invitation is spent: another identity with the same address is not the same person.
        let mut other = arrival("other");
        other.email = ClaimedEmail::Verified(email("ann@example.com"));
        assert!(matches!(refused(&store, &other, &rules).await, Refused::EmailTaken));
        assert_eq!(
            admit(&store, &arrival("ann"), &rules, NOW).await.unwrap().how,
            How::Known
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_never_finds_an_existing_account() {
    for place in places().await {
        let store = place.open().await;
        admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        for (issuer, subject) in [(ISSUER, "evil"), ("https://other.example", "ann"), ("ldap", "ann")] {
            let mut evil = arrival(subject);
            evil.issuer = issuer.to_owned();
            evil.email = ClaimedEmail::Verified(email("ANN@EXAMPLE.com"));
            assert!(
                matches!(refused(&store, &evil, &rules()).await, Refused::EmailTaken),
                "{issuer} {subject}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_address_makes_no_account() {
    for place in places().await {
        let store = place.open().await;
        let mut ann = arrival("ann");
        ann.email = ClaimedEmail::Missing;
        assert!(matches!(refused(&store, &ann, &rules()).await, Refused::EmailMissing));
        ann.email = ClaimedEmail::Malformed;
        assert!(matches!(refused(&store, &ann, &rules()).await, Refused::EmailMalformed));
        ann.email = ClaimedEmail::Unverified(email("ann@example.com"));
        assert!(matches!(
            refused(&store, &ann, &rules()).await,
            Refused::EmailUnverified
        ));
        let mut rules = rules();
        rules.email_needed = false;
        ann.email = ClaimedEmail::Missing;
        ann.username = None;
        let admitted = admit(&store, &ann, &rules, NOW).await.unwrap();
        let user = user_of(&store, &admitted).await;
        assert_eq!(user.email, None);
        assert!(user.username.unwrap().starts_with("user-"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_people_need_no_address_none_is_looked_at() {
    for place in places().await {
        let store = place.open().await;
        let mut rules = rules();
        rules.email_needed = false;
        add(&store, &email("boss@example.com"), Role::Admin, NOW).await.unwrap();
        let admitted = admit(&store, &arrival("boss"), &rules, NOW).await.unwrap();
        assert_eq!((admitted.how, admitted.role), (How::Provisioned, Role::Member));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_identity_signs_in_whatever_its_address_says() {
    for place in places().await {
        let store = place.open().await;
        let ann = admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        admit(&store, &arrival("bob"), &rules(), NOW).await.unwrap();
        add(&store, &email("boss@example.com"), Role::Admin, NOW).await.unwrap();
        for claimed in [
            ClaimedEmail::Missing,
            ClaimedEmail::Malformed,
            ClaimedEmail::Unverified(email("new@example.com")),
            ClaimedEmail::Verified(email("bob@example.com")),
            // An invitation is not accepted by it.
            ClaimedEmail::Verified(email("boss@example.com")),
        ] {
            let mut again = arrival("ann");
            again.email = claimed;
            let admitted = admit(&store, &again, &rules(), NOW).await.unwrap();
            assert_eq!((&admitted.user, admitted.how), (&ann.user, How::Known));
            let user = user_of(&store, &admitted).await;
            assert_eq!(user.email.as_deref(), Some("ann@example.com"));
        }
        let mut again = arrival("ann");
        again.email = ClaimedEmail::Verified(email("ann.new@example.com"));
        let admitted = admit(&store, &again, &rules(), NOW.plus(5)).await.unwrap();
        let user = user_of(&store, &admitted).await;
        assert_eq!(user.email.as_deref(), Some("ann.new@example.com"));
        assert_eq!((user.role, user.last_sign_in), (Role::Admin, Some(NOW.plus(5))));
        assert_eq!(find(&store, "boss@example.com").await.unwrap().status, Status::Invited);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_domains_hold_at_every_sign_in_and_fail_closed() {
    for place in places().await {
        let store = place.open().await;
        admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        let mut rules = rules();
        rules.allowed_domains = Some(vec!["corp.example".to_owned()]);
        // Known, and out all the same.
        assert!(matches!(
            refused(&store, &arrival("ann"), &rules).await,
            Refused::DomainNotAllowed
        ));
        for (n, (address, allowed)) in [
            ("x@corp.example", true),
            ("X@CORP.Example", true),
            ("x@sub.corp.example", false),
            ("x@corp.example.evil.example", false),
            ("x@evilcorp.example", false),
            ("corp.example@evil.example", false),
        ]
        .into_iter()
        .enumerate()
        {
            let mut someone = arrival(&format!("s{n}"));
            someone.email = ClaimedEmail::Verified(email(address));
            let outcome = admit(&store, &someone, &rules, NOW).await;
            assert_eq!(
                matches!(outcome, Ok(_) | Err(Refused::EmailTaken)),
                allowed,
                "{address}: {outcome:?}"
            );
        }
        for (claimed, known) in [(ClaimedEmail::Missing, true), (ClaimedEmail::Missing, false)] {
            let mut someone = arrival(if known { "s0" } else { "nobody" });
            someone.email = claimed;
            assert!(matches!(refused(&store, &someone, &rules).await, Refused::EmailMissing));
        }
        let mut someone = arrival("s0");
        someone.email = ClaimedEmail::Unverified(email("x@corp.example"));
        assert!(matches!(
            refused(&store, &someone, &rules).await,
            Refused::EmailUnverified
        ));
        rules.allowed_domains = Some(Vec::new());
        assert!(matches!(
            refused(&store, &arrival("ann"), &rules).await,
            Refused::DomainNotAllowed
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_google_the_hosted_domain_counts_besides_the_address() {
    for place in places().await {
        let store = place.open().await;
        let mut rules = rules();
        rules.allowed_domains = Some(vec!["example.com".to_owned()]);
        let mut ann = arrival("ann");
        ann.issuer = "https://accounts.google.com".to_owned();
        for hosted in [None, Some(""), Some("gmail.com"), Some("example.com.evil")] {
            ann.hosted_domain = hosted.map(str::to_owned);
            assert!(matches!(
                refused(&store, &ann, &rules).await,
                Refused::HostedDomainNotAllowed
            ));
        }
        ann.hosted_domain = Some("Example.com".to_owned());
        admit(&store, &ann, &rules, NOW).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_groups_hold_at_every_sign_in_and_fail_closed() {
    for place in places().await {
        let store = place.open().await;
        admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        let mut rules = rules();
        rules.allowed_groups = Some(vec!["staff".to_owned(), "a/b".to_owned()]);
        let with = |groups: &[&str]| {
            let mut ann = arrival("ann");
            ann.groups = Ok(groups.iter().map(|group| (*group).to_owned()).collect());
            ann
        };
        for groups in [&["x", "staff"][..], &["/staff"], &["/a/b"], &["a/b"]] {
            admit(&store, &with(groups), &rules, NOW).await.unwrap();
        }
        for groups in [
            &[][..],
            &[""],
            &["Staff"],
            &["staff "],
            &["//staff"],
            &["staff/"],
            &["b"],
            &["staff,x"],
        ] {
            let why = refused(&store, &with(groups), &rules).await;
            assert!(matches!(why, Refused::GroupNotAllowed), "{groups:?}");
        }
        for why in [GroupsUnreadable::Overage, GroupsUnreadable::WrongType] {
            let mut ann = arrival("ann");
            ann.groups = Err(why.clone());
            assert!(matches!(refused(&store, &ann, &rules).await, Refused::GroupsUnreadable(said) if said == why));
            // Nobody needs groups where no rule does.
            admit(&store, &ann, &self::rules(), NOW).await.unwrap();
        }
        // Both set: both must hold.
        rules.allowed_domains = Some(vec!["corp.example".to_owned()]);
        assert!(matches!(
            refused(&store, &with(&["staff"]), &rules).await,
            Refused::DomainNotAllowed
        ));
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
async fn an_id_that_no_provider_gives_is_refused() {
    for place in places().await {
        let store = place.open().await;
        for subject in ["", "a\0b", "a\nb", &"x".repeat(513)] {
            let mut odd = arrival("x");
            odd.subject = subject.to_owned();
            assert!(matches!(
                refused(&store, &odd, &rules()).await,
                Refused::SubjectUnusable
            ));
        }
        // Compared byte for byte.
        let ann = admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        let mut other = arrival("Ann");
        other.email = ClaimedEmail::Verified(email("other@example.com"));
        let other = admit(&store, &other, &rules(), NOW).await.unwrap();
        assert_ne!(ann.user, other.user);
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
async fn the_last_active_admin_cannot_be_lost() {
    for place in places().await {
        let store = place.open().await;
        admit(&store, &arrival("ann"), &rules(), NOW).await.unwrap();
        let ann = "ann@example.com";
        let last = |outcome: Result<User, ChangeError>| matches!(outcome, Err(ChangeError::LastAdmin(_)));
        assert!(last(set_role(&store, ann, Role::Member, NOW).await));
        assert!(last(deactivate(&store, ann, NOW).await));
        assert!(last(remove(&store, ann, NOW).await));
        set_role(&store, ann, Role::Admin, NOW).await.unwrap();
        // A deactivated admin is none.
        add(&store, &email("bob@example.com"), Role::Admin, NOW).await.unwrap();
        deactivate(&store, "bob@example.com", NOW).await.unwrap();
        assert!(last(remove(&store, ann, NOW).await));
        activate(&store, "bob@example.com", NOW).await.unwrap();
        // Nor is one who has never signed in: they cannot help an instance that has locked itself out.
        assert!(last(set_role(&store, ann, Role::Member, NOW).await));
        assert!(last(deactivate(&store, ann, NOW).await));
        assert!(last(remove(&store, ann, NOW).await));
        admit(&store, &arrival("bob"), &rules(), NOW).await.unwrap();
        remove(&store, ann, NOW).await.unwrap();
        assert!(last(set_role(&store, "bob@example.com", Role::Viewer, NOW).await));
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
async fn of_many_admins_who_drop_each_other_at_once_one_stays() {
    for place in places().await {
        let stores = Arc::new([place.open().await, place.open().await]);
        for n in 0..12 {
            add(&stores[0], &email(&format!("a{n}@example.com")), Role::Admin, NOW)
                .await
                .unwrap();
        }
        let tasks: Vec<_> = (0..12)
            .map(|n| {
                let stores = Arc::clone(&stores);
                tokio::spawn(async move {
                    let (store, who) = (&stores[n % 2], format!("a{n}@example.com"));
                    match n % 3 {
                        0 => set_role(store, &who, Role::Member, NOW).await,
                        1 => deactivate(store, &who, NOW).await,
                        _ => remove(store, &who, NOW).await,
                    }
                })
            })
            .collect();
        let mut kept = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => {}
                Err(ChangeError::LastAdmin(_)) => kept += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(kept, 1);
        let left = list(&stores[1]).await.unwrap();
        let admins = left
            .iter()
            .filter(|user| user.role == Role::Admin && user.status != Status::Deactivated);
        assert_eq!(admins.count(), 1);
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
