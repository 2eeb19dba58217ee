//! A WebSocket after its handshake: bytes both ways until either side, the session, or the gateway ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::Thread;
use super::body::Body;
use super::connection::Watch;
use super::exchange::Exchange;
use super::headers::Guarded;
use super::upstream::Connection;
use crate::config::Streams;
use crate::session::Session;

/// Answers 101 and carries bytes once the client has it; nothing of the client's goes on before.
pub fn open(
    mut answer: Response<Incoming>,
    client_side: OnUpgrade,
    session: Option<Arc<Session>>,
    thread: &Arc<Thread>,
    connection: Connection,
    exchange: Box<Exchange>,
) -> Response<Body> {
    let app_side = hyper::upgrade::on(&mut answer);
    let carried = carry(client_side, app_side, session, Arc::clone(thread), exchange);
    tokio::spawn(async move {
        carried.await;
        // It counts for as long as the tunnel is open.
        drop(connection);
    });
    let (mut parts, _) = answer.into_parts();
    parts.extensions.clear();
    parts.version = Version::HTTP_11;
    Guarded::strip_response(&mut parts.headers);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    Response::from_parts(parts, Body::empty())
}

async fn carry(
    client_side: OnUpgrade,
    app_side: OnUpgrade,
    session: Option<Arc<Session>>,
    thread: Arc<Thread>,
    mut exchange: Box<Exchange>,
) {
    let watch = Arc::new(Watch::default());
    if let Some(session) = &session
        && thread.shared.streams == Streams::EndWithSession
    {
        watch.carry(session);
    }
    watch.carries_stream();
    let _watching = thread.watchman.watch(&watch);
    let ordered = poll_fn(|cx| {
        if watch.poll(cx).is_some() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let carried = async {
        let (client, app) = tokio::try_join!(client_side, app_side)?;
        let (mut client, mut app) = (TokioIo::new(client), TokioIo::new(app));
        let moved = tokio::io::copy_bidirectional(&mut client, &mut app).await;
        Ok::<_, hyper::Error>(moved)
    };
    tokio::select! {
        carried = carried => match carried {
            Ok(Ok((_, down))) => exchange.sent(usize::try_from(down).unwrap_or(usize::MAX)),
            Ok(Err(error)) => tracing::debug!(%error, "a WebSocket broke off"),
            Err(error) => tracing::debug!(%error, "a WebSocket was not opened"),
        },
        () = ordered => {}
    }
}
