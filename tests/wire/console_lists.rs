//! Lists of the console: hostile, long, empty, and the files that are made of them.

use vestibule::clock::UnixTime;
use vestibule::directory::{self, Actor, Arrival, ClaimedEmail, Refused};
use vestibule::person::{EmailAddress, Role};
use vestibule::session;

use crate::console::{Browser, CONSOLE, encoded};
use crate::console_house::{House, open};
use crate::support::Wire;

/// People, teams, groups and a session that are called what no page must take for its own.
fn fill_with_hostile_names(house: &House) {
    let wire = &house.wire;
    let hostile = "</td><script>alert(1)</script>\"' onload=x &amp; 🦀 \u{202e}evil";
    let long = "W".repeat(320);
    let now = UnixTime::now();
    let shell = Actor::shell();
    wire.run(async {
        let rules = open();
        for (at, (subject, name)) in [
            ("<i>\"x", hostile),
            ("long", long.as_str()),
            ("=1+1", "=HYPERLINK(\"http://x\")"),
        ]
        .into_iter()
        .enumerate()
        {
            let arrival = Arrival {
                issuer: "http://127.0.0.1:9".into(),
                subject: subject.into(),
                email: ClaimedEmail::Verified(EmailAddress::parse(&format!("+{at}@example.com")).unwrap()),
                username: Some(name.into()),
                name: Some(name.into()),
                groups: Ok(Vec::new()),
                hosted_domain: None,
            };
            directory::admit(&house.store, &arrival, &rules, &shell, now)
                .await
                .unwrap();
            directory::turn_away(
                &house.store,
                &Refused::NotInvited,
                &Arrival {
                    subject: format!("{subject}-other"),
                    ..arrival
                },
                &shell,
                now,
            )
            .await;
        }
        directory::follow_group(
            &house.store,
            &shell,
            &house.engines,
            "</bdi><b>group",
            Role::Member,
            None,
            now,
        )
        .await
        .unwrap();
        // Nothing that is not seen: the rules don't take that.
        let name = "</bdi><script>alert(2)</script>\"' onload=y";
        directory::create_team(&house.store, &shell, name, now).await.unwrap();
    });
    wire.signed_in_from("eve@example.com", "<script>x</script>\"' onload=z");
}

#[test]
fn hostile_names_stay_text_on_every_page_and_in_every_file() {
    let house = House::start();
    let wire = &house.wire;
    fill_with_hostile_names(&house);
    let group = encoded(&[("group", "</bdi><b>group")]);
    let ada = Browser::new(wire, &wire.cookie);
    let people = ada.open("/people").text();
    let mut paths: Vec<String> = vec!["/people".into(), "/waiting".into(), "/teams".into(), "/audit".into()];
    paths.push(format!("/teams/{}", house.engines));
    paths.push(format!("/teams/{}/unfollow?{group}", house.engines));
    paths.push("/people?q=%3Cscript%3E%22&team=%3Cb%3E".into());
    for rest in ada
        .open("/teams")
        .text()
        .split("href=\"/.vestibule/console/teams/t_")
        .skip(1)
    {
        let id = rest.split('"').next().unwrap();
        paths.extend([format!("/teams/t_{id}"), format!("/teams/t_{id}/delete")]);
    }
    for rest in people.split("href=\"/.vestibule/console/people/u_").skip(1) {
        let id = rest.split('"').next().unwrap();
        paths.extend([format!("/people/u_{id}"), format!("/people/u_{id}/remove")]);
    }
    assert!(paths.len() > 20, "{people}");
    for path in paths {
        let page = ada.open(&path);
        assert_eq!(page.status, if path.contains("team=") { 404 } else { 200 }, "{path}");
        let text = page.text();
        assert_eq!(text.matches("<script").count(), 1, "{path}: {text}");
        assert!(
            !text.contains("<b>") && !text.contains("<i>") && !text.contains("\"' onload"),
            "{path}: {text}"
        );
    }
    let list = "<b>@x,<i>boss</i>,</bdi><script>alert(3)</script>";
    let preview = [
        ("step", "preview"),
        ("people", list),
        ("role", "member"),
        ("expires", ""),
    ];
    let text = ada.send("/people/add", &preview).text();
    assert!(
        text.contains("not an e-mail address") && !text.contains("<i>") && !text.contains("<b>"),
        "{text}"
    );
    assert_eq!(text.matches("<script").count(), 1, "{text}");
    let csv = ada.open("/audit/events.csv");
    assert_eq!(
        csv.field("content-disposition"),
        Some("attachment; filename=\"audit.csv\"")
    );
    for line in csv.text().lines() {
        for cell in line.split("\",\"") {
            let cell = cell.trim_matches('"');
            assert!(!cell.starts_with(['=', '+', '-', '@']), "{line}");
        }
    }
    let lines = ada.open("/audit/events.jsonl").text();
    assert!(lines.lines().count() > 5);
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert!(lines.contains("\"audit_export\""), "taking a file is an event");
}

#[test]
fn lists_that_are_long_are_shown_in_part_and_say_so() {
    let house = House::start();
    let wire = &house.wire;
    let ada = Browser::new(wire, &wire.cookie);
    let (now, door) = (UnixTime::now(), Actor::system());
    for _ in 0..55 {
        wire.sign_in("ada@example.com");
    }
    wire.run(async {
        for n in 0..60 {
            let knocks = Arrival {
                issuer: "http://127.0.0.1:9".into(),
                subject: format!("knocks-{n}"),
                email: ClaimedEmail::Missing,
                username: None,
                name: None,
                groups: Ok(Vec::new()),
                hosted_domain: None,
            };
            directory::turn_away(&house.store, &Refused::NotInvited, &knocks, &door, now).await;
        }
    });
    let waiting = ada.open("/waiting").text();
    assert!(waiting.contains("The newest 50 of 61 are shown"), "{waiting}");
    assert_eq!(waiting.matches("/waiting/approve").count(), 50);
    let me = ada.open("/me").text();
    assert!(me.contains("The newest 50 are shown"), "{me}");
    assert_eq!(me.matches("name=\"sid\"").count(), 50);
    // One that is not shown can be ended all the same, by nobody else.
    let all = wire.run(session::list(&house.store, None, now)).unwrap();
    let of = |email: &str| {
        all.iter()
            .rfind(|listed| listed.email.as_deref() == Some(email))
            .unwrap()
    };
    let oldest = of("ada@example.com");
    assert!(!me.contains(&oldest.sid));
    let other = wire.sign_in("ada@example.com");
    let other = Browser::new(wire, &other);
    assert_eq!(
        other
            .send("/me/end-session", &[("sid", &of("eve@example.com").sid)])
            .status,
        404
    );
    assert_eq!(other.send("/me/end-session", &[("sid", &oldest.sid)]).status, 303);
}

#[test]
fn the_audit_log_and_its_files_hold_what_is_chosen() {
    let house = House::start();
    let wire = &house.wire;
    let ada = Browser::new(wire, &wire.cookie);
    let all = ada.open("/audit/events.jsonl").text();
    let eves = ada.open("/audit/events.jsonl?person=eve@example.com").text();
    assert!(eves.lines().count() >= 2 && eves.lines().count() < all.lines().count());
    for line in eves.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let ids = [&entry["target_id"], &entry["actor_id"]];
        assert!(ids.contains(&&serde_json::json!(house.eve)), "{line}");
    }
    let roles = ada.open("/audit/events.jsonl?event=role_change").text();
    assert_eq!(roles.lines().count(), 1, "{roles}");
    assert!(roles.contains("\"before\":{\"role\":\"member\"}") && roles.contains("\"after\":{\"role\":\"viewer\"}"));
    assert_eq!(
        ada.open("/audit/events.csv?event=role_change").text().lines().count(),
        2
    );
    for nothing in ["until=2020-01-01", "from=2200-01-01", "person=nobody@example.com"] {
        let page = ada.open(&format!("/audit?{nothing}"));
        assert!(
            page.status == 200 && page.text().contains("Nothing of this kind"),
            "{nothing}"
        );
        assert_eq!(ada.open(&format!("/audit/events.jsonl?{nothing}")).text(), "");
    }
    // What names nothing is not left away: a file would hold more than was asked for.
    for odd in [
        "until=yesterday",
        "from=2020-13-01",
        "event=nothing",
        "person=a&person=b",
        "person=%ff",
    ] {
        for path in ["/audit", "/audit/events.csv", "/audit/events.jsonl"] {
            assert_eq!(ada.open(&format!("{path}?{odd}")).status, 400, "{path} {odd}");
        }
    }
    for odd in ["role=boss", "status=gone"] {
        assert_eq!(ada.open(&format!("/people?{odd}")).status, 400, "{odd}");
    }
    // That somebody took files is told, with what they chose.
    let exports = ada.open("/audit?event=audit_export").text();
    assert!(
        exports.contains("event=role_change") && exports.contains("person=eve@example.com"),
        "{exports}"
    );
    // What stands there can't be changed by anything of the console's.
    for method in ["POST", "PUT", "DELETE"] {
        let answer = wire.signed_in(&format!("{method} {CONSOLE}/audit"), &["Content-Length: 0"]);
        assert!([403, 405, 415].contains(&answer.status), "{method}: {answer:?}");
    }
}

#[test]
fn the_set_up_shows_every_setting_and_no_secret() {
    let wire = Wire::with(|settings| {
        let env = [
            ("VESTIBULE_UPSTREAM", "http://127.0.0.1:1"),
            ("OIDC_ISSUER", "http://127.0.0.1:9"),
            ("OIDC_CLIENT_ID", "client"),
            ("OIDC_CLIENT_SECRET", "a secret of the two"),
            ("VESTIBULE_ALLOWED_GROUPS", "staff,</bdi><b>"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        settings.shown = vestibule::config::load(env, None).unwrap().settings.shown;
    });
    let ada = Browser::new(&wire, &wire.cookie);
    for page in [ada.open("/set-up"), ada.send("/set-up/check", &[])] {
        let text = page.text();
        assert_eq!(page.status, 200, "{text}");
        for setting in vestibule::config::table::SETTINGS {
            use vestibule::config::table::Group::{Browsers, People, Provider, Sessions};
            let there = matches!(setting.group, Browsers | People | Provider | Sessions);
            assert_eq!(
                text.contains(&format!("<code>{}</code>", setting.name)),
                there,
                "{}",
                setting.name
            );
        }
        assert!(
            text.contains("staff") && !text.contains("a secret of the two") && !text.contains("<b>"),
            "{text}"
        );
        assert!(text.contains("http://app.test/oidc/callback"), "{text}");
    }
}
