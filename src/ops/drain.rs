//! Ending well: unready first, so that load balancers look elsewhere, then no new connections, then what is under way.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::telemetry::Health;

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything under way was finished.
    Finished,
    /// Something was under way still when the time was over, or the operator asked a second time.
    CutOff,
}

/// Drains: unready for `delay`, then `close` (stops accepting, ends streams and WebSockets), then `finished` for `limit`
/// at most. A `second` request to stop ends the waiting at once.
pub async fn drain(
    health: &Health,
    (delay, limit): (Duration, Duration),
    second: impl Future<Output = ()>,
    close: impl FnOnce(),
    finished: impl Future<Output = ()>,
) -> Drained {
    health.draining();
    let mut second = std::pin::pin!(second);
    tracing::info!(
        delay_seconds = delay.as_secs(),
        limit_seconds = limit.as_secs(),
        "draining"
    );
    tokio::select! {
        () = sleep(delay) => {}
        () = &mut second => {}
    }
    close();
    let drained = tokio::select! {
        ended = timeout(limit, finished) => if ended.is_ok() { Drained::Finished } else { Drained::CutOff },
        () = second => Drained::CutOff,
    };
    match drained {
        Drained::Finished => tracing::info!("drained"),
        Drained::CutOff => {
            tracing::warn!("requests under way are cut off: the drain timeout is over, or a second signal came");
        }
    }
    drained
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;
    use crate::telemetry::Phase;

    const DELAY: Duration = Duration::from_millis(80);
    const LIMIT: Duration = Duration::from_millis(120);

    #[tokio::test]
    async fn connections_are_taken_until_the_delay_is_over_but_readiness_is_gone_at_once() {
        let health = Health::default();
        health.serving();
        let closed_after = Cell::new(None);
        let began = Instant::now();
        let look = async {
            tokio::task::yield_now().await;
            assert_eq!(health.phase(), Phase::Draining);
            assert_eq!(closed_after.get(), None);
        };
        let close = || closed_after.set(Some(began.elapsed()));
        let (drained, ()) = tokio::join!(drain(&health, (DELAY, LIMIT), pending(), close, ready(())), look);
        assert_eq!(drained, Drained::Finished);
        assert!(closed_after.get().unwrap() >= DELAY);
    }

    #[tokio::test]
    async fn what_never_ends_is_cut_off_when_the_time_is_over() {
        let health = Health::default();
        let began = Instant::now();
        let drained = drain(&health, (Duration::ZERO, LIMIT), pending(), || (), pending()).await;
        assert_eq!(drained, Drained::CutOff);
        assert!(began.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn a_second_signal_ends_the_waiting_at_once() {
        let health = Health::default();
        let hour = Duration::from_hours(1);
        let began = Instant::now();
        let drained = drain(&health, (hour, hour), sleep(DELAY), || (), pending());
        assert_eq!(timeout(Duration::from_secs(5), drained).await, Ok(Drained::CutOff));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
