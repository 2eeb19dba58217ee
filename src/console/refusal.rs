//! Why something was not shown or not done, and how that is told: a page for people, problem+json for programs.

use askama::Template;
use bytes::Bytes;
use http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use super::frame::Part;
use super::{Console, Visit};
use crate::clock::UnixTime;
use crate::pages::{self, console::Frame};
use crate::session::Unavailable;
use crate::store::StoreError;

/// Why not. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// No page of ours has this path.
    #[error("There is nothing at this address.")]
    NoSuchPage,
    /// What the page is about is not there, or not any more.
    #[error("{0} is not here, or not any more.")]
    Gone(&'static str),
    /// Not with this method.
    #[error("This address does not take this method.")]
    Method(&'static str),
    /// The rules don't allow it.
    #[error("Your role does not allow this.")]
    NotAllowed,
    /// A body of another kind.
    #[error("Only forms are understood here.")]
    NotAForm,
    /// A form that no page of ours sends.
    #[error("The form could not be read. Open the page again and fill it in there.")]
    Malformed,
    /// No token, an old one, or another session's.
    #[error(
        "The page was open for too long, or the form came from somewhere else. Open the page again and send it from there."
    )]
    Token,
    /// A token that was used.
    #[error("This form was sent before. Look at what it did; to do it again, open the page again.")]
    SentBefore,
    /// The store does not answer.
    #[error("The records of this place cannot be reached. Please try again in a few seconds.")]
    Away(#[from] StoreError),
    /// The sessions' store does not answer.
    #[error("The records of this place cannot be reached. Please try again in a few seconds.")]
    SessionsAway(#[from] Unavailable),
    /// The keys do not let themselves be changed; the log says why.
    #[error("The keys could not be changed. The log says why.")]
    Keys,
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPage | Self::Gone(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAllowed | Self::Token | Self::SentBefore => StatusCode::FORBIDDEN,
            Self::NotAForm => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Away(_) | Self::SessionsAway(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Keys => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn title(&self) -> &'static str {
        match self {
            Self::NoSuchPage => "Nothing here",
            Self::Gone(_) => "Gone",
            Self::Method(_) => "Not this way",
            Self::NotAllowed => "Not allowed",
            Self::NotAForm | Self::Malformed => "The form could not be read",
            Self::Token => "Nothing was changed",
            Self::SentBefore => "Sent twice",
            Self::Away(_) | Self::SessionsAway(_) => "Just a moment",
            Self::Keys => "Nothing was changed",
        }
    }

    pub(super) fn response(&self, console: &Console, visit: &Visit, now: UnixTime) -> Response<Bytes> {
        if let Self::Away(error) = self {
            tracing::error!(request_id = %visit.request_id, "a page of the console could not be made: {error}");
        }
        let status = self.status();
        let mut response = if visit.program {
            pages::problem(status, self.title(), &self.to_string(), &visit.request_id)
        } else {
            let page = MessagePage {
                frame: console.frame(visit, Part::None, self.title(), now),
                text: &self.to_string(),
                links: &[("To your account", "/.vestibule/console/me")],
            };
            pages::console::finished(status, &page)
        };
        let headers = response.headers_mut();
        match self {
            Self::Method(methods) => drop(headers.insert(ALLOW, HeaderValue::from_static(methods))),
            Self::Away(_) | Self::SessionsAway(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

#[derive(Template)]
#[template(path = "console/message.html")]
struct MessagePage<'a> {
    frame: Frame,
    text: &'a str,
    links: &'a [(&'a str, &'a str)],
}
