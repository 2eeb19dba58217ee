//! HTTP/2 frames as no client sends them: the stream or the connection ends, the app sees nothing of it, and the gateway
//! goes on for everybody else.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::Wire;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const WHOLE: u8 = END_STREAM | END_HEADERS;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Literal fields, never indexed, without Huffman (RFC 7541, section 6.2.2): whatever the bytes are.
fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            let mut rest = text.len();
            if rest < 127 {
                out.push(u8::try_from(rest).unwrap());
            } else {
                out.push(127);
                rest -= 127;
                while rest >= 128 {
                    out.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                out.push(u8::try_from(rest).unwrap());
            }
            out.extend_from_slice(text);
        }
    }
    out
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Answered(u16),
    Reset,
    Closed,
    Nothing,
}

struct Raw(TcpStream);

impl Raw {
    fn to(wire: &Wire) -> Self {
        let stream = TcpStream::connect(wire.gateway).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut raw = Self(stream);
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw
    }

    /// With the handshake's own frames done.
    fn settled(wire: &Wire) -> Self {
        let mut raw = Self::to(wire);
        raw.send(&frame(SETTINGS, 0, 0, &[]));
        raw
    }

    /// Whether it could be sent.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, s @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some((kind, flags, u32::from_be_bytes(s), payload))
    }

    /// How the first stream ends, or all of them.
    fn end(&mut self) -> End {
        loop {
            match self.frame() {
                Some((HEADERS, _, _, block)) => return End::Answered(status(&block)),
                Some((RST_STREAM, _, 1, _)) => return End::Reset,
                Some((GOAWAY, ..)) => {
                    return if self.closes_within(Duration::from_secs(5)) {
                        End::Closed
                    } else {
                        End::Nothing
                    };
                }
                Some(_) => {}
                None => {
                    return if self.closes_within(Duration::from_millis(100)) {
                        End::Closed
                    } else {
                        End::Nothing
                    };
                }
            }
        }
    }

    fn closes_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        self.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut chunk = vec![0; 65536];
        while Instant::now() < until {
            match self.0.read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return true,
            }
        }
        false
    }

    /// Sends the same bytes again and again until they are no longer taken, `most` at most; how many went.
    fn flood(&mut self, bytes: &[u8], most: usize) -> usize {
        let mut sent = 0;
        while sent < most && self.send(bytes) {
            sent += bytes.len();
        }
        sent
    }
}

/// `:status`, which comes first: from the static table, or three digits in Huffman's code (RFC 7541, appendix B).
fn status(block: &[u8]) -> u16 {
    match block {
        [first @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)],
        [0x48 | 0x08 | 0x18, length, digits @ ..] if length & 128 != 0 => {
            let bits: u32 = digits.iter().take(3).fold(0, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * 3_usize.saturating_sub(usize::from(length & 127).min(3).min(digits.len())));
            let (mut at, mut number) = (24, 0);
            for _ in 0..3 {
                let five = bits >> (at - 5) & 31;
                let digit = if five < 3 {
                    at -= 5;
                    five
                } else {
                    at -= 6;
                    (bits >> at & 63) - 0x16
                };
                number = number * 10 + digit;
            }
            u16::try_from(number).unwrap()
        }
        [0x48 | 0x08 | 0x18, 3, digits @ ..] => std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap(),
        other => panic!("no status: {other:x?}"),
    }
}

#[test]
fn resets_that_a_client_brings_upon_itself_are_let_go_on_for_a_while_only() {
    // CVE-2025-8671: good requests, each followed by a frame that makes us reset its stream.
    let wire = Wire::start();
    let head = block(&good(&wire, &[]));
    let too_wide = 0x7fff_ffff_u32.to_be_bytes();
    for (name, then) in [
        ("a window of nothing", (WINDOW_UPDATE, 0, 0_u32.to_be_bytes().to_vec())),
        ("a window that overflows", (WINDOW_UPDATE, 0, too_wide.to_vec())),
        ("data after the end", (DATA, 0, b"x".to_vec())),
        ("a head after the end", (HEADERS, END_HEADERS, head.clone())),
        ("a stream that waits for itself", (PRIORITY, 0, Vec::new())),
    ] {
        wire.app.forget();
        let mut raw = Raw::settled(&wire);
        let mut bytes = Vec::new();
        for stream in (1..10_000_u32).step_by(2) {
            bytes.extend(frame(HEADERS, WHOLE, stream, &head));
            let (kind, flags, payload) = &then;
            let itself = [&stream.to_be_bytes()[..], &[1]].concat();
            let payload = if *kind == PRIORITY { &itself } else { payload };
            bytes.extend(frame(*kind, *flags, stream, payload));
        }
        raw.send(&bytes);
        let closed = raw.closes_within(Duration::from_secs(10));
        let reached = wire.app.seen().len();
        assert!(closed || *name == *"a stream that waits for itself", "{name}");
        assert!(!closed || reached < 1000, "{name}: {reached}");
    }
    still_serves(&wire);
}

#[test]
fn trailers_that_are_malformed_do_not_complete_a_request() {
    let wire = Wire::start();
    let mut post = good(&wire, &[]);
    post[0] = (b":method", b"POST");
    post[3] = (b":path", b"/echo");
    let trailers: &[Field] = &[
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"X-Sum", b"1"),
        (b"x-sum", b"1\r\nGET /evil HTTP/1.1"),
    ];
    for trailer in trailers {
        let mut raw = Raw::settled(&wire);
        raw.send(&frame(HEADERS, END_HEADERS, 1, &block(&post)));
        raw.send(&frame(DATA, 0, 1, b"data"));
        raw.send(&frame(HEADERS, WHOLE, 1, &block(&[*trailer])));
        let end = raw.end();
        let name = String::from_utf8_lossy(trailer.0);
        assert!(matches!(end, End::Reset | End::Closed), "{name}: {end:?}");
    }
    // h2 drops pseudo-fields (RFC 9113, section 8.1, would have the request refused): they mean nothing to anybody.
    for trailer in [
        (&b":path"[..], &b"/evil"[..]),
        (b":authority", b"evil.test"),
        (b":status", b"200"),
    ] {
        wire.app.forget();
        let mut raw = Raw::settled(&wire);
        raw.send(&frame(HEADERS, END_HEADERS, 1, &block(&post)));
        raw.send(&frame(DATA, 0, 1, b"data"));
        raw.send(&frame(HEADERS, WHOLE, 1, &block(&[trailer])));
        if raw.end() == End::Answered(200) {
            let seen = wire.app.seen().remove(0);
            assert!(seen.head.starts_with("POST /echo HTTP/1.1\r\n"), "{seen:?}");
            assert!(seen.body.ends_with(b"\r\n0\r\n\r\n"), "{seen:?}");
        }
    }
    wire.app.forget();
    // Trailers that do not end the stream.
    let mut raw = Raw::settled(&wire);
    raw.send(&frame(HEADERS, END_HEADERS, 1, &block(&post)));
    raw.send(&frame(HEADERS, END_HEADERS, 1, &block(&[(b"x-sum", b"1")])));
    let end = raw.end();
    assert!(matches!(end, End::Reset | End::Closed), "{end:?}");
    assert!(wire.app.seen().is_empty(), "{:?}", wire.app.seen());
    still_serves(&wire);
}

#[test]
fn a_length_is_said_to_the_app_once() {
    let wire = Wire::start();
    let mut post = good(&wire, &[]);
    post[0] = (b":method", b"POST");
    post[3] = (b":path", b"/echo");
    for (lengths, end) in [
        (&[&b"4"[..], b"4"][..], true),
        (&[b"4", b"04"], true),
        (&[b"4", b"5"], false),
        (&[b"5", b"4"], false),
        (&[b"4", b"4, 4"], false),
        (&[b"4", b""], false),
    ] {
        wire.app.forget();
        let mut fields = post.clone();
        fields.extend(lengths.iter().map(|length| (&b"content-length"[..], *length)));
        let mut raw = Raw::settled(&wire);
        raw.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields)));
        raw.send(&frame(DATA, END_STREAM, 1, b"data"));
        assert_eq!(raw.end() == End::Answered(200), end, "{lengths:?}");
        let seen = wire.app.seen();
        assert_eq!(seen.len(), usize::from(end), "{lengths:?}");
        assert!(
            seen.iter().all(|seen| seen.values("content-length") == ["4"]),
            "{seen:?}"
        );
    }
    // Nothing to read, and yet a length: a second one must not be waited for in the next request.
    for lengths in [&[&b"0"[..], b"0"][..], &[b"0", b"5"], &[b"5", b"0"]] {
        wire.app.forget();
        let mut fields = good(&wire, &[]);
        fields.extend(lengths.iter().map(|length| (&b"content-length"[..], *length)));
        let mut raw = Raw::settled(&wire);
        raw.send(&frame(HEADERS, WHOLE, 1, &block(&fields)));
        let end = raw.end();
        let seen = wire.app.seen();
        assert!(
            end != End::Answered(200) && seen.is_empty() || lengths[0] == lengths[1],
            "{lengths:?}: {seen:?}"
        );
        assert!(
            seen.iter().all(|seen| seen.values("content-length") == ["0"]),
            "{seen:?}"
        );
    }
    still_serves(&wire);
}

type Field<'a> = (&'a [u8], &'a [u8]);

/// A good request of Ada's, and then some.
fn good<'a>(wire: &'a Wire, more: &[Field<'a>]) -> Vec<Field<'a>> {
    let mut fields: Vec<Field> = vec![
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"app.test"),
        (b":path", b"/x"),
        (b"cookie", wire.cookie.as_bytes()),
    ];
    fields.extend_from_slice(more);
    fields
}

fn still_serves(wire: &Wire) {
    let mut raw = Raw::settled(wire);
    raw.send(&frame(HEADERS, WHOLE, 1, &block(&good(wire, &[]))));
    assert_eq!(raw.end(), End::Answered(200));
    assert_eq!(wire.signed_in("GET /x", &[]).status, 200);
}

#[test]
fn malformed_fields_end_the_stream_and_nothing_of_them_goes_on() {
    let wire = Wire::start();
    let bad: &[Field] = &[
        (b":method", b"POST"),
        (b":path", b"/y"),
        (b":authority", b"evil.test"),
        (b":scheme", b"https"),
        (b":protocol", b"websocket"),
        (b":status", b"200"),
        (b":evil", b"1"),
        (b"X-Forwarded-User", b"evil"),
        (b"Cookie", b"a=b"),
        (b"connection", b"close"),
        (b"connection", b"cookie"),
        (b"transfer-encoding", b"chunked"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"keep-alive"),
        (b"upgrade", b"websocket"),
        (b"te", b"gzip"),
        (b"te", b"trailers, chunked"),
        (b"", b"1"),
        (b"a b", b"1"),
        (b"a:b", b"1"),
        (b"a\r\nx-forwarded-user", b"evil"),
        (b"a", b"1\r\nx-forwarded-user: evil"),
        (b"a", b"1\nx-forwarded-user: evil"),
        (b"a", b"1\0"),
        (b"host", b"evil.test"),
        (b"host", b""),
        (b"content-length", b"5"),
        (b"content-length", b"+0"),
        (b"content-length", b"0, 0"),
        (b"content-length", b"-1"),
        (b"content-length", b"99999999999999999999"),
    ];
    for field in bad {
        let mut raw = Raw::settled(&wire);
        raw.send(&frame(HEADERS, WHOLE, 1, &block(&good(&wire, &[*field]))));
        let name = String::from_utf8_lossy(field.0);
        let end = raw.end();
        assert!(
            matches!(end, End::Reset | End::Closed | End::Answered(400)),
            "{name}: {:?}: {end:?}",
            String::from_utf8_lossy(field.1)
        );
    }
    let replaced: &[(usize, Field)] = &[
        (0, (b":method", b"")),
        (0, (b":method", b"GET /evil HTTP/1.1\r\nX: y\r\n\r\nGET")),
        (1, (b":scheme", b"")),
        (1, (b":scheme", b"ftp")),
        (2, (b":authority", b"")),
        (2, (b":authority", b"app.test@evil.test")),
        (2, (b":authority", b"app.test/evil")),
        (2, (b":authority", b"app.test\r\nx: y")),
        (3, (b":path", b"")),
        (3, (b":path", b"*")),
        (3, (b":path", b"x")),
        (3, (b":path", b"http://app.test/x")),
        (3, (b":path", b"/x y")),
        (3, (b":path", b"/x HTTP/1.1\r\nX-Forwarded-User: evil\r\n\r\n")),
        (3, (b":path", b"/\xff")),
        (3, (b":path", b"/public/\0")),
    ];
    for (at, field) in replaced {
        let mut fields = good(&wire, &[]);
        fields[*at] = *field;
        let mut raw = Raw::settled(&wire);
        raw.send(&frame(HEADERS, WHOLE, 1, &block(&fields)));
        let end = raw.end();
        assert!(
            matches!(end, End::Reset | End::Closed | End::Answered(400)),
            "{:?}: {end:?}",
            String::from_utf8_lossy(field.1)
        );
    }
    for left_out in 0..4 {
        let mut fields = good(&wire, &[]);
        fields.remove(left_out);
        let mut raw = Raw::settled(&wire);
        raw.send(&frame(HEADERS, WHOLE, 1, &block(&fields)));
        let end = raw.end();
        assert!(
            matches!(end, End::Reset | End::Closed | End::Answered(400)),
            "{left_out}: {end:?}"
        );
    }
    // A pseudo-field behind a plain one.
    let mut fields = good(&wire, &[]);
    fields.swap(3, 4);
    let mut raw = Raw::settled(&wire);
    raw.send(&frame(HEADERS, WHOLE, 1, &block(&fields)));
    assert!(matches!(raw.end(), End::Reset | End::Closed));
    assert!(wire.app.seen().is_empty(), "{:?}", wire.app.seen());
    still_serves(&wire);
}

#[test]
fn frames_out_of_order_or_of_a_wrong_size_end_the_connection() {
    let wire = Wire::start();
    let headers = block(&good(&wire, &[]));
    let open = || frame(HEADERS, END_HEADERS, 1, &headers);
    let too_large = frame(DATA, 0, 1, &vec![0; 16_385]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("data before headers", frame(DATA, 0, 1, b"x")),
        ("headers on stream 0", frame(HEADERS, WHOLE, 0, &headers)),
        ("headers on an even stream", frame(HEADERS, WHOLE, 2, &headers)),
        ("data on stream 0", frame(DATA, 0, 0, b"x")),
        ("continuation alone", frame(CONTINUATION, END_HEADERS, 1, &headers)),
        (
            "another frame amid a head",
            [frame(HEADERS, END_STREAM, 1, &headers), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "another stream's continuation",
            [
                frame(HEADERS, END_STREAM, 1, &headers),
                frame(CONTINUATION, END_HEADERS, 3, &headers),
            ]
            .concat(),
        ),
        (
            "a stream that goes back",
            [frame(HEADERS, END_HEADERS, 5, &headers), open()].concat(),
        ),
        ("data larger than said", [open(), too_large].concat()),
        ("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("an acknowledgement with content", frame(SETTINGS, 1, 0, &[0; 6])),
        (
            "a window above the largest",
            frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        ),
        (
            "a frame size below the least",
            frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
        ),
        ("a ping of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("a ping on a stream", frame(PING, 0, 1, &[0; 8])),
        ("a reset of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        (
            "a reset of three bytes",
            [open(), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
        ),
        ("a window of three bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("a window of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        (
            "a window that overflows",
            [0x7fff_ffff_u32; 2]
                .map(|by| frame(WINDOW_UPDATE, 0, 0, &by.to_be_bytes()))
                .concat(),
        ),
        (
            "a push",
            [open(), frame(PUSH_PROMISE, END_HEADERS, 1, &headers)].concat(),
        ),
        ("a goaway on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        ("padding beyond the frame", frame(HEADERS, WHOLE | 8, 1, &[200, 0, 0])),
        (
            "a head that does not unpack",
            frame(HEADERS, WHOLE, 1, &[0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
        ("an index that is none", frame(HEADERS, WHOLE, 1, &[0xc0])),
    ];
    for (name, bytes) in cases {
        let mut raw = Raw::settled(&wire);
        raw.send(&bytes);
        assert_eq!(raw.end(), End::Closed, "{name}");
    }
    // What is allowed to come at any time changes nothing.
    let mut raw = Raw::settled(&wire);
    raw.send(&frame(PRIORITY, 0, 7, &[0, 0, 0, 0, 1]));
    raw.send(&frame(0x42, 0xff, 0, b"unknown"));
    raw.send(&frame(HEADERS, WHOLE, 9, &block(&good(&wire, &[]))));
    assert_eq!(raw.end(), End::Answered(200));
    assert!(wire.app.seen().iter().all(|seen| seen.body.is_empty()));
    still_serves(&wire);
}

/// Memory of this process, the gateway in it, in bytes.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Other tests of this process need some, too.
const MORE: usize = 256 << 20;

#[test]
fn floods_end_the_connection_or_wait_and_memory_stays_bounded() {
    let wire = Wire::start();
    let before = memory();
    let head = block(&good(&wire, &[]));
    let post = block(&[
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"app.test"),
        (b":path", b"/echo"),
        (b"cookie", wire.cookie.as_bytes()),
    ]);

    // Rapid reset (CVE-2023-44487).
    let mut raw = Raw::settled(&wire);
    let mut bytes = Vec::new();
    for stream in (1..20_000).step_by(2) {
        bytes.extend(frame(HEADERS, WHOLE, stream, &head));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    raw.send(&bytes);
    assert!(raw.closes_within(Duration::from_secs(10)), "rapid reset is let go on");
    let reached = wire.app.seen().len();
    assert!(reached < 1000, "{reached} requests that were reset reached the app");

    // Requests that are malformed, so that we have to reset them.
    let mut raw = Raw::settled(&wire);
    let bad = block(&good(&wire, &[(b"connection", b"close")]));
    let bytes: Vec<u8> = (1..20_000)
        .step_by(2)
        .flat_map(|stream| frame(HEADERS, WHOLE, stream, &bad))
        .collect();
    raw.send(&bytes);
    assert!(
        raw.closes_within(Duration::from_secs(10)),
        "resets of ours are let go on"
    );

    // A head without end (CVE-2024-27316).
    let mut raw = Raw::settled(&wire);
    raw.send(&frame(HEADERS, END_STREAM, 1, &head));
    raw.flood(&frame(CONTINUATION, 0, 1, &[]).repeat(1000), 64 << 20);
    assert!(
        raw.closes_within(Duration::from_secs(10)),
        "empty CONTINUATION is let go on"
    );
    let mut raw = Raw::settled(&wire);
    raw.send(&frame(HEADERS, END_STREAM, 1, &head));
    let field = block(&[(b"a", &[b'x'; 8000])]);
    let sent = raw.flood(&frame(CONTINUATION, 0, 1, &field), 64 << 20);
    assert!(
        raw.closes_within(Duration::from_secs(10)),
        "CONTINUATION is let go on: {sent} bytes"
    );

    // A small head that unpacks to a large one: one field into the table, then named by its index.
    let mut bomb = head.clone();
    bomb.extend([0x40, 1, b'a', 127, 0xa1, 0x1e]);
    bomb.extend([b'x'; 4000]);
    bomb.extend([0xbe; 12_000]);
    let mut raw = Raw::settled(&wire);
    raw.send(&frame(HEADERS, WHOLE, 1, &bomb));
    let end = raw.end();
    assert!(matches!(end, End::Reset | End::Closed | End::Answered(431)), "{end:?}");

    // Crumbs: each costs more than its bytes (RFC 9113, section 10.5.1).
    let mut crumbs = good(&wire, &[]);
    crumbs.extend([(&b"cookie"[..], &b"a"[..])].repeat(3000));
    let mut raw = Raw::settled(&wire);
    let crumbs = block(&crumbs);
    let (first, rest) = crumbs.split_at(16_000);
    raw.send(&frame(HEADERS, END_STREAM, 1, first));
    raw.send(&frame(CONTINUATION, END_HEADERS, 1, rest));
    let end = raw.end();
    assert!(matches!(end, End::Reset | End::Closed | End::Answered(431)), "{end:?}");

    // DATA without data, to an app that waits for the rest.
    let mut raw = Raw::settled(&wire);
    raw.send(&frame(HEADERS, END_HEADERS, 1, &post));
    raw.flood(&frame(DATA, 0, 1, &[]).repeat(1000), 32 << 20);
    // DATA of one byte, padded.
    let mut raw = Raw::settled(&wire);
    raw.send(&frame(HEADERS, END_HEADERS, 1, &post));
    let mut padded = vec![255, b'x'];
    padded.resize(257, 0);
    raw.flood(&frame(DATA, 8, 1, &padded), 8 << 20);

    // What must be answered, by a client that reads no answer.
    for bytes in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])] {
        let mut raw = Raw::settled(&wire);
        raw.flood(&bytes.repeat(1000), 64 << 20);
    }
    assert!(memory() < before + MORE, "{} MB more", (memory() - before) >> 20);
    wire.app.forget();
    still_serves(&wire);
}

#[test]
fn a_client_that_takes_nothing_holds_little() {
    let wire = Wire::start();
    let before = memory();
    let mut endless = good(&wire, &[]);
    endless[3] = (b":path", b"/endless");
    let endless = block(&endless);
    let mut all: Vec<Raw> = Vec::new();
    // Windows that are shut, and windows that are wide open over a connection that nobody reads.
    for window in [0_u32, 0x7fff_ffff] {
        let mut raw = Raw::to(&wire);
        let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
        raw.send(&frame(SETTINGS, 0, 0, &settings));
        raw.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()));
        for stream in (1..256).step_by(2) {
            raw.send(&frame(HEADERS, WHOLE, stream, &endless));
        }
        all.push(raw);
    }
    let until = Instant::now() + Duration::from_secs(20);
    while wire.app.seen().len() < 256 {
        assert!(Instant::now() < until, "{} of 256 got that far", wire.app.seen().len());
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(memory() < before + MORE, "{} MB more", (memory() - before) >> 20);
    wire.app.forget();
    still_serves(&wire);
}
