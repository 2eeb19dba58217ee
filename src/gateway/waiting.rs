//! Waiting for the app: until it answers, nothing has moved for too long, or the session that the request is for ends.
//!
//! No timer of its own where the request's connection or stream is under watch: the look that each thread takes at all of
//! them wakes those that are late ([`Watch::expect`]). A timer's registration and removal cost more than the look does.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::Watch;
use super::exchange::{Exchange, Movement};
use super::respond::Cause;

/// Of one request.
#[derive(Debug)]
pub struct Waiting<'a> {
    exchange: &'a Exchange,
    since: Instant,
}

impl<'a> Waiting<'a> {
    /// From `since` on.
    pub fn begin(exchange: &'a Exchange, since: Instant) -> Self {
        Self { exchange, since }
    }

    /// When it began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What comes out of `work`, which has limits of its own.
    pub async fn or_cut<T>(&mut self, work: impl Future<Output = T> + Unpin) -> Result<T, Cause> {
        let mut work = work;
        let done = poll_fn(|cx| self.poll(Pin::new(&mut work), cx)).await;
        self.since = Instant::now();
        done
    }

    /// The answer; an error when nothing has moved for `limit`.
    pub async fn within<T>(
        &self,
        mut answer: Pin<&mut impl Future<Output = T>>,
        movement: Option<&Movement>,
        limit: Duration,
    ) -> Result<T, Cause> {
        let mut due = Due::at(self.since + limit, self.exchange.watch());
        poll_fn(|cx| {
            if let Poll::Ready(done) = self.poll(answer.as_mut(), cx) {
                return Poll::Ready(done);
            }
            while due.poll(cx).is_ready() {
                let until = movement.map_or(due.until, |movement| movement.last() + limit);
                if until <= due.until {
                    tracing::warn!(seconds = limit.as_secs(), "the upstream did not answer in time");
                    return Poll::Ready(Err(Cause::UpstreamLate));
                }
                due.move_to(until);
            }
            Poll::Pending
        })
        .await
    }

    fn poll<T>(&self, work: Pin<&mut impl Future<Output = T>>, cx: &mut Context<'_>) -> Poll<Result<T, Cause>> {
        // First: the upload is cut, too, and then the app breaks off. It need not end, and has no answer yet that would be
        // cut.
        if self.exchange.is_cut(cx) {
            return Poll::Ready(Err(Cause::SessionEnded {
                sign_in: super::own::LOGIN_PATH.to_owned(),
            }));
        }
        work.poll(cx).map(Ok)
    }
}

/// A time that the task is woken at, or soon after.
struct Due<'a> {
    until: Instant,
    by: By<'a>,
}

enum By<'a> {
    Watch(&'a Watch),
    Timer(Pin<Box<Sleep>>),
}

impl<'a> Due<'a> {
    fn at(until: Instant, watch: Option<&'a Watch>) -> Self {
        let by = match watch {
            Some(watch) => {
                watch.expect(Some(until));
                By::Watch(watch)
            }
            None => By::Timer(Box::pin(sleep_until(until))),
        };
        Self { until, by }
    }

    fn move_to(&mut self, until: Instant) {
        self.until = until;
        match &mut self.by {
            By::Watch(watch) => watch.expect(Some(until)),
            By::Timer(timer) => timer.as_mut().reset(until),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.by {
            By::Watch(watch) if watch.is_due() => Poll::Ready(()),
            By::Watch(_) => Poll::Pending,
            By::Timer(timer) => timer.as_mut().poll(cx),
        }
    }
}

impl Drop for Due<'_> {
    fn drop(&mut self) {
        if let By::Watch(watch) = self.by {
            watch.expect(None);
        }
    }
}
