//! Connections to the app: a pool for each thread over hyper's own connection type.
//!
//! No lock is contended and no task is woken to hand a connection back: the body that ends puts its connection on a stack,
//! the next request takes the youngest that is ready. A connection idles for less than the app's own limit (Node closes
//! after five seconds).

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::body::Body;

/// Below the idle limit of every app server that is known to us.
const IDLE_LIMIT: Duration = Duration::from_secs(3);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Idle connections kept by one thread.
const MOST_IDLE: usize = 1024;
/// Largest head of an answer.
const HEAD_LIMIT: usize = 256 * 1024;

/// One thread's way to the app.
#[derive(Debug)]
pub struct Upstream {
    /// `host:port`.
    authority: String,
    idle: Mutex<VecDeque<(SendRequest<Body>, Instant)>>,
}

/// A connection to the app, and whether it has carried a request before.
#[derive(Debug)]
pub struct Connection {
    /// Sends one request.
    pub sender: SendRequest<Body>,
    /// It may have been closed by the app while it lay idle.
    pub reused: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The name has no address, or nobody listens there.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// Nobody answered in time.
    #[error("no connection within {} s", CONNECT_LIMIT.as_secs())]
    Timeout,
    /// The connection failed at once.
    #[error("the connection failed at once: {0}")]
    Handshake(#[from] hyper::Error),
}

impl Upstream {
    /// For the app at `host:port`.
    #[must_use]
    pub fn new(authority: String) -> Arc<Self> {
        Arc::new(Self {
            authority,
            idle: Mutex::default(),
        })
    }

    /// The youngest idle connection that is ready, if there is one.
    #[must_use]
    pub fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut not_yet = None;
        let found = loop {
            let Some((sender, since)) = idle.pop_back() else {
                break None;
            };
            if since.elapsed() >= IDLE_LIMIT {
                // The rest is older still.
                idle.clear();
                break None;
            }
            if sender.is_ready() {
                break Some(Connection { sender, reused: true });
            }
            if !sender.is_closed() && not_yet.is_none() {
                // Its last request is still being sent; it may become ready later.
                not_yet = Some((sender, since));
            }
        };
        if let Some(entry) = not_yet {
            idle.push_back(entry);
        }
        found
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<Connection, Unreachable> {
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(&self.authority))
            .await
            .map_err(|_| Unreachable::Timeout)??;
        stream.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_mins(1))
            .with_interval(Duration::from_secs(15));
        socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to the upstream ended");
            }
        });
        Ok(Connection { sender, reused: false })
    }

    /// Takes back a connection whose answer has been read to its end.
    pub fn give_back(&self, sender: SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() == MOST_IDLE {
            idle.pop_front();
        }
        idle.push_back((sender, Instant::now()));
    }

    /// Closes what has idled too long; called now and then.
    pub fn sweep(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while idle
            .front()
            .is_some_and(|(sender, since)| since.elapsed() >= IDLE_LIMIT || sender.is_closed())
        {
            idle.pop_front();
        }
    }
}
