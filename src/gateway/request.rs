//! Strict reading: from what hyper parsed to a request that means one thing.
//!
//! hyper has settled framing before we see a request (one length, `Content-Length` beside `Transfer-Encoding` dropped and
//! the connection closed); what it leaves to us is refused here: no Host or two, a Host that is not the authority, codings
//! other than `chunked`, CONNECT, TRACE, foreign absolute-form, paths with two meanings.

use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, FORWARDED, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request, Version};
use hyper::body::{Body as _, Incoming};

use super::forwarded::X_FORWARDED_FOR;
use super::host::{Host, Hosts};
use super::path::{Class, Paths};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// What a browser wants the answer for (Fetch Metadata Request Headers, section 2.1).
pub(super) const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// A request that means one thing. Made here only; whoever holds one need not ask again.
#[derive(Debug)]
pub struct StrictRequest {
    pub(super) parts: Parts,
    pub(super) body: Incoming,
    class: Class,
    host: Host,
    asker: Asker,
    upgrade: Upgrade,
    chunked: bool,
    claims_to_be_forwarded: bool,
}

/// What a request asks to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    Nothing,
    /// RFC 6455, section 4.1: a GET without body over HTTP/1.1.
    WebSocket,
    /// There is an `Upgrade` field all the same.
    Other,
}

/// Who asks, and so in what form an answer of ours is understood (CONTRACT, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A person opening a page: may be sent to sign in.
    Page,
    /// Another navigation (a form, a frame): gets a page, but can't be sent away and back.
    Navigation,
    /// A program: never gets HTML.
    Program,
    /// A gRPC client: reads a status in trailers only.
    Grpc,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// RFC 9112, section 3.2.
    #[error("the request needs exactly one Host header")]
    Host,
    /// RFC 9112, section 3.2.2: an absolute-form target and Host must agree, and be ours.
    #[error("the request's target and its Host header do not agree")]
    Authority,
    /// RFC 9112, section 6.1.
    #[error("the only transfer coding that is understood is chunked")]
    TransferCoding,
    /// CONNECT and TRACE.
    #[error("this method is not served")]
    Method,
    /// What is no path, or one with two meanings.
    #[error("the path means different things to different readers")]
    Path,
}

/// Reads a request strictly; a refusal comes with who asked.
pub fn read(request: Request<Incoming>, hosts: &Hosts, paths: &Paths) -> Result<Box<StrictRequest>, (Refusal, Asker)> {
    let (mut parts, body) = request.into_parts();
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
        say_length_once(&mut parts.headers);
    }
    let fields = Fields::of(&parts.headers);
    let asker = fields.asker(&parts.method);
    let (class, host, chunked) = examine(&parts, &fields, hosts, paths).map_err(|refusal| (refusal, asker))?;
    let upgrade = match fields.upgrade {
        false => Upgrade::Nothing,
        true if is_websocket(&parts) && body.is_end_stream() => Upgrade::WebSocket,
        true => Upgrade::Other,
    };
    let claims_to_be_forwarded = fields.forwarded;
    // Boxed: it is handed on from step to step.
    Ok(Box::new(StrictRequest {
        parts,
        body,
        class,
        host,
        asker,
        upgrade,
        chunked,
        claims_to_be_forwarded,
    }))
}

impl StrictRequest {
    /// Ours, public or protected.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Which of our names it was sent to.
    #[must_use]
    pub fn host(&self) -> Host {
        self.host
    }

    /// Who asks.
    #[must_use]
    pub fn asker(&self) -> Asker {
        self.asker
    }

    /// Whether it asks to become a WebSocket (RFC 6455, section 4.1): a GET without body over HTTP/1.1.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.upgrade == Upgrade::WebSocket
    }

    /// Whether it asks to become anything else than it is.
    #[must_use]
    pub fn asks_for_upgrade(&self) -> bool {
        self.upgrade != Upgrade::Nothing
    }

    /// Whether it says that a proxy sent it on.
    #[must_use]
    pub fn claims_to_be_forwarded(&self) -> bool {
        self.claims_to_be_forwarded
    }

    /// Whether its body came chunked and must go on so.
    pub(super) fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// The path as it was checked.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// Path and query as they were received.
    #[must_use]
    pub fn target(&self) -> &str {
        self.parts
            .uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str)
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The headers as they were received.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// A CORS preflight (Fetch, section 4.8).
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        self.parts.method == Method::OPTIONS
            && self.parts.headers.contains_key(http::header::ORIGIN)
            && self
                .parts
                .headers
                .contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// `Sec-Fetch-Site`, where the browser sent it: whether another site or origin of the same site began this.
    #[must_use]
    pub fn begun_elsewhere(&self, allowed_origins: &[String]) -> bool {
        if let Some(site) = self.parts.headers.get(SEC_FETCH_SITE) {
            return matches!(site.as_bytes(), b"cross-site" | b"same-site")
                && !self.origin_is_among(allowed_origins.get(1..).unwrap_or_default());
        }
        self.parts.headers.contains_key(http::header::ORIGIN) && !self.origin_is_among(allowed_origins)
    }

    /// Whether there is one `Origin`, and it is one of these.
    fn origin_is_among(&self, origins: &[String]) -> bool {
        let mut sent = self.parts.headers.get_all(http::header::ORIGIN).iter();
        match (sent.next(), sent.next()) {
            (Some(origin), None) => origins.iter().any(|ours| ours.as_bytes() == origin.as_bytes()),
            _ => false,
        }
    }
}

/// What a request's fields say, found in one way through them: asking for each name by itself costs more than all of this.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is what one field says")]
struct Fields<'a> {
    hosts: usize,
    host: Option<&'a HeaderValue>,
    coding: bool,
    upgrade: bool,
    forwarded: bool,
    grpc: bool,
    reads_html: bool,
    scripted: bool,
    mode: Option<&'a HeaderValue>,
    dest: Option<&'a HeaderValue>,
    purpose: bool,
}

impl<'a> Fields<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut seen = Self::default();
        let mut typed = false;
        for (name, value) in headers {
            match *name {
                HOST => {
                    seen.hosts += 1;
                    seen.host = Some(value);
                }
                TRANSFER_ENCODING => seen.coding = true,
                UPGRADE => seen.upgrade = true,
                FORWARDED => seen.forwarded = true,
                // Of several the first counts.
                CONTENT_TYPE if !typed => {
                    typed = true;
                    seen.grpc = value.as_bytes().starts_with(b"application/grpc");
                }
                ACCEPT => seen.reads_html |= memchr::memmem::find(value.as_bytes(), b"text/html").is_some(),
                _ => seen.other(name.as_str(), value),
            }
        }
        seen
    }

    fn other(&mut self, name: &str, value: &'a HeaderValue) {
        // All of these begin with one of two letters, and few others do.
        match name.as_bytes() {
            [b's', ..] if name == SEC_FETCH_MODE.as_str() => self.mode = self.mode.or(Some(value)),
            [b's', ..] if name == SEC_FETCH_DEST.as_str() => self.dest = self.dest.or(Some(value)),
            [b's', ..] if name == SEC_PURPOSE.as_str() => self.purpose = true,
            [b'x', ..] if name == X_FORWARDED_FOR.as_str() => self.forwarded = true,
            [b'x', ..] if name == X_REQUESTED_WITH.as_str() => {
                self.scripted |= value.as_bytes().eq_ignore_ascii_case(b"XMLHttpRequest");
            }
            _ => {}
        }
    }

    /// In what form an answer is understood.
    fn asker(&self, method: &Method) -> Asker {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if self.grpc {
            return Asker::Grpc;
        }
        if let Some(mode) = self.mode {
            if mode != "navigate" {
                return Asker::Program;
            }
            let document = self.dest.is_none_or(|dest| dest == "document");
            return if reads && document && !self.purpose {
                Asker::Page
            } else {
                Asker::Navigation
            };
        }
        if !self.reads_html || self.scripted || self.dest.is_some() || self.upgrade {
            Asker::Program
        } else if reads {
            Asker::Page
        } else {
            Asker::Navigation
        }
    }
}

fn examine(parts: &Parts, fields: &Fields<'_>, hosts: &Hosts, paths: &Paths) -> Result<(Class, Host, bool), Refusal> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal::Method);
    }
    let host = host_of(parts, fields, hosts)?;
    let chunked = fields.coding && is_chunked(parts)?;
    let target = parts.uri.path_and_query().ok_or(Refusal::Path)?;
    let query_ok = target
        .query()
        .is_none_or(|query| query.bytes().all(|byte| byte.is_ascii_graphic()));
    let class = paths
        .classify(target.path().as_bytes())
        .ok()
        .filter(|_| query_ok && target.path().starts_with('/'))
        .ok_or(Refusal::Path)?;
    Ok((class, host, chunked))
}

fn host_of(parts: &Parts, fields: &Fields<'_>, hosts: &Hosts) -> Result<Host, Refusal> {
    let host = match (fields.host, fields.hosts) {
        (Some(host), 1) => Some(host.to_str().map_err(|_| Refusal::Host)?),
        // `:authority` stands for Host (RFC 9113, section 8.3.1).
        (None, _) if parts.version == Version::HTTP_2 => Some(parts.uri.authority().ok_or(Refusal::Host)?.as_str()),
        // HTTP/1.0 knows no Host; such a client means the only app there is.
        (None, _) if parts.version < Version::HTTP_11 => None,
        _ => return Err(Refusal::Host),
    };
    let which = host
        .map_or(Some(Host::Public), |host| hosts.which(host))
        .ok_or(Refusal::Host)?;
    let Some(authority) = parts.uri.authority() else {
        return Ok(which);
    };
    // Absolute-form: only our own origin, and in agreement with Host. Over HTTP/2 every request has an authority: another
    // name than ours is answered as in a Host field, so that a browser that took the wrong connection asks again (421).
    let agrees = matches!(parts.uri.scheme_str(), Some("http" | "https"))
        && host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_str()))
        && (which != Host::Foreign || parts.version == Version::HTTP_2);
    if agrees { Ok(which) } else { Err(Refusal::Authority) }
}

/// The crumbs of HTTP/2 are one field before anybody reads it (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// h2 has seen that all say the same and that the body keeps to it (RFC 9113, section 8.1.1); over HTTP/1.1 hyper leaves
/// one.
fn say_length_once(headers: &mut HeaderMap) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(length), Some(_)) = (lengths.next(), lengths.next()) {
        let length = length.clone();
        headers.insert(CONTENT_LENGTH, length);
    }
}

fn is_chunked(parts: &Parts) -> Result<bool, Refusal> {
    let mut fields = parts.headers.get_all(TRANSFER_ENCODING).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(false),
        (Some(coding), None)
            if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") && parts.version == Version::HTTP_11 =>
        {
            Ok(true)
        }
        _ => Err(Refusal::TransferCoding),
    }
}

fn is_websocket(parts: &Parts) -> bool {
    let listed = |name: HeaderName, word: &[u8]| {
        parts.headers.get_all(name).iter().any(|field| {
            field
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|item| item.trim_ascii().eq_ignore_ascii_case(word))
        })
    };
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && !parts.headers.contains_key(TRANSFER_ENCODING)
        && parts.headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0")
        && listed(UPGRADE, b"websocket")
        && listed(CONNECTION, b"upgrade")
}
