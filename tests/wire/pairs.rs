//! Nobody ever gets another's answer: ten thousand numbered requests of four users over HTTP/1.1 and HTTP/2, amid apps that
//! reset, answer early and break off, and clients that go away or send broken bodies. Every whole answer must be that of
//! its own number and its own user.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http2::{H2, request};
use crate::support::{Client, Wire};

const REQUESTS: usize = 10_000;

fn field<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value)
}

/// Says the number and the user of each request and what its body was, or misbehaves as the path tells.
async fn serve(mut stream: TcpStream) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let Ok(1..) = stream.read_buf(&mut buffer).await else {
                return;
            };
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if path.starts_with("/reset") {
            return;
        }
        if path.starts_with("/early") {
            // The rest of the body is still under way; what follows it must not be taken for an answer.
            let early = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nearly";
            drop(stream.write_all(early).await);
            if path.ends_with('1') {
                return;
            }
        }
        if path.starts_with("/half") {
            drop(
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                    .await,
            );
            return;
        }
        let length: usize = field(&head, "content-length").parse().unwrap_or(0);
        while buffer.len() < length {
            let Ok(1..) = stream.read_buf(&mut buffer).await else {
                return;
            };
        }
        let body = String::from_utf8_lossy(&buffer[..length.min(20)]).into_owned();
        buffer.drain(..length);
        if path.starts_with("/early") {
            continue;
        }
        let said = format!("{path} {} {body}", field(&head, "x-forwarded-email"));
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len());
        // In two pieces, so that an answer can be cut between.
        let (one, two) = answer.as_bytes().split_at(answer.len() / 2);
        if stream.write_all(one).await.is_err() || stream.write_all(two).await.is_err() {
            return;
        }
    }
}

struct User {
    email: String,
    cookie: String,
}

/// What a request of this number is like.
fn path(number: usize) -> String {
    match number % 25 {
        3 => format!("/reset/{number}"),
        7 => format!("/half/{number}"),
        11 | 12 => format!("/early/{number}"),
        _ => format!("/n/{number}"),
    }
}

fn is_checked(status: u16, whole: bool, number: usize) -> bool {
    let plain = path(number).starts_with("/n/");
    assert!(
        !plain || (status == 200 && whole),
        "{number}: a fault of others' became its own: {status}, whole: {whole}"
    );
    status == 200 && whole
}

fn over_http1(wire: &Wire, users: &[User], next: &AtomicUsize, checked: &AtomicUsize) {
    let mut client = wire.connect();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= REQUESTS {
            return;
        }
        let user = &users[number % users.len()];
        let path = path(number);
        let fields = format!("Host: app.test\r\nCookie: {}\r\n", user.cookie);
        match number % 25 {
            // Goes away without waiting.
            17 => {
                client.send(format!("GET {path} HTTP/1.1\r\n{fields}\r\n").as_bytes());
                client = wire.connect();
                continue;
            }
            // Goes away amid the body, or sends one that is none.
            18 => {
                client.send(format!("POST {path} HTTP/1.1\r\n{fields}Content-Length: 500\r\n\r\nhalf").as_bytes());
                client = wire.connect();
                continue;
            }
            19 => {
                let chunks = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nGET / HTTP/1.1\r\n\r\n";
                client.send(format!("POST {path} HTTP/1.1\r\n{fields}{chunks}").as_bytes());
                let answer = client.answer();
                // This app does not read chunks and may answer before what is wrong with them comes to light.
                let own = format!("{path} {} ", user.email);
                assert!(
                    answer.broken || answer.status >= 400 || answer.text() == own,
                    "{answer:?}"
                );
                client = wire.connect();
                continue;
            }
            _ => {}
        }
        let body = match number % 25 {
            11 | 12 => "b".repeat(200_000),
            _ if number.is_multiple_of(3) => format!("body of {number}"),
            _ => String::new(),
        };
        let method = if body.is_empty() { "GET" } else { "POST" };
        let length = body.len();
        client.send(format!("{method} {path} HTTP/1.1\r\n{fields}Content-Length: {length}\r\n\r\n{body}").as_bytes());
        let answer = client.answer();
        if is_checked(answer.status, !answer.broken, number) {
            assert_eq!(answer.text(), format!("{path} {} {body}", user.email));
            checked.fetch_add(1, Ordering::Relaxed);
        }
        if answer.broken || answer.status != 200 {
            client = Client::to(wire.gateway);
        }
    }
}

async fn over_http2(client: Arc<H2>, users: Arc<Vec<User>>, next: Arc<AtomicUsize>, checked: Arc<AtomicUsize>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= REQUESTS {
            return;
        }
        let user = &users[number % users.len()];
        let path = path(number);
        let body = match number % 25 {
            11 | 12 => "b".repeat(100_000),
            _ if number.is_multiple_of(3) => format!("body of {number}"),
            _ => String::new(),
        };
        let uri = format!("http://app.test{path}");
        let method = if body.is_empty() { "GET" } else { "POST" };
        let mut fields = vec![("cookie", user.cookie.as_str())];
        if number % 25 == 17 || number % 25 == 18 {
            // Resets its stream, amid the body or before the answer.
            let ends = number % 25 == 17;
            let mut sender = client.sender.clone().ready().await.unwrap();
            let (answer, mut up) = sender.send_request(request("POST", &uri, &fields), ends).unwrap();
            tokio::task::yield_now().await;
            up.send_reset(h2::Reason::CANCEL);
            drop(answer);
            continue;
        }
        let length = body.len().to_string();
        if !body.is_empty() {
            fields.push(("content-length", &length));
        }
        match client.ask(request(method, &uri, &fields), body.as_bytes()).await {
            Ok(answer) => {
                if is_checked(answer.status, true, number) {
                    let said = String::from_utf8(answer.body).unwrap();
                    assert_eq!(said, format!("{path} {} {body}", user.email));
                    checked.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => {
                assert!(error.is_reset(), "{number}: the connection ended: {error}");
                is_checked(0, false, number);
            }
        }
    }
}

#[test]
fn every_answer_is_that_of_its_own_request_and_its_own_user() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let wire = Wire::with(|settings| {
        settings.upstream.authority = address.to_string().parse().unwrap();
        settings.upstream.timeout = std::time::Duration::from_mins(1);
    });
    let users = ["ada", "bob", "cyd", "dan"].map(|name| {
        let email = format!("{name}@example.com");
        let cookie = wire.sign_in(&email);
        User { email, cookie }
    });
    let users = Arc::new(Vec::from(users));
    let (next, checked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let streams: Vec<_> = (0..3)
        .flat_map(|_| {
            let client = Arc::new(wire.run(H2::to(&wire)));
            (0..8).map(move |_| Arc::clone(&client))
        })
        .map(|client| {
            let (users, next, checked) = (Arc::clone(&users), Arc::clone(&next), Arc::clone(&checked));
            runtime.spawn(over_http2(client, users, next, checked))
        })
        .collect();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| over_http1(&wire, &users, &next, &checked));
        }
    });
    for stream in streams {
        runtime.block_on(stream).unwrap();
    }
    let checked = checked.load(Ordering::Relaxed);
    assert!(checked > REQUESTS * 7 / 10, "only {checked} answers could be checked");
}
