//! The body of an answer: one of ours, or the app's as it streams by.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::exchange::{Exchange, Movement, Watched};
use super::headers::Guarded;
use super::upstream::{Sender, Upstream};

/// A body, in either direction.
#[derive(Debug)]
pub enum Body {
    /// One of ours; None once it was taken.
    Own(Option<Bytes>, Option<Box<Exchange>>),
    /// A request's body on its way to the app.
    Up(Up),
    /// An answer's body on its way to the client.
    Down(Down),
}

/// A request's body on its way to the app.
#[derive(Debug)]
pub struct Up {
    inner: Incoming,
    movement: Arc<Movement>,
    guarded: Arc<Guarded>,
    /// Ends it with its session.
    watched: Option<Arc<Watched>>,
}

/// An answer's body on its way to the client.
#[derive(Debug)]
pub struct Down {
    inner: Incoming,
    /// Goes back to the pool at the end of the body.
    sender: Option<(Sender, Arc<Upstream>)>,
    guarded: Arc<Guarded>,
    /// Told of the end, by being dropped, and of the bytes.
    exchange: Box<Exchange>,
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The other side broke off.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The session it was for has ended, or the gateway drains.
    #[error("the session ended")]
    Ended,
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl Body {
    /// Nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Own(None, None)
    }

    /// An answer of ours, and the exchange that it ends.
    #[must_use]
    pub fn own(bytes: Bytes, exchange: Option<Box<Exchange>>) -> Self {
        Self::Own(Some(bytes).filter(|bytes| !bytes.is_empty()), exchange)
    }

    /// A request's body; its movement is told, and it ends with what `watched` carries.
    #[must_use]
    pub fn up(inner: Incoming, movement: Arc<Movement>, guarded: Arc<Guarded>, watched: Option<Arc<Watched>>) -> Self {
        Self::Up(Up {
            inner,
            movement,
            guarded,
            watched,
        })
    }

    /// An answer's body, with the connection it comes from and the exchange that it ends.
    #[must_use]
    pub fn down(
        inner: Incoming,
        sender: Sender,
        upstream: Arc<Upstream>,
        guarded: Arc<Guarded>,
        exchange: Box<Exchange>,
    ) -> Self {
        let mut down = Down {
            inner,
            sender: Some((sender, upstream)),
            guarded,
            exchange,
        };
        if down.inner.is_end_stream() {
            down.give_back();
        }
        Self::Down(down)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.movement.end();
    }
}

impl Down {
    fn give_back(&mut self) {
        self.exchange.settled();
        if let Some((sender, upstream)) = self.sender.take() {
            upstream.give_back(sender);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Own(bytes, exchange) => {
                let bytes = bytes.take();
                if let (Some(bytes), Some(exchange)) = (&bytes, exchange) {
                    exchange.sent(bytes.len());
                }
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Up(up) => {
                if up.watched.as_ref().is_some_and(|watched| watched.cuts_upload(cx)) {
                    return Poll::Ready(Some(Err(Broken::Ended)));
                }
                let frame = ready!(Pin::new(&mut up.inner).poll_frame(cx));
                up.movement.moved();
                Poll::Ready(frame.map(|frame| Ok(without_smuggled(frame?, &up.guarded))))
            }
            Self::Down(down) => {
                if down.exchange.is_cut(cx) {
                    down.sender = None;
                    down.exchange.broke();
                    return Poll::Ready(Some(Err(Broken::Ended)));
                }
                let frame = ready!(Pin::new(&mut down.inner).poll_frame(cx));
                match &frame {
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref() {
                            down.exchange.sent(data.len());
                        }
                        // Trailers are the end; nobody asks for more.
                        if frame.is_trailers() || down.inner.is_end_stream() {
                            down.give_back();
                        }
                    }
                    Some(Err(_)) => {
                        down.sender = None;
                        down.exchange.broke();
                    }
                    None => down.give_back(),
                }
                Poll::Ready(frame.map(|frame| Ok(without_smuggled(frame?, &down.guarded))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes, _) => bytes.is_none(),
            Self::Up(up) => up.inner.is_end_stream(),
            Self::Down(down) => down.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes, _) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Up(up) => up.inner.size_hint(),
            Self::Down(down) => down.inner.size_hint(),
        }
    }
}

fn without_smuggled(frame: Frame<Bytes>, guarded: &Guarded) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(stripped(trailers, guarded)),
        Err(frame) => frame,
    }
}

fn stripped(mut trailers: HeaderMap, guarded: &Guarded) -> HeaderMap {
    guarded.strip_trailers(&mut trailers);
    trailers
}
