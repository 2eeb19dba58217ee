//! Whether the gateway may be sent requests.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where in its life the gateway stands; shared by what changes it and what shows it.
#[derive(Debug, Default)]
pub struct Health(AtomicU8);

/// A stretch of the gateway's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not listening yet.
    Starting,
    /// Carries requests.
    Serving,
    /// Finishes what is under way.
    Draining,
}

impl Phase {
    /// The word in the readiness answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

impl Health {
    /// The listeners are open. A gateway that already drains goes on draining.
    pub fn serving(&self) {
        self.0.fetch_max(1, Ordering::Relaxed);
    }

    /// It is going away; there is no way back.
    pub fn draining(&self) {
        self.0.fetch_max(2, Ordering::Relaxed);
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draining_gateway_never_becomes_ready_again() {
        let health = Health::default();
        assert_eq!(health.phase(), Phase::Starting);
        health.serving();
        assert_eq!(health.phase(), Phase::Serving);
        health.draining();
        health.serving();
        assert_eq!(health.phase(), Phase::Draining);
    }
}
