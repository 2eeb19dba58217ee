//! Who is the first admin, and that there is always one.

use super::*;

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
