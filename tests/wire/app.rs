//! An app that writes down every byte it sees.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::message::{dechunked, field, read_body, read_head};

/// A request as the app saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Everything up to the empty line, as it came.
    pub head: String,
    /// The body as it came, chunk framing included.
    pub body: Vec<u8>,
}

impl Seen {
    /// The values of a field, by its exact name in lower case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The names of all fields, lower case with `-` for `_`.
    pub fn names(&self) -> Vec<String> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.to_ascii_lowercase().replace('_', "-"))
            .collect()
    }
}

/// An app that writes down what it sees; what it answers is told by the path.
pub struct App {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl App {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (for_thread, count) = (Arc::clone(&seen), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let seen = Arc::clone(&for_thread);
                thread::spawn(move || serve(stream, &seen));
            }
        });
        Self {
            address,
            seen,
            connections,
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Seen>>) {
    let mut buffer = Vec::new();
    let mut served = 0;
    while let Some(head) = read_head(&mut stream, &mut buffer) {
        let path = head
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .split('?')
            .next()
            .unwrap_or_default()
            .to_owned();
        if path == "/early" {
            seen.lock().unwrap().push(Seen { head, body: Vec::new() });
            drop(stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
            return;
        }
        let Some(body) = read_body(&mut stream, &mut buffer, &head) else {
            return;
        };
        let plain = dechunked(&head, &body);
        seen.lock().unwrap().push(Seen {
            head: head.clone(),
            body: body.clone(),
        });
        served += 1;
        let answer: Vec<u8> = match path.as_str() {
            "/ws" => return websocket(stream, &head),
            "/switch" => b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nsmuggled".to_vec(),
            "/coded" => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nnot what it seems"));
                return;
            }
            "/nonsense" => b"this is not HTTP\r\n\r\n".to_vec(),
            "/reset" => return,
            "/once" if served > 1 => return,
            "/half" => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"));
                return;
            }
            "/slow" => {
                thread::sleep(Duration::from_secs(4));
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow".to_vec()
            }
            "/sse" | "/slow-sse" => {
                if path == "/slow-sse" {
                    thread::sleep(Duration::from_millis(600));
                }
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"));
                while stream.write_all(b"data: tick\n\n").is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
                return;
            }
            "/endless" => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
                while stream.write_all(&[b'x'; 16384]).is_ok() {}
                return;
            }
            "/trailers" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nX-Vestibule-Assertion: x\r\n\r\n".to_vec(),
            "/set-cookie" => b"HTTP/1.1 200 OK\r\nSet-Cookie: vestibule=evil; Path=/\r\nSet-Cookie: app=1\r\nSet-Cookie: __Host-Vestibule-a-1=x\r\nSet-Cookie: =vestibule=x\r\nConnection: X-Internal\r\nX-Internal: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "/both-lengths" => b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n".to_vec(),
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_vec(),
            "/103" => b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
            "/until-close" => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it"));
                return;
            }
            "/large" => [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 8 << 20).into_bytes(), vec![b'x'; 8 << 20]].concat(),
            "/echo" => [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", plain.len()).into_bytes(), plain].concat(),
            _ if head.starts_with("HEAD ") => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nfrom app".to_vec(),
        };
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Accepts any WebSocket handshake and sends back every byte.
fn websocket(mut stream: TcpStream, head: &str) {
    if !field(head, "upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nno upgrade"));
        return;
    }
    drop(stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-From: app\r\n\r\n"));
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        if stream.write_all(&chunk[..count]).is_err() {
            return;
        }
    }
}
