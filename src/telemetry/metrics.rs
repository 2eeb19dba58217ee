//! Metrics, in Prometheus' words. One set per process: counts are of the process, whoever counts.
//!
//! No label here has a value that a client chooses: classes, outcomes and status codes come from closed lists. Every
//! counter is there from the start, so that counting is one atomic addition.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The process's metrics.
#[must_use]
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

/// Everything that is counted. A field is for whoever counts it; what needs a label has a method.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    upstream: Latency,
    sign_ins: Labelled<9>,
    session_lookups: Labelled<4>,
    rechecks: Labelled<3>,
    provider: [Gauge; 4],
    /// Client connections that are open.
    pub connections_open: Gauge,
    /// Client connections that were accepted.
    pub connections_accepted: Counter,
    /// Sessions that began.
    pub sessions_begun: Counter,
    /// Sessions in this process's memory that ended, in whatever way.
    pub sessions_ended: Counter,
    /// Live sessions that this process keeps in memory; set when somebody looks.
    pub sessions_known: Gauge,
    /// Lines of the access log for which there was no room.
    pub access_log_lines_dropped: Counter,
    /// Forwarding headers from peers that are not trusted.
    pub untrusted_forwarding_headers: Counter,
    /// Questions of the data plane that the control plane had no room for.
    pub control_refusals: Counter,
    /// Rotations of the signing key, as this process hears of them.
    pub key_rotations: Counter,
    /// Seconds since the store last answered; set when somebody looks.
    pub store_away_seconds: Gauge,
    /// Reloads of the configuration that were taken over.
    pub reloads: Counter,
    /// Reloads of the configuration that were refused.
    pub reloads_refused: Counter,
    /// New certificates that were taken over.
    pub certificates_taken: Counter,
    /// New certificates that were refused; the old one stayed.
    pub certificates_refused: Counter,
    /// TLS handshakes that failed or were not finished in time.
    pub handshakes_failed: Counter,
    /// Steps of a sign-in, or of a later look at somebody, that a directory server failed at.
    pub directory_failures: Counter,
    /// Answers of a directory server that could not be read; each ended its connection.
    pub directory_nonsense: Counter,
    /// Kept connections to a directory server that had died, and were replaced.
    pub directory_replaced: Counter,
}

/// What a request was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestClass {
    /// On one of the gateway's own paths.
    Own,
    /// On a public path.
    Public,
    /// Needs a session.
    Protected,
    /// Not readable strictly, or for another host.
    Refused,
}

/// How a sign-in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInOutcome {
    /// A session began.
    SignedIn,
    /// The rules do not let this person in.
    Refused,
    /// The provider said no, or the person did there.
    Denied,
    /// An answer that does not pass the checks: a wrong state, a token that is not valid.
    Invalid,
    /// The provider does not answer as it should.
    ProviderFailed,
    /// The store does not answer.
    StoreFailed,
    /// A wrong password, or a name that nobody has.
    WrongPassword,
    /// Too many wrong passwords before.
    Slowed,
    /// The directory can't be used.
    DirectoryFailed,
}

/// What the session cache said to a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionLookup {
    /// A live session.
    Hit,
    /// The store has to be asked.
    Miss,
    /// Known to be none.
    None,
    /// The store has been away too long to say.
    Unavailable,
}

/// What came of a look at a live session's entry in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recheck {
    /// It goes on.
    Vouched,
    /// It ended.
    Ended,
    /// Nobody could say.
    Failed,
}

/// How the provider stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// None is set.
    None,
    /// Nothing is known of it yet.
    Unknown,
    /// The last look succeeded.
    Known,
    /// Known from before, the last look failed.
    Stale,
}

impl Metrics {
    fn new() -> Self {
        let mut registry = Registry::with_prefix("vestibule");
        let metrics = Self {
            requests: Requests::new(),
            upstream: Latency::default(),
            sign_ins: Labelled::new(
                "outcome",
                [
                    "signed_in",
                    "refused",
                    "denied",
                    "invalid",
                    "provider_failed",
                    "store_failed",
                    "wrong_password",
                    "slowed",
                    "directory_failed",
                ],
            ),
            session_lookups: Labelled::new("result", ["hit", "miss", "none", "unavailable"]),
            rechecks: Labelled::new("outcome", ["vouched", "ended", "failed"]),
            provider: Default::default(),
            connections_open: Gauge::default(),
            connections_accepted: Counter::default(),
            sessions_begun: Counter::default(),
            sessions_ended: Counter::default(),
            sessions_known: Gauge::default(),
            access_log_lines_dropped: Counter::default(),
            untrusted_forwarding_headers: Counter::default(),
            control_refusals: Counter::default(),
            key_rotations: Counter::default(),
            store_away_seconds: Gauge::default(),
            reloads: Counter::default(),
            reloads_refused: Counter::default(),
            certificates_taken: Counter::default(),
            certificates_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            directory_failures: Counter::default(),
            directory_nonsense: Counter::default(),
            directory_replaced: Counter::default(),
            registry: Registry::default(),
        };
        metrics.register(&mut registry);
        Self { registry, ..metrics }
    }

    #[rustfmt::skip]
    fn register(&self, registry: &mut Registry) {
        registry.register("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("requests", "Answered requests by what they were taken for and status", self.requests.clone());
        registry.register("upstream_response_seconds", "Time from the request to the head of the app's answer", self.upstream.clone());
        registry.register("connections_open", "Open client connections", self.connections_open.clone());
        registry.register("connections_accepted", "Accepted client connections", self.connections_accepted.clone());
        registry.register("sign_ins", "Sign-ins by how they ended", self.sign_ins.clone());
        registry.register("sessions_begun", "Sessions that began", self.sessions_begun.clone());
        registry.register("sessions_ended", "Sessions in this process's memory that ended, in whatever way", self.sessions_ended.clone());
        registry.register("sessions_known", "Live sessions in this process's memory", self.sessions_known.clone());
        registry.register("session_lookups", "What the session cache said to a cookie", self.session_lookups.clone());
        registry.register("session_rechecks", "Looks at a live session's entry in the directory by what came of them", self.rechecks.clone());
        registry.register("access_log_lines_dropped", "Access log lines for which there was no room", self.access_log_lines_dropped.clone());
        registry.register("untrusted_forwarding_headers", "Forwarding headers ignored because their sender is not trusted", self.untrusted_forwarding_headers.clone());
        registry.register("control_refusals", "Questions for which the control plane had no room", self.control_refusals.clone());
        registry.register("key_rotations", "Changes of the assertion's signing key, counted when they are planned", self.key_rotations.clone());
        registry.register("provider_state", "1 for the state that the identity provider is in", States(self.provider.clone()));
        registry.register("store_away_seconds", "Seconds since the database last answered", self.store_away_seconds.clone());
        registry.register("reloads", "Reloads of the configuration that were taken over", self.reloads.clone());
        registry.register("reloads_refused", "Reloads of the configuration that were refused", self.reloads_refused.clone());
        registry.register("certificates_taken", "New certificates that were taken over", self.certificates_taken.clone());
        registry.register("certificates_refused", "New certificates that were refused; the old one stayed", self.certificates_refused.clone());
        registry.register("handshakes_failed", "TLS handshakes that failed or were not finished in time", self.handshakes_failed.clone());
        registry.register("directory_failures", "Steps of a sign-in, or of a later look at somebody, that an LDAP server failed at", self.directory_failures.clone());
        registry.register("directory_nonsense", "Answers of an LDAP server that could not be read; each ended its connection", self.directory_nonsense.clone());
        registry.register("directory_replaced", "Kept connections to an LDAP server that had died, and were replaced", self.directory_replaced.clone());
    }

    /// Counts an answered request.
    pub fn request(&self, class: RequestClass, status: StatusCode) {
        self.requests.count(class, status);
    }

    /// The app took this long for the head of its answer.
    pub fn upstream_responded(&self, time: Duration) {
        self.upstream.observe(time);
    }

    /// Counts a sign-in.
    pub fn sign_in(&self, outcome: SignInOutcome) {
        self.sign_ins.counters[outcome as usize].inc();
    }

    /// Counts a look into the session cache.
    pub fn session_lookup(&self, result: SessionLookup) {
        self.session_lookups.counters[result as usize].inc();
    }

    /// Counts a look at a live session's entry.
    pub fn recheck(&self, outcome: Recheck) {
        self.rechecks.counters[outcome as usize].inc();
    }

    /// How the provider stands now.
    pub fn provider(&self, state: Provider) {
        for (at, gauge) in self.provider.iter().enumerate() {
            gauge.set(i64::from(at == state as usize));
        }
    }

    /// All of it in the Prometheus text format; see [`CONTENT_TYPE`](Self::CONTENT_TYPE).
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(8 * 1024);
        // Writing to a String does not fail, and our own encoders fail only if it does.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        text
    }

    /// Media type of [`render`](Self::render).
    pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;
}

/// Status codes that are told one by one; the rest by their class, so that an app that echoes a code chosen by its
/// client cannot multiply the series.
const CODES: [u16; 35] = [
    101, 200, 201, 202, 204, 206, 207, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413,
    414, 415, 416, 421, 422, 429, 431, 500, 501, 502, 503, 504,
];
const CODE_WORDS: [&str; 40] = [
    "101", "200", "201", "202", "204", "206", "207", "301", "302", "303", "304", "307", "308", "400", "401", "403",
    "404", "405", "408", "409", "410", "412", "413", "414", "415", "416", "421", "422", "429", "431", "500", "501",
    "502", "503", "504", "1xx", "2xx", "3xx", "4xx", "5xx",
];
const CLASS_WORDS: [&str; 4] = ["own", "public", "protected", "refused"];
const STATES: [&str; 4] = ["none", "unknown", "known", "stale"];

/// Place in [`CODE_WORDS`] of every status code from 100 to 599.
static PLACES: LazyLock<[u8; 500]> = LazyLock::new(|| {
    std::array::from_fn(|offset| {
        let place = CODES
            .iter()
            .position(|&code| usize::from(code) == offset + 100)
            .unwrap_or(CODES.len() + offset / 100);
        u8::try_from(place).unwrap_or_default()
    })
});

#[derive(Clone)]
struct Requests {
    places: &'static [u8; 500],
    counters: Arc<[[Counter; CODE_WORDS.len()]; CLASS_WORDS.len()]>,
}

impl Requests {
    fn new() -> Self {
        Self {
            places: &PLACES,
            counters: Arc::new(std::array::from_fn(|_| std::array::from_fn(|_| Counter::default()))),
        }
    }

    fn count(&self, class: RequestClass, status: StatusCode) {
        // `StatusCode` may be up to 999; what is no known class counts as 5xx. A class is below 4, a place below 40.
        let place = self
            .places
            .get(usize::from(status.as_u16()).wrapping_sub(100))
            .map_or(CODE_WORDS.len() - 1, |&place| usize::from(place));
        self.counters[class as usize][place].inc();
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

impl EncodeMetric for Requests {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (class, counters) in CLASS_WORDS.iter().zip(self.counters.iter()) {
            for (code, counter) in CODE_WORDS.iter().zip(counters).filter(|(_, counter)| counter.get() > 0) {
                counter.encode(encoder.encode_family(&[("class", *class), ("code", *code)])?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// Counters that differ in one label from a closed list.
#[derive(Clone, Debug)]
struct Labelled<const N: usize> {
    label: &'static str,
    words: [&'static str; N],
    counters: [Counter; N],
}

impl<const N: usize> Labelled<N> {
    fn new(label: &'static str, words: [&'static str; N]) -> Self {
        Self {
            label,
            words,
            counters: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl<const N: usize> EncodeMetric for Labelled<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (word, counter) in self.words.iter().zip(&self.counters) {
            counter.encode(encoder.encode_family(&[(self.label, *word)])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

#[derive(Debug)]
struct States([Gauge; 4]);

impl EncodeMetric for States {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (state, gauge) in STATES.iter().zip(&self.0) {
            gauge.encode(encoder.encode_family(&[("state", *state)])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// Upper bounds in seconds.
const BOUNDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// A histogram without a lock: the library's takes one for each observation, and every request makes one.
#[derive(Clone, Debug, Default)]
struct Latency(Arc<Observations>);

#[derive(Debug, Default)]
struct Observations {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Latency {
    fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS
            .iter()
            .position(|&bound| seconds <= bound)
            .unwrap_or(BOUNDS.len());
        // There is one more bucket than there are bounds.
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .zip(self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.0.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_default()
    }

    #[test]
    fn every_count_comes_out_under_its_name() {
        let metrics = Metrics::new();
        metrics.request(RequestClass::Protected, StatusCode::OK);
        metrics.request(RequestClass::Protected, StatusCode::OK);
        metrics.request(RequestClass::Refused, StatusCode::BAD_REQUEST);
        metrics.sign_in(SignInOutcome::Refused);
        metrics.session_lookup(SessionLookup::Hit);
        metrics.provider(Provider::Known);
        metrics.connections_open.inc();
        let text = metrics.render();
        for expected in [
            "vestibule_requests_total{class=\"protected\",code=\"200\"} 2",
            "vestibule_requests_total{class=\"refused\",code=\"400\"} 1",
            "vestibule_sign_ins_total{outcome=\"refused\"} 1",
            "vestibule_sign_ins_total{outcome=\"signed_in\"} 0",
            "vestibule_session_lookups_total{result=\"hit\"} 1",
            "vestibule_provider_state{state=\"known\"} 1",
            "vestibule_provider_state{state=\"unknown\"} 0",
            "vestibule_connections_open 1",
            "# TYPE vestibule_requests_total counter",
            "# TYPE vestibule_upstream_response_seconds histogram",
        ] {
            assert_eq!(line(&text, expected), expected, "{text}");
        }
        assert!(line(&text, "vestibule_build_info").contains(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn a_latency_is_counted_in_every_bucket_that_it_fits() {
        let metrics = Metrics::new();
        metrics.upstream_responded(Duration::from_millis(20));
        metrics.upstream_responded(Duration::from_secs(1000));
        let text = metrics.render();
        for expected in [
            "vestibule_upstream_response_seconds_bucket{le=\"0.01\"} 0",
            "vestibule_upstream_response_seconds_bucket{le=\"0.025\"} 1",
            "vestibule_upstream_response_seconds_bucket{le=\"300\"} 1",
            "vestibule_upstream_response_seconds_bucket{le=\"+Inf\"} 2",
            "vestibule_upstream_response_seconds_count 2",
            "vestibule_upstream_response_seconds_sum 1000.02",
        ] {
            assert_eq!(line(&text, expected), expected, "{text}");
        }
        let buckets = text.lines().filter(|line| line.contains("_bucket{"));
        assert_eq!(buckets.count(), BOUNDS.len() + 1, "{text}");
    }

    #[test]
    fn no_status_code_of_an_app_makes_more_series_than_the_list_has() {
        let metrics = Metrics::new();
        for code in 100..1000 {
            metrics.request(RequestClass::Protected, StatusCode::from_u16(code).unwrap());
        }
        let text = metrics.render();
        assert_eq!(
            text.lines()
                .filter(|line| line.starts_with("vestibule_requests_total{"))
                .count(),
            CODE_WORDS.len()
        );
        assert_eq!(
            line(&text, "vestibule_requests_total{class=\"protected\",code=\"404\"}")
                .rsplit(' ')
                .next(),
            Some("1")
        );
        assert_eq!(
            line(&text, "vestibule_requests_total{class=\"protected\",code=\"1xx\"}")
                .rsplit(' ')
                .next(),
            Some("99")
        );
    }
}
