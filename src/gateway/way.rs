//! The way to the app: its address, and TCP connections to the addresses that a name has.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use crate::config::{self, UpstreamScheme};
use crate::trust::{self, CannotTrust};

/// Before the next address of a name is tried beside the last (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// How the app is reached.
#[derive(Clone)]
pub enum Way {
    /// HTTP/1.1 over TCP, to `host:port`.
    Plain(String),
    /// HTTP/2 with prior knowledge over TCP, to `host:port`.
    H2c(String),
    /// Over TLS, to `host:port`; HTTP/2 where the app offers it.
    Tls {
        /// `host:port`.
        authority: String,
        /// What the certificate must be for.
        name: ServerName<'static>,
        /// Offers HTTP/2 and HTTP/1.1.
        connector: TlsConnector,
        /// Offers HTTP/1.1 only: a WebSocket needs it.
        http1: TlsConnector,
    },
    /// HTTP/1.1 over a Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(authority) => write!(f, "http://{authority}"),
            Self::H2c(authority) => write!(f, "h2c://{authority}"),
            Self::Tls { authority, .. } => write!(f, "https://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Way {
    /// From the settings.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn new(upstream: &config::Upstream, ca_file: Option<&Path>) -> Result<Self, CannotTrust> {
        let authority = upstream.authority.to_string();
        Ok(match &upstream.scheme {
            UpstreamScheme::Http => Self::Plain(authority),
            UpstreamScheme::H2c => Self::H2c(authority),
            UpstreamScheme::Unix(path) => Self::Unix(path.clone()),
            UpstreamScheme::Https => {
                let host = upstream.authority.host().trim_start_matches('[').trim_end_matches(']');
                let name = ServerName::try_from(host.to_owned()).map_err(|error| CannotTrust::new(host, &error))?;
                let connector = |protocols: &[&[u8]]| {
                    trust::client(ca_file, protocols).map(|config| TlsConnector::from(Arc::new(config)))
                };
                Self::Tls {
                    authority,
                    name,
                    connector: connector(&[b"h2", b"http/1.1"])?,
                    http1: connector(&[b"http/1.1"])?,
                }
            }
        })
    }
}

/// Looks the name up anew and tries its addresses, the families in turn, each a little after the one before (RFC 8305).
pub(super) async fn tcp(authority: &str) -> io::Result<TcpStream> {
    let mut addresses = in_turn(lookup_host(authority).await?.collect()).into_iter().peekable();
    let mut attempts = tokio::task::JoinSet::new();
    let mut failed = None;
    while let Some(address) = addresses.next() {
        attempts.spawn(TcpStream::connect(address));
        let is_last = addresses.peek().is_none();
        loop {
            tokio::select! {
                attempt = attempts.join_next() => match attempt {
                    Some(Ok(Ok(stream))) => return with_options(stream),
                    Some(Ok(Err(error))) => failed = Some(error),
                    Some(Err(error)) => failed = Some(io::Error::other(error)),
                    None => break,
                },
                () = sleep(NEXT_ADDRESS), if !is_last => break,
            }
            if !is_last {
                break;
            }
        }
    }
    Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// The families in turn, IPv6 first.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (six, four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let longest = six.len().max(four.len());
    (0..longest)
        .flat_map(|at| [six.get(at).copied(), four.get(at).copied()])
        .flatten()
        .collect()
}

fn with_options(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(15));
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}
