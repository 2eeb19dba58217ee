//! Requests to the provider: one connection each, ten seconds at most, answers of one mebibyte at most, redirects never
//! followed (an endpoint that sends a code or token elsewhere is not ours to obey).
//!
//! An own client over hyper and rustls, since the limits are the point of it. Sign-ins are rare and a handshake is cheap
//! beside a person; connections are not kept.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::config::ProviderProxy;
use crate::sign_in::CannotStart;
use crate::trust;

/// The longest answer that is read.
pub(super) const LONGEST_ANSWER: usize = 1 << 20;
/// The longest that a request may take, from its first packet to the answer's last byte.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Asks the provider.
pub(super) struct ProviderClient {
    tls: TlsConnector,
    proxy: Option<Matcher>,
    longest_wait: Duration,
}

impl std::fmt::Debug for ProviderClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProviderClient")
    }
}

/// What the provider answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Lower case, without parameters.
    pub(super) content_type: Option<String>,
    /// Where a redirect that was not followed points to.
    pub(super) location: Option<String>,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("{0} can't be reached: {1}")]
    Connect(String, std::io::Error),
    #[error("no TLS with {0}: {1}{hint}", hint = tls_hint(.1))]
    Tls(String, std::io::Error),
    #[error("the proxy (HTTPS_PROXY) does not connect to {0}: {1}")]
    Proxy(String, String),
    #[error("{0} did not answer within {1} seconds")]
    TooSlow(String, u64),
    #[error("the answer of {0} is longer than 1 MiB")]
    TooLong(String),
    #[error("the answer of {0} is compressed, though that was not asked for")]
    Compressed(String),
    #[error("{0} answered nonsense: {1}")]
    Broken(String, String),
    #[error("the address {0} has no host")]
    NoHost(String),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl ProviderClient {
    pub(super) fn new(ca_file: Option<&Path>, proxy: &ProviderProxy) -> Result<Self, CannotStart> {
        let tls = trust::client(ca_file, &[b"http/1.1"]).map_err(|error| CannotStart::CaFile(error.to_string()))?;
        Ok(Self {
            tls: TlsConnector::from(Arc::new(tls)),
            proxy: matcher(proxy)?,
            longest_wait: LONGEST_WAIT,
        })
    }

    #[cfg(test)]
    pub(super) fn waiting_at_most(mut self, longest_wait: Duration) -> Self {
        self.longest_wait = longest_wait;
        self
    }

    /// Sends one request (absolute URI) and reads the whole answer.
    pub(super) async fn ask(&self, request: Request<Bytes>) -> Result<Answer, NoAnswer> {
        let at = Place::of(request.uri())?;
        let name = at.to_string();
        tokio::time::timeout(self.longest_wait, self.ask_in_time(request, at))
            .await
            .unwrap_or_else(|_| Err(NoAnswer::TooSlow(name, self.longest_wait.as_secs())))
    }

    async fn ask_in_time(&self, mut request: Request<Bytes>, at: Place) -> Result<Answer, NoAnswer> {
        let name = at.to_string();
        let broken = |error: hyper::Error| NoAnswer::Broken(name.clone(), with_causes(&error));
        let stream = self.connect(request.uri(), &at).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let _driver = Driver(tokio::spawn(connection).abort_handle());

        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        if let Ok(path) = path.parse() {
            *request.uri_mut() = path;
        }
        request.headers_mut().insert(HOST, at.host_header()?);
        request.headers_mut().insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("vestibule/", env!("CARGO_PKG_VERSION"))),
        );
        let response = sender.send_request(request.map(Full::new)).await.map_err(broken)?;

        let (head, body) = response.into_parts();
        let header = |header_name| head.headers.get(header_name).and_then(|value| value.to_str().ok());
        if header(CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return Err(NoAnswer::Compressed(name));
        }
        let content_type =
            header(CONTENT_TYPE).map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let location = header(LOCATION).map(ToOwned::to_owned);
        let body = Limited::new(body, LONGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    NoAnswer::TooLong(name.clone())
                } else {
                    NoAnswer::Broken(name.clone(), with_causes(error.as_ref()))
                }
            })?
            .to_bytes();
        Ok(Answer {
            status: head.status,
            content_type,
            location,
            body,
        })
    }

    async fn connect(&self, uri: &Uri, at: &Place) -> Result<Box<dyn Stream>, NoAnswer> {
        // HTTPS_PROXY is for https: the matcher knows no proxy for http.
        let proxy = self.proxy.as_ref().and_then(|proxy| proxy.intercept(uri));
        let stream: Box<dyn Stream> = match proxy {
            Some(proxy) => through_proxy(&proxy, at).await?,
            None => Box::new(tcp(at).await?),
        };
        if !at.https {
            return Ok(stream);
        }
        let server = ServerName::try_from(at.host.clone()).map_err(|_| NoAnswer::NoHost(at.to_string()))?;
        let stream = self
            .tls
            .connect(server, stream)
            .await
            .map_err(|error| NoAnswer::Tls(at.to_string(), error))?;
        Ok(Box::new(stream))
    }
}

/// Stops driving a connection when nobody waits for it any more.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where a request goes.
struct Place {
    https: bool,
    /// Without brackets.
    host: String,
    port: u16,
}

impl Place {
    fn of(uri: &Uri) -> Result<Self, NoAnswer> {
        let https = uri.scheme_str() == Some("https");
        let host = uri.host().filter(|host| !host.is_empty());
        Ok(Self {
            https,
            host: host
                .ok_or_else(|| NoAnswer::NoHost(uri.to_string()))?
                .trim_matches(['[', ']'])
                .to_owned(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
        })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn host_header(&self) -> Result<HeaderValue, NoAnswer> {
        let authority = self.authority();
        let default = if self.https { ":443" } else { ":80" };
        HeaderValue::from_str(authority.strip_suffix(default).unwrap_or(&authority))
            .map_err(|_| NoAnswer::NoHost(authority))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.authority())
    }
}

async fn tcp(at: &Place) -> Result<TcpStream, NoAnswer> {
    let stream = TcpStream::connect((at.host.as_str(), at.port))
        .await
        .map_err(|error| NoAnswer::Connect(at.to_string(), error))?;
    // A failure costs some milliseconds, nothing else.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// A tunnel to `at` through the proxy (RFC 9110, section 9.3.6).
async fn through_proxy(proxy: &Intercept, at: &Place) -> Result<Box<dyn Stream>, NoAnswer> {
    let failed = |why: String| NoAnswer::Proxy(at.to_string(), why);
    let stream = tcp(&Place::of(proxy.uri())?)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let driver = Driver(tokio::spawn(connection.with_upgrades()).abort_handle());
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(at.authority())
        .header(HOST, at.authority())
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.to_string()))?;
    if let Some(credentials) = proxy.basic_auth() {
        request.headers_mut().insert(PROXY_AUTHORIZATION, credentials.clone());
    }
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if !response.status().is_success() {
        return Err(failed(format!("it answers {}", response.status())));
    }
    let tunnel = hyper::upgrade::on(response)
        .await
        .map_err(|error| failed(error.to_string()))?;
    // After the upgrade the driver has nothing left to do.
    drop(driver);
    Ok(Box::new(TokioIo::new(tunnel)))
}

fn matcher(proxy: &ProviderProxy) -> Result<Option<Matcher>, CannotStart> {
    let Some(url) = proxy.url.as_ref() else { return Ok(None) };
    let url = url.expose_secret();
    let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme);
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(CannotStart::Proxy(format!(
            "the proxy itself is reached over http only, not {}: write http://host:port",
            scheme.escape_debug()
        )));
    }
    Ok(Some(Matcher::builder().https(url).no(proxy.no_proxy.clone()).build()))
}

fn tls_hint(error: &std::io::Error) -> String {
    trust::advice(error)
        .map(|advice| format!(" ({advice})"))
        .unwrap_or_default()
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
