//! Where TLS ends: certificate files that are picked up when they change, session tickets, and who knocks in plain text.
//!
//! rustls with aws-lc-rs, TLS 1.2 and 1.3 (RFC 8446). A new certificate is taken only if the pair can be used; a broken
//! one is refused and the old one stays. Tickets' keys rotate by themselves and outlive a change of certificate.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Tls, TlsMin};
use crate::seal;
use crate::telemetry::metrics;

/// From the first byte of a handshake to its last.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How often the files are looked at: a secret mount swaps a link, and no watcher sees that everywhere.
const LOOK: Duration = Duration::from_secs(5);
/// What a browser that speaks plain http to this port is told.
const PLAIN_TEXT: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 70\r\nConnection: close\r\n\r\nThis port speaks https. Use an address that begins with https:// here.";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CannotUse {
    /// A file cannot be read, or holds no PEM of the kind.
    #[error("{setting} ({path}): {why}")]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The pair does not fit, or is of a kind that is not supported.
    #[error("the certificate and its key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
}

/// The certificate in use.
#[derive(Debug)]
pub struct Certificate {
    files: Tls,
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<ServerConfig>,
    /// What the files held when they were last looked at.
    seen: ArcSwap<[u8; 32]>,
}

impl Certificate {
    /// Reads the files.
    pub fn open(files: &Tls) -> Result<Arc<Self>, CannotUse> {
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        let (certificate, key) = read(files)?;
        let current = config(files, &certificate, &key, Arc::clone(&tickets))?;
        let seen = digest(&certificate, &key);
        Ok(Arc::new(Self {
            files: files.clone(),
            tickets,
            current: ArcSwap::from_pointee(current),
            seen: ArcSwap::from_pointee(seen),
        }))
    }

    /// Looks at the files again; takes over what changed if it can be used.
    pub fn look(&self) {
        let (certificate, key) = match read(&self.files) {
            Ok(pair) => pair,
            Err(error) => return self.refuse(&error, [0; 32]),
        };
        let digest = digest(&certificate, &key);
        if **self.seen.load() == digest {
            return;
        }
        match config(&self.files, &certificate, &key, Arc::clone(&self.tickets)) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                self.seen.store(Arc::new(digest));
                metrics().certificates_taken.inc();
                tracing::info!("a new certificate was taken over");
            }
            Err(error) => self.refuse(&error, digest),
        }
    }

    /// Looks at the files every few seconds. Never returns.
    pub async fn follow(&self) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            self.look();
        }
    }

    /// Says so once for each state of the files.
    fn refuse(&self, error: &CannotUse, digest: [u8; 32]) {
        if **self.seen.load() != digest {
            self.seen.store(Arc::new(digest));
            metrics().certificates_refused.inc();
            tracing::error!(%error, "the new certificate is refused; the old one stays");
        }
    }

    /// The handshake of one connection. None if there is nobody to talk to any more.
    pub async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        let handshake = async {
            if speaks_plain_http(&stream).await? {
                let mut stream = stream;
                stream.write_all(PLAIN_TEXT).await?;
                stream.shutdown().await?;
                return Ok(None);
            }
            acceptor.accept(stream).await.map(Some)
        };
        match timeout(HANDSHAKE_LIMIT, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                metrics().handshakes_failed.inc();
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                metrics().handshakes_failed.inc();
                tracing::debug!("a TLS handshake was not finished in time");
                None
            }
        }
    }
}

/// A TLS record begins with its type, 22 for a handshake (RFC 8446, section 5.1); a request with a letter.
async fn speaks_plain_http(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 1];
    Ok(stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase())
}

fn read(files: &Tls) -> Result<(Vec<u8>, zeroize::Zeroizing<Vec<u8>>), CannotUse> {
    let file = |setting, path: &PathBuf| {
        std::fs::read(path).map_err(|why| CannotUse::File {
            setting,
            path: path.clone(),
            why: why.to_string(),
        })
    };
    Ok((
        file("VESTIBULE_TLS_CERT", &files.certificate)?,
        zeroize::Zeroizing::new(file("VESTIBULE_TLS_KEY", &files.key)?),
    ))
}

fn digest(certificate: &[u8], key: &[u8]) -> [u8; 32] {
    seal::sha256(&[seal::sha256(certificate), seal::sha256(key)].concat())
}

fn config(
    files: &Tls,
    certificate: &[u8],
    key: &[u8],
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, CannotUse> {
    let wrong = |setting, path: &PathBuf, why: String| CannotUse::File {
        setting,
        path: path.clone(),
        why,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong("VESTIBULE_TLS_CERT", &files.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(
            "VESTIBULE_TLS_CERT",
            &files.certificate,
            "there is no certificate in it".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| wrong("VESTIBULE_TLS_KEY", &files.key, error.to_string()))?;
    let versions: &[&rustls::SupportedProtocolVersion] = match files.min {
        TlsMin::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsMin::V1_3 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.ticketer = tickets;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
