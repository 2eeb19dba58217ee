//! Signing in: from "nobody" to a session, and back out. Knows providers and directories, nothing of upstreams.
//!
//! Public face: the gateway turns a request on one of our sign-in paths into a [`Visit`] and gets back a finished
//! response. Rooms inside: `oidc/` (one file a step), `attempt` (the sealed cookie of a sign-in under way), `provision`
//! (who gets in, as whom), `return_to` (where they go afterwards).

pub mod return_to;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Response};
use tokio_util::sync::CancellationToken;

use crate::clock::UnixTime;
use crate::config::{EntryRules, Settings};
use crate::pages::Pages;
use crate::seal::Sealer;
use crate::session::{Session, Sessions};

/// A browser on one of our sign-in paths, its request strictly read: the Host is the public URL's.
#[derive(Debug)]
pub struct Visit {
    /// GET, HEAD or POST; HEAD is answered as GET, the body is dropped by the gateway.
    pub method: Method,
    /// The raw query.
    pub query: Option<String>,
    /// The body of a POST with `application/x-www-form-urlencoded`, at most 1 MiB; None otherwise.
    pub form: Option<Bytes>,
    /// The session cookie's value, whether or not a session belongs to it.
    pub session_cookie: Option<String>,
    /// Name and value of every attempt cookie (`<cookie name>-a-<id>`) that the browser sent.
    pub attempt_cookies: Vec<(String, String)>,
    /// The live session, if there is one.
    pub session: Option<Arc<Session>>,
    /// The browser's address, forwarding headers from trusted proxies considered.
    pub client: IpAddr,
    /// `Sec-Fetch-Site` is `cross-site` or `same-site`, or `Origin` is there and not ours (`null` included).
    pub cross_site: bool,
    /// The request's id, for logs and pages.
    pub request_id: Arc<str>,
}

/// How the provider stands, for `/readyz`, `check` and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderState {
    /// No provider is set.
    None,
    /// Nothing is known of it yet; people cannot sign in. Says why.
    Unknown(String),
    /// Its metadata and keys are known; the last look succeeded.
    Known,
    /// Its metadata and keys are known from before; the last look failed. Says why.
    Stale(String),
}

/// Said when signing in cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// The CA file cannot be used.
    #[error("VESTIBULE_CA_FILE: {0}")]
    CaFile(String),
    /// The proxy cannot be used.
    #[error("HTTPS_PROXY: {0}")]
    Proxy(String),
}

/// Everything about signing in.
#[derive(Debug)]
pub struct SignIn {}

impl SignIn {
    /// Sets signing in up; nothing is asked of the provider before [`SignIn::run`] runs.
    ///
    /// # Errors
    /// If the CA file or the proxy cannot be used.
    pub fn new(
        _settings: &Settings,
        _entry: Arc<ArcSwap<EntryRules>>,
        _sealer: Arc<Sealer>,
        _sessions: Arc<Sessions>,
        _pages: Pages,
    ) -> Result<Self, CannotStart> {
        Ok(Self {})
    }

    /// Discovers the provider and keeps its metadata and keys fresh, until `stop` fires. Control plane.
    pub async fn run(&self, stop: CancellationToken) {
        stop.cancelled().await;
    }

    /// How the provider stands.
    #[must_use]
    pub fn provider_state(&self) -> ProviderState {
        ProviderState::None
    }

    /// `GET /.vestibule/login`: the sign-in page, or straight on to the provider when that is all there is.
    pub async fn login(&self, _visit: Visit, _now: UnixTime) -> Response<Bytes> {
        unimplemented!()
    }

    /// `GET|POST` on the redirect URI (OpenID Connect Core 1.0, section 3.1.2.5).
    pub async fn callback(&self, _visit: Visit, _now: UnixTime) -> Response<Bytes> {
        unimplemented!()
    }

    /// `GET|POST /logout`: ends the session here and, where the provider supports it, there.
    pub async fn logout(&self, _visit: Visit, _now: UnixTime) -> Response<Bytes> {
        unimplemented!()
    }
}
