//! Bodies and upgrades pass as through nginx.

use std::time::Duration;

use crate::support::{Wire, dechunked};
use vestibule::config::Streams;

#[test]
fn bodies_pass_both_ways_whole() {
    let wire = Wire::start();
    let body = vec![b'y'; 3 << 20];
    let mut client = wire.connect();
    client.send(
        format!(
            "POST /echo HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nContent-Length: {}\r\n\r\n",
            wire.cookie,
            body.len()
        )
        .as_bytes(),
    );
    client.send(&body);
    assert_eq!(client.answer().body, body);
    assert_eq!(wire.signed_in("GET /large", &[]).body.len(), 8 << 20);
}

#[test]
fn chunked_stays_chunked_with_its_trailers() {
    let wire = Wire::start();
    for method in ["POST", "GET", "DELETE"] {
        wire.app.forget();
        let request = format!(
            "{method} /echo HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 9\r\nX-Forwarded-User: evil\r\nCookie: a=b\r\n\r\n",
            wire.cookie
        );
        let answer = wire.raw(request.as_bytes());
        assert_eq!(answer.text(), "abcde", "{method}");
        let seen = &wire.app.seen()[0];
        assert_eq!(
            (seen.values("transfer-encoding"), seen.values("content-length").len()),
            (vec!["chunked"], 0)
        );
        let raw = String::from_utf8_lossy(&seen.body).to_ascii_lowercase();
        assert!(
            raw.contains("x-sum: 9") && !raw.contains("evil") && !raw.contains("cookie"),
            "{raw:?}"
        );
    }
}

#[test]
fn trailers_of_the_app_pass_without_cookies_and_identity() {
    let wire = Wire::start();
    let answer = wire.signed_in("GET /trailers", &["TE: trailers"]);
    let raw = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
    assert!(raw.contains("x-sum: 1"), "{raw:?}");
    assert!(!raw.contains("set-cookie") && !raw.contains("assertion"), "{raw:?}");
    assert_eq!(dechunked(&answer.head, &answer.body), b"abc");
}

#[test]
fn answers_without_a_body_have_none() {
    let wire = Wire::start();
    let mut client = wire.connect();
    let cookie = format!("Cookie: {}", wire.cookie);
    for (request, status, length) in [
        ("HEAD /x", 200, Some("1234")),
        ("GET /204", 204, None),
        ("GET /304", 304, None),
        ("GET /103", 200, Some("2")),
    ] {
        let answer = client.ask(request, &["Host: app.test", &cookie]);
        assert_eq!(
            (answer.status, answer.field("content-length")),
            (status, length),
            "{request}"
        );
    }
    assert_eq!(client.ask("GET /until-close", &["Host: app.test", &cookie]).status, 200);
}

#[test]
fn an_answer_that_broke_off_is_not_whole_to_the_client_either() {
    let wire = Wire::start();
    let answer = wire.signed_in("GET /half", &[]);
    assert!(
        answer.status == 200 && answer.broken && answer.body == b"half",
        "{answer:?}"
    );
}

#[test]
fn an_answer_with_both_lengths_is_whole_by_its_coding() {
    let wire = Wire::start();
    let answer = wire.signed_in("GET /both-lengths", &[]);
    assert_eq!(answer.field("content-length"), None);
    assert_eq!(dechunked(&answer.head, &answer.body), b"abcdef");
}

#[test]
fn an_early_answer_is_passed_on() {
    let wire = Wire::start();
    let mut client = wire.connect();
    client.send(
        format!(
            "POST /early HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nContent-Length: 1000000\r\n\r\n",
            wire.cookie
        )
        .as_bytes(),
    );
    assert_eq!(client.answer().status, 413);
}

#[test]
fn continue_is_said_when_the_body_is_wanted_and_not_before() {
    let wire = Wire::start();
    let mut client = wire.connect();
    client.send(
        format!(
            "POST /echo HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
            wire.cookie
        )
        .as_bytes(),
    );
    assert!(client.head().unwrap().starts_with("HTTP/1.1 100"));
    client.send(b"body");
    assert_eq!(client.answer().text(), "body");
    assert!(wire.app.seen()[0].values("expect").is_empty());
    let mut nobody = wire.connect();
    nobody.send(b"POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(nobody.answer().status, 401, "nobody's body is not asked for");
}

#[test]
fn events_arrive_as_they_are_sent() {
    let wire = Wire::start();
    let mut client = wire.connect();
    client.send(format!("GET /sse HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\n\r\n", wire.cookie).as_bytes());
    assert!(client.head().unwrap().contains("text/event-stream"));
    assert!(!client.read_exactly(60).is_empty());
    // The watch ends it when the session ends.
    end_all_sessions(&wire);
    assert!(
        client.closes_within(Duration::from_secs(1)),
        "the stream outlived its session"
    );
}

fn end_all_sessions(wire: &Wire) {
    wire.run(end_adas_sessions(wire.database()));
}

/// Ends all sessions of Ada, whose is the cookie that every test has.
pub async fn end_adas_sessions(database: vestibule::config::Database) {
    let store = vestibule::store::Store::open(&database).await.unwrap();
    vestibule::directory::end_sessions(
        &store,
        &vestibule::directory::Actor::shell(),
        "ada@example.com",
        vestibule::clock::UnixTime::now(),
    )
    .await
    .unwrap();
}

#[test]
fn a_websocket_echoes_and_ends_with_its_session() {
    let wire = Wire::start();
    let mut client = wire.connect();
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        wire.cookie
    );
    client.send(handshake.as_bytes());
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.field("upgrade"), answer.field("x-from")),
        (101, Some("websocket"), Some("app"))
    );
    assert_eq!(
        answer.field("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    client.send(b"ping");
    assert_eq!(client.read_exactly(4), b"ping");
    let seen = &wire.app.seen()[0];
    assert_eq!(
        (seen.values("upgrade"), seen.values("sec-websocket-protocol")),
        (vec!["websocket"], vec!["chat"])
    );
    end_all_sessions(&wire);
    assert!(
        client.closes_within(Duration::from_secs(1)),
        "the WebSocket outlived its session"
    );
}

#[test]
fn a_websocket_and_a_stream_run_on_where_the_operator_says_so() {
    let wire = Wire::with(|settings| settings.streams = Streams::OutliveSession);
    let ask = |path: &str, more: &str| {
        let mut client = wire.connect();
        client.send(
            format!(
                "GET {path} HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\n{more}\r\n",
                wire.cookie
            )
            .as_bytes(),
        );
        client
    };
    let mut socket = ask("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    assert_eq!(socket.answer().status, 101);
    let mut events = ask("/sse", "");
    end_all_sessions(&wire);
    assert!(!events.closes_within(Duration::from_secs(2)), "the stream ended");
    socket.send(b"ping");
    assert_eq!(socket.read_exactly(4), b"ping");
    // Only what was under way: nobody gets anything new.
    assert_eq!(wire.signed_in("GET /x", &[]).status, 401);
}

#[test]
fn other_upgrades_go_on_without() {
    let wire = Wire::start();
    for upgrade in ["h2c", "TLS/1.0", "foo"] {
        wire.app.forget();
        let answer = wire.signed_in(
            "GET /x",
            &[
                "Connection: Upgrade, HTTP2-Settings",
                &format!("Upgrade: {upgrade}"),
                "HTTP2-Settings: AAMAAABkAAQAAP__",
            ],
        );
        assert_eq!(answer.status, 200, "{upgrade}");
        let seen = &wire.app.seen()[0];
        assert!(
            seen.values("upgrade").is_empty()
                && seen.values("http2-settings").is_empty()
                && seen.values("connection").is_empty(),
            "{seen:?}"
        );
    }
    // A WebSocket handshake with a body or by POST is none.
    wire.app.forget();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody",
        wire.cookie
    );
    assert_eq!(wire.raw(request.as_bytes()).status, 200);
    assert_eq!(
        wire.signed_in(
            "POST /ws",
            &["Connection: Upgrade", "Upgrade: websocket", "Content-Length: 0"]
        )
        .status,
        200
    );
    assert!(wire.app.seen().iter().all(|seen| seen.values("upgrade").is_empty()));
}

#[test]
fn nothing_is_tunnelled_before_the_apps_101() {
    let wire = Wire::start();
    let smuggled = "GET /admin HTTP/1.1\r\nHost: app.test\r\nX-Vestibule-Assertion: evil\r\n\r\n";
    let mut client = wire.connect();
    // The app refuses the upgrade on /x with 200: what follows must be read as a request of nobody.
    client.send(format!("GET /x HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n{smuggled}", wire.cookie).as_bytes());
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.answer().status, 401);
    assert_eq!(wire.app.seen().len(), 1);
}

#[test]
fn connections_to_the_app_are_used_again() {
    let wire = Wire::start();
    for _ in 0..20 {
        assert_eq!(wire.signed_in("GET /x", &[]).status, 200);
    }
    assert!(
        wire.app.connections() <= 4,
        "{} connections for 20 requests",
        wire.app.connections()
    );
}
