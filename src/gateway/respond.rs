//! The one place where causes become answers: a page for people, problem+json (RFC 9457) for programs.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

use super::request::{Asker, Refusal};
use crate::pages::{Message, Pages, problem};

/// Why the gateway answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Not strictly readable.
    Refused(Refusal),
    /// Two session cookies; the answer deletes ours.
    CookieConflict {
        /// `Set-Cookie` values that delete it.
        delete: Vec<String>,
    },
    /// No session, and nobody to send away to sign in.
    NoSession {
        /// Where a person signs in.
        sign_in: String,
    },
    /// The session ended while its request was on its way to the app, which may have begun on it.
    SessionEnded {
        /// Where a person signs in.
        sign_in: String,
    },
    /// Begun by another site.
    CrossSite,
    /// A page of the console, wanted by a script or a frame.
    NotOpened,
    /// Sent to a name that is not ours.
    Misdirected,
    /// Nothing of ours is at this path.
    NotFound,
    /// Ours, but not with this method.
    NotAllowed(&'static str),
    /// A form over 1 MiB.
    TooLarge,
    /// A form that did not arrive in time.
    Late,
    /// The app can't be reached, or answers nonsense.
    Upstream(&'static str),
    /// The app took too long.
    UpstreamLate,
    /// The store or the control plane does not answer.
    Unavailable,
}

impl Cause {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(Refusal::Method) | Self::NotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refused(_) | Self::CookieConflict { .. } => StatusCode::BAD_REQUEST,
            Self::NoSession { .. } | Self::SessionEnded { .. } => StatusCode::UNAUTHORIZED,
            Self::CrossSite | Self::NotOpened => StatusCode::FORBIDDEN,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
            Self::UpstreamLate => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What happened, in a few words, and in a sentence or two.
    fn words(&self) -> (&'static str, String) {
        match self {
            Self::Refused(refusal) => ("The request could not be read", sentence(&refusal.to_string())),
            Self::CookieConflict { .. } => (
                "Two sessions at once",
                "Your browser sent two different session cookies. They have been deleted; please try again.".to_owned(),
            ),
            Self::NoSession { .. } => (
                "Please sign in",
                "Nothing was sent. Sign in, then send it again.".to_owned(),
            ),
            Self::SessionEnded { .. } => (
                "Your session ended",
                "It ended while this was being sent. Sign in, and see what has arrived before you send it again."
                    .to_owned(),
            ),
            Self::CrossSite => (
                "Not from here",
                "Another site began this request on your behalf. Open this site and do it from there.".to_owned(),
            ),
            Self::NotOpened => (
                "Only as a page of its own",
                "The console opens in a window, not inside another page and not for a script.".to_owned(),
            ),
            Self::Misdirected => (
                "Another address",
                "This server does not answer to the name that the request was sent to.".to_owned(),
            ),
            Self::NotFound => ("Nothing here", "There is nothing at this address.".to_owned()),
            Self::NotAllowed(_) => ("Not this way", "This address does not take this method.".to_owned()),
            Self::TooLarge => ("Too large", "The form is larger than 1 MiB.".to_owned()),
            Self::Late => ("Too slow", "The form did not arrive within ten seconds.".to_owned()),
            Self::Upstream(why) => (
                "The app does not answer",
                format!("The app behind this sign-in {why}. Please try again in a moment."),
            ),
            Self::UpstreamLate => (
                "The app takes too long",
                "The app behind this sign-in did not answer in time. Please try again.".to_owned(),
            ),
            Self::Unavailable => (
                "Just a moment",
                "Your session cannot be checked right now. Please try again in a few seconds.".to_owned(),
            ),
        }
    }
}

/// Makes the answer.
#[must_use]
pub fn answer(cause: &Cause, asker: Asker, realm: &str, request_id: &str, pages: &Pages) -> Response<Bytes> {
    let status = cause.status();
    let (title, mut detail) = cause.words();
    if matches!(cause, Cause::NoSession { .. }) && matches!(asker, Asker::Program | Asker::Grpc) {
        "There is no session; nothing was sent on. People sign in with a browser.".clone_into(&mut detail);
    }
    let mut response = match asker {
        Asker::Page | Asker::Navigation => {
            let sign_in;
            let links: &[(&str, &str)] = match cause {
                Cause::NoSession { sign_in: href } | Cause::SessionEnded { sign_in: href } => {
                    sign_in = [("Sign in", href.as_str())];
                    &sign_in
                }
                Cause::NotFound | Cause::CrossSite | Cause::CookieConflict { .. } => &[("To the start page", "/")],
                _ => &[],
            };
            pages.message(&Message {
                status,
                title,
                text: &[&detail],
                links,
                request_id: Some(request_id),
            })
        }
        Asker::Program => problem(status, title, &detail, request_id),
        Asker::Grpc => return grpc(status, &detail),
    };
    let headers = response.headers_mut();
    match cause {
        Cause::NoSession { .. } | Cause::SessionEnded { .. } => {
            if let Ok(challenge) = HeaderValue::from_str(&format!("Bearer realm=\"{realm}\"")) {
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
        }
        Cause::CookieConflict { delete } => {
            for value in delete.iter().filter_map(|value| HeaderValue::from_str(value).ok()) {
                headers.append(SET_COOKIE, value);
            }
        }
        Cause::NotAllowed(methods) => drop(headers.insert(ALLOW, HeaderValue::from_static(methods))),
        Cause::Refused(Refusal::Method) => drop(headers.insert(
            ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        )),
        Cause::Unavailable => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("5"))),
        _ => {}
    }
    response
}

/// Sends a browser elsewhere, remembering nothing.
#[must_use]
pub fn redirect(status: StatusCode, to: &str) -> Option<Response<Bytes>> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(to).ok()?);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// JSON of ours.
#[must_use]
pub fn json(status: StatusCode, kind: &'static str, cache: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(
        http::header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Trailers only: a gRPC client reads no other body than its own messages
/// (gRPC over HTTP/2, "Responses"; status codes as the gRPC project maps HTTP's).
fn grpc(status: StatusCode, detail: &str) -> Response<Bytes> {
    let code = match status {
        StatusCode::UNAUTHORIZED => "16",
        StatusCode::FORBIDDEN => "7",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "12",
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => "14",
        _ => "13",
    };
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(code));
    if let Ok(message) =
        HeaderValue::from_str(&percent_encoding::utf8_percent_encode(detail, percent_encoding::CONTROLS).to_string())
    {
        headers.insert("grpc-message", message);
    }
    response
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    })
}
