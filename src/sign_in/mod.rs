//! Signing in: from "nobody" to a session, and back out. Knows providers and directories, nothing of upstreams.
//!
//! Public face: the gateway turns a request on one of our sign-in paths into a [`Visit`] and gets back a finished
//! response. Rooms inside: `oidc/` (one file a step), `attempt` (the sealed cookie of a sign-in under way), `provision`
//! (who gets in, as whom), `return_to` (where they go afterwards).

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};

use crate::clock::UnixTime;
use crate::session::Session;

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

/// Everything about signing in.
#[derive(Debug)]
pub struct SignIn {}

impl SignIn {
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
