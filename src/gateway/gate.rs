//! From a strictly read request to a permit: the session cookie is looked up, and what a session may not do from another
//! site is refused.
//!
//! [`Permitted`] and [`PublicRequest`] are made in this module only, and the forwarder takes nothing else.

use std::sync::Arc;

use http::Method;

use super::control::{Control, NoAnswer};
use super::cookies::{CookieNames, OurCookies, Taken};
use super::memory::Memory;
use super::path::Class;
use super::request::StrictRequest;
use crate::clock::UnixTime;
use crate::session::{Cached, Session, Sessions};
use crate::telemetry::{SessionLookup, metrics};

/// A request that may go to the app on behalf of a session's user.
#[derive(Debug)]
pub struct Permitted {
    request: Box<StrictRequest>,
    session: Arc<Session>,
    cookies: Taken,
}

/// A request that may go to the app without a session; if there is one all the same, its identity goes along.
#[derive(Debug)]
pub struct PublicRequest {
    request: Box<StrictRequest>,
    session: Option<Arc<Session>>,
    cookies: Taken,
    /// A preflight goes on without body and identity.
    bare: bool,
}

/// Leave to go to the app.
#[derive(Debug)]
pub enum Pass {
    /// On behalf of a user.
    Permitted(Permitted),
    /// On nobody's.
    Public(PublicRequest),
}

/// What the gate says.
#[derive(Debug)]
pub enum Outcome {
    /// To the app.
    Forward(Pass),
    /// No session: sign in.
    SignIn(Box<StrictRequest>),
    /// Two session cookies with different values: one was planted.
    CookieConflict(Box<StrictRequest>),
    /// Begun by another site, and it could change something.
    CrossSite(Box<StrictRequest>),
    /// Whether there is a session cannot be said now.
    Unavailable(Box<StrictRequest>),
}

/// What decides at the gate.
#[derive(Debug)]
pub struct Gate {
    sessions: Arc<Sessions>,
    control: Control,
    cookies: CookieNames,
    /// The public URL's origin first, then the operator's.
    origins: Vec<String>,
    pass_preflight: bool,
}

impl Gate {
    /// A gate for these sessions.
    #[must_use]
    pub fn new(
        sessions: Arc<Sessions>,
        control: Control,
        cookies: CookieNames,
        origins: Vec<String>,
        pass_preflight: bool,
    ) -> Self {
        Self {
            sessions,
            control,
            cookies,
            origins,
            pass_preflight,
        }
    }

    /// The names of our cookies.
    #[must_use]
    pub fn cookies(&self) -> &CookieNames {
        &self.cookies
    }

    /// Our own origin first, then those that may send changing requests, too.
    #[must_use]
    pub fn origins(&self) -> &[String] {
        &self.origins
    }

    /// Decides about a request to the app, on a connection with this memory.
    pub async fn decide(&self, request: Box<StrictRequest>, memory: &Memory, now: UnixTime) -> Outcome {
        let bare = self.pass_preflight && request.is_preflight();
        if !bare && let Some((session, cookies)) = memory.recall(request.headers(), &self.sessions, now) {
            metrics().session_lookup(SessionLookup::Hit);
            return self.judge(request, Ok(Some(session)), cookies);
        }
        let ours = self.cookies.find(request.headers());
        if ours.conflict {
            return Outcome::CookieConflict(request);
        }
        let cookies = if ours.any { Taken::Ours } else { Taken::Nothing };
        if bare {
            return public(PublicRequest {
                request,
                session: None,
                cookies,
                bare,
            });
        }
        let moment = self.sessions.moment(now);
        let session = self.session(ours, now).await;
        if let Ok(Some(session)) = &session {
            memory.keep(request.headers(), session, moment);
        }
        self.judge(request, session, cookies)
    }

    fn judge(
        &self,
        request: Box<StrictRequest>,
        session: Result<Option<Arc<Session>>, NoAnswer>,
        cookies: Taken,
    ) -> Outcome {
        if matches!(session, Ok(Some(_))) && could_change(&request) && request.begun_elsewhere(&self.origins) {
            return Outcome::CrossSite(request);
        }
        match (request.class(), session) {
            (Class::Protected, Ok(Some(session))) => Outcome::Forward(Pass::Permitted(Permitted {
                request,
                session,
                cookies,
            })),
            (Class::Protected, Ok(None)) => Outcome::SignIn(request),
            // Nobody's identity is sent where it cannot be checked; the path is public all the same.
            (Class::Public, session) => public(PublicRequest {
                request,
                session: session.unwrap_or(None),
                cookies,
                bare: false,
            }),
            // Our own paths never go to the app; the caller answers them before it comes here.
            (Class::Own, _) | (Class::Protected, Err(NoAnswer)) => Outcome::Unavailable(request),
        }
    }

    /// The live session of a request's cookie.
    pub async fn session(&self, cookies: OurCookies, now: UnixTime) -> Result<Option<Arc<Session>>, NoAnswer> {
        let Some(cookie) = cookies.session.filter(|_| !cookies.conflict) else {
            return Ok(None);
        };
        let cached = self.sessions.cached(cookie.as_bytes(), now);
        metrics().session_lookup(match cached {
            Cached::Live(_) => SessionLookup::Hit,
            Cached::None => SessionLookup::None,
            Cached::Unavailable => SessionLookup::Unavailable,
            Cached::Unknown => SessionLookup::Miss,
        });
        match cached {
            Cached::Live(session) => Ok(Some(session)),
            Cached::None => Ok(None),
            Cached::Unavailable => Err(NoAnswer),
            // Boxed: rare, and every request's future would be larger by it.
            Cached::Unknown => Box::pin(self.control.find_session(cookie, now)).await,
        }
    }
}

fn public(request: PublicRequest) -> Outcome {
    Outcome::Forward(Pass::Public(request))
}

/// GET, HEAD and OPTIONS change nothing (RFC 9110, section 9.2.1); a WebSocket can.
fn could_change(request: &StrictRequest) -> bool {
    request.is_websocket()
        || request.asks_for_upgrade()
        || !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
}

impl Pass {
    /// The request, the session whose identity goes along, what is taken out of its cookies, and whether its body stays here.
    pub(super) fn into_parts(self) -> (Box<StrictRequest>, Option<Arc<Session>>, Taken, bool) {
        match self {
            Self::Permitted(Permitted {
                request,
                session,
                cookies,
            }) => (request, Some(session), cookies, false),
            Self::Public(PublicRequest {
                request,
                session,
                cookies,
                bare,
            }) => (request, session, cookies, bare),
        }
    }
}
