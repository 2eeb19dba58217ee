//! The account of one request: when it began, what became of it, how much was sent. Told to the metrics and the access log
//! when the answer's body is dropped, whatever way it ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::RequestId;
use super::connection::{ClientConnection, Order, Watch, Watching, Watchman};
use super::path::Class;
use crate::person::UserId;
use crate::session::Session;
use crate::telemetry::{AccessEntry, RequestClass, Telemetry};

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    connection: Arc<ClientConnection>,
    telemetry: Arc<Telemetry>,
    started: Instant,
    class: RequestClass,
    status: StatusCode,
    upstream: Option<Duration>,
    bytes: u64,
    broken: bool,
    /// The request's body, while it is on its way to the app.
    upload: Option<Arc<Movement>>,
    /// What became of it is not for the client to say: the app's answer came to its end or broke off, or there was none.
    settled: bool,
    /// Over HTTP/2 an exchange has a watch of its own; over HTTP/1.1 the connection's serves.
    watched: Option<Arc<Watched>>,
    /// Only where the access log is on.
    line: Option<Line>,
}

/// A watch, and its place on the list for as long as either half of the exchange goes on.
#[derive(Debug)]
pub struct Watched {
    watch: Arc<Watch>,
    _watching: Watching,
}

impl Watched {
    fn by(watchman: &Arc<Watchman>) -> Arc<Self> {
        let watch = Arc::new(Watch::default());
        Arc::new(Self {
            _watching: watchman.watch(&watch),
            watch,
        })
    }

    /// Whether the request's body must end now; its task is woken when that changes.
    pub fn cuts_upload(&self, cx: &Context<'_>) -> bool {
        self.watch.cuts_upload(cx)
    }
}

/// What only the access log needs.
#[derive(Debug)]
struct Line {
    id: RequestId,
    client: IpAddr,
    user: Option<UserId>,
    method: Method,
    path: String,
}

impl Exchange {
    /// Begins; the connection is busy until this is dropped.
    #[must_use]
    pub fn begin(connection: Arc<ClientConnection>, telemetry: Arc<Telemetry>) -> Box<Self> {
        connection.phase.busy();
        Box::new(Self {
            connection,
            telemetry,
            started: Instant::now(),
            class: RequestClass::Refused,
            status: StatusCode::OK,
            upstream: None,
            bytes: 0,
            broken: false,
            upload: None,
            settled: true,
            watched: None,
            line: None,
        })
    }

    /// Notes what the access log tells, if it is on. `path` is without query.
    pub fn describe(&mut self, id: RequestId, client: IpAddr, method: &Method, path: &str) {
        if self.telemetry.access_log_is_on() {
            self.line = Some(Line {
                id,
                client,
                user: None,
                method: method.clone(),
                path: path.to_owned(),
            });
        }
    }

    /// What the request was taken for.
    pub fn classified(&mut self, class: Class) {
        self.class = match class {
            Class::Own => RequestClass::Own,
            Class::Public => RequestClass::Public,
            Class::Protected => RequestClass::Protected,
        };
    }

    /// On whose behalf it went on.
    pub fn on_behalf_of(&mut self, user: &UserId) {
        if let Some(line) = &mut self.line {
            line.user = Some(user.clone());
        }
    }

    /// The answer's status.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = status;
    }

    /// How long the app took for the head of its answer.
    pub fn upstream_took(&mut self, time: Duration) {
        self.upstream = Some(time);
    }

    /// Bytes of the body that were handed to the connection.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The app's answer broke off.
    pub fn broke(&mut self) {
        self.broken = true;
        self.settled = true;
    }

    /// The app is asked.
    pub fn asks(&mut self) {
        self.settled = false;
    }

    /// There is nothing more to come of the app's answer.
    pub fn settled(&mut self) {
        self.settled = true;
    }

    /// From now on an answer on behalf of `session` is under way: it ends with it.
    pub fn carries(&mut self, session: &Arc<Session>, watchman: &Arc<Watchman>) {
        if self.connection.phase.is_http2() {
            let watched = Watched::by(watchman);
            watched.watch.carry(session);
            self.watched = Some(watched);
        } else {
            self.connection.watch.carry(session);
        }
    }

    /// The request has a body.
    pub fn uploads(&mut self, movement: &Arc<Movement>) {
        self.upload = Some(Arc::clone(movement));
    }

    /// The answer is a stream that need not end: a drain ends it.
    pub fn carries_stream(&mut self, watchman: &Arc<Watchman>) {
        if self.connection.phase.is_http2() {
            let watched = self.watched.get_or_insert_with(|| Watched::by(watchman));
            watched.watch.carries_stream();
        } else {
            self.connection.watch.carries_stream();
        }
    }

    /// Whether the answer must end now; the task is woken when that changes. Over HTTP/1.1 the connection sees to it.
    pub fn is_cut(&self, cx: &Context<'_>) -> bool {
        self.watched
            .as_ref()
            .is_some_and(|watched| watched.watch.poll(cx) == Some(Order::Cut))
    }

    /// What ends the request's body, which may outlive this: an app can answer before it has read all of it, and a client
    /// need not take the answer. Over HTTP/1.1 the connection sees to it.
    #[must_use]
    pub fn watched(&self) -> Option<Arc<Watched>> {
        self.watched.clone()
    }

    /// What this is watched by, if anything: the task that works on it is the one that the watch wakes.
    #[must_use]
    pub fn watch(&self) -> Option<&Watch> {
        match &self.watched {
            Some(watched) => Some(&watched.watch),
            None if self.connection.phase.is_http2() => None,
            None => Some(&self.connection.watch),
        }
    }

    /// The connection this is a request of.
    #[must_use]
    pub fn connection(&self) -> &Arc<ClientConnection> {
        &self.connection
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.phase.idle();
        // An app can answer before it has read all of an upload: that still ends with its session.
        let uploads_on = self.upload.as_ref().is_some_and(|upload| !upload.is_over());
        if self.connection.phase.is_http2() {
            if !self.connection.phase.may_go_on(self.settled) {
                self.connection.watch.cut();
            }
        } else if !uploads_on {
            self.connection.watch.end_of_answer();
        }
        self.telemetry.request(self.class, self.status, self.upstream);
        if let Some(line) = self.line.take() {
            self.telemetry.access(AccessEntry {
                id: line.id.bytes(),
                client: line.client,
                user: line.user,
                method: line.method,
                path: line.path,
                status: self.status,
                bytes: self.bytes,
                total: self.started.elapsed(),
                upstream: self.upstream,
                broken: self.broken,
            });
        }
    }
}

/// When bytes of a request's body last moved: the upstream's time limit does not run while they do.
#[derive(Debug)]
pub struct Movement {
    began: Instant,
    last: AtomicU64,
    over: AtomicBool,
}

impl Movement {
    /// From now on.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
            over: AtomicBool::new(false),
        })
    }

    /// Something moved.
    pub fn moved(&self) {
        self.last.store(
            u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// Nothing will move any more.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// When something moved last.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.began + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }
}
