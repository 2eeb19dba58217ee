//! People by the page, one person, and the audit log.

use super::teams::{actor, house};
use super::*;

fn first(limit: usize) -> PeopleQuery {
    PeopleQuery {
        limit,
        ..PeopleQuery::default()
    }
}

async fn addresses(store: &Store, query: &PeopleQuery) -> Vec<String> {
    let page = people(store, &Actor::shell(), query).await.unwrap();
    page.rows.into_iter().map(|user| user.email.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_is_walked_whole_in_both_directions() {
    for place in places().await {
        let store = place.open().await;
        let names: Vec<String> = (0..23).map(|n| format!("p{}x{n:02}", n % 3)).collect();
        for (n, name) in names.iter().enumerate() {
            // Two of each age: the id tells them apart.
            let at = NOW.plus(i64::try_from(n / 2).unwrap());
            admit(&store, &arrival(name), &rules(), at).await.unwrap();
        }
        for sort in [Sort::Email, Sort::Name, Sort::Created, Sort::LastSignIn] {
            for descending in [false, true] {
                let whole = addresses(
                    &store,
                    &PeopleQuery {
                        sort,
                        descending,
                        ..first(100)
                    },
                )
                .await;
                assert_eq!(whole.len(), 23);
                let (mut seen, mut pages, mut after) = (Vec::new(), Vec::new(), None);
                loop {
                    let query = PeopleQuery {
                        sort,
                        descending,
                        after,
                        ..first(5)
                    };
                    let page = people(&store, &Actor::shell(), &query).await.unwrap();
                    assert_eq!(page.total, Some(23));
                    let rows: Vec<_> = page.rows.iter().map(|user| user.email.clone().unwrap()).collect();
                    seen.extend(rows.clone());
                    pages.push((rows, page.previous.clone()));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(seen, whole, "{sort:?} {descending}");
                // And back.
                for back in (1..pages.len()).rev() {
                    let query = PeopleQuery {
                        sort,
                        descending,
                        after: pages[back].1.clone(),
                        ..first(5)
                    };
                    assert_eq!(addresses(&store, &query).await, pages[back - 1].0);
                }
                assert!(pages[0].1.is_none());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_found_by_the_beginnings_of_their_words_and_by_role_status_and_team() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann", "bob.smith", "eve"]).await;
        add(&store, &email("Zoe@other.example"), Role::Viewer, NOW)
            .await
            .unwrap();
        let shell = Actor::shell();
        create_team(&store, &shell, "Art", NOW).await.unwrap();
        set_member(&store, &shell, "Art", "eve@example.com", Role::Member, None, NOW)
            .await
            .unwrap();
        let search = |text: &str| PeopleQuery {
            search: text.to_owned(),
            ..first(10)
        };
        for (text, found) in [
            ("", 4),
            ("smi", 1),
            ("SMITH@EXAMPLE.com", 1),
            ("example.com", 3),
            ("example", 4),
            ("bob exam", 1),
            ("bob eve", 0),
            ("zoe@other", 1),
            ("ob", 0),
            ("%", 0),
            ("a\0nn", 1),
            ("' OR 1=1 --", 0),
        ] {
            assert_eq!(addresses(&store, &search(text)).await.len(), found, "{text:?}");
        }
        let only = |role, status, team: Option<TeamId>| PeopleQuery {
            role,
            status,
            team,
            ..first(10)
        };
        assert_eq!(
            addresses(&store, &only(Some(Role::Admin), None, None)).await,
            ["ann@example.com"]
        );
        assert_eq!(
            addresses(&store, &only(Some(Role::Viewer), Some(Status::Invited), None)).await,
            ["Zoe@other.example"]
        );
        assert_eq!(
            addresses(&store, &only(None, Some(Status::Active), None)).await.len(),
            3
        );
        let art = teams(&store, &shell, "", None, 10).await.unwrap().rows.remove(0);
        assert_eq!(
            addresses(&store, &only(None, None, Some(art.id))).await,
            ["eve@example.com"]
        );
        // A changed name is found by its new words alone.
        let follow = EntryRules {
            names_follow: true,
            ..rules()
        };
        let mut eve = arrival("eve");
        eve.name = Some("Evelyn Waugh".to_owned());
        admit(&store, &eve, &follow, NOW).await.unwrap();
        assert_eq!(addresses(&store, &search("waugh")).await, ["eve@example.com"]);
    }
}

async fn user_name(store: &Store, id: &UserId) -> Option<String> {
    find(store, id.as_str()).await.unwrap().name
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_admins_who_look_at_the_same_person_the_second_hears_of_the_first() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann", "bob"]).await;
        let ann = actor(&store, "ann@example.com").await;
        let bob = "bob@example.com";
        let seen = Some(find(&store, bob).await.unwrap().version);
        // Their signing in meanwhile is no change that somebody made, whatever came with it.
        let follow = EntryRules {
            names_follow: true,
            ..rules()
        };
        let married = Arrival {
            email: ClaimedEmail::Verified(email("bob.new@example.com")),
            name: Some("Bob New".to_owned()),
            username: Some("bobnew".to_owned()),
            ..arrival("bob")
        };
        admit(&store, &married, &follow, NOW.plus(5)).await.unwrap();
        let again = Arrival {
            name: Some("Bob Newer".to_owned()),
            ..married
        };
        let id = find(&store, "bob.new@example.com").await.unwrap().id;
        look_again(&store, &id, &again, true, &follow, NOW.plus(6))
            .await
            .unwrap();
        assert_eq!(user_name(&store, &id).await.as_deref(), Some("Bob Newer"));
        let bob = id.as_str();
        super::super::set_role(&store, &ann, bob, Role::Viewer, seen, NOW)
            .await
            .unwrap();
        for outcome in [
            super::super::set_role(&store, &ann, bob, Role::Admin, seen, NOW).await,
            super::super::deactivate(&store, &ann, bob, seen, NOW).await,
            super::super::remove(&store, &ann, bob, seen, NOW).await,
        ] {
            assert!(matches!(outcome, Err(ChangeError::ChangedMeanwhile)));
        }
        let user = find(&store, bob).await.unwrap();
        assert_eq!((user.role, user.status), (Role::Viewer, Status::Active));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_stands_in_the_audit_log_with_who_from_where_before_and_after() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann", "bob"]).await;
        let ann = actor(&store, "ann@example.com").await;
        super::super::set_role(&store, &ann, "bob@example.com", Role::Viewer, None, NOW)
            .await
            .unwrap();
        let query = AuditQuery {
            person: Some("bob@example.com".to_owned()),
            limit: 10,
            ..AuditQuery::default()
        };
        let page = audit(&store, &ann, &query).await.unwrap();
        let entry = &page.rows[0];
        assert_eq!((entry.event.as_str(), entry.at), ("role_change", NOW));
        assert_eq!(entry.actor_id.as_deref(), ann.user().map(UserId::as_str));
        assert_eq!(entry.actor_name.as_deref(), Some("ann@example.com"));
        assert_eq!(entry.address.as_deref(), Some("192.0.2.7"));
        assert_eq!(entry.request_id.as_deref(), Some("r1"));
        assert_eq!(entry.target_name.as_deref(), Some("bob@example.com"));
        assert_eq!(entry.before, Some(serde_json::json!({"role": "member"})));
        assert_eq!(entry.after, Some(serde_json::json!({"role": "viewer"})));
        // The account gone, the log is still found by its address.
        super::super::remove(&store, &ann, "bob@example.com", None, NOW)
            .await
            .unwrap();
        let page = audit(&store, &ann, &query).await.unwrap();
        let events: Vec<_> = page.rows.iter().map(|entry| entry.event.as_str()).collect();
        assert_eq!(events, ["status_change", "role_change", "provisioning"]);
        // A change that is refused leaves none.
        let before = audit(
            &store,
            &ann,
            &AuditQuery {
                limit: 100,
                ..AuditQuery::default()
            },
        )
        .await
        .unwrap()
        .rows
        .len();
        let last = super::super::remove(&store, &ann, "ann@example.com", None, NOW).await;
        assert!(matches!(last, Err(ChangeError::LastAdmin(_))));
        let after = audit(
            &store,
            &ann,
            &AuditQuery {
                limit: 100,
                ..AuditQuery::default()
            },
        )
        .await
        .unwrap()
        .rows
        .len();
        assert_eq!(before, after);
    }
}
