//! A listener that only redirects to https. Nothing that was sent in plain text goes anywhere: only pages are redirected,
//! a program that sends its secrets in plain text must notice.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::respond;

const MOST_CONNECTIONS: usize = 256;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Nobody stays here: one answer, perhaps a few.
const LONGEST_CONNECTION: Duration = Duration::from_secs(30);

/// Redirects to `origin` until `stop` fires.
pub async fn redirect_to_https(listener: TcpListener, origin: String, stop: CancellationToken) {
    let (origin, places) = (Arc::new(origin), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of files or memory: others must finish first.
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let origin = Arc::clone(&origin);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let answer = answer(&request, &origin);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIME)
                    .max_buf_size(16 * 1024)
                    .serve_connection(TokioIo::new(stream), service);
                if let Ok(Err(error)) = timeout(LONGEST_CONNECTION, served).await {
                    tracing::debug!(%error, "a connection to be redirected ended");
                }
                drop(place);
            });
        }
    };
    stop.run_until_cancelled(accepting).await;
}

fn answer(request: &Request<Incoming>, origin: &str) -> Response<Full<Bytes>> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let redirected = (matches!(*request.method(), Method::GET | Method::HEAD) && target.starts_with('/'))
        .then(|| respond::redirect(StatusCode::PERMANENT_REDIRECT, &format!("{origin}{target}")))
        .flatten();
    let answer = redirected.unwrap_or_else(|| {
        let mut answer = Response::new(Bytes::from(format!("This address speaks https only: {origin}\n")));
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        answer
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        answer
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    });
    answer.map(Full::new)
}
