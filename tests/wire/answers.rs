//! What a client gets (CONTRACT, section 5): people pages, programs problem+json, nobody the other's.

use std::time::Duration;

use crate::support::{Answer, Wire};

fn asks(wire: &Wire, request_line: &str, fields: &[&str]) -> Answer {
    let mut all = vec!["Host: app.test", "Content-Length: 0"];
    all.extend_from_slice(fields);
    wire.ask(request_line, &all)
}

#[test]
fn a_page_without_a_session_is_sent_to_sign_in_and_back_byte_for_byte() {
    let wire = Wire::start();
    for fields in [
        &["Accept: text/html,*/*"][..],
        &["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"],
        &["Sec-Fetch-Mode: navigate"],
    ] {
        for method in ["GET", "HEAD"] {
            let answer = asks(&wire, &format!("{method} /a%2Fb?c=d%20e&f=%26"), fields);
            assert_eq!(answer.status, 302, "{fields:?}");
            let location = answer.field("location").unwrap();
            let rd = location.strip_prefix("/.vestibule/login?rd=").expect(location);
            assert_eq!(
                percent_encoding::percent_decode_str(rd).decode_utf8().unwrap(),
                "/a%2Fb?c=d%20e&f=%26"
            );
            assert_eq!(answer.field("cache-control"), Some("no-store"));
        }
    }
    assert!(wire.app.seen().is_empty());
}

#[test]
fn another_navigation_without_a_session_gets_401_as_a_page() {
    let wire = Wire::start();
    for (request, fields) in [
        ("POST /x", &["Accept: text/html"][..]),
        ("POST /x", &["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"]),
        (
            "GET /x",
            &[
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: iframe",
                "Accept: text/html",
            ],
        ),
        (
            "GET /x",
            &[
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: document",
                "Sec-Purpose: prefetch",
            ],
        ),
    ] {
        let answer = asks(&wire, request, fields);
        assert_eq!(answer.status, 401, "{request} {fields:?}");
        assert!(answer.is_page(), "{request} {fields:?}");
        assert!(answer.text().contains("/.vestibule/login"));
    }
    assert!(wire.app.seen().is_empty());
}

#[test]
fn a_program_without_a_session_gets_a_challenge_and_never_html() {
    let wire = Wire::start();
    for (request, fields) in [
        ("GET /x", &[][..]),
        ("GET /x", &["Accept: */*"]),
        ("GET /x", &["Accept: application/json"]),
        ("GET /x", &["Accept: text/html", "X-Requested-With: XMLHttpRequest"]),
        (
            "GET /x",
            &["Accept: text/html", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"],
        ),
        (
            "GET /x",
            &["Accept: text/html", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"],
        ),
        (
            "OPTIONS /x",
            &["Origin: https://a.test", "Access-Control-Request-Method: PUT"],
        ),
        (
            "GET /ws",
            &[
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-Fetch-Mode: websocket",
                "Accept: text/html",
            ],
        ),
        (
            "GET /ws",
            &["Connection: Upgrade", "Upgrade: websocket", "Accept: text/html"],
        ),
        ("DELETE /x", &["Authorization: Bearer abc"]),
        ("GET /x", &["Authorization: Basic YTpi"]),
    ] {
        let answer = asks(&wire, request, fields);
        assert_eq!(answer.status, 401, "{request} {fields:?}");
        assert!(answer.is_problem(), "{request} {fields:?}: {answer:?}");
        assert!(answer.field("www-authenticate").unwrap().starts_with("Bearer realm=\""));
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["status"], 401);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
    assert!(wire.app.seen().is_empty());
}

#[test]
fn made_up_and_changed_tokens_let_nobody_in() {
    let wire = Wire::start();
    let (name, token) = wire.cookie.split_once('=').unwrap();
    let mut changed = token.as_bytes().to_vec();
    changed[3] = if changed[3] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    let half = &token[..token.len() / 2];
    for value in [
        "",
        "x",
        "AAAA",
        half,
        &changed,
        &token.to_lowercase(),
        &format!("{token}="),
        &format!("\"{token}\""),
        &format!("{token}{token}"),
        "%00",
        &"A".repeat(4000),
    ] {
        for path in ["/x", "/ws", "/.vestibule/whoami"] {
            let answer = asks(&wire, &format!("GET {path}"), &[&format!("Cookie: {name}={value}")]);
            assert_eq!(answer.status, 401, "{value:?} on {path}");
        }
    }
    let renamed = format!("Cookie: {}={token}", name.to_uppercase());
    assert_eq!(asks(&wire, "GET /x", &[&renamed]).status, 401);
    assert!(wire.app.seen().is_empty());
}

#[test]
fn another_site_can_change_nothing_on_a_session() {
    let wire = Wire::start();
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
    for fields in [
        &["Sec-Fetch-Site: cross-site", "Origin: https://evil.test"][..],
        &["Sec-Fetch-Site: same-site", "Origin: http://sub.app.test"],
        &["Sec-Fetch-Site: cross-site"],
        &["Origin: https://evil.test"],
        &["Origin: null"],
        &["Origin: http://app.test:81"],
        &["Origin: https://app.test"],
        &["Origin: http://app.test", "Origin: http://app.test"],
    ] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "PURGE"] {
            for path in ["/x", "/public/x"] {
                let answer = wire.signed_in(&format!("{method} {path}"), &[fields, &["Content-Length: 0"]].concat());
                assert_eq!(answer.status, 403, "{method} {path} {fields:?}");
            }
        }
        assert_eq!(
            wire.signed_in("GET /ws", &[fields, &upgrade].concat()).status,
            403,
            "{fields:?}"
        );
        assert!(wire.app.seen().is_empty(), "{fields:?}");
        assert_eq!(
            wire.signed_in("GET /x", fields).status,
            200,
            "reading is not changing: {fields:?}"
        );
        wire.app.forget();
    }
    for fields in [
        &[][..],
        &["Origin: http://app.test"],
        &["Sec-Fetch-Site: same-origin", "Origin: http://app.test"],
        &["Sec-Fetch-Site: none"],
        &["Origin: https://friend.test"],
        &["Sec-Fetch-Site: cross-site", "Origin: https://friend.test"],
    ] {
        assert_eq!(
            wire.signed_in("POST /x", &[fields, &["Content-Length: 0"]].concat())
                .status,
            200,
            "{fields:?}"
        );
        assert_eq!(
            wire.signed_in("GET /ws", &[fields, &upgrade].concat()).status,
            101,
            "{fields:?}"
        );
    }
}

#[test]
fn the_upstream_in_trouble_is_502_or_504_and_nobodys_fault() {
    let wire = Wire::start();
    for (path, status) in [
        ("/nonsense", 502),
        ("/coded", 502),
        ("/reset", 502),
        ("/slow", 504),
        ("/switch", 502),
    ] {
        let page = wire.signed_in(&format!("GET {path}"), &["Accept: text/html"]);
        assert_eq!(page.status, status, "{path}");
        assert!(page.is_page(), "{path}");
        let program = wire.signed_in(&format!("GET {path}"), &[]);
        assert!(program.status == status && program.is_problem(), "{path}: {program:?}");
    }
    let switched = wire.signed_in("GET /switch", &["Connection: Upgrade", "Upgrade: websocket"]);
    assert_eq!(switched.status, 502, "switched to what was not asked for");
    let down = Wire::with(|settings| settings.upstream.authority = "127.0.0.1:1".parse().unwrap());
    assert_eq!(down.signed_in("GET /x", &[]).status, 502);
    assert_eq!(down.signed_in("GET /x", &["Accept: text/html"]).status, 502);
    assert_eq!(
        down.ask("GET /x", &["Host: app.test"]).status,
        401,
        "who is not signed in learns nothing"
    );
}

#[test]
fn nothing_is_sent_twice_but_what_cannot_have_happened() {
    let wire = Wire::start();
    let mut client = wire.connect();
    let cookie = format!("Cookie: {}", wire.cookie);
    // The app answers one request on each connection and then closes when it reads another.
    for _ in 0..3 {
        assert_eq!(client.ask("GET /once", &["Host: app.test", &cookie]).status, 200);
    }
    wire.app.forget();
    assert_eq!(client.ask("GET /once", &["Host: app.test", &cookie]).status, 200);
    let before = wire.app.seen().len();
    let answer = client.ask("POST /once", &["Host: app.test", &cookie, "Content-Length: 0"]);
    assert!(matches!(answer.status, 200 | 502));
    assert!(wire.app.seen().len() <= before + 1, "a POST was sent twice");
}

#[test]
fn the_keys_are_there_for_any_host_and_without_a_session() {
    let wire = Wire::start();
    for host in ["app.test", "evil.test", "10.0.0.1:8080"] {
        let answer = wire.ask("GET /.vestibule/jwks.json", &[&format!("Host: {host}")]);
        assert_eq!(
            (answer.status, answer.field("cache-control")),
            (200, Some("max-age=300")),
            "{host}"
        );
        let keys: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(
            keys["keys"].as_array().unwrap().len() >= 2,
            "the next key is published before it signs"
        );
        assert!(!answer.text().contains("\"d\""), "a private part was published");
    }
    assert_eq!(
        wire.ask("POST /.vestibule/jwks.json", &["Host: app.test", "Content-Length: 0"])
            .status,
        405
    );
}

#[test]
fn whoami_without_a_session_is_401_and_not_a_page_elsewhere() {
    let wire = Wire::start();
    assert_eq!(wire.ask("GET /.vestibule/whoami", &["Host: app.test"]).status, 401);
    assert_eq!(
        wire.signed_in("POST /.vestibule/whoami", &["Content-Length: 0"]).status,
        405
    );
    assert_eq!(
        wire.signed_in("GET /.vestibule/whoami", &[]).field("cache-control"),
        Some("no-store")
    );
}

#[test]
fn nobody_signs_in_under_an_extra_name() {
    let wire = Wire::start();
    let answer = wire.ask("GET /x", &["Host: app.internal", "Accept: text/html"]);
    assert_eq!(answer.status, 302);
    assert!(
        answer
            .field("location")
            .unwrap()
            .starts_with("http://app.test/.vestibule/login?rd=")
    );
    let answer = wire.ask(
        "GET /.vestibule/login?rd=/x",
        &["Host: app.internal", "Accept: text/html"],
    );
    assert_eq!(
        (answer.status, answer.field("location")),
        (308, Some("http://app.test/.vestibule/login?rd=/x"))
    );
    assert_eq!(
        wire.ask("POST /oidc/callback", &["Host: app.internal", "Content-Length: 0"])
            .status,
        421
    );
}

#[test]
fn pages_are_locked_down() {
    let wire = Wire::start();
    let answer = wire.ask("GET /.vestibule/nothing", &["Host: app.test", "Accept: text/html"]);
    assert_eq!(answer.status, 404);
    let policy = answer.field("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'")
            && policy.contains("frame-ancestors 'none'")
            && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.field("referrer-policy"), Some("same-origin"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
}

#[test]
fn forms_of_strangers_take_a_bounded_room_all_together() {
    let wire = Wire::start();
    let post = |length: usize| {
        format!(
            "POST /oidc/callback HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let most = 1 << 20;
    let mut held: Vec<_> = (0..70)
        .map(|_| {
            let mut client = wire.connect();
            client.send(post(most).as_bytes());
            client.send(&vec![b'a'; most - 1]);
            client
        })
        .collect();
    let refused = held
        .iter_mut()
        .map(|client| client.closes_within(Duration::from_millis(10)))
        .filter(|closed| *closed)
        .count();
    assert!((1..70).contains(&refused), "{refused} were refused");
    drop(held);
    let too_large = [post(most + 1).into_bytes(), vec![b'a'; most + 1]].concat();
    assert_eq!(wire.raw(&too_large).status, 413);
    std::thread::sleep(Duration::from_millis(500));
    let small = [post(7).into_bytes(), b"state=x".to_vec()].concat();
    assert_eq!(wire.raw(&small).status, 400, "room is given back");
}
