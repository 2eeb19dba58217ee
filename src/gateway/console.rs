//! The console's paths: who may come near them is decided here; what happens there is `console`'s.
//!
//! The app behind stands on the same origin. A script of its pages can send the session's cookie along with anything, so a
//! page of the console opens in a window of its own only, and what changes something brings a token of such a page.

use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderName;
use http::{Method, Response, StatusCode};

use super::host::Host;
use super::own::{self, LOGIN_PATH};
use super::request::{Asker, SEC_FETCH_DEST, StrictRequest};
use super::respond::{self, Cause};
use super::{Asking, Shared};
use crate::clock::UnixTime;
use crate::console::{Body, Visit};
use crate::sign_in::return_to::{CONSOLE_PATH, login_location};

/// On a request that the browser makes for a service worker, beside starting it (Service Workers, section 4.5).
const SERVICE_WORKER_NAVIGATION_PRELOAD: HeaderName = HeaderName::from_static("service-worker-navigation-preload");

/// Whether a path is the console's.
pub fn is_console(path: &str) -> bool {
    path.strip_prefix(CONSOLE_PATH)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a request on one of the console's paths.
pub async fn answer(
    request: StrictRequest,
    shared: &Shared,
    asking: &Asking,
    now: UnixTime,
) -> Result<Response<Bytes>, Cause> {
    let asker = request.asker();
    if request.host() != Host::Public {
        return own::at_the_public_name(&request, shared);
    }
    let session = own::session(own::cookies(&request, shared)?, shared, now).await?;
    let Some(session) = session else {
        let sign_in = (asker == Asker::Page)
            .then(|| respond::redirect(StatusCode::FOUND, &login_location(request.target())))
            .flatten();
        return sign_in.ok_or_else(|| Cause::NoSession {
            sign_in: LOGIN_PATH.to_owned(),
        });
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let ours = shared.gate.origins().get(..1).unwrap_or_default();
    if !reads && *request.method() != Method::OPTIONS && request.begun_elsewhere(ours) {
        return Err(Cause::CrossSite);
    }
    let headers = request.headers();
    if reads
        && (headers.get(SEC_FETCH_DEST).is_some_and(|dest| dest != "document")
            // Asked for by a service worker of the app, which would read it.
            || headers.contains_key(SERVICE_WORKER_NAVIGATION_PRELOAD))
    {
        return Err(Cause::NotOpened);
    }
    if !reads && *request.method() != Method::POST {
        return Err(Cause::NotAllowed("GET, HEAD, POST"));
    }
    let method = request.method().clone();
    let path = request.path().to_owned();
    let query = request.parts.uri.query().map(str::to_owned);
    let (body, _room) = if reads {
        (Body::None, None)
    } else if own::is_form(&request) {
        let (form, room) = own::read_form(request, shared).await?;
        (Body::Form(form), Some(room))
    } else {
        (Body::Other, None)
    };
    let visit = Visit {
        method,
        path,
        query,
        body,
        session,
        client: asking.client,
        program: matches!(asker, Asker::Program | Asker::Grpc),
        request_id: Arc::from(asking.id.as_str()),
    };
    shared.control.console(visit, now).await.map_err(|_| Cause::Unavailable)
}
