//! A client's connection with its two timers: the head of a request must arrive within ten seconds of its first byte, and
//! an idle connection ends after the keep-alive. A late head is closed without a word.
//!
//! hyper's one timer runs in both states alike; this one costs nothing while a request is under way, and no timer is set
//! for a head that arrives in one piece.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::Watch;

/// From the first byte of a head to its last.
pub const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// What a connection is doing; shared by the stream and whoever answers its requests.
#[derive(Debug, Default)]
pub struct Phase {
    state: AtomicU8,
    /// Requests under way; over HTTP/1.1 one at most.
    under_way: AtomicU32,
    /// Requests ever, over HTTP/2: a short one comes and goes between two looks at the phase.
    requests: AtomicU32,
    /// Over HTTP/2: answers of the app that came to their end, and those that the client did not want any more.
    finished: AtomicU32,
    unwanted: AtomicU32,
    /// Heads come in frames, between others: only idleness has a limit.
    http2: bool,
}

/// Streams that a client may reset after they were sent on, besides as many as it let finish. h2 counts those that were
/// reset before we took them; these cost the app a request each (CVE-2023-44487, drawn out).
const MOST_UNWANTED: u32 = 100;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

impl Phase {
    /// Of a connection that speaks HTTP/2.
    #[must_use]
    pub fn of_http2() -> Self {
        Self {
            http2: true,
            ..Self::default()
        }
    }

    /// Whether the connection speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.http2
    }

    /// A request was read; no timer runs until its answer is finished.
    pub fn busy(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        if self.http2 {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        self.state.store(BUSY, Ordering::Relaxed);
    }

    /// The answer is finished.
    pub fn idle(&self) {
        if self.under_way.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.state.store(IDLE, Ordering::Relaxed);
        }
    }

    /// An answer of the app's came to its end, or the client did not want it any more; false when that was so too often.
    pub fn may_go_on(&self, finished: bool) -> bool {
        if finished {
            self.finished.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let unwanted = self.unwanted.fetch_add(1, Ordering::Relaxed);
        unwanted <= MOST_UNWANTED.saturating_add(self.finished.load(Ordering::Relaxed))
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }
}

/// A stream that closes when its peer is late.
#[derive(Debug)]
pub struct TimedStream<S> {
    inner: S,
    phase: Arc<Phase>,
    keepalive: Duration,
    /// Told when an HTTP/2 connection has been idle too long, so that it can say goodbye (RFC 9113, section 6.8).
    goodbye: Option<Arc<Watch>>,
    /// When the phase that the timer is for began; None until it is first waited in.
    since: Option<(u8, Instant)>,
    /// How many requests there had been by then.
    requests: u32,
    /// Made at the first wait, and moved only when it would fire too late.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> TimedStream<S> {
    /// Watches over `inner`.
    pub fn new(inner: S, phase: Arc<Phase>, keepalive: Duration) -> Self {
        Self {
            inner,
            phase,
            keepalive,
            goodbye: None,
            since: None,
            requests: 0,
            timer: None,
        }
    }

    /// Watches over an HTTP/2 connection: when it has been idle too long, `watch` is told to drain it.
    pub fn of_http2(inner: S, phase: Arc<Phase>, keepalive: Duration, watch: Arc<Watch>) -> Self {
        Self {
            goodbye: Some(watch),
            ..Self::new(inner, phase, keepalive)
        }
    }

    /// While waiting for bytes: an error if the peer is late, and a wake-up at the time it would be.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let phase = self.phase.state();
        let requests = self.phase.requests.load(Ordering::Relaxed);
        if requests != self.requests {
            self.requests = requests;
            self.since = None;
        }
        let limit = match phase {
            IDLE => self.keepalive,
            HEAD => HEAD_LIMIT,
            _ => {
                self.since = None;
                return Poll::Pending;
            }
        };
        let since = match self.since {
            Some((of, since)) if of == phase => since,
            _ => self.since.insert((phase, Instant::now())).1,
        };
        let deadline = since + limit;
        let timer = match &mut self.timer {
            Some(timer) => {
                if timer.deadline() > deadline || timer.is_elapsed() {
                    timer.as_mut().reset(deadline);
                }
                timer
            }
            none => none.insert(Box::pin(sleep_until(deadline))),
        };
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                let Some(watch) = self.goodbye.take() else {
                    return Poll::Ready(io::ErrorKind::TimedOut.into());
                };
                watch.drain();
                self.since = Some((phase, Instant::now()));
                timer.as_mut().reset(Instant::now() + self.keepalive);
                return Poll::Pending;
            }
            timer.as_mut().reset(deadline);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before {
                    self.heard();
                    // A head that trickles in never waits long enough for the timer.
                    if let Some((HEAD, since)) = self.since
                        && since.elapsed() > HEAD_LIMIT
                        && self.phase.state() == HEAD
                    {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_late(cx).map(Err),
        }
    }
}

impl<S> TimedStream<S> {
    fn heard(&mut self) {
        if self.phase.state() == IDLE && !self.phase.http2 {
            self.phase.state.store(HEAD, Ordering::Relaxed);
            self.since = None;
        }
    }

    /// A client that still takes the end of an answer is not idle yet.
    fn wrote(&mut self) {
        if matches!(self.since, Some((IDLE, _))) && !self.phase.http2 {
            self.since = None;
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        self.wrote();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs));
        self.wrote();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::{Instant, sleep, timeout};

    use super::{Phase, TimedStream};

    fn pair() -> (
        TimedStream<tokio::io::DuplexStream>,
        tokio::io::DuplexStream,
        Arc<Phase>,
    ) {
        let (near, far) = tokio::io::duplex(64);
        let phase = Arc::new(Phase::default());
        (
            TimedStream::new(near, Arc::clone(&phase), Duration::from_secs(75)),
            far,
            phase,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_after_the_keepalive() {
        let (mut stream, _far, _phase) = pair();
        let start = Instant::now();
        assert!(stream.read_u8().await.is_err());
        assert_eq!(start.elapsed().as_secs(), 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds_from_its_first_byte_however_it_trickles() {
        let (mut stream, mut far, _phase) = pair();
        sleep(Duration::from_mins(1)).await;
        let start = Instant::now();
        let trickle = tokio::spawn(async move {
            while far.write_u8(b'a').await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        while stream.read_u8().await.is_ok() {}
        assert!((10..=12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        trickle.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_is_not_hurried_and_idleness_counts_from_its_end() {
        let (mut stream, mut far, phase) = pair();
        far.write_u8(b'a').await.unwrap();
        stream.read_u8().await.unwrap();
        phase.busy();
        assert!(timeout(Duration::from_secs(1000), stream.read_u8()).await.is_err());
        phase.idle();
        let start = Instant::now();
        assert!(stream.read_u8().await.is_err());
        assert_eq!(start.elapsed().as_secs(), 75);
    }
}
