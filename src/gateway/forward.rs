//! To the app and back: the permit is consumed, the headers are dressed, bodies stream both ways.

use std::mem;
use std::pin::pin;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::body::Body;
use super::exchange::{Exchange, Movement};
use super::forwarded::Peer;
use super::gate::Pass;
use super::headers::{Guarded, X_REQUEST_ID};
use super::request::{Asker, StrictRequest};
use super::respond::Cause;
use super::tunnel;
use super::upstream::Connection;
use super::waiting::Waiting;
use super::{Shared, Thread};
use crate::clock::UnixTime;
use crate::config::Streams;
use crate::identity::IdentityHeaders;

/// An answer that could not be had, with what the caller needs to make one of ours.
pub type Failed = (Cause, Asker, Box<Exchange>);

/// Sends a request on. There is no other way to the app, and nobody gets here without a [`Pass`].
pub async fn forward(
    pass: Pass,
    thread: &Arc<Thread>,
    mut exchange: Box<Exchange>,
    request_id: &HeaderValue,
    now: UnixTime,
) -> Result<Response<Body>, Failed> {
    let (strict, session, cookies, bare) = pass.into_parts();
    let (asker, chunked, websocket) = (strict.asker(), strict.is_chunked(), strict.is_websocket() && !bare);
    let shared = &thread.shared;
    let client = Arc::clone(exchange.connection());
    let StrictRequest { parts, body, .. } = *strict;
    // Filled where it is and sent from there: every move of it is some hundred bytes.
    let mut request = Request::from_parts(parts, Body::empty());
    let client_side = websocket.then(|| hyper::upgrade::on(&mut request));
    request.extensions_mut().clear();

    let peer = &client.peer;
    let keeps_te = shared
        .guarded
        .strip_request(request.headers_mut(), peer.trusted, cookies);
    let mut identity = None;
    if let Some(session) = &session {
        let Ok(headers) = session.headers(&shared.keys, now) else {
            tracing::error!("an assertion could not be signed; the request was not forwarded");
            return Err((Cause::Unavailable, asker, exchange));
        };
        identity = Some(headers);
        exchange.on_behalf_of(&session.claims().sub);
        if shared.streams == Streams::EndWithSession {
            exchange.carries(session, &thread.watchman);
        }
    }
    let was_http2 = request.version() == Version::HTTP_2;
    to_http1(&mut request, shared);

    let movement = if !body.is_end_stream() && !bare {
        // Over HTTP/2 a body may come without a length; HTTP/1.1 needs the framing said.
        if chunked || (was_http2 && !request.headers().contains_key(CONTENT_LENGTH)) {
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        let movement = Movement::new();
        exchange.uploads(&movement);
        *request.body_mut() = Body::up(
            body,
            Arc::clone(&movement),
            Arc::clone(&shared.guarded),
            exchange.watched(),
        );
        Some(movement)
    } else {
        if bare {
            request.headers_mut().remove(CONTENT_LENGTH);
        } else if was_http2 && matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
            // HTTP/2 ends a request with a flag; of these methods HTTP/1.1 wants it said (RFC 9110, section 8.6).
            request
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        None
    };

    exchange.asks();
    let dress = Dress {
        shared,
        peer,
        request_id,
        identity: identity.as_deref(),
        websocket,
        keeps_te,
    };
    let started = Instant::now();
    let waiting = Waiting::begin(&exchange, started);
    let sent = Box::pin(send(&mut request, &dress, thread, movement.as_deref(), waiting)).await;
    exchange.upstream_took(started.elapsed());
    let (answer, connection) = match sent {
        Ok(answered) => answered,
        Err(cause) => return Err((cause, asker, exchange)),
    };
    exchange.answered(answer.status());
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match client_side {
            Some(client_side) if is_websocket(answer.headers()) => {
                Ok(tunnel::open(answer, client_side, session, thread, connection, exchange))
            }
            _ => {
                tracing::warn!("the upstream switched protocols without being asked to");
                Err((Cause::Upstream("answered nonsense"), asker, exchange))
            }
        };
    }
    down(answer, connection, thread, exchange)
        .map_err(|exchange| (Cause::Upstream("answered nonsense"), asker, exchange))
}

/// The target and `Host`, as HTTP/1.1 has them between a client and a server.
fn to_http1(request: &mut Request<Body>, shared: &Shared) {
    // Over HTTP/1.1 there is always one.
    if request.version() != Version::HTTP_11 && shared.preserve_host && !request.headers().contains_key(HOST) {
        // Of HTTP/2 it is the authority, as received; HTTP/1.0 may know none.
        let authority = request
            .uri()
            .authority()
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let host = authority.unwrap_or_else(|| shared.public_host.clone());
        request.headers_mut().insert(HOST, host);
    }
    *request.version_mut() = Version::HTTP_11;
    // An absolute-form target goes on in origin-form (RFC 9112, section 3.2.1).
    if request.uri().authority().is_some()
        && let Some(target) = request.uri().path_and_query().cloned()
    {
        *request.uri_mut() = http::Uri::from(target);
    }
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(UPGRADE)
        .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn down(
    answer: Response<Incoming>,
    connection: Connection,
    thread: &Arc<Thread>,
    mut exchange: Box<Exchange>,
) -> Result<Response<Body>, Box<Exchange>> {
    let (mut parts, body) = answer.into_parts();
    parts.extensions.clear();
    parts.version = Version::HTTP_11;
    let kind = Guarded::strip_response(&mut parts.headers);
    if !kind.is_plainly_framed {
        tracing::warn!("the upstream answered in a transfer coding that is not understood");
        return Err(exchange);
    }
    if kind.is_event_stream {
        exchange.carries_stream(&thread.watchman);
    }
    let body = Body::down(
        body,
        connection.sender,
        Arc::clone(&thread.upstream),
        Arc::clone(&thread.shared.guarded),
        exchange,
    );
    Ok(Response::from_parts(parts, body))
}

/// Sends what is in `request`; once more where nothing can have happened yet: the connection handed the request back, or it
/// had lain idle and the request is idempotent and has no body (RFC 9110, section 9.2.2).
async fn send(
    request: &mut Request<Body>,
    dress: &Dress<'_>,
    thread: &Thread,
    movement: Option<&Movement>,
    mut waiting: Waiting<'_>,
) -> Result<(Response<Incoming>, Connection), Cause> {
    let upgrade = dress.websocket;
    let mut connection = match thread.upstream.ready(upgrade, waiting.since()) {
        Some(connection) => connection,
        // Boxed: rare, and every request's future would be larger by it.
        None => waiting.or_cut(Box::pin(connect(thread, upgrade))).await??,
    };
    let mut again =
        (connection.reused && movement.is_none() && is_idempotent(request.method())).then(|| Again::of(request));
    dress.put_on(request.headers_mut());
    connection.fit(request, thread.upstream.way());
    loop {
        // Pinned here and not moved on: every request's future would have room for it several times.
        let answer = pin!(connection.sender.try_send(mem::take(request)));
        let mut failed = match waiting.within(answer, movement, thread.shared.upstream_timeout).await? {
            Ok(answer) => return Ok((answer, connection)),
            Err(failed) => failed,
        };
        let handed_back = if connection.reused { failed.take_message() } else { None };
        match handed_back.or_else(|| again.take().map(|again| again.request(dress))) {
            Some(next) if connection.reused => {
                *request = next;
                connection = waiting.or_cut(Box::pin(connect(thread, upgrade))).await??;
                connection.fit(request, thread.upstream.way());
            }
            _ => {
                let error = failed.into_error();
                tracing::warn!(%error, "the upstream broke off or answered nonsense");
                return Err(Cause::Upstream(if error.is_parse() {
                    "answered nonsense"
                } else {
                    "broke off"
                }));
            }
        }
    }
}

async fn connect(thread: &Thread, upgrade: bool) -> Result<Connection, Cause> {
    thread.upstream.connect(upgrade).await.map_err(|error| {
        tracing::warn!(%error, upstream = ?thread.upstream.way(), "the upstream cannot be reached");
        Cause::Upstream("cannot be reached")
    })
}

/// RFC 9110, section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    )
}

/// What a request goes on with besides what it brought.
struct Dress<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    request_id: &'a HeaderValue,
    identity: Option<&'a IdentityHeaders>,
    websocket: bool,
    keeps_te: bool,
}

impl Dress<'_> {
    fn put_on(&self, headers: &mut HeaderMap) {
        self.shared.forwarding.set(self.peer, headers);
        headers.insert(X_REQUEST_ID, self.request_id.clone());
        for (name, value) in self.identity.iter().flat_map(|identity| &identity.values) {
            headers.insert(name.clone(), value.clone());
        }
        if !self.shared.preserve_host {
            headers.insert(HOST, self.shared.upstream_host.clone());
        }
        if self.websocket {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        } else if self.keeps_te {
            // RFC 9110, section 10.1.4: TE is a hop's own word.
            headers.insert(CONNECTION, HeaderValue::from_static("TE"));
        }
    }
}

/// What a request without a body is made of anew: what it brought. What it is dressed in is there for as long as it is
/// answered.
struct Again {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Again {
    fn of(request: &Request<Body>) -> Self {
        // Cheaper than a map, which is made when it is needed.
        let mut headers = Vec::with_capacity(request.headers().len());
        for (name, value) in request.headers() {
            headers.push((name.clone(), value.clone()));
        }
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers,
        }
    }

    fn request(self, dress: &Dress<'_>) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        for (name, value) in self.headers {
            request.headers_mut().append(name, value);
        }
        dress.put_on(request.headers_mut());
        request
    }
}
