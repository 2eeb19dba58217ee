//! Every action of the console, tried by everybody who may not and in every way that must not count: the right status, and
//! nothing changed. Then by an admin, who may.

use std::fmt::Write as _;

use vestibule::clock::UnixTime;
use vestibule::directory::{self, Actor, Arrival, AuditQuery, ClaimedEmail, Invitation, PeopleQuery, Refused};
use vestibule::identity;
use vestibule::person::{EmailAddress, Role};
use vestibule::session;
use vestibule::store::Store;

use crate::console::{Browser, CONSOLE, OPENED, encoded};
use crate::support::{Answer, Wire};

/// A gateway with people and teams: Ada is admin, Tess is admin of the team Night, Eve is whom things are done to.
struct House {
    wire: Wire,
    store: Store,
    eve: String,
    invited: String,
    engines: String,
    refused: String,
}

impl House {
    fn start() -> Self {
        let wire = Wire::start();
        let store = wire.run(Store::open(&wire.database())).unwrap();
        for email in [
            "bob@example.com",
            "vic@example.com",
            "tess@example.com",
            "eve@example.com",
        ] {
            wire.sign_in(email);
        }
        let now = UnixTime::now();
        let shell = Actor::shell();
        let (eve, invited, engines, refused) = wire.run(async {
            directory::set_role(&store, &shell, "vic@example.com", Role::Viewer, None, now)
                .await
                .unwrap();
            let engines = directory::create_team(&store, &shell, "Engines", now).await.unwrap();
            let night = directory::create_team(&store, &shell, "Night", now).await.unwrap();
            directory::create_team(&store, &shell, "Spare", now).await.unwrap();
            for (team, who, role) in [
                (&engines, "eve@example.com", Role::Member),
                (&night, "tess@example.com", Role::Admin),
            ] {
                directory::set_member(&store, &shell, team.id.as_str(), who, role, None, now)
                    .await
                    .unwrap();
            }
            let second = ("https://other.example", "eve-there");
            let eve = directory::link(&store, &shell, "eve@example.com", second.0, second.1, now)
                .await
                .unwrap();
            let invitation = Invitation {
                email: EmailAddress::parse("ivy@example.com").unwrap(),
                role: Role::Member,
                teams: Vec::new(),
                expires: None,
            };
            let invited = directory::invite(&store, &shell, &[invitation], true, now)
                .await
                .unwrap();
            let rita = Arrival {
                issuer: "http://127.0.0.1:9".into(),
                subject: "rita".into(),
                email: ClaimedEmail::Verified(EmailAddress::parse("rita@example.com").unwrap()),
                username: Some("rita".into()),
                name: Some("Rita".into()),
                groups: Ok(Vec::new()),
                hosted_domain: None,
            };
            directory::turn_away(&store, &Refused::NotInvited, &rita, &Actor::system(), now).await;
            let refused = directory::refused(&store, &shell).await.unwrap();
            (
                eve.user.id.to_string(),
                invited[0].id.to_string(),
                engines.id.to_string(),
                refused[0].id.clone(),
            )
        });
        Self {
            wire,
            store,
            eve,
            invited,
            engines,
            refused,
        }
    }

    /// Everything that an action could change, as text.
    fn fingerprint(&self) -> String {
        let shell = Actor::shell();
        let now = UnixTime::now();
        self.wire.run(async {
            let mut text = String::new();
            let everybody = PeopleQuery {
                limit: 500,
                ..PeopleQuery::default()
            };
            for user in directory::people(&self.store, &shell, &everybody).await.unwrap().rows {
                let person = directory::person(&self.store, &shell, user.id.as_str()).await.unwrap();
                writeln!(text, "{person:?}").unwrap();
            }
            for team in directory::teams(&self.store, &shell, "", None, 500).await.unwrap().rows {
                let team = directory::team(&self.store, &shell, team.id.as_str(), None, 500)
                    .await
                    .unwrap();
                writeln!(text, "{:?} {:?} {:?}", team.team, team.members.rows, team.groups).unwrap();
            }
            for arrival in directory::refused(&self.store, &shell).await.unwrap() {
                writeln!(text, "{arrival:?}").unwrap();
            }
            for key in identity::list(&self.store, now).await.unwrap() {
                writeln!(text, "{key:?}").unwrap();
            }
            text
        })
    }

    fn sids(&self) -> Vec<String> {
        let listed = self
            .wire
            .run(session::list(&self.store, None, UnixTime::now()))
            .unwrap();
        let mut sids: Vec<String> = listed.into_iter().map(|listed| listed.sid).collect();
        sids.sort();
        sids
    }

    fn versions(&self) -> (String, String) {
        let shell = Actor::shell();
        self.wire.run(async {
            let eve = directory::person(&self.store, &shell, &self.eve).await.unwrap();
            let engines = directory::team(&self.store, &shell, &self.engines, None, 1)
                .await
                .unwrap();
            (eve.user.version.0.to_string(), engines.team.version.0.to_string())
        })
    }

    /// Everything that an admin can do by a form: path and fields.
    fn actions(&self) -> Vec<(String, Vec<(&'static str, String)>)> {
        let (eve_version, engines_version) = self.versions();
        let (eve, engines) = (format!("/people/{}", self.eve), format!("/teams/{}", self.engines));
        let sid = self.sid_of("eve@example.com");
        let text = str::to_owned;
        let version = ("version", eve_version);
        let team_version = ("version", engines_version);
        vec![
            (format!("{eve}/role"), vec![("role", text("admin")), version.clone()]),
            (format!("{eve}/deactivate"), vec![version.clone()]),
            (format!("{eve}/activate"), vec![version.clone()]),
            (format!("{eve}/remove"), vec![version]),
            (
                format!("{eve}/link"),
                vec![("issuer", text("https://third.example")), ("subject", text("x"))],
            ),
            (
                format!("{eve}/unlink"),
                vec![
                    ("issuer", text("https://other.example")),
                    ("subject", text("eve-there")),
                ],
            ),
            (
                format!("{eve}/join-team"),
                vec![("team", text("Spare")), ("role", text("viewer"))],
            ),
            (format!("{eve}/leave-team"), vec![("team", text("Engines"))]),
            (format!("{eve}/end-session"), vec![("sid", sid)]),
            (format!("{eve}/end-sessions"), vec![]),
            (format!("/people/{}/withdraw", self.invited), vec![]),
            (
                text("/people/add"),
                vec![
                    ("step", text("add")),
                    ("people", text("new@example.com")),
                    ("role", text("admin")),
                ],
            ),
            (
                text("/waiting/approve"),
                vec![("id", self.refused.clone()), ("role", text("admin"))],
            ),
            (text("/waiting/dismiss"), vec![("id", self.refused.clone())]),
            (text("/teams"), vec![("name", text("Another"))]),
            (
                format!("{engines}/members"),
                vec![
                    ("who", text("bob@example.com")),
                    ("role", text("admin")),
                    ("new", text("1")),
                ],
            ),
            (
                format!("{engines}/take-out"),
                vec![("who", self.eve.clone()), team_version.clone()],
            ),
            (
                format!("{engines}/follow"),
                vec![("group", text("all")), ("role", text("admin")), team_version.clone()],
            ),
            (
                format!("{engines}/unfollow"),
                vec![("group", text("Engines")), team_version.clone()],
            ),
            (
                format!("{engines}/rename"),
                vec![("name", text("Renamed")), team_version.clone()],
            ),
            (format!("{engines}/delete"), vec![team_version]),
            (text("/keys/rotate"), vec![("when", text("now"))]),
            (text("/set-up/check"), vec![]),
        ]
    }

    fn sid_of(&self, email: &str) -> String {
        let listed = self
            .wire
            .run(session::list(&self.store, None, UnixTime::now()))
            .unwrap();
        let of = listed.into_iter().find(|listed| listed.email.as_deref() == Some(email));
        of.unwrap().sid
    }

    fn denials(&self) -> usize {
        let query = AuditQuery {
            event: Some(vestibule::telemetry::audit::Kind::Denied),
            limit: 500,
            ..AuditQuery::default()
        };
        let denied = self.wire.run(directory::audit(&self.store, &Actor::shell(), &query));
        denied.unwrap().rows.len()
    }
}

fn body(token: &str, fields: &[(&'static str, String)]) -> String {
    let mut all = vec![("token", token)];
    all.extend(fields.iter().map(|(name, value)| (*name, value.as_str())));
    encoded(&all)
}

/// Every page that is for admins alone.
fn pages(house: &House) -> Vec<String> {
    let eve = format!("/people/{}", house.eve);
    vec![
        "/people".into(),
        "/people?q=e&sort=seen".into(),
        "/people/add".into(),
        eve.clone(),
        format!("{eve}/deactivate"),
        format!("{eve}/remove"),
        format!("{eve}/end-sessions"),
        format!("/people/{}/withdraw", house.invited),
        "/waiting".into(),
        format!("/teams/{}", house.engines),
        format!("/teams/{}/delete", house.engines),
        format!("/teams/{}/unfollow?group=Engines", house.engines),
        "/audit".into(),
        "/audit/events.csv".into(),
        "/audit/events.jsonl".into(),
        "/keys".into(),
        "/keys/rotate".into(),
        "/set-up".into(),
    ]
}

#[test]
fn whoever_is_no_admin_sees_and_changes_nothing_of_others() {
    let house = House::start();
    let wire = &house.wire;
    for who in ["bob@example.com", "vic@example.com", "tess@example.com"] {
        let cookie = wire.sign_in(who);
        let browser = Browser::new(wire, &cookie);
        for page in pages(&house) {
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
        for (path, fields) in house.actions() {
            let denials = house.denials();
            let answer = browser.post(&path, &body(&browser.token(), &fields), &OPENED);
            assert_eq!(answer.status, 403, "{who} {path}: {answer:?}");
            assert_eq!(
                (house.fingerprint(), house.sids()),
                (before.clone(), sids.clone()),
                "{who} {path}"
            );
            if path != "/set-up/check" && path != "/keys/rotate" && path != "/people/add" {
                assert!(house.denials() > denials, "no audit line: {who} {path}");
            }
        }
        // What is theirs they see.
        for page in ["/", "/me", "/teams"] {
            assert_eq!(browser.open(page).status, 200, "{who} {page}");
        }
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
        let actions = house.actions();
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
    let actions = house.actions();
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
    for (path, fields) in house.actions() {
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
    for at in 0..23 {
        let house = House::start();
        let ada = Browser::new(&house.wire, &house.wire.cookie);
        let actions = house.actions();
        assert_eq!(actions.len(), 23);
        let (path, fields) = &actions[at];
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
        ("role", vec![("role", "member"), ("version", version.as_str())]),
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
fn hostile_names_stay_text_on_every_page_and_in_every_file() {
    let house = House::start();
    let wire = &house.wire;
    let hostile = "</td><script>alert(1)</script>\"' onload=x &amp; 🦀 \u{202e}evil";
    let long = "W".repeat(320);
    let now = UnixTime::now();
    let shell = Actor::shell();
    wire.run(async {
        let rules = vestibule::config::EntryRules {
            provisioning: true,
            initial_admins: Vec::new(),
            ..directory_rules()
        };
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
        // A name that the rules don't take is no matter here.
        drop(directory::create_team(&house.store, &shell, hostile, now).await);
    });
    let ada = Browser::new(wire, &wire.cookie);
    let people = ada.open("/people").text();
    let mut paths: Vec<String> = vec!["/people".into(), "/waiting".into(), "/teams".into(), "/audit".into()];
    paths.push(format!("/teams/{}", house.engines));
    for rest in people.split("href=\"/.vestibule/console/people/u_").skip(1) {
        let id = rest.split('"').next().unwrap();
        paths.extend([format!("/people/u_{id}"), format!("/people/u_{id}/remove")]);
    }
    assert!(paths.len() > 12, "{people}");
    for path in paths {
        let page = ada.open(&path);
        assert_eq!(page.status, 200, "{path}");
        let text = page.text();
        assert_eq!(text.matches("<script").count(), 1, "{path}: {text}");
        assert!(
            !text.contains("<b>") && !text.contains("<i>") && !text.contains("\"' onload"),
            "{path}: {text}"
        );
    }
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

fn directory_rules() -> vestibule::config::EntryRules {
    vestibule::config::EntryRules {
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
