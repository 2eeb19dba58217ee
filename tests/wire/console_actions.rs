//! Every action of the console, tried by everybody who may not and in every way that must not count: the right status, and
//! nothing changed. Then by an admin, who may.

use vestibule::clock::UnixTime;
use vestibule::directory::{self, Action, Actor, AuditQuery};
use vestibule::person::Role;

use crate::console::{Browser, CONSOLE, OPENED, encoded, whoami};
use crate::console_house::{House, body};

#[test]
fn every_action_is_a_page_or_a_form() {
    let house = House::start();
    for action in Action::all() {
        let ways = house.ways(action);
        assert!(!ways.is_empty() || action == Action::SeeTeams, "{action:?}");
    }
    let ada = Browser::new(&house.wire, &house.wire.cookie);
    for page in house.pages() {
        assert_eq!(ada.open(&page).status, 200, "{page}");
    }
}

#[test]
fn whoever_is_no_admin_sees_and_changes_nothing_of_others() {
    let house = House::start();
    let wire = &house.wire;
    for who in ["bob@example.com", "vic@example.com", "tess@example.com"] {
        let cookie = wire.sign_in(who);
        let browser = Browser::new(wire, &cookie);
        for page in house.pages() {
            let answer = browser.open(&page);
            assert_eq!(answer.status, 403, "{who} {page}");
            for secret in [
                "eve@example.com",
                "ivy@example.com",
                "rita@example.com",
                "Engines",
                "sign in</td>",
            ] {
                assert!(!answer.text().contains(secret), "{who} read {secret} on {page}");
            }
        }
        let (before, sids) = (house.fingerprint(), house.sids());
        for (path, fields) in house.forms() {
            let denials = house.denials();
            let answer = browser.post(&path, &body(&browser.token(), &fields), &OPENED);
            assert_eq!(answer.status, 403, "{who} {path}: {answer:?}");
            assert_eq!(
                (house.fingerprint(), house.sids()),
                (before.clone(), sids.clone()),
                "{who} {path}"
            );
            assert!(house.denials() > denials, "no audit line: {who} {path}");
        }
        // What is theirs they see, and can leave.
        for page in ["/", "/me", "/me/sign-out", "/teams"] {
            assert_eq!(browser.open(page).status, 200, "{who} {page}");
        }
        let own = browser.open("/me").text();
        assert!(own.contains(who) && own.contains("this one"), "{own}");
        for way in ["/people", "/waiting", "/audit", "/keys", "/set-up"] {
            assert!(
                !own.contains(&format!("href=\"{CONSOLE}{way}\"")),
                "{who} is shown {way}"
            );
        }
        assert_eq!(browser.send("/me/sign-out", &[]).status, 200, "{who}");
        assert_eq!(whoami(wire, &cookie), 401, "{who}");
    }
    assert!(wire.app.seen().is_empty());
}

#[test]
fn an_admin_who_is_one_no_longer_does_nothing_more_with_an_open_page() {
    let house = House::start();
    let wire = &house.wire;
    let shell = Actor::shell();
    let tess = "tess@example.com";
    for how in ["demoted", "deactivated", "signed out", "expired"] {
        let now = UnixTime::now();
        wire.run(async {
            directory::activate(&house.store, &shell, tess, None, now)
                .await
                .unwrap();
            directory::set_role(&house.store, &shell, tess, Role::Admin, None, now)
                .await
                .unwrap();
        });
        // One that expires has a few seconds left, in which the pages are opened.
        let left = if how == "expired" { 5 } else { wire.session_length() };
        let cookie = wire.signed_in_at(tess, now.plus(left - wire.session_length()));
        let browser = Browser::new(wire, &cookie);
        assert_eq!(browser.open("/people").status, 200);
        let actions = house.forms();
        let tokens: Vec<String> = actions.iter().map(|_| browser.token()).collect();
        wire.run(async {
            match how {
                "demoted" => drop(
                    directory::set_role(&house.store, &shell, tess, Role::Member, None, now)
                        .await
                        .unwrap(),
                ),
                "deactivated" => drop(
                    directory::deactivate(&house.store, &shell, tess, None, now)
                        .await
                        .unwrap(),
                ),
                "signed out" => drop(directory::end_sessions(&house.store, &shell, tess, now).await.unwrap()),
                _ => {
                    let left = u64::try_from(now.plus(left).since(UnixTime::now())).unwrap_or_default();
                    tokio::time::sleep(std::time::Duration::from_secs(left)).await;
                }
            }
        });
        let (before, sids) = (house.fingerprint(), house.sids());
        for ((path, fields), token) in actions.iter().zip(tokens) {
            let answer = browser.post(path, &body(&token, fields), &OPENED);
            // Within a second the session itself is heard to be over, and until then the rules say no.
            assert!([401, 403].contains(&answer.status), "{how} {path}: {answer:?}");
            assert_eq!(
                (house.fingerprint(), house.sids()),
                (before.clone(), sids.clone()),
                "{how} {path}"
            );
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
        let later = browser.open("/people").status;
        assert_eq!(later, if how == "demoted" { 403 } else { 302 }, "{how}");
    }
}

#[test]
fn what_no_page_of_ours_sent_changes_nothing_even_for_an_admin() {
    let house = House::start();
    let wire = &house.wire;
    let ada = Browser::new(wire, &wire.cookie);
    let other_cookie = wire.sign_in("ada@example.com");
    let other = Browser::new(wire, &other_cookie);
    let (before, sids) = (house.fingerprint(), house.sids());
    let unchanged = |why: &str, path: &str| {
        assert_eq!(
            (house.fingerprint(), house.sids()),
            (before.clone(), sids.clone()),
            "{why} {path}"
        );
    };
    let used = ada.token();
    assert_eq!(
        ada.post("/me/end-session", &encoded(&[("token", &used)]), &OPENED)
            .status,
        404
    );
    let actions = house.forms();
    for (path, fields) in &actions {
        let sent = |token: &str| body(token, fields);
        let cases = [
            (
                "anonymous",
                Browser::new(wire, "none=1").post(path, &sent(&ada.token()), &OPENED),
                401,
            ),
            (
                "made-up session",
                Browser::new(wire, "vestibule=x").post(path, &sent(&ada.token()), &OPENED),
                401,
            ),
            ("no token", ada.post(path, &sent(""), &OPENED), 403),
            ("used token", ada.post(path, &sent(&used), &OPENED), 403),
            (
                "another session's token",
                ada.post(path, &sent(&other.token()), &OPENED),
                403,
            ),
            (
                "cross-site",
                ada.post(
                    path,
                    &sent(&ada.token()),
                    &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"],
                ),
                403,
            ),
            (
                "same-site",
                ada.post(
                    path,
                    &sent(&ada.token()),
                    &["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate"],
                ),
                403,
            ),
            (
                "JSON",
                ada.post_as("application/json", path, &sent(&ada.token()), &OPENED),
                415,
            ),
            (
                "malformed",
                ada.post(path, &format!("{}&x=%ff", sent(&ada.token())), &OPENED),
                400,
            ),
            (
                "twice",
                ada.post(path, &format!("{0}&{0}", sent(&ada.token())), &OPENED),
                400,
            ),
            (
                "oversized",
                ada.post(
                    path,
                    &format!("{}&x={}", sent(&ada.token()), "y".repeat(1 << 20)),
                    &OPENED,
                ),
                413,
            ),
        ];
        for (why, answer, status) in cases {
            assert_eq!(answer.status, status, "{why} {path}: {answer:?}");
            unchanged(why, path);
        }
        for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
            let answer = wire.signed_in(&format!("{method} {CONSOLE}{path}"), &["Content-Length: 0"]);
            assert_eq!(answer.status, 405, "{method} {path}");
        }
        // A GET shows a page, asks once more, or is not for this address; it never does it.
        assert!([200, 404, 405].contains(&ada.open(path).status), "{path}");
        let as_query = format!("{path}?{}", sent(&ada.token()));
        assert!([200, 405].contains(&ada.open(&as_query).status), "{path}");
        unchanged("GET", path);
    }
    assert!(wire.app.seen().is_empty());
}

#[test]
fn what_is_gone_is_404_and_nothing_changes() {
    let house = House::start();
    let ada = Browser::new(&house.wire, &house.wire.cookie);
    let (before, sids) = (house.fingerprint(), house.sids());
    let gone = |path: &str| {
        let path = path.replace(&house.eve, "u_gone").replace(&house.engines, "t_gone");
        path.replace(&house.invited, "u_gone")
    };
    for (path, fields) in house.forms() {
        let fields: Vec<_> = fields
            .into_iter()
            .map(|(name, value)| {
                (
                    name,
                    if matches!(name, "id" | "sid") {
                        "gone".to_owned()
                    } else {
                        value
                    },
                )
            })
            .collect();
        if gone(&path) == path && !path.starts_with("/waiting") {
            continue;
        }
        let answer = ada.post(&gone(&path), &body(&ada.token(), &fields), &OPENED);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert_eq!(
            (house.fingerprint(), house.sids()),
            (before.clone(), sids.clone()),
            "{path}"
        );
    }
    let unfollow = format!("/teams/{}/unfollow?group=gone", house.engines);
    for page in [
        unfollow.as_str(),
        "/people/u_gone",
        "/teams/t_gone",
        "/people/u_gone/remove",
        "/teams/t_gone/delete",
        "/people/..;/x",
        "/people/%00",
    ] {
        let status = ada.open(page).status;
        assert!([400, 404].contains(&status), "{page}: {status}");
    }
}

#[test]
fn an_admin_does_all_of_it_and_the_audit_log_says_who() {
    let count = House::start().forms().len();
    for at in 0..count {
        let house = House::start();
        let ada = Browser::new(&house.wire, &house.wire.cookie);
        let (path, fields) = &house.forms()[at];
        let (before, sids) = (house.fingerprint(), house.sids());
        let answer = ada.post(path, &body(&ada.token(), fields), &OPENED);
        if path == "/set-up/check" {
            assert_eq!(answer.status, 200, "{path}");
            continue;
        }
        assert_eq!(answer.status, 303, "{path}: {answer:?}");
        // Where it leads says so.
        let location = answer
            .field("location")
            .unwrap()
            .strip_prefix(CONSOLE)
            .unwrap()
            .to_owned();
        let page = ada.open(&location);
        assert!(
            page.status == 200 && page.text().contains("role=\"status\""),
            "{location}: {page:?}"
        );
        if path.ends_with("/activate") {
            continue;
        }
        assert_ne!((house.fingerprint(), house.sids()), (before, sids), "{path}");
        let newest = house.wire.run(directory::audit(
            &house.store,
            &Actor::shell(),
            &AuditQuery {
                limit: 1,
                ..AuditQuery::default()
            },
        ));
        let newest = newest.unwrap().rows.remove(0);
        assert_eq!(
            newest.actor_name.as_deref(),
            Some("ada@example.com"),
            "{path}: {newest:?}"
        );
        assert_eq!(newest.address.as_deref(), Some("127.0.0.1"), "{path}");
        assert!(newest.request_id.is_some(), "{path}");
    }
}
