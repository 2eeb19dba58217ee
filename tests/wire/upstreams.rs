//! The ways to the app: TLS, HTTP/2, Unix sockets; and apps that do not answer as they should.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use vestibule::config::{Settings, UpstreamScheme};

use crate::http2::{H2, request};
use crate::support::{Seen, Wire, dechunked};

/// A head that an HTTP/2 app saw: what it was asked, and how.
type Heads = Arc<Mutex<Vec<http::request::Parts>>>;

/// An app that speaks HTTP/2 on this connection: sends back the body, then a trailer.
async fn speak_http2<S: AsyncRead + AsyncWrite + Unpin>(stream: S, heads: Heads) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let heads = Arc::clone(&heads);
        tokio::spawn(async move {
            let (parts, mut body) = request.into_parts();
            heads.lock().unwrap().push(parts);
            let mut answer = respond.send_response(Response::new(()), false)?;
            while let Some(data) = body.data().await {
                let data = data?;
                body.flow_control().release_capacity(data.len())?;
                answer.send_data(data, false)?;
            }
            let mut trailers = body.trailers().await?.unwrap_or_default();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            trailers.insert("set-cookie", HeaderValue::from_static("vestibule=evil"));
            answer.send_trailers(trailers)
        });
    }
}

/// An app that speaks HTTP/1.1: says what it saw, becomes an echo when asked for a WebSocket.
async fn speak_http1<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut buffer = Vec::new();
    loop {
        let Ok(1..) = stream.read_buf(&mut buffer).await else {
            return;
        };
        if !buffer.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8_lossy(&std::mem::take(&mut buffer)).into_owned();
        if head.contains("websocket") {
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
            drop(stream.write_all(switch).await);
            let (mut from, mut to) = tokio::io::split(stream);
            drop(tokio::io::copy(&mut from, &mut to).await);
            return;
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

struct TlsApp {
    port: u16,
    folder: tempfile::TempDir,
    heads: Heads,
    names: Arc<Mutex<Vec<Option<String>>>>,
    connections: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// An app with a certificate for `name` that speaks these protocols.
fn tls_app(name: &str, protocols: &[&[u8]]) -> TlsApp {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (heads, names, connections) = (
        Heads::default(),
        Arc::<Mutex<Vec<_>>>::default(),
        Arc::<AtomicUsize>::default(),
    );
    let runtime = runtime();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, told, count) = (Arc::clone(&heads), Arc::clone(&names), Arc::clone(&connections));
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen, told, count) = (
                acceptor.clone(),
                Arc::clone(&seen),
                Arc::clone(&told),
                Arc::clone(&count),
            );
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                count.fetch_add(1, Ordering::SeqCst);
                let connection = stream.get_ref().1;
                told.lock().unwrap().push(connection.server_name().map(str::to_owned));
                if connection.alpn_protocol() == Some(b"h2") {
                    speak_http2(stream, seen).await;
                } else {
                    speak_http1(stream).await;
                }
            });
        }
    });
    TlsApp {
        port,
        folder,
        heads,
        names,
        connections,
        _runtime: runtime,
    }
}

impl TlsApp {
    fn settings(&self, settings: &mut Settings) {
        settings.upstream.scheme = UpstreamScheme::Https;
        settings.upstream.authority = format!("localhost:{}", self.port).parse().unwrap();
        settings.ca_file = Some(self.folder.path().join("ca.pem"));
        settings.threads = 1;
    }
}

/// A WebSocket through the gateway, and an echo of it.
fn echoes(wire: &Wire) {
    let mut client = wire.connect();
    let cookie = format!("Cookie: {}", wire.cookie);
    let fields = ["Host: app.test", &cookie, "Connection: Upgrade", "Upgrade: websocket"];
    assert_eq!(client.ask("GET /ws", &fields).status, 101);
    client.send(b"hello");
    assert_eq!(client.read_exactly(5), b"hello");
}

#[test]
fn an_https_app_that_offers_http2_is_spoken_to_so_and_told_its_name() {
    let app = tls_app("localhost", &[b"h2", b"http/1.1"]);
    let wire = Wire::with(|settings| app.settings(settings));
    for _ in 0..5 {
        let cookie = format!("Cookie: a=b; {}", wire.cookie);
        let answer = wire.ask(
            "GET /x?y",
            &["Host: app.test", &cookie, "TE: trailers", "Connection: TE"],
        );
        assert_eq!(answer.status, 200);
        assert!(!answer.head.to_lowercase().contains("set-cookie"));
        assert!(!answer.text().contains("evil"), "{}", answer.text());
    }
    assert_eq!(
        *app.names.lock().unwrap(),
        [Some("localhost".to_owned())],
        "one connection, with SNI"
    );
    {
        let heads = app.heads.lock().unwrap();
        let head = &heads[0];
        assert_eq!(head.uri, "https://app.test/x?y");
        assert_eq!(head.headers["x-forwarded-email"], "ada@example.com");
        assert_eq!(
            (&head.headers["cookie"], &head.headers["te"]),
            (&HeaderValue::from_static("a=b"), &HeaderValue::from_static("trailers"))
        );
        for name in ["host", "connection", "transfer-encoding"] {
            assert!(!head.headers.contains_key(name), "{name}");
        }
    }
    // A WebSocket needs a connection of its own that speaks HTTP/1.1.
    echoes(&wire);
    assert_eq!(wire.signed_in("GET /x", &[]).status, 200);
    assert_eq!(app.connections.load(Ordering::SeqCst), 2);
}

#[test]
fn who_comes_first_connects_for_all_to_an_https_app_that_speaks_http2() {
    let app = tls_app("localhost", &[b"h2", b"http/1.1"]);
    let wire = Wire::with(|settings| {
        app.settings(settings);
        settings.threads = 1;
    });
    wire.run(async {
        let client = H2::to(&wire).await;
        let asked = (0..20).map(|_| client.ask(request("GET", "http://app.test/x", &[("cookie", &wire.cookie)]), b""));
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!(answer.unwrap().status, 200);
        }
    });
    assert_eq!(app.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn an_https_app_that_speaks_http_1_1_only() {
    for protocols in [&[&b"http/1.1"[..]][..], &[]] {
        let app = tls_app("localhost", protocols);
        let wire = Wire::with(|settings| {
            app.settings(settings);
            settings.upstream.preserve_host = false;
        });
        for _ in 0..5 {
            let seen = wire.signed_in("GET /x", &[]).text().to_lowercase();
            assert!(seen.starts_with("get /x http/1.1\r\n"), "{seen}");
            assert!(
                seen.contains(&format!("\r\nhost: localhost:{}\r\n", app.port)),
                "{seen}"
            );
        }
        assert_eq!(app.connections.load(Ordering::SeqCst), 1, "its connection is not kept");
        echoes(&wire);
    }
}

#[test]
fn an_https_app_whose_certificate_is_not_good_is_not_spoken_to() {
    let wrong_name = tls_app("elsewhere.test", &[b"h2"]);
    let wire = Wire::with(|settings| wrong_name.settings(settings));
    assert_eq!(wire.signed_in("GET /x", &[]).status, 502);
    assert!(wrong_name.heads.lock().unwrap().is_empty());

    let unknown = tls_app("localhost", &[b"h2"]);
    let wire = Wire::with(|settings| {
        unknown.settings(settings);
        settings.ca_file = None;
    });
    assert_eq!(wire.signed_in("GET /x", &[]).status, 502);
    assert!(unknown.heads.lock().unwrap().is_empty());
}

/// An app that speaks HTTP/2 with prior knowledge.
fn h2c_app() -> (SocketAddr, Heads, tokio::runtime::Runtime) {
    let (heads, runtime) = (Heads::default(), runtime());
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::clone(&heads);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak_http2(stream, Arc::clone(&seen)));
        }
    });
    (address, heads, runtime)
}

#[test]
fn both_ways_at_once_through_http2_with_trailers_at_the_end() {
    let (address, heads, _runtime) = h2c_app();
    let wire = Wire::with(|settings| {
        settings.upstream.scheme = UpstreamScheme::H2c;
        settings.upstream.authority = address.to_string().parse().unwrap();
    });
    wire.run(async {
        let client = H2::to(&wire).await;
        let call = request(
            "POST",
            "http://app.test/service/Method",
            &[
                ("cookie", &wire.cookie),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ],
        );
        let mut sender = client.sender.clone().ready().await.unwrap();
        let (answer, mut up) = sender.send_request(call, false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200, "the head waits for the body");
        let mut down = answer.into_body();
        for message in ["one", "two", "three"] {
            up.send_data(Bytes::from_static(message.as_bytes()), false).unwrap();
            assert_eq!(down.data().await.unwrap().unwrap(), message);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("3"));
        trailers.insert("x-forwarded-user", HeaderValue::from_static("evil"));
        up.send_trailers(trailers).unwrap();
        assert!(down.data().await.is_none());
        let trailers = down.trailers().await.unwrap().unwrap();
        assert_eq!(
            (&trailers["x-sum"], &trailers["grpc-status"]),
            (&HeaderValue::from_static("3"), &HeaderValue::from_static("0"))
        );
        assert_eq!(trailers.len(), 2, "{trailers:?}");
    });
    let heads = heads.lock().unwrap();
    assert_eq!(heads[0].uri, "http://app.test/service/Method");
    assert_eq!(
        (
            &heads[0].headers["te"],
            heads[0].headers.get_all("cookie").iter().count()
        ),
        (&HeaderValue::from_static("trailers"), 0)
    );
}

#[test]
fn grpc_calls_to_an_app_that_is_down_get_14() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wire = Wire::with(|settings| {
        settings.upstream.scheme = UpstreamScheme::H2c;
        settings.upstream.authority = free.to_string().parse().unwrap();
    });
    wire.run(async {
        let call = request(
            "POST",
            "http://app.test/service/Method",
            &[("cookie", &wire.cookie), ("content-type", "application/grpc+proto")],
        );
        let answer = H2::to(&wire).await.ask(call, b"message").await.unwrap();
        assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("14")));
        assert!(answer.body.is_empty() && answer.trailers.is_none());
    });
}

#[test]
fn an_app_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.socket");
    let runtime = runtime();
    let listener = {
        let _inside = runtime.enter();
        tokio::net::UnixListener::bind(&path).unwrap()
    };
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak_http1(stream));
        }
    });
    let wire = Wire::with(|settings| {
        settings.upstream.scheme = UpstreamScheme::Unix(path.clone());
        settings.upstream.authority = "localhost".parse().unwrap();
    });
    let seen = wire.signed_in("GET /x", &[]).text().to_lowercase();
    assert!(
        seen.contains("\r\nhost: app.test\r\n") && seen.contains("ada@example.com"),
        "{seen}"
    );
    echoes(&wire);
    drop(runtime);
    assert_eq!(wire.signed_in("GET /x", &[]).status, 502);
}

/// An app that answers each connection's first request with these bytes and, if asked to, closes; and how many came.
fn app_that_says(answer: &'static [&'static [u8]], closes: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                let mut chunk = vec![0; 65536];
                while let Ok(1..) = stream.read(&mut chunk) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    for piece in answer {
                        drop(stream.write_all(piece));
                        thread::sleep(Duration::from_millis(20));
                    }
                    if closes {
                        return;
                    }
                }
            });
        }
    });
    (address, count)
}

#[test]
fn an_app_that_does_not_speak_http_is_a_502_and_its_connection_is_not_used_again() {
    let cases: &[(&str, &'static [&'static [u8]], bool, u16)] = &[
        ("HTTP/0.9", &[b"<html>hello</html>\n"], true, 502),
        ("nothing", &[], true, 502),
        (
            "two lengths",
            &[b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 5\r\n\r\nhello"],
            false,
            502,
        ),
        (
            "no length",
            &[b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nhello"],
            false,
            502,
        ),
        ("half a head", &[b"HTTP/1.1 200 OK\r\nContent-Le"], true, 502),
        (
            "a switch unasked for",
            &[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"],
            false,
            502,
        ),
        (
            "a head in pieces",
            &[
                b"HT",
                b"TP/1.1 200 O",
                b"K\r\nConte",
                b"nt-Length: 5\r\n",
                b"\r",
                b"\nhe",
                b"llo",
            ],
            false,
            200,
        ),
        (
            "more than it said",
            &[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"],
            false,
            200,
        ),
    ];
    for (name, answer, closes, status) in cases {
        let (address, _) = app_that_says(answer, *closes);
        let wire = Wire::with(|settings| {
            settings.upstream.authority = address.to_string().parse().unwrap();
            settings.threads = 1;
        });
        for _ in 0..3 {
            let answer = wire.signed_in("GET /x", &[]);
            assert_eq!(answer.status, *status, "{name}");
            if *status == 200 {
                assert_eq!(answer.text(), "hello", "{name}");
            }
        }
    }
}

#[test]
fn what_may_have_happened_is_not_sent_twice() {
    // Each connection answers once and breaks off at the second request.
    let wire = Wire::with(|settings| settings.threads = 1);
    for (request, status) in [("GET /once", 200), ("POST /once", 502)] {
        assert_eq!(wire.signed_in("GET /once", &[]).status, 200);
        wire.app.forget();
        let fields: &[&str] = if request.starts_with("POST") {
            &["Content-Length: 0"]
        } else {
            &[]
        };
        assert_eq!(wire.signed_in(request, fields).status, status, "{request}");
        let times = wire.app.seen().len();
        assert_eq!(times, if status == 200 { 2 } else { 1 }, "{request}");
    }
}

#[test]
fn what_is_sent_again_is_the_same_to_the_last_field() {
    for trusted in [false, true] {
        let wire = Wire::with(|settings| {
            settings.threads = 1;
            settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            settings.trusted_proxies.retain(|_| trusted);
        });
        assert_eq!(wire.signed_in("GET /once", &[]).status, 200);
        wire.app.forget();
        let fields = [
            "X-Forwarded-For: 203.0.113.9",
            "X-Vestibule-User: eve",
            "X-Request-Id: eve",
            "TE: trailers",
            "Connection: x-of-this-hop",
            "X-Of-This-Hop: 1",
            "X-Twice: 1",
            "X-Twice: 2",
        ];
        assert_eq!(wire.signed_in("GET /once?a=b", &fields).status, 200);
        let seen = wire.app.seen();
        assert_eq!(seen.len(), 2);
        let lines = |seen: &Seen| {
            let mut lines: Vec<String> = seen.head.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&seen[0]), lines(&seen[1]));
        assert_eq!(seen[1].values("x-twice"), ["1", "2"]);
        assert_eq!(seen[1].values("x-vestibule-assertion").len(), 1);
        let from = if trusted { "203.0.113.9, 127.0.0.1" } else { "127.0.0.1" };
        assert_eq!(seen[1].values("x-forwarded-for"), [from]);
        assert!(!seen[1].head.contains("eve") && seen[1].values("x-of-this-hop").is_empty());
    }
}

#[test]
fn what_an_app_sends_beyond_its_answer_reaches_nobody() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let cases: &[(&str, String, &str)] = &[
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\n".to_owned() + evil,
            "",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n".to_owned() + evil, ""),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 46\r\n\r\n".to_owned() + evil,
            "",
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 46\r\n\r\n".to_owned() + evil,
            "",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned() + evil,
            "",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned() + evil,
            "ok",
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok".to_owned() + evil,
            "ok",
        ),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned() + evil,
            "ok",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_owned() + evil,
            "ok",
        ),
        (
            "GET",
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 46\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                .to_owned()
                + evil,
            "ok",
        ),
    ];
    for (method, answer, body) in cases {
        let answer: &'static [u8] = Vec::leak(answer.clone().into_bytes());
        let (address, count) = app_that_says(Vec::leak(vec![answer]), false);
        let wire = Wire::with(|settings| {
            settings.upstream.authority = address.to_string().parse().unwrap();
            settings.threads = 1;
        });
        for round in 1..=5 {
            let got = wire.signed_in(&format!("{method} /x"), &[]);
            let said = dechunked(&got.head, &got.body);
            assert_eq!(
                String::from_utf8_lossy(&said),
                *body,
                "{method} {:?}",
                String::from_utf8_lossy(answer)
            );
            assert!(matches!(got.status, 200 | 204 | 304), "{got:?}");
            assert_eq!(count.load(Ordering::SeqCst), round, "asked again");
        }
    }
}

#[test]
fn an_app_that_only_ever_says_continue_is_a_504_and_holds_nobody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut chunk = vec![0; 65536];
                let Ok(read @ 1..) = stream.read(&mut chunk) else {
                    return;
                };
                if chunk[..read].starts_with(b"GET /fine") {
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"));
                    return;
                }
                let hints = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100);
                while stream.write_all(&hints).is_ok() {
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
    let wire = Wire::with(|settings| {
        settings.upstream.authority = address.to_string().parse().unwrap();
        settings.threads = 1;
    });
    thread::scope(|scope| {
        let endless = scope.spawn(|| wire.signed_in("GET /x", &[]).status);
        for _ in 0..10 {
            assert_eq!(wire.signed_in("GET /fine", &[]).status, 200);
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(endless.join().unwrap(), 504);
    });
}
