//! Slow clients, and the end of the gateway.

use std::time::{Duration, Instant};

use crate::support::Wire;

#[test]
fn a_late_head_is_closed_without_a_word_and_idle_connections_end() {
    let wire = Wire::with(|settings| settings.keepalive = Duration::from_secs(2));
    let mut idle = wire.connect();
    let mut late = wire.connect();
    late.send(b"GET /x HT");
    let start = Instant::now();
    assert!(idle.closes_within(Duration::from_secs(4)));
    assert!(start.elapsed() >= Duration::from_millis(1500));
    assert!(late.closes_within(Duration::from_secs(12)));
    assert!(
        start.elapsed() >= Duration::from_secs(9),
        "closed after {:?}",
        start.elapsed()
    );
    assert!(late.answer().broken, "something was said");
}

#[test]
fn draining_finishes_what_is_under_way_and_ends_streams() {
    let wire = Wire::with(|settings| settings.upstream.timeout = Duration::from_secs(10));
    let cookie = format!("Cookie: {}", wire.cookie);
    let mut slow = wire.connect();
    slow.send(format!("GET /slow HTTP/1.1\r\nHost: app.test\r\n{cookie}\r\n\r\n").as_bytes());
    let mut socket = wire.connect();
    assert_eq!(
        socket
            .ask(
                "GET /ws",
                &["Host: app.test", &cookie, "Connection: Upgrade", "Upgrade: websocket"]
            )
            .status,
        101
    );
    let mut events = wire.connect();
    events.send(format!("GET /sse HTTP/1.1\r\nHost: app.test\r\n{cookie}\r\n\r\n").as_bytes());
    assert!(events.head().is_some());
    let mut idle = wire.connect();
    assert_eq!(idle.ask("GET /x", &["Host: app.test", &cookie]).status, 200);
    std::thread::sleep(Duration::from_millis(200));

    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| wire.run(wire.instance.drain(Duration::from_secs(20))));
        assert!(
            socket.closes_within(Duration::from_secs(2)),
            "a WebSocket outlived the drain"
        );
        assert!(
            events.closes_within(Duration::from_secs(2)),
            "a stream of events outlived the drain"
        );
        assert!(
            idle.closes_within(Duration::from_secs(2)),
            "an idle connection outlived the drain"
        );
        assert_eq!(slow.answer().text(), "slow");
    });
    assert!(start.elapsed() < Duration::from_secs(15));
    assert!(std::net::TcpStream::connect(wire.gateway).is_err(), "still listening");
}

#[test]
fn a_stream_that_begins_while_draining_ends_too() {
    let wire = Wire::start();
    let mut events = wire.connect();
    events.send(
        format!(
            "GET /slow-sse HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\n\r\n",
            wire.cookie
        )
        .as_bytes(),
    );
    std::thread::sleep(Duration::from_millis(200));
    std::thread::scope(|scope| {
        scope.spawn(|| wire.run(wire.instance.drain(Duration::from_secs(20))));
        assert!(
            events.closes_within(Duration::from_secs(4)),
            "a stream of events outlived the drain"
        );
    });
}
