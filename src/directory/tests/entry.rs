//! Who gets in: domains, groups, addresses, provisioning.

use super::*;

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
