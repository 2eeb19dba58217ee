//! The paths that the gateway keeps for itself (CONTRACT, section 3).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, USER_AGENT};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::console;
use super::control::Step;
use super::cookies::OurCookies;
use super::host::Host;
use super::request::{Asker, SEC_FETCH_DEST, StrictRequest};
use super::respond::{self, Cause};
use super::{Asking, Shared};
use crate::clock::UnixTime;
use crate::session::Session;
use crate::sign_in::{RESTORE_PATH, Visit};

/// Where the app's developers find the keys; answered for any Host and without a session.
pub const JWKS_PATH: &str = "/.vestibule/jwks.json";
/// Where people sign in.
pub const LOGIN_PATH: &str = "/.vestibule/login";
const LOGOUT_PATH: &str = "/.vestibule/logout";
const WHOAMI_PATH: &str = "/.vestibule/whoami";
const ASSETS: &str = "/.vestibule/assets/";

/// Largest form that is read, in bytes: an ID token with many groups fits.
const FORM_LIMIT: usize = 1024 * 1024;
const FORM_TIME: Duration = Duration::from_secs(10);
/// Bytes of all forms that are being read or answered: strangers may send them, on as many connections as there are.
pub const FORMS_TOGETHER: usize = 64 * FORM_LIMIT;

/// Answers a request on one of our paths.
pub async fn answer(
    request: StrictRequest,
    shared: &Shared,
    asking: &Asking,
    now: UnixTime,
) -> Result<Response<Bytes>, Cause> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.path();
    if path == JWKS_PATH {
        return if reads {
            Ok(jwks(shared))
        } else {
            Err(Cause::NotAllowed("GET, HEAD"))
        };
    }
    if path.starts_with(ASSETS) {
        return shared.pages.asset(path).filter(|_| reads).ok_or(if reads {
            Cause::NotFound
        } else {
            Cause::NotAllowed("GET, HEAD")
        });
    }
    if console::is_console(path) {
        return console::answer(request, shared, asking, now).await;
    }
    let step = if path == LOGIN_PATH {
        Step::Login
    } else if path == shared.callback_path {
        Step::Callback
    } else if path == LOGOUT_PATH || shared.logout_path.as_deref() == Some(path) {
        Step::Logout
    } else if shared.restore && path == RESTORE_PATH {
        Step::Restore
    } else if path == WHOAMI_PATH {
        return if reads {
            whoami(&request, shared, now).await
        } else {
            Err(Cause::NotAllowed("GET, HEAD"))
        };
    } else {
        return Err(Cause::NotFound);
    };
    match (step, request.method()) {
        // Whether there is a form to be sent, the sign-in knows.
        (Step::Login, &Method::HEAD) | (_, &Method::GET | &Method::POST) => {}
        (Step::Login, _) => return Err(Cause::NotAllowed("GET, HEAD, POST")),
        _ => return Err(Cause::NotAllowed("GET, POST")),
    }
    if request.host() != Host::Public {
        return at_the_public_name(&request, shared);
    }
    let (visit, _room) = visit(request, shared, asking, now).await?;
    shared
        .control
        .visit(step, visit, now)
        .await
        .map_err(|_| Cause::Unavailable)
}

/// The keys (RFC 7517), for whoever asks.
#[must_use]
pub fn jwks(shared: &Shared) -> Response<Bytes> {
    respond::json(StatusCode::OK, "application/json", "max-age=300", shared.keys.jwks())
}

/// Nobody signs in under another name than the public one, to which the cookies belong: a page is sent there.
pub(super) fn at_the_public_name(request: &StrictRequest, shared: &Shared) -> Result<Response<Bytes>, Cause> {
    let there = format!("{}{}", shared.origin, request.target());
    let there = (request.asker() == Asker::Page).then(|| respond::redirect(StatusCode::PERMANENT_REDIRECT, &there));
    there.flatten().ok_or(Cause::Misdirected)
}

/// Our cookies, unless one was planted beside ours.
pub(super) fn cookies(request: &StrictRequest, shared: &Shared) -> Result<OurCookies, Cause> {
    let cookies = shared.gate.cookies().find(request.headers());
    if cookies.conflict {
        return Err(shared.cookie_conflict());
    }
    Ok(cookies)
}

/// The live session of these cookies, if there is one.
pub(super) async fn session(
    cookies: OurCookies,
    shared: &Shared,
    now: UnixTime,
) -> Result<Option<Arc<Session>>, Cause> {
    let session = shared.gate.session(cookies, now).await;
    session.map_err(|_| Cause::Unavailable)
}

async fn whoami(request: &StrictRequest, shared: &Shared, now: UnixTime) -> Result<Response<Bytes>, Cause> {
    let session = session(cookies(request, shared)?, shared, now).await?;
    let session = session.ok_or_else(|| Cause::NoSession {
        sign_in: LOGIN_PATH.to_owned(),
    })?;
    let body = shared.keys.whoami(session.claims(), now).to_string();
    Ok(respond::json(
        StatusCode::OK,
        "application/json",
        "no-store",
        Bytes::from(body),
    ))
}

/// What the request says, and the room that its form takes.
async fn visit(
    request: StrictRequest,
    shared: &Shared,
    asking: &Asking,
    now: UnixTime,
) -> Result<(Visit, Option<OwnedSemaphorePermit>), Cause> {
    let cookies = cookies(&request, shared)?;
    let session_cookie = cookies.session.clone();
    let session = session(cookies, shared, now).await?;
    let attempt_cookies = if request.headers().contains_key(COOKIE) {
        shared.gate.cookies().attempts(request.headers())
    } else {
        Vec::new()
    };
    let device_cookie = shared.gate.cookies().device(request.headers());
    let cross_site = request.begun_elsewhere(shared.gate.origins().get(..1).unwrap_or_default());
    let embedded = request
        .headers()
        .get(SEC_FETCH_DEST)
        .is_some_and(|dest| dest != "document" && dest != "empty");
    let user_agent = request.headers().get(USER_AGENT);
    let user_agent = user_agent.map(|sent| String::from_utf8_lossy(sent.as_bytes()).into_owned());
    let method = request.method().clone();
    let query = request.parts.uri.query().map(str::to_owned);
    let (form, room) = if method == Method::POST && is_form(&request) {
        let (form, room) = read_form(request, shared).await?;
        (Some(form), Some(room))
    } else {
        (None, None)
    };
    let visit = Visit {
        method,
        query,
        form,
        session_cookie,
        attempt_cookies,
        device_cookie,
        session,
        client: asking.client,
        user_agent,
        cross_site,
        embedded,
        request_id: Arc::from(asking.id.as_str()),
    };
    Ok((visit, room))
}

/// Whether the body is what a form of ours sends.
pub(super) fn is_form(request: &StrictRequest) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
        kind.trim_ascii()
            .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}

/// The form, and the room that it takes.
pub(super) async fn read_form(request: StrictRequest, shared: &Shared) -> Result<(Bytes, OwnedSemaphorePermit), Cause> {
    let form = timeout(FORM_TIME, form(request, &shared.forms)).await;
    form.map_err(|_| Cause::Late)?
}

/// Copied as it comes: a body in chunks of one byte would take many times its size.
async fn form(request: StrictRequest, room: &Arc<Semaphore>) -> Result<(Bytes, OwnedSemaphorePermit), Cause> {
    let take = |bytes: usize| {
        let bytes = u32::try_from(bytes).map_err(|_| Cause::TooLarge)?;
        Arc::clone(room)
            .try_acquire_many_owned(bytes)
            .map_err(|_| Cause::Unavailable)
    };
    let (mut body, mut form, mut taken) = (request.body, Vec::new(), take(0)?);
    while let Some(frame) = body.frame().await {
        // It broke off: nobody is there to read the answer.
        let Ok(data) = frame.map_err(|_| Cause::Late)?.into_data() else {
            continue;
        };
        if form.len() + data.len() > FORM_LIMIT {
            return Err(Cause::TooLarge);
        }
        taken.merge(take(data.len())?);
        form.extend_from_slice(&data);
    }
    Ok((form.into(), taken))
}
