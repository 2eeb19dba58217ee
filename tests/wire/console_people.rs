//! What admins and teams' admins do with people, as the console shows it.

use vestibule::clock::UnixTime;
use vestibule::config::EntryRules;
use vestibule::directory::{self, Actor, Arrival, ClaimedEmail, PeopleQuery};
use vestibule::person::EmailAddress;

use crate::console::Browser;
use crate::console_house::{House, open};
use crate::support::{Answer, Wire};

#[test]
fn the_very_next_request_shows_what_was_decided() {
    let house = House::start();
    let wire = &house.wire;
    let ada = Browser::new(wire, &wire.cookie);
    let eves = wire.sign_in("eve@example.com");
    let eve = format!("Cookie: {eves}");
    let role = || -> Result<String, u16> {
        let who: Answer = wire.ask("GET /.vestibule/whoami", &["Host: app.test", &eve]);
        let claims: serde_json::Value = serde_json::from_slice(&who.body).map_err(|_| who.status)?;
        claims["role"].as_str().map(str::to_owned).ok_or(who.status)
    };
    assert_eq!(role().unwrap(), "member");
    for wanted in ["viewer", "admin", "member"] {
        let (version, _) = house.versions();
        let set = ada.send(
            &format!("/people/{}/role", house.eve),
            &[("role", wanted), ("version", &version)],
        );
        assert_eq!(set.status, 303);
        assert_eq!(role().unwrap(), wanted);
    }
    let (version, _) = house.versions();
    let out = ada.send(&format!("/people/{}/deactivate", house.eve), &[("version", &version)]);
    assert_eq!(out.status, 303);
    assert_eq!(role(), Err(401));
}

#[test]
fn of_two_admins_at_the_same_person_nobodys_change_is_lost_silently() {
    let house = House::start();
    let wire = &house.wire;
    let ada = Browser::new(wire, &wire.cookie);
    let (version, team_version) = house.versions();
    let eve = format!("/people/{}", house.eve);
    let first = ada.send(&format!("{eve}/role"), &[("role", "admin"), ("version", &version)]);
    assert_eq!(first.status, 303);
    let second = ada.send(&format!("{eve}/role"), &[("role", "viewer"), ("version", &version)]);
    assert_eq!(second.status, 409);
    let page = second.text();
    assert!(page.contains("Somebody else changed this meanwhile"), "{page}");
    assert!(
        page.contains("<dt>Role</dt><dd>admin</dd>"),
        "how it is now is not shown: {page}"
    );
    assert!(
        page.contains("value=\"viewer\" selected"),
        "what was chosen is lost: {page}"
    );
    // The page that says so can be sent again.
    let (now, _) = house.versions();
    assert!(page.contains(&format!("name=\"version\" value=\"{now}\"")), "{page}");
    let removed = ada.send(&format!("{eve}/remove"), &[("version", &version)]);
    assert_eq!(removed.status, 409);
    // Keeping somebody out waits for nothing: they could change something again and again.
    let out = ada.send(&format!("{eve}/deactivate"), &[("version", &version)]);
    assert_eq!(out.status, 303);
    let engines = format!("/teams/{}", house.engines);
    let renamed = ada.send(
        &format!("{engines}/rename"),
        &[("name", "Motors"), ("version", &team_version)],
    );
    assert_eq!(renamed.status, 303);
    let again = ada.send(
        &format!("{engines}/rename"),
        &[("name", "Turbines"), ("version", &team_version)],
    );
    assert_eq!(again.status, 409);
    assert!(again.text().contains("value=\"Turbines\"") && again.text().contains("<bdi>Motors</bdi>"));
}

#[test]
fn the_last_admin_stays_and_is_told_to_make_a_second() {
    let house = House::start();
    let ada = Browser::new(&house.wire, &house.wire.cookie);
    assert!(ada.open("/people").text().contains("one active admin only"));
    let query = PeopleQuery {
        search: "ada".into(),
        limit: 5,
        ..PeopleQuery::default()
    };
    let people = house
        .wire
        .run(directory::people(&house.store, &Actor::shell(), &query))
        .unwrap();
    let found = people
        .rows
        .iter()
        .find(|user| user.email.as_deref() == Some("ada@example.com"))
        .unwrap();
    let version = found.version.0.to_string();
    for (action, fields) in [
        (
            "role",
            vec![("role", "member"), ("version", version.as_str()), ("sure", "1")],
        ),
        ("deactivate", vec![("version", version.as_str())]),
        ("remove", vec![("version", version.as_str())]),
    ] {
        let answer = ada.send(&format!("/people/{}/{action}", found.id), &fields);
        assert_eq!(answer.status, 409, "{action}");
        assert!(answer.text().contains("last active admin"), "{action}");
    }
    let (version, _) = house.versions();
    ada.send(
        &format!("/people/{}/role", house.eve),
        &[("role", "admin"), ("version", &version)],
    );
    assert!(!ada.open("/people").text().contains("one active admin only"));

    // Who gives up being an admin is asked once more: they can't take it back.
    let own = format!("/people/{}/role", found.id);
    let own_version = found.version.0.to_string();
    let fields = [("role", "viewer"), ("version", own_version.as_str())];
    let asked = ada.send(&own, &fields);
    assert_eq!(asked.status, 200);
    assert!(asked.text().contains("You would be a viewer"), "{}", asked.text());
    assert_eq!(ada.open("/people").status, 200, "asking did it");
    let sure: Vec<(&str, &str)> = fields.into_iter().chain([("sure", "1")]).collect();
    assert_eq!(ada.send(&own, &sure).status, 303);
    assert_eq!(ada.open("/people").status, 403);
}

#[test]
fn team_admins_look_after_their_own_teams_members_and_nothing_else() {
    let house = House::start();
    let wire = &house.wire;
    let cookie = wire.sign_in("tess@example.com");
    let tess = Browser::new(wire, &cookie);
    let teams = tess.open("/teams").text();
    assert!(
        teams.contains("<bdi>Night</bdi>") && !teams.contains("Engines"),
        "{teams}"
    );
    let at = teams.split_once("/console/teams/t_").unwrap().1;
    let night = format!("/teams/t_{}", at.split('"').next().unwrap());
    let page = tess.open(&night);
    assert_eq!(page.status, 200);
    for absent in ["/rename", "/follow", "/delete", "/people/"] {
        assert!(!page.text().contains(absent), "{absent}");
    }
    let put = tess.send(
        &format!("{night}/members"),
        &[("new", "1"), ("who", "bob@example.com"), ("role", "member")],
    );
    assert_eq!(put.status, 303);
    assert!(tess.open(&night).text().contains("bob@example.com"));
    let nobody = tess.send(
        &format!("{night}/members"),
        &[("new", "1"), ("who", "no<b>body@example.com"), ("role", "viewer")],
    );
    assert_eq!(nobody.status, 404);
    let text = nobody.text();
    assert!(
        text.contains("There is nobody with") && text.contains("value=\"no&#60;b&#62;body@example.com\""),
        "{text}"
    );
    let name = tess.send(&format!("{night}/rename"), &[("name", "Ours"), ("version", "1")]);
    assert_eq!(name.status, 403);
}

#[test]
fn people_are_added_all_or_none_with_a_word_on_each_line() {
    let house = House::start();
    let ada = Browser::new(&house.wire, &house.wire.cookie);
    let list = "one@example.com\nnonsense\nOne@Example.com\neve@example.com,member\nivy@example.com\n\
                two@example.com,boss\nthree@example.com,viewer,Nowhere\n\"<b>\"@x";
    let before = house.fingerprint();
    for step in ["preview", "add"] {
        let answer = ada.send(
            "/people/add",
            &[("step", step), ("people", list), ("role", "member"), ("expires", "")],
        );
        assert_eq!(answer.status, if step == "add" { 409 } else { 200 });
        let text = answer.text();
        for fate in [
            "is added",
            "not an e-mail address",
            "the same as line 1",
            "has an account already",
            "is expected already",
            "is no role",
            "there is no team",
        ] {
            assert!(text.contains(fate), "{fate}: {text}");
        }
        assert!(!text.contains("value=\"add\""), "it could be sent all the same");
        assert!(text.contains("nonsense\n"), "what was typed is lost");
        assert_eq!(house.fingerprint(), before, "something was done");
    }
    let good = "one@example.com\nTwo <two@example.com>,viewer,Engines;Night";
    let preview = ada.send(
        "/people/add",
        &[
            ("step", "preview"),
            ("people", good),
            ("role", "member"),
            ("expires", "7"),
        ],
    );
    assert!(preview.text().contains("Add 2 people"), "{}", preview.text());
    assert_eq!(house.fingerprint(), before, "a preview did something");
    let added = ada.send(
        "/people/add",
        &[("step", "add"), ("people", good), ("role", "member"), ("expires", "7")],
    );
    assert_eq!(added.status, 303);
    let waiting = ada.open("/waiting").text();
    for part in [
        "one@example.com",
        "two@example.com",
        "Sign in with your work account at http://app.test/",
    ] {
        assert!(waiting.contains(part), "{part}: {waiting}");
    }
    assert!(house.fingerprint().contains("two@example.com"));
    let none = ada.send(
        "/people/add",
        &[("step", "add"), ("people", " \n "), ("role", "member"), ("expires", "")],
    );
    assert_ne!(none.status, 303);
}

#[test]
fn nobody_is_added_where_people_have_no_addresses() {
    let wire = Wire::with(|settings| settings.entry.email_needed = false);
    let ada = Browser::new(&wire, &wire.cookie);
    let page = ada.open("/people/add");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("OIDC_EMAIL_CLAIM=none"), "{}", page.text());
    for step in ["preview", "add"] {
        let list = [
            ("step", step),
            ("people", "x@example.com"),
            ("role", "member"),
            ("expires", ""),
        ];
        let answer = ada.send("/people/add", &list);
        assert_eq!(answer.status, 409, "{step}");
        assert!(answer.text().contains("OIDC_EMAIL_CLAIM=none"), "{}", answer.text());
    }
    assert!(!ada.open("/waiting").text().contains("x@example.com"));
}

#[test]
fn a_team_that_is_not_there_has_nobody_in_it() {
    let house = House::start();
    let ada = Browser::new(&house.wire, &house.wire.cookie);
    let page = ada.open("/people?team=Nowhere");
    assert_eq!(page.status, 404);
    let text = page.text();
    assert!(text.contains("There is no team of this name"), "{text}");
    assert!(
        !text.contains("eve@example.com") && !text.contains("rel=\"next\""),
        "{text}"
    );
    assert!(ada.open("/people?team=engines").text().contains("eve@example.com"));
}

#[test]
fn what_is_lost_with_a_place_in_a_team_is_said_before() {
    let house = House::start();
    let wire = &house.wire;
    let ada = Browser::new(wire, &wire.cookie);
    let (now, shell) = (UnixTime::now(), Actor::shell());
    wire.run(async {
        let rules = EntryRules {
            follow_group_claims: true,
            ..open()
        };
        let eve = Arrival {
            issuer: "http://127.0.0.1:9".into(),
            subject: "eve@example.com".into(),
            email: ClaimedEmail::Verified(EmailAddress::parse("eve@example.com").unwrap()),
            username: None,
            name: None,
            groups: Ok(vec!["Engines".into(), "Spare".into()]),
            hosted_domain: None,
        };
        directory::admit(&house.store, &eve, &rules, &shell, now).await.unwrap();
    });
    let engines = format!("/teams/{}", house.engines);
    let out = ada.open(&format!("{engines}/take-out?who={}", house.eve)).text();
    assert!(
        out.contains("They stay in the team by the group Engines (member)"),
        "{out}"
    );
    let unfollow = ada.open(&format!("{engines}/unfollow?group=Engines")).text();
    assert!(
        unfollow.contains("Nobody is in the team by this group alone"),
        "{unfollow}"
    );
    let spare = wire
        .run(directory::team(&house.store, &shell, "Spare", None, 1))
        .unwrap()
        .team;
    let unfollow = ada.open(&format!("/teams/{}/unfollow?group=Spare", spare.id)).text();
    assert!(
        unfollow.contains("One person is in the team by this group alone"),
        "{unfollow}"
    );
    // Nothing was done by asking.
    let page = ada.open(&engines).text();
    assert!(page.contains("eve@example.com") && page.contains("take-out"), "{page}");
    // Who is in it by a group alone can't be taken out by hand, and is not asked about.
    let by_group = ada.open(&format!("/teams/{}/take-out?who={}", spare.id, house.eve));
    assert_eq!(by_group.status, 404);
}
