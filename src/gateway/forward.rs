//! To the app and back: the permit is consumed, the headers are dressed, bodies stream both ways.

use std::mem;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::body::Body;
use super::exchange::{Exchange, Movement};
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
    let StrictRequest { parts, body, .. } = *strict;
    // Filled where it is and sent from there: every move of it is some hundred bytes.
    let mut request = Request::from_parts(parts, Body::empty());
    let client_side = websocket.then(|| hyper::upgrade::on(&mut request));
    request.extensions_mut().clear();

    let headers = request.headers_mut();
    let peer = &exchange.connection().peer;
    shared.guarded.strip_request(headers, peer.trusted, cookies);
    shared.forwarding.set(peer, headers);
    headers.insert(X_REQUEST_ID, request_id.clone());
    if let Some(session) = &session {
        let Ok(identity) = session.headers(&shared.keys, now) else {
            tracing::error!("an assertion could not be signed; the request was not forwarded");
            return Err((Cause::Unavailable, asker, exchange));
        };
        for (name, value) in &identity.values {
            headers.insert(name.clone(), value.clone());
        }
        exchange.on_behalf_of(&session.claims().sub);
        if shared.streams == Streams::EndWithSession {
            exchange.carries(session, &thread.watchman);
        }
    }
    route(&mut request, shared, websocket);
    let was_http2 = request.version() == Version::HTTP_2;
    *request.version_mut() = Version::HTTP_11;

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
    let started = Instant::now();
    let sent = send(
        &mut request,
        thread,
        movement.as_deref(),
        Waiting::begin(&exchange, started),
        websocket,
    )
    .await;
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
    if !is_plainly_framed(answer.headers()) {
        tracing::warn!("the upstream answered in a transfer coding that is not understood");
        return Err((Cause::Upstream("answered nonsense"), asker, exchange));
    }
    Ok(down(answer, connection, thread, exchange))
}

/// The target, `Host` and the hop's own fields, as HTTP/1.1 has them.
fn route(request: &mut Request<Body>, shared: &Shared, websocket: bool) {
    let headers = request.headers_mut();
    if !shared.preserve_host {
        headers.insert(HOST, shared.upstream_host.clone());
    } else if !headers.contains_key(HOST) {
        // Of HTTP/2 it is the authority, as received; HTTP/1.0 may know none.
        let authority = request
            .uri()
            .authority()
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let host = authority.unwrap_or_else(|| shared.public_host.clone());
        request.headers_mut().insert(HOST, host);
    }
    let headers = request.headers_mut();
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    } else if headers.contains_key(TE) {
        // RFC 9110, section 10.1.4: TE is a hop's own word.
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
    // An absolute-form target goes on in origin-form (RFC 9112, section 3.2.1).
    if request.uri().authority().is_some()
        && let Some(target) = request.uri().path_and_query().cloned()
    {
        *request.uri_mut() = http::Uri::from(target);
    }
}

/// Of transfer codings only `chunked` is understood, and undone, on the way (RFC 9112, section 6.1): another one could not
/// be passed on as what it is.
fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        _ => false,
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
) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    parts.extensions.clear();
    parts.version = Version::HTTP_11;
    Guarded::strip_response(&mut parts.headers);
    if parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    {
        exchange.carries_stream(&thread.watchman);
    }
    let body = Body::down(
        body,
        connection.sender,
        Arc::clone(&thread.upstream),
        Arc::clone(&thread.shared.guarded),
        exchange,
    );
    Response::from_parts(parts, body)
}

/// Sends what is in `request`; once more where nothing can have happened yet: the connection handed the request back, or it
/// had lain idle and the request is idempotent and has no body (RFC 9110, section 9.2.2).
async fn send(
    request: &mut Request<Body>,
    thread: &Thread,
    movement: Option<&Movement>,
    mut waiting: Waiting<'_>,
    upgrade: bool,
) -> Result<(Response<Incoming>, Connection), Cause> {
    let mut connection = match thread.upstream.ready(upgrade) {
        Some(connection) => connection,
        // Boxed: rare, and every request's future would be larger by it.
        None => waiting.or_cut(Box::pin(connect(thread, upgrade))).await??,
    };
    connection.fit(request, thread.upstream.way());
    let mut again =
        (connection.reused && movement.is_none() && is_idempotent(request.method())).then(|| Again::of(request));
    loop {
        let answer = connection.sender.try_send(mem::take(request));
        let mut failed = match waiting.within(answer, movement, thread.shared.upstream_timeout).await? {
            Ok(answer) => return Ok((answer, connection)),
            Err(failed) => failed,
        };
        let handed_back = if connection.reused { failed.take_message() } else { None };
        match handed_back.or_else(|| again.take().map(Again::request)) {
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

/// What a request without a body is made of anew.
struct Again {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Again {
    fn of(request: &Request<Body>) -> Self {
        let headers = request.headers();
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            // Cheaper than a map, which is made when it is needed.
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }

    fn request(self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        for (name, value) in self.headers {
            request.headers_mut().append(name, value);
        }
        request
    }
}
