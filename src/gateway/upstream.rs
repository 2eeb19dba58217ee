//! Connections to the app: a pool for each thread over hyper's own connection types.
//!
//! No lock is contended and no task is woken to hand a connection back: the body that ends puts its connection on a stack,
//! the next request takes the youngest that is ready. A connection idles for less than the app's own limit (Node closes
//! after five seconds). An HTTP/2 connection is shared by the thread's requests, by so many at most that it has room for
//! all of them being stalled: clients that take nothing must not be felt by others.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::Either;
use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING, USER_AGENT};
use http::uri::{Authority, Scheme, Uri};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::body::Body;
use super::way::{Way, tcp};
use crate::config;
use crate::trust;

/// Below the idle limit of every app server that is known to us.
const IDLE_LIMIT: Duration = Duration::from_secs(3);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Idle connections kept by one thread.
const MOST_IDLE: usize = 1024;
/// Requests that share an HTTP/2 connection at once, if the app does not say fewer.
const MOST_SHARING: u32 = 64;
/// What the app may send on one of its streams before the client takes it, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
/// More than all streams' windows together, which are the limit: h2 ends a connection on which small frames that nobody
/// takes cost half of this by its reckoning (256 bytes each), and then everybody's answers break off. So it has room for all
/// streams being full of events of eight bytes.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// Largest head of an answer.
const HEAD_LIMIT: usize = 256 * 1024;

/// Asks the app for `/` once, without identity; for `check`.
///
/// # Errors
/// A sentence that says why there is no answer.
pub async fn probe(upstream: &config::Upstream, ca_file: Option<&Path>) -> Result<StatusCode, String> {
    let way = Way::new(upstream, ca_file).map_err(|error| error.to_string())?;
    let to = Upstream::new(way, Arc::new(Semaphore::new(1)));
    let connected = to.connect(false).await;
    let mut connection = connected.map_err(|error| format!("{error}; {}", error.advice()))?;
    let request = Request::head("/")
        .header(HOST, upstream.host())
        .header(USER_AGENT, "vestibule-check")
        .body(Body::empty());
    let mut request = request.map_err(|error| error.to_string())?;
    connection.fit(&mut request, to.way());
    match timeout(CONNECT_LIMIT, connection.sender.try_send(request)).await {
        Ok(Ok(answer)) => Ok(answer.status()),
        Ok(Err(failed)) => Err(failed.into_error().to_string()),
        Err(_) => Err(format!("it does not answer within {} s", CONNECT_LIMIT.as_secs())),
    }
}

/// One thread's way to the app.
#[derive(Debug)]
pub struct Upstream {
    way: Way,
    /// All threads together have as many connections as there are files for: over HTTP/2 one client connection asks for many.
    files: Arc<Semaphore>,
    idle: Mutex<VecDeque<(Alone, Instant)>>,
    /// The HTTP/2 connections, if the app speaks it; the later ones only while those before are full.
    shared: Mutex<Vec<Shared>>,
    /// One at a time makes an HTTP/2 connection.
    connecting: tokio::sync::Mutex<()>,
    /// Whether the app chose HTTP/1.1 when it was last asked over TLS: then everybody makes a connection of their own.
    one_each: AtomicBool,
}

/// An HTTP/2 connection, and the room on it.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<Body>,
    room: Arc<Room>,
}

/// How many share a connection, and how many may.
#[derive(Debug)]
struct Room {
    taken: AtomicUsize,
    most: AtomicUsize,
}

/// A place on a shared connection, free again when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Room>);

impl Room {
    fn place(self: &Arc<Self>) -> Option<Place> {
        let free = self.taken.load(Ordering::Relaxed) < self.most.load(Ordering::Relaxed);
        free.then(|| {
            self.taken.fetch_add(1, Ordering::Relaxed);
            Place(Arc::clone(self))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An HTTP/1.1 connection, and its file.
#[derive(Debug)]
pub struct Alone {
    sender: http1::SendRequest<Body>,
    /// What drives the connection holds it, too, and lives longer where an upload goes on after its answer.
    _file: Arc<OwnedSemaphorePermit>,
}

/// Sends a request.
#[derive(Debug)]
pub enum Sender {
    /// One at a time. A tunnel keeps it for as long as it is open.
    One(Alone),
    /// Many at a time, each from its place.
    Many {
        /// Its requests go to a task that all share.
        sender: http2::SendRequest<Body>,
        /// Kept until the answer has been read.
        _place: Place,
    },
}

impl Sender {
    /// Sends one request; hands it back if it was never sent.
    pub fn try_send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + use<> {
        match self {
            Self::One(alone) => Either::Left(alone.sender.try_send_request(request)),
            Self::Many { sender, .. } => Either::Right(sender.try_send_request(request)),
        }
    }
}

/// A connection to the app, and whether it has carried a request before.
#[derive(Debug)]
pub struct Connection {
    /// Sends the request.
    pub sender: Sender,
    /// It may have been closed by the app while it lay idle.
    pub reused: bool,
}

impl Connection {
    /// Writes a request as this connection's protocol has it: HTTP/2 knows no Host and no hop-by-hop fields (RFC 9113,
    /// sections 8.2.2 and 8.3.1), HTTP/1.1 no authority in the target.
    pub fn fit(&self, request: &mut Request<Body>, way: &Way) {
        let many = matches!(self.sender, Sender::Many { .. });
        if many == request.uri().authority().is_some() {
            return;
        }
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = request.uri().path_and_query().cloned();
        let headers = request.headers_mut();
        if many {
            headers.remove(CONNECTION);
            headers.remove(TRANSFER_ENCODING);
            uri.authority = headers
                .remove(HOST)
                .and_then(|host| Authority::try_from(host.as_bytes()).ok());
            let secure = matches!(way, Way::Tls { .. });
            uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
        } else if let Some(host) = request
            .uri()
            .authority()
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok())
        {
            request.headers_mut().insert(HOST, host);
        }
        if let Ok(uri) = Uri::from_parts(uri) {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = if many { Version::HTTP_2 } else { Version::HTTP_11 };
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The name has no address, nobody listens there, or its certificate is not good.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// Nobody answered in time.
    #[error("no connection within {} s", CONNECT_LIMIT.as_secs())]
    Timeout,
    /// The connection failed at once.
    #[error("the connection failed at once: {0}")]
    Handshake(#[from] hyper::Error),
}

impl Unreachable {
    /// What the operator can do.
    fn advice(&self) -> &'static str {
        let certificate = match self {
            Self::Connect(error) => trust::advice(error),
            Self::Timeout | Self::Handshake(_) => None,
        };
        certificate.unwrap_or("start the app, or put its address into VESTIBULE_UPSTREAM")
    }
}

impl Upstream {
    /// For the app that is reached this way, by at most as many connections as `files` has.
    #[must_use]
    pub fn new(way: Way, files: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            way,
            files,
            idle: Mutex::default(),
            shared: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            one_each: AtomicBool::new(false),
        })
    }

    /// How the app is reached.
    #[must_use]
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// A connection that is there already: the shared one, or the youngest idle one that is ready. An `upgrade` needs one
    /// for itself.
    #[must_use]
    pub fn ready(&self, upgrade: bool, now: Instant) -> Option<Connection> {
        if !upgrade
            && !matches!(self.way, Way::Plain(_) | Way::Unix(_))
            && let Some(sender) = self.shared_one()
        {
            return Some(Connection { sender, reused: true });
        }
        let mut idle = lock(&self.idle);
        let mut not_yet = None;
        let found = loop {
            let Some((alone, since)) = idle.pop_back() else {
                break None;
            };
            if now.saturating_duration_since(since) >= IDLE_LIMIT {
                // The rest is older still.
                idle.clear();
                break None;
            }
            if alone.sender.is_ready() {
                break Some(Connection {
                    sender: Sender::One(alone),
                    reused: true,
                });
            }
            if !alone.sender.is_closed() && not_yet.is_none() {
                // Its last request is still being sent; it may become ready later.
                not_yet = Some((alone, since));
            }
        };
        if let Some(entry) = not_yet {
            idle.push_back(entry);
        }
        found
    }

    /// A place on the first HTTP/2 connection that has one.
    fn shared_one(&self) -> Option<Sender> {
        let mut shared = lock(&self.shared);
        shared.retain(|shared| !shared.sender.is_closed());
        shared.iter().find_map(|shared| {
            let place = shared.room.place()?;
            Some(Sender::Many {
                sender: shared.sender.clone(),
                _place: place,
            })
        })
    }

    /// A new connection; of an app that speaks HTTP/2, the one that somebody else has just made.
    pub async fn connect(&self, upgrade: bool) -> Result<Connection, Unreachable> {
        timeout(CONNECT_LIMIT, self.connect_in_time(upgrade))
            .await
            .map_err(|_| Unreachable::Timeout)?
    }

    async fn connect_in_time(&self, upgrade: bool) -> Result<Connection, Unreachable> {
        let file = Arc::clone(&self.files).acquire_owned();
        // It is never closed.
        let file = file.await.map_err(|_| Unreachable::Timeout)?;
        match &self.way {
            // What speaks HTTP/2 with prior knowledge mostly speaks HTTP/1.1 on the same port; WebSockets need it.
            Way::H2c(authority) if upgrade => one(tcp(authority).await?, file).await,
            Way::Tls {
                authority, name, http1, ..
            } if upgrade => one(http1.connect(name.clone(), tcp(authority).await?).await?, file).await,
            Way::Plain(authority) => one(tcp(authority).await?, file).await,
            Way::Unix(path) => one(UnixStream::connect(path).await?, file).await,
            Way::H2c(authority) => {
                let _turn = self.connecting.lock().await;
                match self.shared_one() {
                    Some(sender) => Ok(Connection { sender, reused: false }),
                    None => self.many(tcp(authority).await?, file).await,
                }
            }
            Way::Tls {
                authority,
                name,
                connector,
                ..
            } => {
                // Whoever comes first finds out what the app speaks; the others wait, and share its connection or make
                // their own.
                let mut turn = None;
                if !self.one_each.load(Ordering::Relaxed) {
                    turn = Some(self.connecting.lock().await);
                    if let Some(sender) = self.shared_one() {
                        return Ok(Connection { sender, reused: false });
                    }
                    if self.one_each.load(Ordering::Relaxed) {
                        turn = None;
                    }
                }
                let stream = connector.connect(name.clone(), tcp(authority).await?).await?;
                let many = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.one_each.store(!many, Ordering::Relaxed);
                let connection = if many {
                    self.many(stream, file).await
                } else {
                    one(stream, file).await
                };
                drop(turn);
                connection
            }
        }
    }

    async fn many<S>(&self, stream: S, file: OwnedSemaphorePermit) -> Result<Connection, Unreachable>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_header_list_size(u32::try_from(HEAD_LIMIT).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await?;
        let room = Arc::new(Room {
            taken: AtomicUsize::new(1),
            most: AtomicUsize::new(MOST_SHARING as usize),
        });
        let (place, told) = (Place(Arc::clone(&room)), Arc::clone(&room));
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let ended = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                // SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, section 6.5.2) may change at any time.
                let most = connection.current_max_send_streams().clamp(1, MOST_SHARING as usize);
                told.most.store(most, Ordering::Relaxed);
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "connection to the upstream ended");
            }
            drop(file);
        });
        lock(&self.shared).push(Shared {
            sender: sender.clone(),
            room,
        });
        Ok(Connection {
            sender: Sender::Many { sender, _place: place },
            reused: false,
        })
    }

    /// Takes back a connection whose answer has been read to its end.
    pub fn give_back(&self, sender: Sender) {
        let Sender::One(alone) = sender else { return };
        // Where there are no more files, somebody waits for one, perhaps on another thread.
        if alone.sender.is_closed() || self.files.available_permits() == 0 {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.len() == MOST_IDLE {
            idle.pop_front();
        }
        idle.push_back((alone, Instant::now()));
    }

    /// Closes what has idled too long; called now and then.
    pub fn sweep(&self) {
        let mut idle = lock(&self.idle);
        while idle
            .front()
            .is_some_and(|(alone, since)| since.elapsed() >= IDLE_LIMIT || alone.sender.is_closed())
        {
            idle.pop_front();
        }
        let mut first = true;
        lock(&self.shared).retain(|shared| std::mem::take(&mut first) || shared.room.taken.load(Ordering::Relaxed) > 0);
    }
}

async fn one<S>(stream: S, file: OwnedSemaphorePermit) -> Result<Connection, Unreachable>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await?;
    let file = Arc::new(file);
    let open = Arc::clone(&file);
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to the upstream ended");
        }
        drop(open);
    });
    Ok(Connection {
        sender: Sender::One(Alone { sender, _file: file }),
        reused: false,
    })
}

/// Nothing is left half done when a holder panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;
    use tokio::time::Instant;

    use super::super::way::Way;
    use super::{Unreachable, Upstream};

    #[tokio::test]
    async fn threads_share_the_files_and_who_is_done_hands_his_on() {
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let files = Arc::new(Semaphore::new(1));
        let thread = || Upstream::new(Way::Plain(app.local_addr().unwrap().to_string()), Arc::clone(&files));
        let (one, other) = (thread(), thread());
        let connection = one.connect(false).await.unwrap();
        tokio::time::pause();
        assert!(matches!(other.connect(false).await, Err(Unreachable::Timeout)));
        tokio::time::resume();
        one.give_back(connection.sender);
        assert!(
            one.ready(false, Instant::now()).is_none(),
            "it is not kept idle while others wait"
        );
        assert!(other.connect(false).await.is_ok());
    }
}
