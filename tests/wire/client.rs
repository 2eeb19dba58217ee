//! A client that sends bytes, and what it is answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::message::{field, fill, read_body, read_head};

/// A client that sends bytes.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    asked_with: String,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Nothing came, or the connection broke off.
    pub broken: bool,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub fn fields(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn is_page(&self) -> bool {
        self.field("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    }

    pub fn is_problem(&self) -> bool {
        self.field("content-type") == Some("application/problem+json")
    }
}

impl Client {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            asked_with: "GET".into(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        text.split(' ')
            .next()
            .unwrap_or_default()
            .clone_into(&mut self.asked_with);
        // A server may have closed already; the answer tells.
        drop(self.stream.write_all(bytes));
    }

    /// Sends more of a body; whether it could be sent.
    pub fn goes_on(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn ask(&mut self, request_line: &str, fields: &[&str]) -> Answer {
        self.send(format!("{request_line} HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n")).as_bytes());
        self.answer()
    }

    pub fn head(&mut self) -> Option<String> {
        read_head(&mut self.stream, &mut self.buffer)
    }

    /// Reads one answer to its end.
    pub fn answer(&mut self) -> Answer {
        let Some(head) = self.head() else {
            return Answer {
                status: 0,
                head: String::new(),
                body: std::mem::take(&mut self.buffer),
                broken: true,
            };
        };
        let status: u16 = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        if self.asked_with == "HEAD" || matches!(status, 101 | 204 | 304) || (100..200).contains(&status) {
            return Answer {
                status,
                head,
                body: Vec::new(),
                broken: false,
            };
        }
        let to_end = field(&head, "content-length").is_none() && field(&head, "transfer-encoding").is_none();
        if to_end {
            while fill(&mut self.stream, &mut self.buffer).is_some() {}
            return Answer {
                status,
                head,
                body: std::mem::take(&mut self.buffer),
                broken: false,
            };
        }
        match read_body(&mut self.stream, &mut self.buffer, &head) {
            Some(body) => Answer {
                status,
                head,
                body,
                broken: false,
            },
            None => Answer {
                status,
                head,
                body: std::mem::take(&mut self.buffer),
                broken: true,
            },
        }
    }

    /// Whether the server closes within `limit`; what it still sends is kept.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        self.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut chunk = [0; 4096];
        while Instant::now() < until {
            match self.stream.read(&mut chunk) {
                Ok(0) => return true,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return true,
            }
        }
        false
    }

    pub fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            if fill(&mut self.stream, &mut self.buffer).is_none() {
                break;
            }
        }
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    pub fn finish_sending(&self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }
}
