//! Who may do what, tried with the functions themselves: every action, by everybody, on themselves and on another.

use super::teams::{actor, house};
use super::*;

const OWN_TEAM: &str = "Own";
const OTHER_TEAM: &str = "Other";

/// What is tried on: a person and a team.
struct On<'a> {
    who: &'a str,
    team: &'a str,
}

async fn attempt(store: &Store, actor: &Actor, action: Action, on: &On<'_>) -> Result<(), ChangeError> {
    let On { who, team } = *on;
    match action {
        Action::SeePeople => people(
            store,
            actor,
            &PeopleQuery {
                limit: 5,
                ..PeopleQuery::default()
            },
        )
        .await
        .map(drop),
        Action::SeePerson => person(store, actor, who).await.map(drop),
        Action::SetRole => super::super::set_role(store, actor, who, Role::Admin, None, NOW)
            .await
            .map(drop),
        Action::DeactivatePerson => super::super::deactivate(store, actor, who, None, NOW).await.map(drop),
        Action::ActivatePerson => super::super::activate(store, actor, who, None, NOW).await.map(drop),
        Action::RemovePerson => super::super::remove(store, actor, who, None, NOW).await.map(drop),
        Action::LinkIdentity => link(store, actor, who, "ldap", "new", NOW).await.map(drop),
        Action::UnlinkIdentity => unlink(store, actor, who, ISSUER, "nobody's", NOW).await.map(drop),
        Action::Invite => {
            let planned = plan_invitations(store, actor, "x@example.com", Role::Admin, None, true, NOW)
                .await
                .map(drop);
            let invitation = Invitation {
                email: email("x@example.com"),
                role: Role::Admin,
                teams: Vec::new(),
                expires: None,
            };
            let invited = invite(store, actor, &[invitation], true, NOW).await;
            planned.and(invited.map(drop))
        }
        Action::Withdraw => withdraw(store, actor, who, NOW).await.map(drop),
        Action::SeeRefused => super::super::refused(store, actor, 9).await.map(drop),
        Action::Approve => approve(store, actor, "gone", Role::Admin, NOW).await.map(drop),
        Action::DismissRefused => dismiss(store, actor, "gone", NOW).await,
        Action::SeeTeams => {
            let shown = teams(store, actor, "", None, 10).await?.rows;
            // Nobody is told no: they see their own.
            if shown.iter().any(|team| team.name == OTHER_TEAM) {
                Ok(())
            } else {
                Err(ChangeError::NotAllowed)
            }
        }
        Action::SeeTeam => super::super::team(store, actor, team, None, 5).await.map(drop),
        Action::CreateTeam => create_team(store, actor, "New", NOW).await.map(drop),
        Action::RenameTeam => rename_team(store, actor, team, "Renamed", None, NOW).await.map(drop),
        Action::DeleteTeam => delete_team(store, actor, team, None, NOW).await,
        Action::SetMember => set_member(store, actor, team, "ann@example.com", Role::Admin, None, NOW).await,
        Action::RemoveMember => remove_member(store, actor, team, "cat@example.com", None, NOW).await,
        Action::FollowGroup => follow_group(store, actor, team, "g", Role::Admin, None, NOW).await,
        Action::UnfollowGroup => unfollow_group(store, actor, team, "g", None, NOW).await,
        Action::SeeAudit => audit(
            store,
            actor,
            &AuditQuery {
                limit: 5,
                ..AuditQuery::default()
            },
        )
        .await
        .map(drop),
        Action::EndSessions => end_sessions(store, actor, who, NOW).await.map(drop),
        Action::SeeSessions => {
            let user = find(store, who).await?.id;
            check(store, actor, action, Some(&user)).await
        }
        Action::SeeKeys | Action::RotateKeys | Action::SeeSetUp => check(store, actor, action, None).await,
    }
}

fn relation(action: Action, own: bool, in_team: Option<Role>) -> Relation {
    match action {
        Action::SeePerson
        | Action::SetRole
        | Action::DeactivatePerson
        | Action::ActivatePerson
        | Action::RemovePerson
        | Action::LinkIdentity
        | Action::UnlinkIdentity
        | Action::Withdraw
        | Action::SeeSessions
        | Action::EndSessions
            if own =>
        {
            Relation::Themselves
        }
        Action::SeeTeam
        | Action::RenameTeam
        | Action::DeleteTeam
        | Action::SetMember
        | Action::RemoveMember
        | Action::FollowGroup
        | Action::UnfollowGroup => match in_team.filter(|_| own) {
            Some(Role::Admin) => Relation::TeamAdmin,
            Some(_) => Relation::TeamMember,
            None => Relation::OtherTeam,
        },
        _ => Relation::Another,
    }
}

/// All that could be changed.
async fn snapshot(store: &Store) -> String {
    let mut reading = store.reading().await.unwrap();
    let users = reading.users().await.unwrap();
    let teams = reading.teams(None, "", None, 100).await.unwrap();
    let mut rest = Vec::new();
    for user in &users {
        rest.push(format!("{:?}", reading.memberships(&user.id).await.unwrap()));
        rest.push(format!("{:?}", reading.identities(&user.id).await.unwrap()));
    }
    for (team, _) in &teams {
        rest.push(format!("{:?}", reading.links_of(&team.id).await.unwrap()));
    }
    format!("{users:?}{teams:?}{rest:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_what_the_table_says_and_who_may_not_changes_nothing() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann", "member", "viewer", "lead", "cat", "was"]).await;
        let shell = Actor::shell();
        for name in [OWN_TEAM, OTHER_TEAM] {
            create_team(&store, &shell, name, NOW).await.unwrap();
            set_member(&store, &shell, name, "cat@example.com", Role::Viewer, None, NOW)
                .await
                .unwrap();
        }
        for (who, role) in [("member", Role::Member), ("lead", Role::Admin)] {
            set_member(&store, &shell, OWN_TEAM, &format!("{who}@example.com"), role, None, NOW)
                .await
                .unwrap();
        }
        for who in ["viewer@example.com", "lead@example.com"] {
            set_role(&store, who, Role::Viewer, NOW).await.unwrap();
        }
        set_role(&store, "was@example.com", Role::Admin, NOW).await.unwrap();
        let was = actor(&store, "was@example.com").await;
        deactivate(&store, "was@example.com", NOW).await.unwrap();

        let nobody = Actor::at_the_door(None, None);
        let gone = Actor {
            who: Who::Person {
                user: UserId::new("u_gone"),
                name: "gone".to_owned(),
            },
            ..nobody.clone()
        };
        let cases = [
            ("member@example.com", Some((Role::Member, Some(Role::Member)))),
            ("viewer@example.com", Some((Role::Viewer, None))),
            // A team's admins are so whatever their role in the instance is.
            ("lead@example.com", Some((Role::Viewer, Some(Role::Admin)))),
            ("was", None),
            ("gone", None),
            ("nobody", None),
        ];
        for (name, standing) in cases {
            let acting = match name {
                "was" => was.clone(),
                "gone" => gone.clone(),
                "nobody" => nobody.clone(),
                name => actor(&store, name).await,
            };
            for action in Action::all() {
                for own in [true, false] {
                    let themselves = if standing.is_some() { name } else { "was@example.com" };
                    let on = On {
                        who: if own { themselves } else { "cat@example.com" },
                        team: if own { OWN_TEAM } else { OTHER_TEAM },
                    };
                    let expected =
                        standing.is_some_and(|(role, in_team)| may(role, relation(action, own, in_team), action));
                    let before = snapshot(&store).await;
                    let outcome = attempt(&store, &acting, action, &on).await;
                    let refused = matches!(outcome, Err(ChangeError::NotAllowed));
                    assert_eq!(!refused, expected, "{name} {action:?} own: {own}: {outcome:?}");
                    if !expected {
                        assert_eq!(snapshot(&store).await, before, "{name} {action:?}");
                    }
                }
            }
        }
        // What was tried stands in the audit log.
        let denied = AuditQuery {
            person: Some("viewer@example.com".to_owned()),
            event: Some(Kind::Denied),
            limit: 100,
            ..AuditQuery::default()
        };
        let denied = audit(&store, &shell, &denied).await.unwrap().rows;
        let tried = |word: &str| {
            denied
                .iter()
                .any(|entry| entry.detail.as_ref().unwrap()["action"] == word)
        };
        assert!(tried("set_role") && tried("delete_team") && tried("invite"));

        let ann = actor(&store, "ann@example.com").await;
        for action in Action::all() {
            for team in [OWN_TEAM, OTHER_TEAM, "New"] {
                let on = On {
                    who: "cat@example.com",
                    team,
                };
                let outcome = attempt(&store, &ann, action, &on).await;
                assert!(
                    !matches!(outcome, Err(ChangeError::NotAllowed)),
                    "{action:?} {outcome:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_admins_who_demote_each_other_at_once_leave_one_and_who_was_demoted_does_nothing_more() {
    for place in places().await {
        let stores = [place.open().await, place.open().await];
        house(&stores[0], &["ann", "bob"]).await;
        for round in 0..10 {
            for who in ["ann@example.com", "bob@example.com"] {
                set_role(&stores[0], who, Role::Admin, NOW).await.unwrap();
            }
            let (ann, bob) = (
                actor(&stores[0], "ann@example.com").await,
                actor(&stores[0], "bob@example.com").await,
            );
            let (one, other) = tokio::join!(
                super::super::set_role(&stores[0], &ann, "bob@example.com", Role::Viewer, None, NOW),
                super::super::set_role(&stores[1], &bob, "ann@example.com", Role::Viewer, None, NOW),
            );
            let refused = |outcome: &Result<User, ChangeError>| matches!(outcome, Err(ChangeError::NotAllowed));
            assert!(
                one.is_ok() && refused(&other) || other.is_ok() && refused(&one),
                "{round}"
            );
            let admins = list(&stores[0]).await.unwrap();
            assert_eq!(admins.iter().filter(|user| user.role == Role::Admin).count(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_everybody_is_not_told_who_is_there() {
    for place in places().await {
        let store = place.open().await;
        house(&store, &["ann", "bob"]).await;
        let bob = actor(&store, "bob@example.com").await;
        for who in ["ann@example.com", "nobody@example.com", "u_x", "a\0b"] {
            assert!(
                matches!(person(&store, &bob, who).await, Err(ChangeError::NotAllowed)),
                "{who}"
            );
        }
        for team in ["there", "not there"] {
            create_team(&store, &Actor::shell(), "there", NOW).await.ok();
            let seen = super::super::team(&store, &bob, team, None, 5).await;
            assert!(matches!(seen, Err(ChangeError::NotAllowed)), "{team}");
        }
    }
}
