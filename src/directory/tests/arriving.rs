//! Invitations, refused arrivals, many at once, moves to another issuer, and what is written down of all that.

use super::teams::{actor, house};
use super::*;

fn closed() -> EntryRules {
    EntryRules {
        provisioning: false,
        ..rules()
    }
}

fn invitation(address: &str, expires: Option<UnixTime>) -> Invitation {
    Invitation {
        email: email(address),
        role: Role::Viewer,
        teams: Vec::new(),
        expires,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_planned_line_by_line_and_added_whole_or_not_at_all() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann"]).await;
        let ann = actor(&store, "ann@example.com").await;
        let art = create_team(&store, &ann, "Art", NOW).await.unwrap();
        add(&store, &email("old@example.com"), Role::Member, NOW).await.unwrap();
        let text = "bob@example.com,viewer,Art\nBOB@example.com\nann@example.com\nold@example.com\n\
                    not an address\neve@example.com,boss\nzoe@example.com,,Nowhere";
        let until = Some(NOW.plus(60));
        let planned = plan_invitations(&store, &ann, text, Role::Member, until, true, NOW)
            .await
            .unwrap();
        assert!(matches!(planned[1].fate, Fate::Twice(1)));
        assert!(matches!(planned[2].fate, Fate::HasAccount));
        assert!(matches!(planned[3].fate, Fate::IsInvited));
        assert!(matches!(planned[4].fate, Fate::NoAddress));
        assert!(matches!(planned[5].fate, Fate::NoRole(_)));
        assert!(matches!(planned[6].fate, Fate::NoTeam(_)));
        assert_eq!(list(&store).await.unwrap().len(), 2, "a plan did something");

        let Fate::Invite(bob) = planned[0].fate.clone() else {
            panic!("{:?}", planned[0]);
        };
        let both = [bob.clone(), invitation("ann@example.com", None)];
        assert!(matches!(
            invite(&store, &ann, &both, true, NOW).await,
            Err(ChangeError::AlreadyThere(_))
        ));
        assert_eq!(list(&store).await.unwrap().len(), 2, "half was done");
        let many = vec![bob.clone(); 1001];
        assert!(matches!(
            invite(&store, &ann, &many, true, NOW).await,
            Err(ChangeError::TooMany(1000))
        ));
        let added = invite(&store, &ann, &[bob], true, NOW).await.unwrap();
        assert_eq!(added[0].invited_by.as_deref(), Some("ann@example.com"));
        admit(&store, &arrival("bob"), &closed(), NOW).await.unwrap();
        let bob = person(&store, &ann, "bob@example.com").await.unwrap();
        assert_eq!((bob.user.role, bob.user.expires), (Role::Viewer, None));
        assert_eq!(bob.teams[0].team, art.id);
        assert!(bob.teams[0].by_hand.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_was_withdrawn_or_has_expired_admits_nobody() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann"]).await;
        let ann = actor(&store, "ann@example.com").await;
        let until = Some(NOW.plus(100));
        let admin = Invitation {
            role: Role::Admin,
            ..invitation("bob@example.com", until)
        };
        invite(&store, &ann, &[admin, invitation("eve@example.com", None)], true, NOW)
            .await
            .unwrap();
        withdraw(&store, &ann, "eve@example.com", NOW).await.unwrap();
        assert!(matches!(
            super::super::admit(&store, &arrival("eve"), &closed(), &Actor::at_the_door(None, None), NOW).await,
            Err(Refused::NotInvited)
        ));
        for at in [NOW.plus(100), NOW.plus(1000)] {
            let late = admit(&store, &arrival("bob"), &closed(), at).await;
            assert!(matches!(late, Err(Refused::NotInvited)));
        }
        // Where anybody may come, they come as anybody.
        let bob = admit(&store, &arrival("bob"), &rules(), NOW.plus(100)).await.unwrap();
        assert_eq!((bob.role, bob.how), (Role::Member, How::Provisioned));
        // A new one may be made in an expired one's place.
        invite(&store, &ann, &[invitation("zoe@example.com", until)], true, NOW)
            .await
            .unwrap();
        invite(
            &store,
            &ann,
            &[invitation("zoe@example.com", None)],
            true,
            NOW.plus(100),
        )
        .await
        .unwrap();
        let zoe = admit(&store, &arrival("zoe"), &closed(), NOW.plus(200)).await.unwrap();
        assert_eq!(zoe.how, How::Invited);
        assert!(matches!(
            withdraw(&store, &ann, "zoe@example.com", NOW).await,
            Err(ChangeError::NotAnInvitation(_))
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_is_listed_once_and_approved_exactly_as_they_came() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann"]).await;
        let ann = actor(&store, "ann@example.com").await;
        for n in 0..3 {
            let outcome = admit(&store, &arrival("bob"), &closed(), NOW.plus(n)).await;
            assert!(matches!(outcome, Err(Refused::NotInvited)));
        }
        // Another reason is no question for an admin.
        let mut unverified = arrival("eve");
        unverified.email = ClaimedEmail::Unverified(email("eve@example.com"));
        admit(&store, &unverified, &closed(), NOW).await.unwrap_err();
        let listed = super::super::refused(&store, &ann, 9).await.unwrap().rows;
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].times, listed[0].at), (3, NOW.plus(2)));
        assert_eq!(listed[0].email.as_deref(), Some("bob@example.com"));
        approve(&store, &ann, &listed[0].id, Role::Viewer, NOW).await.unwrap();
        assert!(super::super::refused(&store, &ann, 9).await.unwrap().rows.is_empty());
        // The same address by another identity is not whom the admin saw.
        let mut other = arrival("other");
        other.email = ClaimedEmail::Verified(email("bob@example.com"));
        assert!(matches!(
            admit(&store, &other, &closed(), NOW).await,
            Err(Refused::EmailTaken)
        ));
        let bob = admit(&store, &arrival("bob"), &closed(), NOW).await.unwrap();
        assert_eq!((bob.role, bob.how), (Role::Viewer, How::Invited));
        let user = user_of(&store, &bob).await;
        assert_eq!((user.username.as_deref(), user.status), (Some("bob"), Status::Active));

        admit(&store, &arrival("zoe"), &closed(), NOW).await.unwrap_err();
        let id = super::super::refused(&store, &ann, 9).await.unwrap().rows[0].id.clone();
        dismiss(&store, &ann, &id, NOW).await.unwrap();
        assert!(matches!(dismiss(&store, &ann, &id, NOW).await, Err(ChangeError::Gone)));
        assert!(matches!(
            approve(&store, &ann, &id, Role::Member, NOW).await,
            Err(ChangeError::Gone)
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_again_and_looks_otherwise_is_not_approved_by_a_page_that_showed_another() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann"]).await;
        let ann = actor(&store, "ann@example.com").await;
        let knocks = async |name: &str, address: &str| {
            let mut eve = arrival("eve");
            (eve.name, eve.email) = (Some(name.to_owned()), ClaimedEmail::Verified(email(address)));
            admit(&store, &eve, &closed(), NOW).await.unwrap_err();
            let mut listed = super::super::refused(&store, &ann, 9).await.unwrap().rows;
            assert_eq!(listed.len(), 1);
            listed.remove(0).id
        };
        let seen = knocks("Bob", "bob@example.com").await;
        assert_eq!(knocks("Bob", "bob@example.com").await, seen);
        for (name, address) in [("Bob", "eve@example.com"), ("Eve", "eve@example.com")] {
            assert_ne!(knocks(name, address).await, seen);
        }
        assert!(matches!(
            approve(&store, &ann, &seen, Role::Member, NOW).await,
            Err(ChangeError::Gone)
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_fill_neither_the_list_nor_the_audit_log() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann"]).await;
        for n in 0..1_050 {
            admit(&store, &arrival(&format!("x{n}")), &closed(), NOW.plus(n))
                .await
                .unwrap_err();
        }
        let shell = Actor::shell();
        let listed = super::super::refused(&store, &shell, 1_000).await.unwrap().rows;
        assert_eq!(listed.len(), 1_000);
        assert_eq!(listed[0].subject, "x1049", "the newest are kept");
        let count = async |store: &Store| {
            let sql = AuditQuery {
                event: Some(Kind::Refusal),
                limit: 500,
                ..AuditQuery::default()
            };
            let first = audit(store, &Actor::shell(), &sql).await.unwrap();
            let more = AuditQuery {
                after: first.next.clone(),
                ..sql
            };
            let told = first
                .rows
                .iter()
                .any(|entry| entry.detail.as_ref().unwrap().get("more").is_some());
            let rest = if first.next.is_some() {
                audit(store, &Actor::shell(), &more).await.unwrap().rows.len()
            } else {
                0
            };
            (first.rows.len() + rest, told)
        };
        assert_eq!(count(&store).await, (500, true));
        // In the next hour there is room again.
        admit(&store, &arrival("late"), &closed(), NOW.plus(8_000))
            .await
            .unwrap_err();
        assert_eq!(count(&store).await.0, 501);
        // What is too old goes.
        let mut writing = store.writing().await.unwrap();
        writing.sweep_audit(NOW.plus(7_000), 100_000).await.unwrap();
        writing.commit().await.unwrap();
        assert_eq!(count(&store).await.0, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_first_sign_ins_at_once_one_is_the_admin_and_none_fails() {
    for place in places().await {
        let store = place.open().await;
        let tasks: Vec<_> = (0..1_000)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { admit(&store, &arrival(&format!("p{n}")), &rules(), NOW).await })
            })
            .collect();
        let mut admins = 0;
        for task in tasks {
            admins += usize::from(task.await.unwrap().unwrap().role == Role::Admin);
        }
        assert_eq!(admins, 1);
        assert_eq!(list(&store).await.unwrap().len(), 1_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_linked_and_unlinked_and_never_the_last_one() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann", "bob"]).await;
        let shell = Actor::shell();
        let (ann, bob) = ("ann@example.com", "bob@example.com");
        let last = unlink(&store, &shell, bob, ISSUER, "bob", NOW).await;
        assert!(matches!(last, Err(ChangeError::LastIdentity(_))));
        let taken = link(&store, &shell, ann, ISSUER, "bob", NOW).await;
        assert!(matches!(taken, Err(ChangeError::IdentityTaken(whose)) if whose == bob));
        for (issuer, subject) in [("", "x"), ("ldap", ""), ("ldap", "a\nb"), ("ldap", "a\0b")] {
            let odd = link(&store, &shell, bob, issuer, subject, NOW).await;
            assert!(matches!(odd, Err(ChangeError::NoIdentity)));
        }
        link(&store, &shell, bob, "ldap", "uuid-1", NOW).await.unwrap();
        let mut by_ldap = arrival("bob");
        (by_ldap.issuer, by_ldap.subject) = ("ldap".to_owned(), "uuid-1".to_owned());
        let id = find(&store, bob).await.unwrap().id;
        assert_eq!(admit(&store, &by_ldap, &rules(), NOW).await.unwrap().user, id);
        unlink(&store, &shell, bob, ISSUER, "bob", NOW).await.unwrap();
        assert!(matches!(
            admit(&store, &arrival("bob"), &rules(), NOW).await,
            Err(Refused::EmailTaken)
        ));
        assert_eq!(admit(&store, &by_ldap, &rules(), NOW).await.unwrap().user, id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_active_admin_the_last_invited_one_stays() {
    for place in places().await {
        let store = place.open().await;
        let shell = Actor::shell();
        let admin = |address: &str, expires| Invitation {
            role: Role::Admin,
            ..invitation(address, expires)
        };
        let until = Some(NOW.plus(10));
        invite(
            &store,
            &shell,
            &[admin("boss@example.com", None), admin("late@example.com", until)],
            true,
            NOW,
        )
        .await
        .unwrap();
        // While another is invited, one may go; an expired one can't come any more.
        let gone = withdraw(&store, &shell, "boss@example.com", NOW.plus(10)).await;
        assert!(matches!(gone, Err(ChangeError::LastAdmin(_))));
        withdraw(&store, &shell, "late@example.com", NOW.plus(10))
            .await
            .unwrap();
        let demoted = set_role(&store, "boss@example.com", Role::Member, NOW).await;
        assert!(matches!(demoted, Err(ChangeError::LastAdmin(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_people_have_no_addresses_nobody_is_invited_who_could_never_come() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann"]).await;
        let ann = actor(&store, "ann@example.com").await;
        let invited = invite(&store, &ann, &[invitation("zoe@example.com", None)], false, NOW).await;
        assert!(matches!(invited, Err(ChangeError::NoAddresses)));
        let planned = plan_invitations(&store, &ann, "zoe@example.com", Role::Member, None, false, NOW).await;
        let error = planned.unwrap_err();
        assert!(error.to_string().contains("OIDC_EMAIL_CLAIM=none"), "{error}");
        assert_eq!(list(&store).await.unwrap().len(), 1);
    }
}
