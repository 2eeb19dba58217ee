//! To the app and back: the permit is consumed, the headers are dressed, bodies stream both ways.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, sleep_until};

use super::Thread;
use super::body::Body;
use super::exchange::{Exchange, Movement};
use super::gate::Pass;
use super::headers::{Guarded, X_REQUEST_ID};
use super::request::Asker;
use super::respond::Cause;
use super::tunnel;
use super::upstream::Connection;
use crate::clock::UnixTime;

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
    let (strict, session, has_our_cookies, bare) = pass.into_parts();
    let (asker, chunked, websocket) = (strict.asker(), strict.is_chunked(), strict.is_websocket() && !bare);
    let shared = &thread.shared;
    let mut request = Request::from_parts(strict.parts, ());
    let client_side = websocket.then(|| hyper::upgrade::on(&mut request));
    let (mut parts, ()) = request.into_parts();
    parts.extensions.clear();

    let headers = &mut parts.headers;
    let peer = &exchange.connection().peer;
    shared.guarded.strip_request(headers, peer.trusted, has_our_cookies);
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
        exchange.carries(session, &thread.watchman);
    }
    if !shared.preserve_host {
        headers.insert(HOST, shared.upstream_host.clone());
    } else if !headers.contains_key(HOST) {
        // Of HTTP/2 it is the authority, as received; HTTP/1.0 may know none.
        let authority = parts
            .uri
            .authority()
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        headers.insert(HOST, authority.unwrap_or_else(|| shared.public_host.clone()));
    }
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    } else if headers.contains_key(TE) {
        // RFC 9110, section 10.1.4: TE is a hop's own word.
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
    // An absolute-form target goes on in origin-form (RFC 9112, section 3.2.1).
    if parts.uri.authority().is_some()
        && let Some(target) = parts.uri.path_and_query().cloned()
    {
        parts.uri = http::Uri::from(target);
    }
    let was_http2 = parts.version == Version::HTTP_2;
    parts.version = Version::HTTP_11;

    let has_body = !strict.body.is_end_stream() && !bare;
    let (body, movement) = if has_body {
        // Over HTTP/2 a body may come without a length; HTTP/1.1 needs the framing said.
        if chunked || (was_http2 && !parts.headers.contains_key(CONTENT_LENGTH)) {
            headers_of(&mut parts).insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let movement = Movement::new();
        exchange.uploads(&movement);
        (
            Body::up(
                strict.body,
                Arc::clone(&movement),
                Arc::clone(&shared.guarded),
                exchange.watched(),
            ),
            Some(movement),
        )
    } else {
        if bare {
            headers_of(&mut parts).remove(CONTENT_LENGTH);
        } else if was_http2 && matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
            // HTTP/2 ends a request with a flag; of these methods HTTP/1.1 wants it said (RFC 9110, section 8.6).
            headers_of(&mut parts).insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        (Body::empty(), None)
    };

    let started = Instant::now();
    let sent = send(Request::from_parts(parts, body), thread, movement.as_deref(), websocket);
    let answer = tokio::select! {
        // First: the upload is cut, too, and then the app breaks off.
        biased;
        // An upload need not end, and has no answer yet that would be cut.
        () = exchange.cut() => Err(Cause::SessionEnded { sign_in: super::own::LOGIN_PATH.to_owned() }),
        answer = sent => answer,
    };
    exchange.upstream_took(started.elapsed());
    let (answer, connection) = match answer {
        Ok(answered) => answered,
        Err(cause) => return Err((cause, asker, exchange)),
    };
    exchange.answered(answer.status());
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match client_side {
            Some(client_side) if is_websocket(answer.headers()) => {
                Ok(tunnel::open(answer, client_side, session, thread, exchange))
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

fn headers_of(parts: &mut http::request::Parts) -> &mut HeaderMap {
    &mut parts.headers
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

/// Sends; once more where nothing can have happened yet: the connection handed the request back, or it had lain idle and
/// the request is idempotent and has no body (RFC 9110, section 9.2.2).
async fn send(
    mut request: Request<Body>,
    thread: &Thread,
    movement: Option<&Movement>,
    upgrade: bool,
) -> Result<(Response<Incoming>, Connection), Cause> {
    let limit = thread.shared.upstream_timeout;
    let mut connection = match thread.upstream.ready(upgrade) {
        Some(connection) => connection,
        // Boxed: rare, and every request's future would be larger by it.
        None => Box::pin(connect(thread, upgrade)).await?,
    };
    connection.fit(&mut request, thread.upstream.way());
    let mut again =
        (connection.reused && movement.is_none() && is_idempotent(request.method())).then(|| copy(&request));
    loop {
        let Some(answer) = within(connection.sender.try_send(request), movement, limit).await else {
            tracing::warn!(seconds = limit.as_secs(), "the upstream did not answer in time");
            return Err(Cause::UpstreamLate);
        };
        let mut failed = match answer {
            Ok(answer) => return Ok((answer, connection)),
            Err(failed) => failed,
        };
        let handed_back = if connection.reused { failed.take_message() } else { None };
        match handed_back.or_else(|| again.take()) {
            Some(next) if connection.reused => {
                request = next;
                connection = Box::pin(connect(thread, upgrade)).await?;
                connection.fit(&mut request, thread.upstream.way());
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

/// The answer's head, or None when nothing has moved for `limit`.
async fn within<T>(answer: impl Future<Output = T>, movement: Option<&Movement>, limit: Duration) -> Option<T> {
    let mut answer = pin!(answer);
    let mut deadline = Instant::now() + limit;
    let mut timer = pin!(sleep_until(deadline));
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return Some(answer),
            () = &mut timer => {
                let moved_on = movement.map_or(deadline, |movement| movement.last() + limit);
                if moved_on <= deadline {
                    return None;
                }
                deadline = moved_on;
                timer.as_mut().reset(deadline);
            }
        }
    }
}

/// RFC 9110, section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    )
}

/// The same request without its body, which is empty.
fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
