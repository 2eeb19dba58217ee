//! One connection to one directory server, secured before anybody's name or password goes over it.
//!
//! The sockets and TLS are ours, not the LDAP library's: it has no time limits, fails at bracketed IPv6 names, and takes
//! whatever comes. It speaks to one end of a socket pair; between that and the server [`relay`] lets only well-formed
//! messages of bounded size through ([`wire`]). It may still panic at odd contents: each connection is driven by a task of
//! its own, and what waits for an answer catches it, so that nothing but the one connection ends.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use ldap3::controls::{Control, RawControl};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchOptions, StdStream};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Unusable;
use super::entry::Entry;
use super::wire;
use crate::config::{LdapScheme, LdapServer};
use crate::person::is_unseen;
use crate::telemetry::metrics;
use crate::trust;

/// For the connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// For a bind, and for a whole search.
const OPERATION: Duration = Duration::from_secs(10);
/// All that one connection may bring, in bytes; one that has brought so much is replaced.
const MOST: usize = 64 * 1024 * 1024;
/// ExtendedRequest of StartTLS, message 1 (RFC 4511, section 4.14.1).
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// draft-behera-ldap-password-policy, section 6.1: asked for, so that the answer says what is the matter.
const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

/// A connection; dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    ldap: Ldap,
    server: Arc<str>,
    /// For each operation.
    patience: Duration,
    /// Something may still come that was asked before: nothing more is asked on it.
    spoiled: bool,
    /// Whether this is Active Directory, once somebody asked.
    pub(super) active_directory: Option<bool>,
}

/// What a search brought.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) entries: Vec<Entry>,
    /// There may be more: more than were asked for, or a limit of the server's.
    pub(super) cut: bool,
}

impl Connection {
    /// Connects and secures the connection: with ldaps or StartTLS nothing but the request for TLS is sent before the
    /// certificate was verified.
    pub(super) async fn open(server: &LdapServer, tls: &Arc<ClientConfig>, start_tls: bool) -> Result<Self, Unusable> {
        let name: Arc<str> = server.to_string().into();
        let not_reached = |why: String| Unusable::NotReached {
            server: Arc::clone(&name),
            why,
        };
        timeout(CONNECT, Self::connect(server, tls, start_tls, &name))
            .await
            .map_err(|_| not_reached(format!("no connection within {} s", CONNECT.as_secs())))?
            .map_err(|error| match trust::advice(&error) {
                Some(advice) => not_reached(format!("{error} ({advice})")),
                None => not_reached(error.to_string()),
            })
    }

    async fn connect(
        server: &LdapServer,
        tls: &Arc<ClientConfig>,
        start_tls: bool,
        name: &Arc<str>,
    ) -> io::Result<Self> {
        match &server.scheme {
            LdapScheme::Ldapi(path) => {
                let stream = UnixStream::connect(path).await?;
                Self::speak(stream, name).await
            }
            LdapScheme::Ldap { host, port } => {
                let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                if !start_tls {
                    return Self::speak(stream, name).await;
                }
                ask_for_tls(&mut stream).await?;
                let stream = secured(stream, host, tls).await?;
                Self::speak(stream, name).await
            }
            LdapScheme::Ldaps { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                let stream = secured(stream, host, tls).await?;
                Self::speak(stream, name).await
            }
        }
    }

    /// Puts the library in front of a stream that is as secure as it will be.
    async fn speak(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        server: &Arc<str>,
    ) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
        let (connection, ldap) = LdapConnAsync::with_settings(settings, "ldapi:///")
            .await
            .map_err(io::Error::from)?;
        tokio::spawn(relay(stream, ours));
        let driver = tokio::spawn(connection.drive());
        let name = Arc::clone(server);
        tokio::spawn(async move {
            if driver.await.is_err_and(|error| error.is_panic()) {
                metrics().directory_nonsense.inc();
                tracing::warn!(
                    server = &*name,
                    "a directory's answer could not be read; its connection was closed"
                );
            }
        });
        Ok(Self {
            ldap,
            server: Arc::clone(server),
            patience: OPERATION,
            spoiled: false,
            active_directory: None,
        })
    }

    /// Whether more may be asked on it, as far as this end knows.
    pub(super) fn is_sound(&mut self) -> bool {
        !self.spoiled && !self.ldap.is_closed()
    }

    /// Waits no longer than this for each operation.
    pub(super) const fn hurry(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(super) fn server(&self) -> &Arc<str> {
        &self.server
    }

    /// A simple bind (RFC 4513, section 5.1). An empty name or password would be taken for nobody's and succeed: it is not
    /// sent.
    pub(super) async fn bind(&mut self, name: &str, password: &SecretString) -> Result<LdapResult, Unusable> {
        let secret = password.expose_secret();
        // Servers written in C may take a password that begins with NUL for an empty one.
        if name.trim().is_empty() || is_nothing(secret) || secret.contains('\0') {
            return Err(Unusable::EmptyBind);
        }
        let policy = RawControl {
            ctype: PASSWORD_POLICY.to_owned(),
            crit: false,
            val: None,
        };
        let bind = self.ldap.with_controls(policy).simple_bind(name, secret);
        let bound = timeout(self.patience, AssertUnwindSafe(bind).catch_unwind()).await;
        match bound {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(Ok(Err(error))) => Err(self.broken("the bind", &error)),
            Ok(Err(_)) => Err(self.nonsense("the answer to a bind")),
            Err(_) => Err(self.late("the bind")),
        }
    }

    /// At most `most` entries; one more is asked for, so that there being more is seen whatever the server says.
    pub(super) async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[String],
        most: usize,
    ) -> Result<Answer, Unusable> {
        // Until it has ended well.
        self.spoiled = true;
        let patience = self.patience;
        let collecting = self.collect(base, scope, filter, attributes, most);
        let searched = timeout(patience, AssertUnwindSafe(collecting).catch_unwind()).await;
        let (entries, result) = match searched {
            Ok(Ok(Ok(searched))) => searched,
            Ok(Ok(Err(error))) => return Err(self.broken("a search", &error)),
            Ok(Err(_)) => return Err(self.nonsense("the answer to a search")),
            Err(_) => return Err(self.late("a search")),
        };
        let entries: Option<Vec<Entry>> = entries.into_iter().map(Entry::read).collect();
        let entries = entries.ok_or_else(|| self.nonsense("an entry"))?;
        self.spoiled = result.is_none();
        match result.map(|result| (result.rc, result.text)) {
            Some((0, _)) => Ok(Answer { entries, cut: false }),
            // We stopped asking; or a limit of time, of size, or the administrator's.
            None | Some((3 | 4 | 11, _)) => Ok(Answer { entries, cut: true }),
            Some((code, text)) => Err(Unusable::Search {
                server: Arc::clone(&self.server),
                base: base.to_owned(),
                code,
                text,
            }),
        }
    }

    async fn collect(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[String],
        most: usize,
    ) -> Result<(Vec<ldap3::ResultEntry>, Option<LdapResult>), LdapError> {
        let limit = i32::try_from(most + 1).unwrap_or(i32::MAX);
        self.ldap.with_search_options(SearchOptions::new().sizelimit(limit));
        let mut stream = self
            .ldap
            .streaming_search(base, scope, filter, attributes.to_vec())
            .await?;
        let mut entries = Vec::new();
        while let Some(entry) = stream.next().await? {
            // A reference is no entry, and not followed: whoever answers there was not chosen by the operator. Active
            // Directory adds some to every search from its root.
            if entry.is_ref() || entry.is_intermediate() {
                continue;
            }
            entries.push(entry);
            if entries.len() > most {
                return Ok((entries, None));
            }
        }
        Ok((entries, Some(stream.finish().await)))
    }

    /// The library panicked at it, or we can't read it. Another server is well, perhaps.
    fn nonsense(&self, what: &str) -> Unusable {
        metrics().directory_nonsense.inc();
        Unusable::Broken {
            server: Arc::clone(&self.server),
            why: format!("{what} could not be read"),
        }
    }

    fn broken(&self, what: &str, error: &LdapError) -> Unusable {
        Unusable::Broken {
            server: Arc::clone(&self.server),
            why: format!("{what} broke off: {error}"),
        }
    }

    fn late(&self, what: &str) -> Unusable {
        Unusable::Broken {
            server: Arc::clone(&self.server),
            why: format!("{what} took longer than {} s", self.patience.as_secs()),
        }
    }
}

/// Whether a password is empty, or may be to a server: of blanks, or of what SASLprep takes away (RFC 4013, section 2.1; RFC
/// 4513, section 5.1.2).
pub(in crate::sign_in) fn is_nothing(password: &str) -> bool {
    password
        .chars()
        .all(|c| c.is_whitespace() || c.is_control() || is_unseen(c) || c == '\u{1806}')
}

/// What a bind's answer says besides its code.
pub(super) fn controls(result: &LdapResult) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
    result
        .ctrls
        .iter()
        .map(|Control(_, raw)| (raw.ctype.as_str(), raw.val.as_deref()))
}

/// Whether an answer's control is the password policy's.
pub(super) fn is_password_policy(kind: &str) -> bool {
    kind == PASSWORD_POLICY
}

async fn secured(
    stream: TcpStream,
    host: &str,
    tls: &Arc<ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(tls)).connect(name, stream).await
}

/// StartTLS (RFC 4511, section 4.14). Exactly one answer is read: what was sent in clear behind it meets the handshake, and
/// ends it.
async fn ask_for_tls(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(START_TLS).await?;
    let answer = wire::message(stream).await?.unwrap_or_default();
    match start_tls_result(&answer) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::other(format!("StartTLS was refused (result {code})"))),
        None => Err(io::Error::other("StartTLS was answered with something else")),
    }
}

/// The result code of an ExtendedResponse to message 1.
fn start_tls_result(message: &[u8]) -> Option<u8> {
    let (_, content, _) = wire::element(message)?;
    let (0x02, [1], rest) = wire::element(content)? else {
        return None;
    };
    let (0x78, response, _) = wire::element(rest)? else {
        return None;
    };
    match wire::element(response)? {
        (0x0a, [code], _) => Some(*code),
        _ => None,
    }
}

/// Carries messages between a server and the library until either is done.
async fn relay(directory: impl AsyncRead + AsyncWrite + Unpin, library: UnixStream) {
    let (from_directory, mut to_directory) = tokio::io::split(directory);
    let (mut from_library, mut to_library) = library.into_split();
    let mut from_directory = BufReader::new(from_directory);
    let down = async {
        let mut total = 0;
        while let Some(message) = wire::message(&mut from_directory).await? {
            total += message.len();
            if total > MOST {
                return Err(wire::nonsense("it is without end"));
            }
            to_library.write_all(&message).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = down => if let Err(error) = ended {
            // What breaks off is nobody's nonsense.
            if error.kind() == io::ErrorKind::InvalidData {
                metrics().directory_nonsense.inc();
            }
            tracing::debug!(%error, "a connection to the directory ends");
        },
        _ = tokio::io::copy(&mut from_library, &mut to_directory) => {}
    }
    let _ = timeout(Duration::from_secs(1), to_directory.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use super::{is_nothing, start_tls_result};

    #[test]
    fn a_password_of_nothing_that_is_seen_is_none() {
        for nothing in [
            "",
            " ",
            "\0",
            "\u{a0}\u{3000}",
            "\u{ad}",
            "\u{200b}\u{feff}",
            "\u{fe0f}",
            "\u{1806}",
            "\t\r\n",
        ] {
            assert!(is_nothing(nothing), "{nothing:?}");
        }
        for something in ["a", " a", "\u{200b}a", "ä", "🦀"] {
            assert!(!is_nothing(something), "{something:?}");
        }
    }

    #[test]
    fn only_a_success_to_our_own_request_starts_tls() {
        assert_eq!(
            start_tls_result(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
            Some(0)
        );
        assert_eq!(
            start_tls_result(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00"),
            Some(2)
        );
        for other in [
            &b"\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00"[..],
            b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
            b"\x30\x05\x02\x01\x01\x78\x00",
            b"",
        ] {
            assert_eq!(start_tls_result(other), None, "{other:x?}");
        }
    }
}
