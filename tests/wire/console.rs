//! The console on the wire: who may open and do what, and that nothing happens otherwise.

use std::collections::BTreeMap;

use crate::support::{Answer, Wire};

pub const CONSOLE: &str = "/.vestibule/console";
pub const OPENED: [&str; 3] = [
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Site: same-origin",
];

/// Somebody's browser.
pub struct Browser<'a> {
    wire: &'a Wire,
    cookie: String,
}

impl<'a> Browser<'a> {
    pub fn new(wire: &'a Wire, cookie: &str) -> Self {
        Self {
            wire,
            cookie: format!("Cookie: {cookie}"),
        }
    }

    pub fn open(&self, path: &str) -> Answer {
        let mut fields = vec!["Host: app.test", self.cookie.as_str()];
        fields.extend(OPENED);
        self.wire.ask(&format!("GET {CONSOLE}{path}"), &fields)
    }

    /// A token of a page that this browser has open.
    pub fn token(&self) -> String {
        token_of(&self.open("/me"))
    }

    /// Sends a form as a browser would, with a fresh token.
    pub fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.token();
        let mut all = vec![("token", token.as_str())];
        all.extend_from_slice(fields);
        self.post(path, &encoded(&all), &OPENED)
    }

    pub fn post(&self, path: &str, body: &str, fields: &[&str]) -> Answer {
        self.post_as("application/x-www-form-urlencoded", path, body, fields)
    }

    pub fn post_as(&self, kind: &str, path: &str, body: &str, fields: &[&str]) -> Answer {
        let fields: String = fields.iter().flat_map(|field| [field, "\r\n"]).collect();
        let request = format!(
            "POST {CONSOLE}{path} HTTP/1.1\r\nHost: app.test\r\n{}\r\nOrigin: http://app.test\r\n{fields}Content-Type: \
             {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.cookie,
            body.len()
        );
        self.wire.raw(request.as_bytes())
    }
}

pub fn encoded(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

pub fn token_of(page: &Answer) -> String {
    let text = page.text();
    let (_, rest) = text
        .split_once("name=\"token\" value=\"")
        .unwrap_or_else(|| panic!("no form in {text}"));
    rest.split('"').next().unwrap().to_owned()
}

pub fn whoami(wire: &Wire, cookie: &str) -> u16 {
    let cookie = format!("Cookie: {cookie}");
    wire.ask("GET /.vestibule/whoami", &["Host: app.test", &cookie]).status
}

#[test]
fn nobody_opens_the_console_without_a_session_and_people_come_back_after_signing_in() {
    let wire = Wire::start();
    for path in ["", "/", "/me", "/people?q=a%20b", "/nothing"] {
        let answer = wire.ask(
            &format!("GET {CONSOLE}{path}"),
            &["Host: app.test", "Accept: text/html"],
        );
        assert_eq!(answer.status, 302, "{path}");
        let location = answer.field("location").unwrap();
        let rd = location.strip_prefix("/.vestibule/login?rd=").expect(location);
        let rd = percent_encoding::percent_decode_str(rd).decode_utf8().unwrap();
        assert_eq!(rd, format!("{CONSOLE}{path}"));
        // Whoever is signed in meanwhile is sent on to the page itself.
        let back = wire.signed_in(&format!("GET {location}"), &["Accept: text/html"]);
        assert_eq!(back.field("location"), Some(rd.as_ref()));
        for request in ["GET", "POST", "DELETE", "OPTIONS"] {
            let answer = wire.ask(
                &format!("{request} {CONSOLE}{path}"),
                &["Host: app.test", "Content-Length: 0"],
            );
            assert!(
                answer.status == 401 && answer.is_problem(),
                "{request} {path}: {answer:?}"
            );
        }
    }
    assert!(wire.app.seen().is_empty());
}

#[test]
fn pages_of_the_console_are_locked_down() {
    let wire = Wire::start();
    let ada = Browser::new(&wire, &wire.cookie);
    for (path, status) in [
        ("/", 200),
        ("/me", 200),
        ("/keys", 200),
        ("/set-up", 200),
        ("/nothing", 404),
    ] {
        let page = ada.open(path);
        assert_eq!(page.status, status, "{path}: {page:?}");
        let policy = page.field("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'")
                && policy.contains("frame-ancestors 'none'")
                && policy.contains("form-action 'self'")
                && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.field("cross-origin-opener-policy"), Some("same-origin"));
        assert_eq!(page.field("cross-origin-embedder-policy"), Some("require-corp"));
        assert_eq!(page.field("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(page.field("cache-control"), Some("no-store"));
        assert_eq!(page.field("x-content-type-options"), Some("nosniff"));
        for inline in ["<style", " style=", "<script>", " onclick", "http://", "https://"] {
            assert!(path == "/set-up" || !page.text().contains(inline), "{inline} on {path}");
        }
    }
    let slashless = ada.open("");
    assert_eq!(
        (slashless.status, slashless.field("location")),
        (308, Some("/.vestibule/console/"))
    );
    assert!(wire.app.seen().is_empty());
}

#[test]
fn a_page_of_the_app_cannot_fetch_or_frame_the_console() {
    let wire = Wire::start();
    let cookie = format!("Cookie: {}", wire.cookie);
    for dest in ["empty", "iframe", "script", "image", "object"] {
        let answer = wire.ask(
            &format!("GET {CONSOLE}/me"),
            &[
                "Host: app.test",
                &cookie,
                "Sec-Fetch-Site: same-origin",
                &format!("Sec-Fetch-Dest: {dest}"),
                "Sec-Fetch-Mode: cors",
            ],
        );
        assert_eq!(answer.status, 403, "{dest}");
        assert!(!answer.text().contains("token"), "{dest}");
    }
}

/// A worker of the app stands before every page of the origin. What the browser asks for on its behalf it would read.
#[test]
fn a_service_worker_of_the_app_is_given_no_page_of_the_console() {
    let wire = Wire::start();
    let cookie = format!("Cookie: {}", wire.cookie);
    let ask = |fields: &[&str]| {
        let mut all = vec!["Host: app.test", cookie.as_str(), "Sec-Fetch-Site: same-origin"];
        all.extend_from_slice(fields);
        wire.ask(&format!("GET {CONSOLE}/me"), &all)
    };
    for fields in [
        // Preloaded beside the worker's start, as a navigation.
        &[
            "Service-Worker-Navigation-Preload: true",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
        ][..],
        &["Service-Worker-Navigation-Preload: true"],
        // A page as the worker's own script.
        &[
            "Service-Worker: script",
            "Sec-Fetch-Mode: same-origin",
            "Sec-Fetch-Dest: serviceworker",
        ],
    ] {
        let answer = ask(fields);
        assert_eq!(answer.status, 403, "{fields:?}");
        assert!(!answer.text().contains("token"), "{fields:?}");
    }
    // Where no Sec-Fetch-Dest is sent, a page is still no script: browsers refuse the type.
    let page = ask(&["Service-Worker: script", "Accept: */*"]);
    let is_html = page.field("content-type") == Some("text/html; charset=utf-8");
    assert!(
        page.status != 200 || is_html && page.field("x-content-type-options") == Some("nosniff"),
        "{page:?}"
    );
    assert_eq!(page.field("service-worker-allowed"), None);
    assert!(wire.app.seen().is_empty());
}

#[test]
fn a_form_counts_from_our_own_page_only_and_once() {
    let wire = Wire::start();
    let other_cookie = wire.sign_in("ada@example.com");
    let (ada, again) = (Browser::new(&wire, &wire.cookie), Browser::new(&wire, &other_cookie));
    let all = |token: &str| encoded(&[("token", token)]);
    let nothing_happened = |why: &str| {
        assert_eq!(
            (whoami(&wire, &wire.cookie), whoami(&wire, &other_cookie)),
            (200, 200),
            "{why}"
        );
    };

    // From elsewhere, whatever it holds.
    for fields in [
        &["Sec-Fetch-Site: cross-site"][..],
        &["Sec-Fetch-Site: same-site"],
        &["Origin: https://friend.test"],
    ] {
        let body = all(&ada.token());
        let request = format!(
            "POST {CONSOLE}/me/sign-out HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\n{}\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            wire.cookie,
            fields.join("\r\n"),
            body.len()
        );
        assert_eq!(wire.raw(request.as_bytes()).status, 403, "{fields:?}");
        nothing_happened("a form from elsewhere");
    }
    // Without a token, with a made-up one, with another session's.
    for body in [
        String::new(),
        all(""),
        all("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        all(&again.token()),
    ] {
        assert_eq!(ada.post("/me/sign-out", &body, &OPENED).status, 403, "{body}");
        nothing_happened("a form without a token");
    }
    // Not a form, not readable, too large.
    let token = ada.token();
    for (kind, body, status) in [
        ("application/json", "{}".to_owned(), 415),
        ("text/plain", all(&token), 415),
        ("multipart/form-data; boundary=x", all(&token), 415),
        (
            "application/x-www-form-urlencoded",
            format!("{}&sid=%ff", all(&token)),
            400,
        ),
        (
            "application/x-www-form-urlencoded",
            format!("{}&sid=%00", all(&token)),
            400,
        ),
        (
            "application/x-www-form-urlencoded",
            format!("{0}&{0}", all(&token)),
            400,
        ),
        (
            "application/x-www-form-urlencoded",
            format!("{}&x={}", all(&token), "y".repeat(1 << 20)),
            413,
        ),
    ] {
        assert_eq!(
            ada.post_as(kind, "/me/sign-out", &body, &OPENED).status,
            status,
            "{kind}"
        );
        nothing_happened("an unreadable form");
    }
    // Wrong methods.
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = wire.signed_in(&format!("{method} {CONSOLE}/me/sign-out"), &["Content-Length: 0"]);
        assert_eq!(
            (answer.status, answer.field("allow")),
            (405, Some("GET, HEAD, POST")),
            "{method}"
        );
    }
    assert_eq!(ada.open("/me/end-session").field("allow"), Some("POST"));
    assert_eq!(ada.send("/me", &[]).status, 405);
    assert_eq!(ada.send("/nothing", &[]).status, 404);
    nothing_happened("a wrong method");

    // A token counts once: what was sent before does nothing when it is sent again.
    let body = all(&token);
    assert_eq!(
        ada.post("/me/end-session", &body, &OPENED).status,
        404,
        "no such session"
    );
    let replayed = ada.post("/me/sign-out", &body, &OPENED);
    assert_eq!(replayed.status, 403);
    assert!(replayed.text().contains("sent before"), "{replayed:?}");
    nothing_happened("a replayed form");

    assert_eq!(ada.send("/me/sign-out", &[]).status, 200);
    assert_eq!((whoami(&wire, &wire.cookie), whoami(&wire, &other_cookie)), (401, 401));
    assert!(wire.app.seen().is_empty());
}

#[test]
fn people_end_their_own_sessions_and_nobody_elses() {
    let wire = Wire::start();
    let (second, bobs) = (wire.sign_in("ada@example.com"), wire.sign_in("bob@example.com"));
    let (ada, bob) = (Browser::new(&wire, &wire.cookie), Browser::new(&wire, &bobs));
    let sids = |browser: &Browser<'_>| -> Vec<String> {
        let text = browser.open("/me").text();
        let mut sids: Vec<String> = text
            .split("name=\"sid\" value=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect();
        sids.sort();
        sids
    };
    assert_eq!((sids(&ada).len(), sids(&bob).len()), (2, 1));
    for sid in sids(&ada) {
        assert_eq!(bob.send("/me/end-session", &[("sid", &sid)]).status, 404);
    }
    assert_eq!(sids(&ada).len(), 2, "a stranger ended a session");
    let own: BTreeMap<String, String> = [&wire.cookie, &second]
        .into_iter()
        .map(|cookie| {
            let field = format!("Cookie: {cookie}");
            let who = wire.ask("GET /.vestibule/whoami", &["Host: app.test", &field]);
            let who: serde_json::Value = serde_json::from_slice(&who.body).unwrap();
            (cookie.clone(), who["sid"].as_str().unwrap().to_owned())
        })
        .collect();
    let ended = ada.send("/me/end-session", &[("sid", &own[&second])]);
    assert_eq!(
        (ended.status, ended.field("location")),
        (303, Some("/.vestibule/console/me?said=session-ended"))
    );
    assert!(
        ada.open("/me?said=session-ended")
            .text()
            .contains("The session has ended.")
    );
    assert_eq!(sids(&ada).len(), 1);
    assert_eq!(ada.send("/me/end-session", &[("sid", &own[&second])]).status, 404);
}

#[test]
fn what_is_for_admins_is_not_shown_to_others_and_not_done_for_them() {
    let wire = Wire::start();
    let bobs = wire.sign_in("bob@example.com");
    let bob = Browser::new(&wire, &bobs);
    for path in ["/keys", "/keys/rotate", "/set-up"] {
        let page = bob.open(path);
        assert_eq!(page.status, 403, "{path}");
        assert!(
            !page.text().contains("OIDC_ISSUER") && !page.text().contains("signs"),
            "{path}"
        );
    }
    let before = wire.ask("GET /.vestibule/jwks.json", &["Host: app.test"]).body;
    assert_eq!(bob.send("/keys/rotate", &[("when", "now")]).status, 403);
    assert_eq!(bob.send("/set-up/check", &[]).status, 403);
    let after = wire.ask("GET /.vestibule/jwks.json", &["Host: app.test"]).body;
    assert_eq!(before, after);
}
