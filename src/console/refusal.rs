//! Why something was not shown or not done, and how that is told: a page for people, problem+json for programs.

use askama::Template;
use bytes::Bytes;
use http::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use super::frame::Part;
use super::{Console, Visit};
use crate::clock::UnixTime;
use crate::directory::ChangeError;
use crate::pages::console::{Frame, Notice};
use crate::pages::{self, Message};
use crate::session::Unavailable;
use crate::sign_in::return_to::LOGIN_PATH;
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
    /// The session ended while the request was on its way.
    #[error("Your session has ended, and nothing was done. Sign in, then send it again.")]
    SessionOver,
    /// A body of another kind.
    #[error("Only forms are understood here.")]
    NotAForm,
    /// A form that no page of ours sends.
    #[error("The form could not be read. Open the page again and fill it in there.")]
    Malformed,
    /// A filter that names nothing there is. To leave it away would show, or save, more than was asked for.
    #[error("The {0} in the address is none that there is. Choose one on the page.")]
    NoSuchFilter(&'static str),
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

impl From<ChangeError> for Refusal {
    /// Of what was only to be looked at.
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => Self::Away(error),
            ChangeError::NoSuchPerson(_) => Self::Gone("This person"),
            ChangeError::NoSuchTeam(_) => Self::Gone("This team"),
            ChangeError::Gone | ChangeError::NotInTeam(_) | ChangeError::FromGroup(_) => {
                Self::Gone("What this was about")
            }
            _ => Self::NotAllowed,
        }
    }
}

/// Why something that was asked for by a form was not done, told on the page of the form.
#[derive(Debug)]
pub(super) struct Obstacle {
    status: StatusCode,
    text: String,
}

impl Obstacle {
    /// What the person can do something about; the rest is a page of its own. `at` is the page of the form.
    pub(super) fn of(error: ChangeError, at: &str) -> Result<Self, Refusal> {
        match error {
            ChangeError::Store(_) | ChangeError::NotAllowed | ChangeError::NoSuchPerson(_) => Err(error.into()),
            // On a person's page a team is typed; on a team's page it is what the page is about.
            ChangeError::NoSuchTeam(_) if at != "/people" => Err(error.into()),
            ChangeError::Gone if at != "/waiting" => Err(error.into()),
            error => Ok(Self::typed(&error)),
        }
    }

    /// Something in the form is not so.
    pub(super) fn typed(error: &ChangeError) -> Self {
        let status = match error {
            ChangeError::NotAName(..) | ChangeError::NoIdentity | ChangeError::TooMany(_) => StatusCode::BAD_REQUEST,
            ChangeError::NoSuchPerson(_)
            | ChangeError::NoSuchTeam(_)
            | ChangeError::NotInTeam(_)
            | ChangeError::Gone => StatusCode::NOT_FOUND,
            _ => StatusCode::CONFLICT,
        };
        let text = match error {
            ChangeError::ChangedMeanwhile => "Somebody else changed this meanwhile, and nothing of yours was done. The page \
                                              shows how it is now; what you chose is still in the form. If you still want \
                                              it, send it again."
                .to_owned(),
            ChangeError::Gone => "Somebody else was faster: that is not on the list any more.".to_owned(),
            error => sentence(&error.to_string()),
        };
        Self { status, text }
    }

    /// Of a list that was good when it was looked at.
    pub(super) fn list_changed() -> Self {
        Self {
            status: StatusCode::CONFLICT,
            text: "Nobody was added: something changed since the list was looked at. Look again.".to_owned(),
        }
    }

    /// Puts it above the page's content; says the page's status.
    pub(super) fn put_on(self, frame: &mut Frame) -> StatusCode {
        frame.notice = Some(Notice {
            text: self.text,
            bad: true,
        });
        self.status
    }
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    })
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPage | Self::Gone(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAllowed | Self::Token | Self::SentBefore => StatusCode::FORBIDDEN,
            Self::SessionOver => StatusCode::UNAUTHORIZED,
            Self::NotAForm => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Malformed | Self::NoSuchFilter(_) => StatusCode::BAD_REQUEST,
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
            Self::SessionOver => "Please sign in",
            Self::NotAForm | Self::Malformed => "The form could not be read",
            Self::NoSuchFilter(_) => "Not understood",
            Self::Token | Self::Keys => "Nothing was changed",
            Self::SentBefore => "Sent twice",
            Self::Away(_) | Self::SessionsAway(_) => "Just a moment",
        }
    }

    pub(super) fn response(&self, console: &Console, visit: &Visit, now: UnixTime) -> Response<Bytes> {
        if let Self::Away(error) = self {
            tracing::error!(request_id = %visit.request_id, "a page of the console could not be made: {error}");
        }
        let status = self.status();
        let mut response = if visit.program {
            pages::problem(status, self.title(), &self.to_string(), &visit.request_id)
        } else if matches!(self, Self::SessionOver) {
            // Nobody is signed in: nothing that is for people who are.
            console.pages.message(&Message {
                status,
                title: self.title(),
                text: &[&self.to_string()],
                links: &[("Sign in", LOGIN_PATH)],
                request_id: Some(&visit.request_id),
            })
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
            Self::SessionOver => {
                let realm = format!("Bearer realm=\"{}\"", console.settings.public.origin());
                if let Ok(challenge) = HeaderValue::from_str(&realm) {
                    headers.insert(WWW_AUTHENTICATE, challenge);
                }
            }
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
