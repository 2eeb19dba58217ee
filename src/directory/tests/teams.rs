//! Teams, their people, and the groups that they follow.

use super::*;

/// A name for whoever acts.
pub(super) async fn actor(store: &Store, who: &str) -> Actor {
    let user = find(store, who).await.unwrap();
    Actor {
        who: Who::Person {
            name: user.email.unwrap(),
            user: user.id,
        },
        address: Some("192.0.2.7".parse().unwrap()),
        request_id: Some("r1".to_owned()),
    }
}

/// Signs people in; the first is the admin.
pub(super) async fn house(store: &Store, names: &[&str]) {
    for name in names {
        admit(store, &arrival(name), &rules(), NOW).await.unwrap();
    }
}

async fn teams_of(store: &Store, who: &str) -> Vec<(String, Role)> {
    let person = person(store, &Actor::shell(), who).await.unwrap();
    let told = store.reading().await.unwrap().teams_of(&person.user.id).await.unwrap();
    let seen: Vec<_> = person.teams.into_iter().map(|team| (team.name, team.role)).collect();
    assert_eq!(seen, told, "apps are told something else than admins");
    seen
}

const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";
const EVE: &str = "eve@example.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_team_is_made_filled_renamed_and_ended() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann", "bob", "eve"]).await;
        let ann = actor(&store, ANN).await;
        let team = create_team(&store, &ann, " Research ", NOW).await.unwrap();
        assert_eq!((team.name.as_str(), team.members), ("Research", 0));
        set_member(&store, &ann, "research", BOB, Role::Admin, None, NOW)
            .await
            .unwrap();
        set_member(&store, &ann, team.id.as_str(), EVE, Role::Viewer, None, NOW)
            .await
            .unwrap();
        assert_eq!(teams_of(&store, BOB).await, [("Research".to_owned(), Role::Admin)]);
        rename_team(&store, &ann, "Research", "Science", None, NOW)
            .await
            .unwrap();
        assert_eq!(teams_of(&store, EVE).await, [("Science".to_owned(), Role::Viewer)]);
        let view = super::super::team(&store, &ann, "science", None, 10).await.unwrap();
        let members: Vec<_> = view
            .members
            .rows
            .iter()
            .map(|member| member.email.as_deref().unwrap())
            .collect();
        assert_eq!((members, view.team.members), (vec![BOB, EVE], 2));
        remove_member(&store, &ann, "Science", EVE, None, NOW).await.unwrap();
        assert!(teams_of(&store, EVE).await.is_empty());
        assert!(matches!(
            remove_member(&store, &ann, "Science", EVE, None, NOW).await,
            Err(ChangeError::NotInTeam(_))
        ));
        delete_team(&store, &ann, "Science", None, NOW).await.unwrap();
        assert!(teams_of(&store, BOB).await.is_empty());
        assert!(teams(&store, &ann, "", None, 10).await.unwrap().rows.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_alike_are_one_team_and_odd_ones_are_none() {
    for place in places().await {
        let store = place.open().await;
        let shell = Actor::shell();
        create_team(&store, &shell, "Jose\u{301}", NOW).await.unwrap();
        let taken = create_team(&store, &shell, "JOS\u{c9}", NOW).await;
        assert!(matches!(taken, Err(ChangeError::TeamExists(name)) if name == "Jos\u{e9}"));
        create_team(&store, &shell, &"é".repeat(320), NOW).await.unwrap();
        for odd in [
            "",
            "  ",
            "a\nb",
            "a\0b",
            "a\tb",
            "a\u{7f}",
            "a\u{202e}b",
            "a\u{200b}",
            "a\u{a0}b",
            &"é".repeat(321),
        ] {
            let refused = create_team(&store, &shell, odd, NOW).await;
            assert!(matches!(refused, Err(ChangeError::NotAName(..))), "{odd:?}");
            let refused = rename_team(&store, &shell, "jos\u{e9}", odd, None, NOW).await;
            assert!(matches!(refused, Err(ChangeError::NotAName(..))), "{odd:?}");
        }
        // No text that somebody asks with is a failure of the store.
        for odd in ["a\0b", "", "'; DROP TABLE teams", "%"] {
            assert!(matches!(
                super::super::team(&store, &shell, odd, None, 10).await,
                Err(ChangeError::NoSuchTeam(_))
            ));
            teams(&store, &shell, odd, None, 10).await.unwrap();
        }
    }
}

fn following() -> EntryRules {
    EntryRules {
        follow_group_claims: true,
        ..rules()
    }
}

fn in_groups(name: &str, groups: &[&str]) -> Arrival {
    Arrival {
        groups: Ok(groups.iter().map(|group| (*group).to_owned()).collect()),
        ..arrival(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_is_unlinked_takes_its_groups_along_though_another_is_at_the_same_issuer() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann", "bob"]).await;
        create_team(&store, &Actor::shell(), "sre", NOW).await.unwrap();
        super::link(&store, &Actor::shell(), BOB, ISSUER, "bob-2", NOW)
            .await
            .unwrap();
        let admitted = super::admit(&store, &in_groups("bob", &["sre"]), &following(), NOW).await;
        admitted.unwrap();
        assert_eq!(teams_of(&store, BOB).await.len(), 1);
        unlink(&store, &Actor::shell(), BOB, ISSUER, "bob", NOW).await.unwrap();
        assert!(teams_of(&store, BOB).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_in_teams_follow_the_groups_and_what_was_given_by_hand_stays() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann", "bob"]).await;
        let ann = actor(&store, ANN).await;
        for team in ["Research", "Ops", "Art"] {
            create_team(&store, &ann, team, NOW).await.unwrap();
        }
        follow_group(&store, &ann, "Ops", "/sre", Role::Admin, None, NOW)
            .await
            .unwrap();
        set_member(&store, &ann, "Research", BOB, Role::Viewer, None, NOW)
            .await
            .unwrap();
        set_member(&store, &ann, "Art", BOB, Role::Member, None, NOW)
            .await
            .unwrap();

        let seen = super::super::team(&store, &ann, "Ops", None, 1)
            .await
            .unwrap()
            .team
            .version;
        let bob = in_groups("bob", &["/Research", "sre", "nobody's", ""]);
        super::admit(&store, &bob, &following(), NOW).await.unwrap();
        // Who comes by a group makes no admin's open form an old one.
        follow_group(&store, &ann, "Ops", "another", Role::Viewer, Some(seen), NOW)
            .await
            .unwrap();
        for (group, alone) in [("sre", 1), ("another", 0)] {
            assert_eq!(only_by_group(&store, &ann, "Ops", group).await.unwrap(), alone);
        }
        assert_eq!(only_by_group(&store, &ann, "Research", "Research").await.unwrap(), 0);
        let unknown = only_by_group(&store, &ann, "Ops", "Research").await;
        assert!(matches!(unknown, Err(ChangeError::Gone)));
        let all = [
            ("Art".to_owned(), Role::Member),
            ("Ops".to_owned(), Role::Admin),
            ("Research".to_owned(), Role::Member),
        ];
        assert_eq!(teams_of(&store, BOB).await, all);
        // Nobody's role is written over by whoever takes them for new; a shell says what is to be.
        let again = set_member(&store, &ann, "Art", BOB, Role::Admin, None, NOW).await;
        assert!(matches!(again, Err(ChangeError::InTeamAlready(whom)) if whom == BOB));
        assert_eq!(teams_of(&store, BOB).await, all);
        for role in [Role::Admin, Role::Member] {
            set_member(&store, &Actor::shell(), "Art", BOB, role, None, NOW)
                .await
                .unwrap();
        }
        let from_group = set_member(&store, &ann, "Ops", BOB, Role::Viewer, None, NOW).await;
        assert!(matches!(from_group, Err(ChangeError::FromGroup(group)) if group == "sre"));
        let from_group = remove_member(&store, &ann, "Ops", BOB, None, NOW).await;
        assert!(matches!(from_group, Err(ChangeError::FromGroup(_))));

        // A claim that nobody can read changes nothing, and the audit log says so.
        let overage = Arrival {
            groups: Err(GroupsUnreadable::Overage),
            ..arrival("bob")
        };
        super::admit(&store, &overage, &following(), NOW).await.unwrap();
        assert_eq!(teams_of(&store, BOB).await, all);
        let query = AuditQuery {
            event: Some(Kind::GroupSync),
            limit: 10,
            ..AuditQuery::default()
        };
        assert_eq!(audit(&store, &ann, &query).await.unwrap().rows.len(), 1);

        // Empty or missing: what came from groups ends, and returns with the claim.
        super::admit(&store, &in_groups("bob", &[]), &following(), NOW)
            .await
            .unwrap();
        let by_hand = [("Art".to_owned(), Role::Member), ("Research".to_owned(), Role::Viewer)];
        assert_eq!(teams_of(&store, BOB).await, by_hand);
        super::admit(&store, &bob, &following(), NOW).await.unwrap();
        assert_eq!(teams_of(&store, BOB).await, all);

        // A link's role counts at once, and so does its end.
        follow_group(&store, &ann, "Ops", "sre", Role::Viewer, None, NOW)
            .await
            .unwrap();
        assert!(teams_of(&store, BOB).await.contains(&("Ops".to_owned(), Role::Viewer)));
        unfollow_group(&store, &ann, "Ops", "/sre", None, NOW).await.unwrap();
        assert!(teams_of(&store, BOB).await.iter().all(|(name, _)| name != "Ops"));

        // Where groups are not followed any more, nothing is left that nobody could take away.
        super::admit(&store, &bob, &rules(), NOW).await.unwrap();
        assert_eq!(teams_of(&store, BOB).await, by_hand);
    }
}
