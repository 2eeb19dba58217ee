//! Nothing goes on for a session that has ended: not the other half of an exchange whose answer nobody takes, or whose
//! answer is already whole.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use vestibule::config::UpstreamScheme;

use crate::bodies::end_adas_sessions;
use crate::http2::{H2, request};
use crate::support::Wire;

const LIMIT: Duration = Duration::from_secs(10);

/// Bytes of bodies that the app has read.
type Count = Arc<AtomicUsize>;

/// An app of this kind, and how many bytes of bodies it has read.
struct App {
    address: SocketAddr,
    read: Count,
    runtime: tokio::runtime::Runtime,
}

fn app<F>(serve: impl Fn(TcpStream, Count) -> F + Send + 'static) -> App
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let (address, read) = (listener.local_addr().unwrap(), Count::default());
    let count = Arc::clone(&read);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&count)));
        }
    });
    App { address, read, runtime }
}

/// Over HTTP/2 or HTTP/1.1: answers at once, whole if `whole` and with an endless body otherwise, and reads on.
fn answers_early(http2: bool, whole: bool) -> App {
    app(move |stream, read| async move {
        if http2 {
            early_over_http2(stream, whole, &read).await;
        } else {
            early_over_http1(stream, whole, &read).await;
        }
    })
}

async fn early_over_http1(mut stream: TcpStream, whole: bool, read: &Count) {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let length = if whole { "2" } else { "1000000000" };
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok");
    stream.write_all(answer.as_bytes()).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    if !whole {
        tokio::spawn(async move { while to.write_all(&[b'x'; 4096]).await.is_ok() {} });
        return count(&mut from, read).await;
    }
    count(&mut from, read).await;
    drop(to);
}

async fn count(from: &mut (impl AsyncReadExt + Unpin), read: &Count) {
    let mut chunk = vec![0; 16384];
    while let Ok(some @ 1..) = from.read(&mut chunk).await {
        read.fetch_add(some, Ordering::SeqCst);
    }
}

async fn early_over_http2(stream: TcpStream, whole: bool, read: &Count) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let mut body = request.into_body();
        let read = Arc::clone(read);
        tokio::spawn(async move {
            let mut answer = respond.send_response(Response::new(()), whole)?;
            if !whole {
                answer.send_data(Bytes::from(vec![b'x'; 1 << 20]), false)?;
            }
            while let Some(data) = body.data().await {
                let data = data?;
                read.fetch_add(data.len(), Ordering::SeqCst);
                body.flow_control().release_capacity(data.len())?;
            }
            Ok::<_, h2::Error>(())
        });
    }
}

impl App {
    fn wire(&self, http2: bool) -> Wire {
        Wire::with(|settings| {
            settings.upstream.authority = self.address.to_string().parse().unwrap();
            if http2 {
                settings.upstream.scheme = UpstreamScheme::H2c;
            }
        })
    }

    fn read(&self) -> usize {
        self.read.load(Ordering::SeqCst)
    }

    /// Until it has read something new.
    async fn reads_on(&self, up: &mut SendStream<Bytes>) -> bool {
        let before = self.read();
        up.send_data(Bytes::from_static(b"on and on"), false).unwrap();
        let more = async {
            while self.read() == before {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(5), more).await.is_ok()
    }
}

/// An upload whose answer has begun, or is there whole, goes on while its session lives and no longer.
fn an_upload_ends(http2: bool, whole: bool) {
    let app = answers_early(http2, whole);
    let wire = app.wire(http2);
    wire.run(async {
        let stream = TcpStream::connect(wire.gateway).await.unwrap();
        // Takes nothing of an endless answer's body.
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(if whole { 65_535 } else { 0 })
            .handshake::<_, Bytes>(stream)
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let client = H2 { sender, connection };
        let mut sender = client.sender.clone().ready().await.unwrap();
        let post = request("POST", "http://app.test/x", &[("cookie", &wire.cookie)]);
        let (answer, mut up) = sender.send_request(post, false).unwrap();
        up.send_data(Bytes::from_static(b"first"), false).unwrap();
        let answer = timeout(LIMIT, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        sleep(Duration::from_millis(300)).await;
        assert!(app.reads_on(&mut up).await, "not even with a session");
        end_adas_sessions(wire.database()).await;
        sleep(Duration::from_secs(3)).await;
        let before = app.read();
        for _ in 0..10 {
            drop(up.send_data(Bytes::from_static(b"of nobody's"), false));
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(app.read(), before, "an upload outlived its session");
        if whole {
            let reset = timeout(LIMIT, std::future::poll_fn(|cx| up.poll_reset(cx))).await;
            assert!(matches!(reset, Ok(Ok(_))), "the client is not told: {reset:?}");
        }
        drop(answer);
    });
    drop(app.runtime);
}

#[test]
fn an_upload_to_an_http1_app_whose_answer_nobody_takes() {
    an_upload_ends(false, false);
}

#[test]
fn an_upload_to_an_http2_app_whose_answer_nobody_takes() {
    an_upload_ends(true, false);
}

#[test]
fn an_upload_to_an_http1_app_whose_answer_is_whole() {
    an_upload_ends(false, true);
}

#[test]
fn an_upload_to_an_http2_app_whose_answer_is_whole() {
    an_upload_ends(true, true);
}

#[test]
fn an_upload_over_http1_whose_answer_is_whole() {
    let app = answers_early(false, true);
    let wire = app.wire(false);
    let mut client = wire.connect();
    let post = format!(
        "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nContent-Length: 1000000000000\r\n\r\n",
        wire.cookie
    );
    client.send(post.as_bytes());
    assert_eq!(client.answer().text(), "ok");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Never late: there is always more to be read.
            let more = vec![b'x'; 65536];
            let mut taken = true;
            while taken && !stop.load(Ordering::SeqCst) {
                taken = client.goes_on(&more);
            }
        });
        thread::sleep(Duration::from_millis(500));
        wire.run(end_adas_sessions(wire.database()));
        thread::sleep(Duration::from_secs(3));
        let before = app.read();
        thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::SeqCst);
        assert!(before > 0);
        assert_eq!(app.read(), before, "an upload outlived its session");
    });
}

#[test]
fn a_body_that_was_asked_for_is_not_taken_when_the_session_has_ended() {
    let wire = Wire::start();
    let mut client = wire.connect();
    let post = format!(
        "POST /echo HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
        wire.cookie
    );
    client.send(post.as_bytes());
    assert!(client.head().unwrap().starts_with("HTTP/1.1 100"));
    wire.run(end_adas_sessions(wire.database()));
    thread::sleep(Duration::from_millis(2500));
    client.send(b"body");
    assert!(client.answer().broken);
    assert!(wire.app.seen().is_empty(), "{:?}", wire.app.seen());
}

#[test]
fn a_session_ends_its_own_streams_only_of_a_connection_that_several_share() {
    let wire = Wire::start();
    let bob = wire.sign_in("bob@example.com");
    wire.run(async {
        let client = H2::to(&wire).await;
        let mut streams = Vec::new();
        for at in 0..30 {
            let mut fields = vec![];
            let (uri, who) = match at % 3 {
                0 => ("http://app.test/sse", Some(&wire.cookie)),
                1 => ("http://app.test/sse", Some(&bob)),
                _ => ("http://app.test/public/sse", None),
            };
            fields.extend(who.map(|cookie| ("cookie", cookie.as_str())));
            let mut sender = client.sender.clone().ready().await.unwrap();
            let (answer, _) = sender.send_request(request("GET", uri, &fields), true).unwrap();
            let mut stream = timeout(LIMIT, answer).await.unwrap().unwrap().into_body();
            // Tells how it ended.
            streams.push(tokio::spawn(async move {
                loop {
                    match stream.data().await {
                        Some(Ok(data)) => stream.flow_control().release_capacity(data.len()).unwrap(),
                        other => return other,
                    }
                }
            }));
        }
        end_adas_sessions(wire.database()).await;
        sleep(Duration::from_millis(1500)).await;
        for (at, stream) in streams.into_iter().enumerate() {
            let ended = timeout(Duration::from_millis(50), stream).await;
            if at % 3 == 0 {
                assert!(matches!(ended, Ok(Ok(Some(Err(_))))), "Ada's goes on: {ended:?}");
            } else if at % 3 == 1 {
                assert!(ended.is_err(), "Bob's ended, too: {ended:?}");
            }
        }
    });
}
