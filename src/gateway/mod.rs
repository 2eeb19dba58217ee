//! The way of one request, from the socket to the app and back.
//!
//! `listen` accepts and spreads connections; [`handle`] below is the chain that can be read in one function:
//! what hyper parsed → `request` (strict reading) → `path` (ours, public, protected) → `gate` (cookie to session to permit)
//! → `forward` (headers, upstream, streaming) → `respond` (causes to answers). Each step is a type that only the step
//! before can make; [`forward::forward`] takes nothing but a [`gate::Pass`].

mod body;
mod connection;
mod console;
mod control;
mod cookies;
mod exchange;
mod forward;
mod forwarded;
mod gate;
mod headers;
mod host;
mod listen;
mod memory;
mod own;
mod path;
mod redirect;
mod request;
mod respond;
mod stream;
mod tls;
mod tunnel;
mod upstream;
mod waiting;
mod way;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue, STRICT_TRANSPORT_SECURITY};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

pub use self::control::Control;
pub use self::gate::{Pass, Permitted, PublicRequest};
pub use self::listen::{BindError, Listeners, Running};
pub use self::redirect::redirect_to_https;
pub use self::request::StrictRequest;
pub use self::tls::{CannotUse, Certificate};
pub use self::upstream::probe;

use self::body::Body;
use self::connection::{ClientConnection, Watchman};
use self::cookies::CookieNames;
use self::exchange::Exchange;
use self::forwarded::Forwarding;
use self::gate::{Gate, Outcome};
use self::headers::Guarded;
use self::host::{Host, Hosts};
use self::path::{Class, Paths};
use self::request::Asker;
use self::respond::Cause;
use self::upstream::Upstream;
use self::way::Way;
use crate::clock::UnixTime;
use crate::config::{Settings, Streams};
use crate::identity::KeyRing;
use crate::pages::Pages;
use crate::session::Sessions;
use crate::sign_in::return_to;
use crate::telemetry::Telemetry;
use crate::trust::CannotTrust;

/// What every thread that carries requests shares; nothing in it waits.
#[derive(Debug)]
pub struct Shared {
    hosts: Hosts,
    paths: Paths,
    gate: Gate,
    guarded: Arc<Guarded>,
    forwarding: Forwarding,
    keys: Arc<KeyRing>,
    pages: Arc<Pages>,
    telemetry: Arc<Telemetry>,
    control: Control,
    /// Room for forms, in bytes.
    forms: Arc<Semaphore>,
    origin: String,
    public_host: HeaderValue,
    cookie_deletions: Vec<String>,
    callback_path: String,
    logout_path: Option<String>,
    /// Whether there is a one-time link.
    restore: bool,
    way: Way,
    upstream_host: HeaderValue,
    upstream_timeout: Duration,
    preserve_host: bool,
    certificate: Option<Arc<Certificate>>,
    hsts: bool,
    streams: Streams,
}

/// What the control plane lends to the data plane.
#[derive(Debug)]
pub struct Lent {
    /// Sessions; the data plane asks the cache only.
    pub sessions: Arc<Sessions>,
    /// The key ring; the data plane signs with what is loaded.
    pub keys: Arc<KeyRing>,
    /// Pages.
    pub pages: Arc<Pages>,
    /// Metrics and the access log.
    pub telemetry: Arc<Telemetry>,
    /// Everything else.
    pub control: Control,
    /// Where TLS ends here.
    pub certificate: Option<Arc<Certificate>>,
}

impl Shared {
    /// Takes from the settings what requests are decided by.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn new(settings: &Settings, lent: Lent) -> Result<Arc<Self>, CannotTrust> {
        let cookies = CookieNames::new(settings.public.cookie_name());
        let cookie_deletions = deletions(cookies.session(), settings.public.https, &settings.public.host);
        let own = [Some(settings.callback_path.clone()), settings.logout_path.clone()]
            .into_iter()
            .flatten()
            .collect();
        let origins = std::iter::once(settings.public.origin())
            .chain(settings.allowed_origins.iter().cloned())
            .collect();
        let host_value = |host: &str| HeaderValue::from_str(host).unwrap_or_else(|_| HeaderValue::from_static(""));
        Ok(Arc::new(Self {
            hosts: Hosts::new(&settings.public, &settings.extra_hosts),
            paths: Paths::new(own, settings.public_paths.clone()),
            gate: Gate::new(
                lent.sessions,
                lent.control.clone(),
                cookies,
                origins,
                settings.pass_preflight,
            ),
            guarded: Arc::new(Guarded::new(settings.upstream.headers.iter().map(|(name, _)| name))),
            forwarding: Forwarding::new(
                settings.trusted_proxies.clone(),
                settings.trusted_proxy_header,
                &settings.public,
            ),
            keys: lent.keys,
            pages: lent.pages,
            telemetry: lent.telemetry,
            control: lent.control,
            forms: Arc::new(Semaphore::new(own::FORMS_TOGETHER)),
            origin: settings.public.origin(),
            public_host: host_value(&settings.public.authority()),
            cookie_deletions,
            callback_path: settings.callback_path.clone(),
            logout_path: settings.logout_path.clone(),
            restore: settings.restore,
            way: Way::new(&settings.upstream, settings.ca_file.as_deref())?,
            upstream_host: host_value(settings.upstream.host()),
            upstream_timeout: settings.upstream.timeout,
            preserve_host: settings.upstream.preserve_host,
            certificate: lent.certificate,
            hsts: settings.hsts,
            streams: settings.streams,
        }))
    }

    fn cookie_conflict(&self) -> Cause {
        Cause::CookieConflict {
            delete: self.cookie_deletions.clone(),
        }
    }
}

/// `Set-Cookie` values that delete the session cookie, with and without the domain that a planted one may have.
fn deletions(name: &str, secure: bool, host: &str) -> Vec<String> {
    let delete = |domain: Option<&str>| {
        let mut cookie = cookie::Cookie::build((name.to_owned(), ""))
            .path("/")
            .http_only(true)
            .secure(secure)
            .same_site(cookie::SameSite::Lax);
        if let Some(domain) = domain {
            cookie = cookie.domain(domain.to_owned());
        }
        cookie.removal().build().to_string()
    };
    let has_domain = !secure && host.parse::<IpAddr>().is_err() && !host.starts_with('[');
    std::iter::once(delete(None))
        .chain(has_domain.then(|| delete(Some(host))))
        .collect()
}

/// One thread that carries requests.
#[derive(Debug)]
pub struct Thread {
    shared: Arc<Shared>,
    upstream: Arc<Upstream>,
    watchman: Arc<Watchman>,
    ids: RequestIds,
}

/// What is known of a request before it is decided about.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// The request's id.
    pub id: RequestId,
    /// The client's address.
    pub client: IpAddr,
}

/// Answers one request.
async fn handle(
    request: Request<Incoming>,
    connection: Arc<ClientConnection>,
    thread: Arc<Thread>,
) -> Result<Response<Body>, Infallible> {
    // Boxed: hyper keeps room for this future as long as the connection lives, and most connections idle.
    // In pieces of less than a kilobyte each (here, in `forward` and in `send`): the C library's malloc is slow with larger
    // ones.
    let mut answer = Box::pin(decide(request, connection, &thread)).await;
    if thread.shared.hsts {
        // RFC 6797, section 7.2; the app's own is replaced: the operator's word counts.
        answer
            .headers_mut()
            .insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    Ok(answer)
}

/// The chain: each step hands on or answers.
async fn decide(request: Request<Incoming>, connection: Arc<ClientConnection>, thread: &Arc<Thread>) -> Response<Body> {
    let now = UnixTime::now();
    let shared = &thread.shared;
    let id = thread.ids.next();
    let client = shared.forwarding.client(&connection.peer, request.headers());
    let mut exchange = Exchange::begin(Arc::clone(&connection), Arc::clone(&shared.telemetry));
    exchange.describe(id, client, request.method(), request.uri().path());
    let request = match request::read(request, &shared.hosts, &shared.paths) {
        Ok(request) => request,
        Err((refusal, asker)) => {
            return respond(&Cause::Refused(refusal), asker, shared, id, exchange);
        }
    };
    if !connection.peer.trusted && request.claims_to_be_forwarded() {
        shared.telemetry.forwarded_by_stranger(connection.peer.address);
    }
    exchange.classified(request.class());
    let asker = request.asker();

    if request.host() == Host::Foreign && request.path() != own::JWKS_PATH {
        return match own::at_the_public_name(&request, shared) {
            Ok(answer) => own_answer(answer, exchange),
            Err(cause) => respond(&cause, asker, shared, id, exchange),
        };
    }
    if request.class() == Class::Own {
        // Boxed: what is rare must not make every request's future large, for it is moved.
        return match Box::pin(own::answer(*request, shared, &Asking { id, client }, now)).await {
            Ok(answer) => own_answer(answer, exchange),
            Err(cause) => respond(&cause, asker, shared, id, exchange),
        };
    }
    match shared.gate.decide(request, &connection.memory, now).await {
        Outcome::Forward(pass) => match Box::pin(forward::forward(pass, thread, exchange, &id.header(), now)).await {
            Ok(answer) => answer,
            Err((cause, asker, exchange)) => respond(&cause, asker, shared, id, exchange),
        },
        Outcome::SignIn(request) => sign_in(&request, shared, id, exchange),
        Outcome::CookieConflict(request) => respond(&shared.cookie_conflict(), request.asker(), shared, id, exchange),
        Outcome::CrossSite(request) => respond(&Cause::CrossSite, request.asker(), shared, id, exchange),
        Outcome::Unavailable(request) => respond(&Cause::Unavailable, request.asker(), shared, id, exchange),
    }
}

/// Nobody is signed in: a page is sent to sign in and back, everything else is told so.
fn sign_in(request: &StrictRequest, shared: &Shared, id: RequestId, exchange: Box<Exchange>) -> Response<Body> {
    let path = return_to::login_location(request.target());
    // Nobody signs in under an extra name: the cookies belong to the public one.
    let location = if request.host() == Host::Public {
        path
    } else {
        format!("{}{path}", shared.origin)
    };
    if request.asker() == Asker::Page
        && let Some(answer) = respond::redirect(StatusCode::FOUND, &location)
    {
        return own_answer(answer, exchange);
    }
    respond(
        &Cause::NoSession {
            sign_in: own::LOGIN_PATH.to_owned(),
        },
        request.asker(),
        shared,
        id,
        exchange,
    )
}

fn respond(cause: &Cause, asker: Asker, shared: &Shared, id: RequestId, exchange: Box<Exchange>) -> Response<Body> {
    own_answer(
        respond::answer(cause, asker, &shared.origin, id.as_str(), &shared.pages),
        exchange,
    )
}

/// What the gateway answers itself is not kept by anybody, unless it says so.
fn own_answer(answer: Response<Bytes>, mut exchange: Box<Exchange>) -> Response<Body> {
    let (mut parts, bytes) = answer.into_parts();
    parts
        .headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    exchange.answered(parts.status);
    exchange.settled();
    Response::from_parts(parts, Body::own(bytes, Some(exchange)))
}

/// An id of one request: unique, not secret.
#[derive(Clone, Copy, Debug)]
pub struct RequestId([u8; 24]);

impl RequestId {
    /// As text: 24 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As it is written.
    #[must_use]
    pub fn bytes(self) -> [u8; 24] {
        self.0
    }

    fn header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Makes ids: eight random bytes for the thread, then a count.
#[derive(Debug)]
struct RequestIds {
    prefix: [u8; 16],
    count: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        let mut prefix = [0; 16];
        hex(u64::from_ne_bytes(crate::seal::random()), &mut prefix);
        Self {
            prefix,
            count: AtomicU64::new(0),
        }
    }

    fn next(&self) -> RequestId {
        let mut id = [0; 24];
        let (prefix, count) = id.split_at_mut(16);
        prefix.copy_from_slice(&self.prefix);
        hex(self.count.fetch_add(1, Ordering::Relaxed), count);
        RequestId(id)
    }
}

/// Writes the lowest digits of `number` that fit.
fn hex(mut number: u64, digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in digits.iter_mut().rev() {
        // The index is below 16.
        *digit = DIGITS[(number & 15) as usize];
        number >>= 4;
    }
}
