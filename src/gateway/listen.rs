//! Sockets, the acceptors, and the threads that carry requests.
//!
//! One listening socket per address and one acceptor, which gives each connection to the thread with the fewest: the kernel
//! does not spread long connections evenly, and a second gateway started by mistake must not share the port in silence.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::Either;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connection::{ClientConnection, LOOK, Order, Watch, Watchman};
use super::stream::{Phase, TimedStream};
use super::upstream::Upstream;
use super::{Shared, Thread, handle};
use crate::clock::UnixTime;

/// Head of a request, request line included, in bytes.
const HEAD_SIZE: usize = 64 * 1024;
const HEAD_SIZE_HTTP2: u32 = 64 * 1024;
/// Streams of one HTTP/2 connection at once.
const MOST_STREAMS: u32 = 128;
/// What a client may send on a stream before we take it, in bytes.
const WINDOW: u32 = 256 * 1024;
/// What we hold for a stream whose client takes nothing, in bytes.
const SEND_BUFFER: usize = 256 * 1024;
/// Client connections at once, if the system's limit of open files does not say less.
const MOST_CONNECTIONS: usize = 100_000;
/// Files that are nobody's connection: the store's, the provider's, certificates.
const OTHER_FILES: u64 = 256;

/// Listening sockets, bound before anything is started.
#[derive(Debug)]
pub struct Listeners(Vec<StdListener>);

/// An address that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address, as configured.
    pub address: SocketAddr,
    /// The system's word.
    pub source: io::Error,
}

impl Listeners {
    /// Binds every address.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let bind = |address: &SocketAddr| {
            listener(*address).map_err(|source| BindError {
                address: *address,
                source,
            })
        };
        addresses.iter().map(bind).collect::<Result<_, _>>().map(Self)
    }

    /// The addresses as bound: a port that was 0 is now known.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }
}

fn listener(address: SocketAddr) -> io::Result<StdListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    // A restart must not wait for connections that linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// The running data plane.
#[derive(Debug)]
pub struct Running {
    accepting: CancellationToken,
    carriers: Arc<Vec<Carrier>>,
}

#[derive(Debug)]
struct Carrier {
    connections: Arc<AtomicUsize>,
    inbox: UnboundedSender<StdStream>,
    watchman: Arc<Watchman>,
}

impl Running {
    /// Starts the acceptor and `threads` threads that carry requests.
    pub fn start(listeners: Listeners, shared: &Arc<Shared>, threads: usize, keepalive: Duration) -> io::Result<Self> {
        let accepting = CancellationToken::new();
        let most = most_connections();
        let files = Arc::new(Semaphore::new(most));
        let carriers = (0..threads.max(1))
            .map(|number| carrier(number, shared, &files, keepalive))
            .collect::<io::Result<Vec<_>>>()?;
        let carriers = Arc::new(carriers);
        let (for_thread, stop, telemetry) = (Arc::clone(&carriers), accepting.clone(), Arc::clone(shared));
        std::thread::Builder::new().name("accept".into()).spawn(move || {
            let accepted = current_thread()
                .map(|runtime| runtime.block_on(accept_all(listeners, for_thread, most, stop, &telemetry)));
            if let Err(error) = accepted {
                tracing::error!(%error, "the acceptor has no runtime");
            }
        })?;
        Ok(Self { accepting, carriers })
    }

    /// Closes the listening sockets, ends streams and WebSockets, lets the rest finish.
    pub fn drain(&self) {
        self.accepting.cancel();
        for carrier in self.carriers.iter() {
            carrier.watchman.drain();
        }
    }

    /// Client connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.carriers
            .iter()
            .map(|carrier| carrier.connections.load(Ordering::Relaxed))
            .sum()
    }

    /// Waits until no connection is open, for `limit` at most.
    pub async fn finished(&self, limit: Duration) -> bool {
        let all_closed = async {
            while self.connections() > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(limit, all_closed).await.is_ok()
    }
}

fn current_thread() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// As many client connections as there are files for, and as many to the app: whoever opens more must wait, but not take
/// from those who are served what they need. The soft limit is a guard for old programs (1024 on most systems) and raised.
fn most_connections() -> usize {
    let allowed = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: allowed.maximum,
        maximum: allowed.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    connections_with(getrlimit(Resource::Nofile).current)
}

fn connections_with(files: Option<u64>) -> usize {
    let two_each = files.map_or(u64::MAX, |files| files.saturating_sub(OTHER_FILES) / 2);
    usize::try_from(two_each)
        .unwrap_or(MOST_CONNECTIONS)
        .clamp(16, MOST_CONNECTIONS)
}

async fn accept_all(
    listeners: Listeners,
    carriers: Arc<Vec<Carrier>>,
    most: usize,
    stop: CancellationToken,
    shared: &Shared,
) {
    let accepting = listeners
        .0
        .into_iter()
        .map(|listener| accept(listener, &carriers, most, shared));
    tokio::select! {
        _ = futures_util::future::join_all(accepting) => {}
        () = stop.cancelled() => {}
    }
}

async fn accept(listener: StdListener, carriers: &[Carrier], most: usize, shared: &Shared) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listening socket could not be used");
            return;
        }
    };
    let mut next = 0_usize;
    loop {
        let total: usize = carriers
            .iter()
            .map(|carrier| carrier.connections.load(Ordering::Relaxed))
            .sum();
        if total >= most {
            // Those who knock wait in the kernel's queue.
            sleep(Duration::from_millis(50)).await;
            continue;
        }
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                // Out of files or memory: others must finish first.
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        next = next.wrapping_add(1);
        let turn = next;
        let fewest = carriers
            .iter()
            .enumerate()
            .min_by_key(|(at, carrier)| {
                (
                    carrier.connections.load(Ordering::Relaxed),
                    at.wrapping_add(turn) % carriers.len().max(1),
                )
            })
            .map(|(_, carrier)| carrier);
        if let (Some(carrier), Ok(stream)) = (fewest, stream.into_std()) {
            carrier.connections.fetch_add(1, Ordering::Relaxed);
            shared.telemetry.connection_opened();
            if carrier.inbox.send(stream).is_err() {
                carrier.connections.fetch_sub(1, Ordering::Relaxed);
                shared.telemetry.connection_closed();
            }
        }
    }
}

fn carrier(number: usize, shared: &Arc<Shared>, files: &Arc<Semaphore>, keepalive: Duration) -> io::Result<Carrier> {
    let (inbox, arrivals) = unbounded_channel();
    let connections = Arc::new(AtomicUsize::new(0));
    let watchman = Arc::new(Watchman::default());
    let thread = Arc::new(Thread {
        shared: Arc::clone(shared),
        upstream: Upstream::new(shared.way.clone(), Arc::clone(files)),
        watchman: Arc::clone(&watchman),
        ids: super::RequestIds::new(),
    });
    let (runtime, open) = (current_thread()?, Arc::clone(&connections));
    std::thread::Builder::new()
        .name(format!("carry-{number}"))
        .spawn(move || runtime.block_on(carry(arrivals, thread, open, keepalive)))?;
    Ok(Carrier {
        connections,
        inbox,
        watchman,
    })
}

/// One thread's work: takes connections in, and looks after all of them.
async fn carry(
    mut arrivals: UnboundedReceiver<StdStream>,
    thread: Arc<Thread>,
    open: Arc<AtomicUsize>,
    keepalive: Duration,
) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            arrived = arrivals.recv() => {
                let Some(stream) = arrived else { return };
                let guest = Guest { open: Arc::clone(&open), thread: Arc::clone(&thread) };
                let thread = Arc::clone(&thread);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &thread, keepalive, guest).await {
                        tracing::debug!(%error, "a connection could not be set up");
                    }
                });
            }
            _ = looks.tick() => {
                thread.upstream.sweep();
                thread.watchman.look(UnixTime::now());
            }
        }
    }
}

/// Counts an open connection for as long as it is served or is a tunnel, panics included.
#[derive(Debug)]
pub struct Guest {
    open: Arc<AtomicUsize>,
    thread: Arc<Thread>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.thread.shared.telemetry.connection_closed();
    }
}

/// Sets a connection up and serves it; where TLS ends here, after its handshake.
async fn serve(stream: StdStream, thread: &Arc<Thread>, keepalive: Duration, guest: Guest) -> io::Result<()> {
    let stream = TcpStream::from_std(stream)?;
    let address = stream.peer_addr()?;
    stream.set_nodelay(true)?;
    let tcp_keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(15));
    socket2::SockRef::from(&stream).set_tcp_keepalive(&tcp_keepalive)?;

    match &thread.shared.certificate {
        // Without TLS a connection says that it is HTTP/2 by its first bytes (RFC 9113, section 3.4). Believed of those
        // who stand near: browsers do not do it, and what passes several readers should be read alike by all.
        None => {
            let near = address.ip().to_canonical().is_loopback() || thread.shared.forwarding.peer(address).trusted;
            if near && begins_as_http2(&stream, keepalive).await? {
                serve_http2(stream, address, thread, keepalive, guest).await;
            } else {
                serve_http(stream, address, thread, keepalive, guest).await;
            }
        }
        Some(certificate) => {
            // Boxed: of a connection's memory, the handshake's is needed for a moment only.
            let served = Box::pin(async move {
                let stream = certificate.accept(stream).await?;
                Some(if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    Either::Left(serve_http2(stream, address, thread, keepalive, guest))
                } else {
                    Either::Right(serve_http(stream, address, thread, keepalive, guest))
                })
            });
            if let Some(served) = served.await {
                served.await;
            }
        }
    }
    Ok(())
}

/// Waits for the first bytes and leaves them where they are. No request begins like the preface but one with the method
/// PRI, which is there for this alone.
async fn begins_as_http2(stream: &TcpStream, keepalive: Duration) -> io::Result<bool> {
    let mut first = [0; 4];
    let peeked = tokio::time::timeout(keepalive, stream.peek(&mut first))
        .await
        .map_err(io::Error::from)??;
    Ok(peeked == first.len() && first == *b"PRI ")
}

/// Serves HTTP/2. One connection is one thread: its streams share it.
fn serve_http2<S>(
    stream: S,
    address: SocketAddr,
    thread: &Arc<Thread>,
    keepalive: Duration,
    guest: Guest,
) -> impl Future<Output = ()> + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let phase = Arc::new(Phase::of_http2());
    let watch = Arc::new(Watch::default());
    let watching = thread.watchman.watch(&watch);
    let peer = thread.shared.forwarding.peer(address);
    let connection = ClientConnection::new(peer, Arc::clone(&phase), Arc::clone(&watch), guest);
    let stream = TimedStream::of_http2(stream, phase, keepalive, Arc::clone(&watch));
    let thread = Arc::clone(thread);
    let service = service_fn(move |request| handle(request, Arc::clone(&connection), Arc::clone(&thread)));
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(HEAD_SIZE_HTTP2)
        // Streams that a client opens only to reset them (CVE-2023-44487), and those that we had to reset.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(TokioIo::new(stream), service);
    drive!(served, watch, watching)
}

/// Drives a connection until it ends or is told to. A macro, since hyper's connections share no trait.
///
/// The connection has a box of its own, and what sets it up is no future: one keeps room for each place that a value has been
/// in, for as long as the connection lives, and for the largest kind of connection there is.
macro_rules! drive {
    ($connection:expr, $watch:expr, $watching:expr) => {{
        let (mut connection, watch, watching) = (Box::pin($connection), $watch, $watching);
        let mut draining = false;
        poll_fn(move |cx| {
            // On the list for as long as this lives.
            let _ = &watching;
            match watch.poll(cx) {
                Some(Order::Cut) => return Poll::Ready(()),
                Some(Order::Drain) if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ => {}
            }
            connection.as_mut().poll(cx).map(|ended| {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a client connection ended");
                }
            })
        })
    }};
}
use drive;

fn serve_http<S>(
    stream: S,
    address: SocketAddr,
    thread: &Arc<Thread>,
    keepalive: Duration,
    guest: Guest,
) -> impl Future<Output = ()> + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let phase = Arc::new(Phase::default());
    let watch = Arc::new(Watch::default());
    let watching = thread.watchman.watch(&watch);
    let peer = thread.shared.forwarding.peer(address);
    let connection = ClientConnection::new(peer, Arc::clone(&phase), Arc::clone(&watch), guest);
    let stream = TimedStream::new(stream, phase, keepalive);
    let thread = Arc::clone(thread);
    let service = service_fn(move |request| handle(request, Arc::clone(&connection), Arc::clone(&thread)));
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(HEAD_SIZE)
        .max_buf_size(2 * HEAD_SIZE)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    drive!(served, watch, watching)
}

#[cfg(test)]
mod tests {
    use super::{MOST_CONNECTIONS, connections_with};

    #[test]
    fn there_is_a_file_for_every_connection_and_one_to_the_app() {
        for files in [1024_u64, 4096, 65_536] {
            let connections = connections_with(Some(files));
            assert!(
                connections as u64 * 2 < files && connections as u64 * 3 > files,
                "{files}: {connections}"
            );
        }
        assert_eq!(connections_with(Some(64)), 16);
        assert_eq!(connections_with(Some(1 << 40)), MOST_CONNECTIONS);
        assert_eq!(connections_with(None), MOST_CONNECTIONS);
    }
}
