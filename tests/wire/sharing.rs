//! One HTTP/2 connection to the app carries the requests of many: whoever stalls theirs, or whatever the app does to one of
//! them, must not be felt by another.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use vestibule::config::UpstreamScheme;

use crate::http2::{H2, request};
use crate::support::Wire;

const LIMIT: Duration = Duration::from_secs(10);

/// An app over HTTP/2: the paths that it was asked for, and its connections.
struct App {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

fn app<F>(most_streams: u32, serve: fn(Request<RecvStream>, SendResponse<Bytes>) -> F) -> App
where
    F: Future<Output = Result<(), h2::Error>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
    let (paths, count) = (Arc::clone(&seen), Arc::clone(&connections));
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let paths = Arc::clone(&paths);
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                let handshake = builder.max_concurrent_streams(most_streams).handshake(stream);
                let Ok(mut connection) = handshake.await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let path = request.uri().path().to_owned();
                    paths.lock().unwrap().push(path.clone());
                    if path.starts_with("/goodbye") {
                        // Refuses this and whatever comes: nothing of it was begun.
                        connection.abrupt_shutdown(Reason::NO_ERROR);
                        drop((request, respond));
                        continue;
                    }
                    tokio::spawn(serve(request, respond));
                }
            });
        }
    });
    App {
        address,
        seen,
        connections,
        _runtime: runtime,
    }
}

impl App {
    /// One thread, so that all share.
    fn wire(&self) -> Wire {
        Wire::with(|settings| {
            settings.upstream.authority = self.address.to_string().parse().unwrap();
            settings.upstream.scheme = UpstreamScheme::H2c;
            settings.threads = 1;
        })
    }

    fn times(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == path).count()
    }
}

/// `/events` are small and never end; everything else is a hundred kilobytes at once.
async fn events(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    if request.uri().path() != "/events" {
        return large(request, respond).await;
    }
    let mut answer = respond.send_response(Response::new(()), false)?;
    loop {
        answer.reserve_capacity(20);
        while answer.capacity() < 20 {
            if std::future::poll_fn(|cx| answer.poll_capacity(cx)).await.is_none() {
                return Ok(());
            }
        }
        answer.send_data(Bytes::from_static(b"data: small event\n\n\n"), false)?;
        tokio::task::yield_now().await;
    }
}

#[test]
fn small_events_that_nobody_takes_do_not_end_the_connection_of_all() {
    let app = app(1000, events);
    let wire = app.wire();
    let bob = wire.sign_in("bob@example.com");
    wire.run(async {
        let stream = tokio::net::TcpStream::connect(wire.gateway).await.unwrap();
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(0)
            .handshake::<_, Bytes>(stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut stalled = Vec::new();
        for _ in 0..8 {
            let get = request("GET", "http://app.test/events", &[("cookie", &wire.cookie)]);
            let mut sender = sender.clone().ready().await.unwrap();
            let (answer, _) = sender.send_request(get, true).unwrap();
            stalled.push(timeout(LIMIT, answer).await.unwrap().unwrap());
        }
        let client = H2::to(&wire).await;
        for _ in 0..20 {
            let get = request("GET", "http://app.test/large", &[("cookie", &bob)]);
            let answer = timeout(LIMIT, client.ask(get, b"")).await;
            let answer = answer.expect("stalled by others").unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, 100_000));
            sleep(Duration::from_millis(300)).await;
        }
    });
    assert_eq!(
        app.connections.load(Ordering::SeqCst),
        1,
        "the connection of all was ended"
    );
}

/// `/endless` never ends; everything else is a hundred kilobytes.
async fn large(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let endless = request.uri().path() == "/endless";
    let mut answer = respond.send_response(Response::new(()), false)?;
    for _ in 0.. {
        answer.reserve_capacity(100_000);
        while answer.capacity() == 0 {
            if std::future::poll_fn(|cx| answer.poll_capacity(cx)).await.is_none() {
                return Ok(());
            }
        }
        answer.send_data(Bytes::from(vec![b'x'; 100_000]), !endless)?;
        if !endless {
            break;
        }
    }
    Ok(())
}

#[test]
fn clients_that_take_nothing_stall_nobody_else() {
    let app = app(1000, large);
    let wire = app.wire();
    let bob = wire.sign_in("bob@example.com");
    wire.run(async {
        let stream = tokio::net::TcpStream::connect(wire.gateway).await.unwrap();
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(0)
            .handshake::<_, Bytes>(stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut stalled = Vec::new();
        for _ in 0..100 {
            let get = request("GET", "http://app.test/endless", &[("cookie", &wire.cookie)]);
            let mut sender = sender.clone().ready().await.unwrap();
            let (answer, _) = sender.send_request(get, true).unwrap();
            stalled.push(timeout(LIMIT, answer).await.expect("stalled by those before").unwrap());
        }
        sleep(Duration::from_millis(500)).await;
        let client = H2::to(&wire).await;
        for _ in 0..5 {
            let get = request("GET", "http://app.test/large", &[("cookie", &bob)]);
            let answer = timeout(LIMIT, client.ask(get, b"")).await;
            let answer = answer.expect("stalled by others").unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, 100_000));
        }
    });
}

#[test]
fn an_app_that_takes_few_at_once_is_not_blocked_by_one_who_takes_all() {
    let app = app(10, large);
    let wire = app.wire();
    let bob = wire.sign_in("bob@example.com");
    wire.run(async {
        let greedy = H2::to(&wire).await;
        let mut held = Vec::new();
        for _ in 0..40 {
            let get = request("GET", "http://app.test/endless", &[("cookie", &wire.cookie)]);
            let mut sender = greedy.sender.clone().ready().await.unwrap();
            let (answer, _) = sender.send_request(get, true).unwrap();
            held.push(timeout(LIMIT, answer).await.expect("waits for those before").unwrap());
        }
        let get = request("GET", "http://app.test/large", &[("cookie", &bob)]);
        let answer = timeout(LIMIT, H2::to(&wire).await.ask(get, b"")).await;
        assert_eq!(answer.expect("stalled by others").unwrap().status, 200);
    });
    let connections = app.connections.load(Ordering::SeqCst);
    assert!((4..=8).contains(&connections), "{connections}");
}

/// Misbehaves as the path tells.
async fn odd(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let mut response = Response::new(());
    match path.as_str() {
        "/refused" => {
            // Part of the body was read, and yet it says that nothing was.
            if let Some(data) = body.data().await {
                body.flow_control().release_capacity(data?.len())?;
            }
            respond.send_reset(Reason::REFUSED_STREAM);
            return Ok(());
        }
        "/reset" => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        "/early" => {
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            // What it does not read is reset with NO_ERROR.
            return respond.send_response(response, true).map(drop);
        }
        "/half" => {
            let mut answer = respond.send_response(response, false)?;
            answer.send_data(Bytes::from_static(b"half"), false)?;
            sleep(Duration::from_millis(100)).await;
            answer.send_reset(Reason::CANCEL);
            return Ok(());
        }
        "/shorter" => {
            response
                .headers_mut()
                .insert("content-length", HeaderValue::from_static("10"));
            let mut answer = respond.send_response(response, false)?;
            return answer.send_data(Bytes::from_static(b"short"), true);
        }
        "/longer" => {
            response
                .headers_mut()
                .insert("content-length", HeaderValue::from_static("2"));
            let mut answer = respond.send_response(response, false)?;
            return answer.send_data(Bytes::from_static(b"longHTTP/1.1 200 OK\r\n\r\n"), true);
        }
        "/two-lengths" => {
            response
                .headers_mut()
                .append("content-length", HeaderValue::from_static("5"));
            response
                .headers_mut()
                .append("content-length", HeaderValue::from_static("50"));
        }
        "/same-lengths" => {
            response
                .headers_mut()
                .append("content-length", HeaderValue::from_static("5"));
            response
                .headers_mut()
                .append("content-length", HeaderValue::from_static("5"));
        }
        "/switch" => *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
        "/hints" => {
            for _ in 0..100 {
                let mut hints = Response::new(());
                *hints.status_mut() = StatusCode::EARLY_HINTS;
                hints
                    .headers_mut()
                    .insert("set-cookie", HeaderValue::from_static("vestibule=evil"));
                respond.send_informational(hints)?;
            }
        }
        _ => {
            response.headers_mut().append(
                "set-cookie",
                HeaderValue::from_static("__Host-vestibule=evil; Path=/; Secure"),
            );
            response
                .headers_mut()
                .append("set-cookie", HeaderValue::from_static("app=1"));
        }
    }
    let mut answer = respond.send_response(response, false)?;
    answer.send_data(Bytes::from_static(b"hello"), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("set-cookie", HeaderValue::from_static("vestibule=evil"));
    trailers.insert("content-length", HeaderValue::from_static("50"));
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    answer.send_trailers(trailers)
}

#[test]
fn an_http2_app_that_misbehaves_is_a_502_for_its_own_request_and_is_asked_once() {
    let app = app(1000, odd);
    let wire = app.wire();
    let fine = |path: &str| {
        let answer = wire.signed_in(&format!("GET {path}"), &[]);
        assert_eq!(
            (answer.status, answer.head.contains("evil")),
            (200, false),
            "{answer:?}"
        );
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(body.contains("hello") && !body.contains("evil"), "{answer:?}");
        assert!(answer.fields("content-length").len() <= 1, "{answer:?}");
    };
    fine("/fine");
    fine("/hints");
    fine("/same-lengths");
    for path in ["/reset", "/refused", "/switch", "/goodbye"] {
        let mut client = wire.connect();
        let post = format!(
            "POST {path} HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nContent-Length: 40\r\n\r\nfirst",
            wire.cookie
        );
        client.send(post.as_bytes());
        std::thread::sleep(Duration::from_millis(200));
        client.send(&[b'x'; 35]);
        assert_eq!(client.answer().status, 502, "{path}");
        assert_eq!(app.times(path), 1, "{path} was sent twice");
        fine("/fine");
    }
    for path in ["/half", "/shorter", "/longer", "/two-lengths"] {
        let mut client = wire.connect();
        let answer = client.ask(
            &format!("GET {path}"),
            &["Host: app.test", &format!("Cookie: {}", wire.cookie)],
        );
        assert!(answer.broken || answer.status == 502, "{path}: {answer:?}");
        assert!(
            client.closes_within(Duration::from_secs(1)) || answer.status == 502,
            "{path}"
        );
        assert!(!answer.text().contains("HTTP/1.1"), "{path}: {answer:?}");
        fine("/fine");
    }
    let mut client = wire.connect();
    let post = format!(
        "POST /early HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nContent-Length: 4000000\r\n\r\n",
        wire.cookie
    );
    client.send(post.as_bytes());
    assert_eq!(client.answer().status, 413);
    fine("/fine");
    // What the app was not asked for may be asked for again elsewhere, once.
    let answer = wire.signed_in("GET /goodbye", &[]);
    assert_eq!(answer.status, 502);
    assert!(app.times("/goodbye") <= 3, "{}", app.times("/goodbye"));
    fine("/fine");
}

#[test]
fn every_spelling_of_our_host_reaches_an_http2_app() {
    let app = app(1000, odd);
    let wire = app.wire();
    for host in [
        "app.test",
        "APP.test",
        "app.test.",
        "app.test:80",
        "app.test:",
        "app.test.:80",
    ] {
        let cookie = format!("Cookie: {}", wire.cookie);
        let answer = wire.ask("GET /fine", &[&format!("Host: {host}"), &cookie]);
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
    }
    // Without any (HTTP/1.0).
    let answer = wire.raw(format!("GET /fine HTTP/1.0\r\nCookie: {}\r\n\r\n", wire.cookie).as_bytes());
    assert_eq!(answer.status, 200);
}
