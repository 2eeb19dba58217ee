//! What the gateway tells operators: the log, the access log, audit events, metrics, and whether it is ready. A leaf:
//! every room may use it. The endpoints that show it are in `ops`.
//!
//! Public face: [`metrics`] and [`audit::event`] for everybody; [`Telemetry`] is what the data plane is lent, and costs it
//! a few atomic additions a request: no lock, no formatting, no lookup of a label.

mod access_log;
pub mod audit;
mod health;
pub mod log;
mod metrics;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;

pub use self::access_log::{AccessEntry, AccessLog};
pub use self::health::{Health, Phase};
pub use self::metrics::{Metrics, Provider, Recheck, RequestClass, SessionLookup, SignInOutcome, metrics};

/// What the data plane tells of its requests and connections.
#[derive(Debug)]
pub struct Telemetry {
    metrics: &'static Metrics,
    access_log: Option<AccessLog>,
    warned_of_stranger: AtomicBool,
}

impl Telemetry {
    /// With an access log or without.
    #[must_use]
    pub fn new(access_log: Option<AccessLog>) -> Self {
        Self {
            metrics: metrics(),
            access_log,
            warned_of_stranger: AtomicBool::new(false),
        }
    }

    /// Counts an answered request; `upstream` is the time to the head of the app's answer, if it was asked.
    pub fn request(&self, class: RequestClass, status: StatusCode, upstream: Option<Duration>) {
        self.metrics.request(class, status);
        if let Some(time) = upstream {
            self.metrics.upstream_responded(time);
        }
    }

    /// Whether it is worth the while to make an [`AccessEntry`].
    #[must_use]
    pub fn access_log_is_on(&self) -> bool {
        self.access_log.is_some()
    }

    /// Puts a line on its way to the access log. Never waits: where there is no room, the line is dropped and counted.
    pub fn access(&self, entry: AccessEntry) {
        if let Some(access_log) = &self.access_log {
            access_log.write(entry);
        }
    }

    /// Waits, a second at most, until the access log's lines are written; before the process ends.
    pub fn flush(&self) {
        if let Some(access_log) = &self.access_log {
            access_log.flush();
        }
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self) {
        self.metrics.connections_accepted.inc();
        self.metrics.connections_open.inc();
    }

    /// A client connection is gone.
    pub fn connection_closed(&self) {
        self.metrics.connections_open.dec();
    }

    /// A forwarding header came from a peer that is not trusted: counted, and the first one is told with what to write if
    /// it was a proxy.
    pub fn forwarded_by_stranger(&self, peer: IpAddr) {
        self.metrics.untrusted_forwarding_headers.inc();
        if !self.warned_of_stranger.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "a forwarding header was ignored, because its sender is not trusted; if this is your own proxy, set \
                 VESTIBULE_TRUSTED_PROXIES={peer}. Said once; vestibule_untrusted_forwarding_headers_total counts on"
            );
        }
    }
}
