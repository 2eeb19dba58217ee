//! HTTP/2 in: what holds over HTTP/1.1 holds here, and what is HTTP/2's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{Wire, dechunked};
use crate::tls::Pair;

const LIMIT: Duration = Duration::from_secs(15);

/// A client's connection.
pub struct H2 {
    pub sender: SendRequest<Bytes>,
    /// Ends with the connection.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// An answer to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl H2 {
    pub async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Self {
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    /// With prior knowledge.
    pub async fn to(wire: &Wire) -> Self {
        Self::over(TcpStream::connect(wire.gateway).await.unwrap()).await
    }

    /// Sends a request whole and reads the answer to its end.
    pub async fn ask(&self, request: Request<()>, body: &[u8]) -> Result<Answer, h2::Error> {
        self.ask_with(request, body, None).await
    }

    async fn ask_with(
        &self,
        request: Request<()>,
        body: &[u8],
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        let asked = async {
            let mut sender = self.sender.clone().ready().await?;
            let ends = body.is_empty() && trailers.is_none();
            let (answer, mut stream) = sender.send_request(request, ends)?;
            if !ends {
                if !body.is_empty() {
                    stream.send_data(Bytes::copy_from_slice(body), trailers.is_none())?;
                }
                if let Some(trailers) = trailers {
                    stream.send_trailers(trailers)?;
                }
            }
            read(answer.await?).await
        };
        timeout(LIMIT, asked).await.expect("no answer in time")
    }
}

async fn read(answer: http::Response<h2::RecvStream>) -> Result<Answer, h2::Error> {
    let (parts, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        drop(stream.flow_control().release_capacity(data.len()));
        body.extend_from_slice(&data);
    }
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        trailers: stream.trailers().await?,
    })
}

pub fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn get(wire: &Wire, path: &str) -> Request<()> {
    request("GET", &format!("http://app.test{path}"), &[("cookie", &wire.cookie)])
}

/// Runs `test` with a connection to a fresh gateway.
fn with_h2(test: impl AsyncFnOnce(&Wire, H2)) {
    let wire = Wire::start();
    wire.run(async {
        let client = H2::to(&wire).await;
        test(&wire, client).await;
    });
}

#[test]
fn a_request_with_a_session_reaches_the_app_as_http_1_1_with_identity() {
    with_h2(async |wire, client| {
        let answer = client.ask(get(wire, "/a/b?c=d%20e&&"), b"").await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"from app"[..]));
        let seen = wire.app.seen().remove(0);
        assert!(
            seen.head.starts_with("GET /a/b?c=d%20e&& HTTP/1.1\r\n"),
            "{}",
            seen.head
        );
        assert_eq!(seen.values("host"), ["app.test"]);
        assert_eq!(seen.values("x-forwarded-email"), ["ada@example.com"]);
        assert_eq!(seen.values("x-vestibule-assertion").len(), 1);
        assert!(seen.values("cookie").is_empty());
        assert!(seen.values("connection").is_empty() && seen.values("transfer-encoding").is_empty());
    });
}

#[test]
fn over_tls_alpn_chooses() {
    let pair = Pair::new();
    let wire = pair.wire();
    let mut config = pair.client_config();
    for (offered, chosen) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[b"http/1.1"], Some(b"http/1.1")),
    ] {
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config.clone()));
        wire.run(async {
            let stream = TcpStream::connect(wire.gateway).await.unwrap();
            let stream = connector
                .connect(ServerName::try_from("app.test").unwrap(), stream)
                .await
                .unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
            if chosen == Some(b"h2") {
                let client = H2::over(stream).await;
                let get = request("GET", "https://app.test/x", &[("cookie", &wire.cookie)]);
                assert_eq!(client.ask(get, b"").await.unwrap().body, b"from app");
                assert_eq!(wire.app.seen()[0].values("x-forwarded-proto"), ["https"]);
            }
        });
    }
}

#[test]
fn a_body_comes_through_with_its_length_or_chunked_without_one() {
    with_h2(async |wire, client| {
        let body = vec![b'u'; 300_000];
        for length in [Some("300000"), None] {
            let mut post = request("POST", "http://app.test/echo", &[("cookie", &wire.cookie)]);
            if let Some(length) = length {
                post.headers_mut()
                    .insert("content-length", HeaderValue::from_static(length));
            }
            wire.app.forget();
            assert_eq!(client.ask(post, &body).await.unwrap().body, body);
            let seen = wire.app.seen().remove(0);
            assert_eq!(
                seen.values("content-length"),
                length.into_iter().collect::<Vec<_>>(),
                "{}",
                seen.head
            );
            assert_eq!(
                seen.values("transfer-encoding"),
                if length.is_some() { vec![] } else { vec!["chunked"] }
            );
            assert_eq!(dechunked(&seen.head, &seen.body), body);
        }
        let large = client.ask(get(wire, "/large"), b"").await.unwrap();
        assert_eq!(large.body.len(), 8 << 20);
    });
}

#[test]
fn a_post_without_body_says_so() {
    with_h2(async |wire, client| {
        let post = request("POST", "http://app.test/echo", &[("cookie", &wire.cookie)]);
        assert_eq!(client.ask(post, b"").await.unwrap().status, 200);
        let seen = wire.app.seen().remove(0);
        assert_eq!(seen.values("content-length"), ["0"], "{}", seen.head);
    });
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_is_reset_and_never_completed() {
    with_h2(async |wire, client| {
        for (length, body) in [("10", &b"short"[..]), ("2", b"longer")] {
            let post = request(
                "POST",
                "http://app.test/echo",
                &[("cookie", &wire.cookie), ("content-length", length)],
            );
            let answer = client.ask(post, body).await;
            assert!(answer.as_ref().is_err_and(h2::Error::is_reset), "{length}: {answer:?}");
        }
        assert!(wire.app.seen().is_empty(), "{:?}", wire.app.seen());
        assert_eq!(client.ask(get(wire, "/x"), b"").await.unwrap().status, 200);
    });
}

#[test]
fn trailers_pass_both_ways_without_what_has_no_place_there() {
    with_h2(async |wire, client| {
        let mut trailers = HeaderMap::new();
        for name in [
            "x-sum",
            "x-vestibule-assertion",
            "x_forwarded_user",
            "cookie",
            "authorization",
            "host",
        ] {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        let post = request(
            "POST",
            "http://app.test/trailers",
            &[("cookie", &wire.cookie), ("te", "trailers"), ("trailer", "x-sum")],
        );
        let answer = client.ask_with(post, b"abc", Some(trailers)).await.unwrap();
        let seen = wire.app.seen().remove(0);
        let body = String::from_utf8_lossy(&seen.body).to_lowercase();
        assert!(body.ends_with("\r\n0\r\nx-sum: 1\r\n\r\n"), "{body}");
        assert_eq!(
            (seen.values("te"), seen.values("connection")),
            (vec!["trailers"], vec!["TE"])
        );
        assert_eq!(answer.body, b"abc");
        let trailers = answer.trailers.unwrap();
        assert_eq!(trailers.len(), 1, "{trailers:?}");
        assert_eq!(trailers["x-sum"], "1");
        assert!(answer.headers.get("transfer-encoding").is_none());
    });
}

#[test]
fn answers_without_body_have_none() {
    with_h2(async |wire, client| {
        let mut head = get(wire, "/x");
        *head.method_mut() = Method::HEAD;
        let answer = client.ask(head, b"").await.unwrap();
        assert_eq!((answer.field("content-length"), answer.body.len()), (Some("1234"), 0));
        for (path, status) in [("/204", 204), ("/304", 304)] {
            let answer = client.ask(get(wire, path), b"").await.unwrap();
            assert_eq!((answer.status, answer.body.len()), (status, 0));
        }
        assert_eq!(wire.app.connections(), 1, "a connection was lost");
    });
}

#[test]
fn the_apps_hop_by_hop_fields_and_our_cookies_stop_here() {
    with_h2(async |wire, client| {
        let answer = client.ask(get(wire, "/set-cookie"), b"").await.unwrap();
        let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["app=1"]);
        for name in ["connection", "keep-alive", "x-internal"] {
            assert!(answer.headers.get(name).is_none(), "{name}");
        }
    });
}

#[test]
fn the_authority_is_read_as_host_is() {
    with_h2(async |wire, client| {
        let ask = async |authority: &str, fields: &[(&str, &str)]| {
            let mut all = vec![("cookie", wire.cookie.as_str())];
            all.extend_from_slice(fields);
            client
                .ask(request("GET", &format!("http://{authority}/x?y"), &all), b"")
                .await
                .unwrap()
        };
        for authority in ["app.test", "APP.Test", "app.test:80", "app.test.", "app.internal"] {
            assert_eq!(ask(authority, &[]).await.status, 200, "{authority}");
        }
        assert_eq!(ask("app.test", &[("host", "app.test")]).await.status, 200);
        let seen = wire.app.seen();
        assert_eq!(seen.last().unwrap().values("host"), ["app.test"]);
        assert_eq!(seen[1].values("host"), ["APP.Test"]);
        wire.app.forget();
        for (authority, host) in [
            ("app.test", "app.internal"),
            ("app.test", "evil.test"),
            ("evil.test", "app.test"),
            ("app.internal", "app.test"),
        ] {
            let answer = ask(authority, &[("host", host)]).await;
            assert_eq!(answer.status, 400, "{authority} {host}");
        }
        assert_eq!(
            ask("app.test", &[("host", "app.test"), ("host", "app.test")])
                .await
                .status,
            400
        );
        assert_eq!(ask("user@app.test", &[]).await.status, 400);
        for foreign in ["evil.test", "app.test.evil", "app.test:81", "127.0.0.1"] {
            assert_eq!(ask(foreign, &[]).await.status, 421, "{foreign}");
            let page = ask(foreign, &[("accept", "text/html")]).await;
            assert_eq!(
                (page.status, page.field("location")),
                (308, Some("http://app.test/x?y")),
                "{foreign}"
            );
        }
        // Apps inside ask for the keys by any name.
        let keys = request("GET", "http://evil.test/.vestibule/jwks.json", &[]);
        assert_eq!(client.ask(keys, b"").await.unwrap().status, 200);
        assert!(wire.app.seen().is_empty());
    });
}

#[test]
fn cookie_crumbs_are_one_field_before_anybody_reads_them() {
    with_h2(async |wire, client| {
        let crumbs = [
            ("cookie", "a=1"),
            ("cookie", wire.cookie.as_str()),
            ("cookie", "b=2; c=3"),
        ];
        let answer = client
            .ask(request("GET", "http://app.test/x", &crumbs), b"")
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(wire.app.seen()[0].values("cookie"), ["a=1; b=2; c=3"]);
        wire.app.forget();

        let other = format!("vestibule={}", "A".repeat(43));
        for crumbs in [
            [("cookie", wire.cookie.as_str()), ("cookie", other.as_str())],
            [("cookie", other.as_str()), ("cookie", wire.cookie.as_str())],
        ] {
            let answer = client
                .ask(request("GET", "http://app.test/x", &crumbs), b"")
                .await
                .unwrap();
            assert_eq!(answer.status, 400);
            let deleted = answer.field("set-cookie").unwrap();
            assert!(
                deleted.starts_with("vestibule=;") && deleted.contains("Max-Age=0"),
                "{deleted}"
            );
        }
        assert!(wire.app.seen().is_empty());
    });
}

#[test]
fn identity_cannot_be_brought_along() {
    with_h2(async |wire, client| {
        let fields: Vec<(&str, &str)> = [
            "x-vestibule-assertion",
            "x_vestibule_assertion",
            "x-forwarded-user",
            "x_forwarded-email",
            "x.forwarded.role",
            "remote-user",
            "x-remote-user",
            "x-webauth-user",
            "x-auth-request-email",
            "token-user",
            "token_user",
            "x-forwarded-access-token",
            "x-forwarded-port",
            "x-real-ip",
            "forwarded",
            "x_forwarded_for",
        ]
        .map(|name| (name, "evil"))
        .into();
        for (uri, session) in [("/x", true), ("/public/x", false), ("/health", true)] {
            let mut all = fields.clone();
            if session {
                all.push(("cookie", &wire.cookie));
            }
            for method in ["GET", "OPTIONS"] {
                wire.app.forget();
                let answer = client
                    .ask(request(method, &format!("http://app.test{uri}"), &all), b"")
                    .await
                    .unwrap();
                assert_eq!(answer.status, 200);
                assert!(!wire.app.seen()[0].head.contains("evil"), "{}", wire.app.seen()[0].head);
            }
        }
    });
}

#[test]
fn connect_is_refused_and_not_announced() {
    with_h2(async |wire, mut client| {
        let connect = Request::builder()
            .method("CONNECT")
            .uri("app.test:443")
            .body(())
            .unwrap();
        assert_eq!(client.ask(connect, b"").await.unwrap().status, 405);
        client.ask(get(wire, "/x"), b"").await.unwrap();
        client.sender = client.sender.ready().await.unwrap();
        assert!(!client.sender.is_extended_connect_protocol_enabled());
        let trace = request("TRACE", "http://app.test/x", &[("cookie", &wire.cookie)]);
        assert_eq!(client.ask(trace, b"").await.unwrap().status, 405);
        assert_eq!(wire.app.seen().len(), 1);
    });
}

#[test]
fn a_path_with_two_meanings_is_refused() {
    with_h2(async |wire, client| {
        for path in [
            "/public/../x",
            "/public/%2e%2e/x",
            "/public/..%2fx",
            "/public/..;/x",
            "/public\\..\\x",
            "/.vestibule/../x",
            "/%2evestibule/x",
            "/public/%00",
        ] {
            let Ok(uri) = format!("http://app.test{path}").parse::<http::Uri>() else {
                continue;
            };
            let mut get = request("GET", "http://app.test/", &[]);
            *get.uri_mut() = uri;
            let answer = client.ask(get, b"").await.unwrap();
            assert!(matches!(answer.status, 400 | 401 | 404), "{path}: {}", answer.status);
        }
        assert!(wire.app.seen().is_empty(), "{:?}", wire.app.seen());
    });
}

#[test]
fn who_has_no_session_gets_what_they_understand() {
    with_h2(async |wire, client| {
        let ask = async |method, fields: &[(&str, &str)]| {
            client
                .ask(request(method, "http://app.test/x?y=z", fields), b"")
                .await
                .unwrap()
        };
        let page = ask("GET", &[("accept", "text/html")]).await;
        assert_eq!(page.status, 302);
        assert!(page.field("location").unwrap().starts_with("/.vestibule/login?rd="));
        assert_eq!(page.field("cache-control"), Some("no-store"));
        let form = ask("POST", &[("accept", "text/html")]).await;
        assert_eq!(form.status, 401);
        assert!(form.field("content-type").unwrap().starts_with("text/html"));
        let program = ask("GET", &[]).await;
        assert_eq!(program.status, 401);
        assert_eq!(program.field("content-type"), Some("application/problem+json"));
        assert!(program.field("www-authenticate").unwrap().starts_with("Bearer realm="));
        let grpc = ask("POST", &[("content-type", "application/grpc"), ("te", "trailers")]).await;
        assert_eq!((grpc.status, grpc.field("grpc-status")), (200, Some("16")));
        assert!(grpc.body.is_empty() && grpc.trailers.is_none(), "not trailers only");
        assert!(wire.app.seen().is_empty());
    });
}

#[test]
fn changing_requests_of_other_sites_are_refused() {
    with_h2(async |wire, client| {
        for fields in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")] {
            let post = request("POST", "http://app.test/x", &[("cookie", &wire.cookie), fields]);
            assert_eq!(client.ask(post, b"").await.unwrap().status, 403, "{fields:?}");
        }
        let call = request(
            "POST",
            "http://app.test/x",
            &[
                ("cookie", &wire.cookie),
                ("content-type", "application/grpc"),
                ("origin", "https://evil.test"),
            ],
        );
        assert_eq!(client.ask(call, b"").await.unwrap().field("grpc-status"), Some("7"));
        assert!(wire.app.seen().is_empty());
        let post = request(
            "POST",
            "http://app.test/x",
            &[("cookie", &wire.cookie), ("origin", "http://app.test")],
        );
        assert_eq!(client.ask(post, b"").await.unwrap().status, 200);
    });
}

#[test]
fn a_hundred_and_twenty_eight_streams_at_once() {
    with_h2(async |wire, mut client| {
        client.ask(get(wire, "/x"), b"").await.unwrap();
        client.sender = client.sender.ready().await.unwrap();
        assert_eq!(client.sender.current_max_send_streams(), 128);
        let start = Instant::now();
        let slow = (0..128).map(|_| {
            let mut get = get(wire, "/slow");
            *get.uri_mut() = "http://app.test/slow-sse".parse().unwrap();
            let mut sender = client.sender.clone();
            async move {
                let (answer, _) = sender.send_request(get, true).unwrap();
                let (parts, mut events) = timeout(LIMIT, answer).await.unwrap().unwrap().into_parts();
                // A client that takes nothing of many small frames is stopped by its own library.
                tokio::spawn(async move {
                    while let Some(Ok(data)) = events.data().await {
                        drop(events.flow_control().release_capacity(data.len()));
                    }
                });
                parts.status
            }
        });
        let answers = futures_util::future::join_all(slow).await;
        assert!(answers.iter().all(|status| *status == 200));
        assert!(start.elapsed() < Duration::from_secs(8), "one after the other");
    });
}

#[test]
fn a_stream_ends_with_its_session_and_leaves_the_others_alone() {
    with_h2(async |wire, client| {
        let mut sender = client.sender.clone().ready().await.unwrap();
        let (events, _) = sender.send_request(get(wire, "/sse"), true).unwrap();
        let mut events = events.await.unwrap().into_body();
        events.data().await.unwrap().unwrap();
        // An upload that the app has not answered.
        let post = request("POST", "http://app.test/echo", &[("cookie", &wire.cookie)]);
        let (uploaded, mut upload) = sender.send_request(post, false).unwrap();
        upload.send_data(Bytes::from_static(b"some"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        crate::bodies::end_adas_sessions(wire.database()).await;
        let start = Instant::now();
        let cut = timeout(LIMIT, async {
            while let Some(data) = events.data().await {
                match data {
                    Ok(data) => drop(events.flow_control().release_capacity(data.len())),
                    Err(error) => return Some(error),
                }
            }
            None
        });
        let cut = cut.await.expect("the stream outlived its session");
        assert!(cut.is_some_and(|error| error.is_reset()), "an end that looks whole");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let uploaded = timeout(Duration::from_secs(4), uploaded).await;
        let uploaded = uploaded.expect("an upload outlived its session").unwrap();
        assert_eq!(uploaded.status(), 401);
        assert_eq!(client.ask(get(wire, "/health"), b"").await.unwrap().status, 200);
        assert!(!wire.app.seen().iter().any(|seen| seen.head.contains("/echo")));
    });
}

#[test]
fn a_client_that_asks_only_to_cancel_is_cut_off() {
    with_h2(async |wire, client| {
        let mut asked = 0;
        while asked < 400 {
            let Ok(mut sender) = client.sender.clone().ready().await else {
                break;
            };
            let Ok((answer, _)) = sender.send_request(get(wire, "/slow"), true) else {
                break;
            };
            asked += 1;
            // Until it has come to the app: what is reset before is counted elsewhere.
            let start = Instant::now();
            while wire.app.seen().len() < asked && start.elapsed() < Duration::from_secs(2) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(answer);
        }
        let reached = wire.app.seen().len();
        assert!((90..=110).contains(&reached), "{reached} reached the app");
        assert!(timeout(LIMIT, client.connection).await.is_ok(), "the connection stays");
    });
}

#[test]
fn a_client_that_cancels_now_and_then_is_not() {
    with_h2(async |wire, client| {
        for round in 0..150 {
            let mut sender = client.sender.clone().ready().await.unwrap();
            let (answer, _) = sender.send_request(get(wire, "/sse"), true).unwrap();
            let mut events = answer.await.unwrap().into_body();
            events.data().await.unwrap().unwrap();
            drop(events);
            let answer = client.ask(get(wire, "/x"), b"").await;
            assert_eq!(answer.unwrap().status, 200, "after {round}");
        }
    });
}

#[test]
fn draining_says_goodbye_finishes_what_is_under_way_and_ends_streams() {
    let wire = Wire::with(|settings| settings.upstream.timeout = Duration::from_secs(10));
    wire.run(async {
        let client = H2::to(&wire).await;
        let mut sender = client.sender.clone().ready().await.unwrap();
        let (slow, _) = sender.send_request(get(&wire, "/slow"), true).unwrap();
        let (events, _) = sender.send_request(get(&wire, "/sse"), true).unwrap();
        let mut events = events.await.unwrap().into_body();
        let idle = H2::to(&wire).await;
        idle.ask(get(&wire, "/health"), b"").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let start = Instant::now();
        let drained = wire.instance.drain(Duration::from_secs(20));
        let asked = async {
            timeout(Duration::from_secs(2), idle.connection)
                .await
                .expect("an idle connection outlived the drain")
                .unwrap()
                .unwrap();
            while let Some(Ok(data)) = events.data().await {
                drop(events.flow_control().release_capacity(data.len()));
            }
            assert!(start.elapsed() < Duration::from_secs(2), "a stream outlived the drain");
            let slow = timeout(LIMIT, slow).await.unwrap().unwrap();
            assert_eq!(read(slow).await.unwrap().body, b"slow");
            timeout(Duration::from_secs(2), client.connection)
                .await
                .unwrap()
                .unwrap()
                .unwrap();
        };
        tokio::join!(drained, asked);
    });
}

#[test]
fn an_idle_connection_is_told_goodbye_after_the_keepalive_and_requests_begin_it_anew() {
    let wire = Wire::with(|settings| settings.keepalive = Duration::from_secs(2));
    wire.run(async {
        let client = H2::to(&wire).await;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            for path in ["/health", "/.vestibule/nothing"] {
                client
                    .ask(get(&wire, path), b"")
                    .await
                    .expect("a connection in use was ended");
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let idle = Instant::now();
        timeout(Duration::from_secs(6), client.connection)
            .await
            .expect("an idle connection stays")
            .unwrap()
            .expect("ended without goodbye");
        assert!(idle.elapsed() > Duration::from_millis(1300), "{:?}", idle.elapsed());
    });
}

#[test]
fn an_app_that_fails_resets_nothing_but_its_own_request() {
    with_h2(async |wire, client| {
        assert_eq!(client.ask(get(wire, "/reset"), b"").await.unwrap().status, 502);
        assert_eq!(client.ask(get(wire, "/nonsense"), b"").await.unwrap().status, 502);
        let half = client.ask(get(wire, "/half"), b"").await;
        assert!(half.is_err_and(|error| error.is_reset()), "half an answer looks whole");
        assert_eq!(client.ask(get(wire, "/switch"), b"").await.unwrap().status, 502);
        let early = request("POST", "http://app.test/early", &[("cookie", &wire.cookie)]);
        assert_eq!(client.ask(early, b"never read").await.unwrap().status, 413);
        assert_eq!(client.ask(get(wire, "/x"), b"").await.unwrap().body, b"from app");
    });
}
