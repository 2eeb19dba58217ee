//! Ending well: unready first, so that load balancers look elsewhere, then no new connections, then what is under way.

use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;

use crate::telemetry::Health;

/// Drains: unready for `delay`, then `ending`, which stops accepting and finishes what is under way within its own limit.
/// A `second` request to stop ends the delay and then the waiting at once.
pub async fn drain(
    health: &Health,
    delay: Duration,
    second: impl Future<Output = ()>,
    ending: impl Future<Output = ()>,
) {
    let mut second = pin!(second);
    health.draining();
    tracing::info!(delay_seconds = delay.as_secs(), "draining");
    tokio::select! {
        () = sleep(delay) => {}
        () = &mut second => {
            // When it is first polled, listeners close and streams end; nobody waits for the rest.
            let _ = futures_util::poll!(pin!(ending));
            tracing::warn!("asked a second time: what is under way is cut off");
            return;
        }
    }
    tokio::select! {
        () = ending => tracing::info!("drained"),
        () = second => tracing::warn!("asked a second time: what is under way is cut off"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::telemetry::Phase;

    const DELAY: Duration = Duration::from_millis(80);
    const LONG: Duration = Duration::from_hours(1);

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
        let ending = async { closed_after.set(Some(began.elapsed())) };
        tokio::join!(drain(&health, DELAY, pending(), ending), look);
        assert!(closed_after.get().unwrap() >= DELAY);
    }

    #[tokio::test]
    async fn a_second_signal_ends_the_waiting_at_once() {
        let health = Health::default();
        for delay in [LONG, Duration::ZERO] {
            let closed = Cell::new(false);
            let ending = async {
                closed.set(true);
                sleep(LONG).await;
            };
            let drained = drain(&health, delay, sleep(DELAY), ending);
            assert_eq!(timeout(Duration::from_secs(5), drained).await, Ok(()));
            assert!(closed.get());
        }
    }
}
