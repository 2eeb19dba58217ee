//! HTTP/2 with prior knowledge: what holds over HTTP/1.1 holds here.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{sleep, timeout};

use crate::bodies::end_all_sessions_of;
use crate::support::Wire;

type Body = BoxBody<Bytes, Infallible>;

async fn connect(wire: &Wire) -> SendRequest<Body> {
    let stream = tokio::net::TcpStream::connect(wire.gateway).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask(wire: &Wire, target: &str, accept: &str) -> Response<Incoming> {
    let request = Request::get(target)
        .header("accept", accept)
        .header("cookie", &wire.cookie)
        .body(Empty::new().boxed())
        .unwrap();
    connect(wire).await.send_request(request).await.unwrap()
}

#[test]
fn another_authority_gets_308_as_a_page_and_421_as_a_program() {
    let wire = Wire::start();
    wire.run(async {
        let page = ask(&wire, "http://evil.test/a?b", "text/html").await;
        assert_eq!(
            (page.status().as_u16(), page.headers()["location"].to_str().unwrap()),
            (308, "http://app.test/a?b")
        );
        assert_eq!(ask(&wire, "http://evil.test/a", "*/*").await.status(), 421);
        assert_eq!(
            ask(&wire, "http://evil.test/.vestibule/jwks.json", "*/*")
                .await
                .status(),
            200
        );
        assert!(wire.app.seen().is_empty());
        assert_eq!(ask(&wire, "http://app.test/a", "*/*").await.status(), 200);
        assert_eq!(ask(&wire, "http://app.internal/a", "*/*").await.status(), 200);
    });
    assert_eq!(wire.app.seen()[1].values("host"), ["app.internal"]);
}

#[test]
fn an_upload_without_an_answer_yet_ends_with_its_session() {
    let wire = Wire::start();
    let (mut pieces, body) = Channel::<Bytes, Infallible>::new(1);
    let request = Request::post("http://app.test/echo")
        .header("cookie", &wire.cookie)
        .body(body.boxed())
        .unwrap();
    wire.run(async {
        let mut sender = connect(&wire).await;
        let answer = tokio::spawn(async move { sender.send_request(request).await });
        tokio::spawn(async move {
            while pieces.send_data(Bytes::from_static(b"more")).await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        sleep(Duration::from_millis(300)).await;
        assert!(!answer.is_finished());
        end_all_sessions_of(wire.database()).await;
        assert!(
            timeout(Duration::from_secs(3), answer).await.is_ok(),
            "an upload outlived its session"
        );
    });
}
