//! What people are told, in our own words: nothing that a provider or a query says stands on a page. What an operator must
//! know to help them goes to the log, with the setting's name.

mod words;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE};
use http::{HeaderValue, Response, StatusCode, header};

use self::words::{Words, of_obstacle};
use super::Visit;
use super::ldap::{NO_ID, Obstacle, Unusable};
use super::login::{SOMEONE_ELSE, WITH_PROVIDER};
use super::oidc::Failure;
use super::return_to::{LOGIN_PATH, login_location};
use crate::directory::{Arrival, Refused};
use crate::pages::{Confirm, Message, Pages, SignInForm};
use crate::person::{EmailAddress, LDAP};
use crate::telemetry::{SignInOutcome, metrics};

/// Seconds until it is worth trying again.
const TRY_AGAIN: HeaderValue = HeaderValue::from_static("10");

/// Sends a browser on. The address it stands on may hold a code: it goes into no Referer and no cache.
pub(super) fn redirect(
    status: StatusCode,
    to: &str,
    cookies: impl IntoIterator<Item = HeaderValue>,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Both kinds of addresses given to this function (checked paths, parsed URLs) are plain ASCII.
    headers.insert(
        LOCATION,
        HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/")),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    with_cookies(response, cookies)
}

/// Adds `Set-Cookie` lines.
pub(super) fn with_cookies(
    mut response: Response<Bytes>,
    cookies: impl IntoIterator<Item = HeaderValue>,
) -> Response<Bytes> {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// What the form says above its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Nothing: it is shown for the first time.
    None,
    /// A field is empty.
    Incomplete,
    /// It was open for too long, or is another browser's.
    Expired,
    /// A wrong password or an unknown name; nobody hears which.
    Wrong,
    /// The password is right, but.
    But(Obstacle),
    /// Too many wrong ones; seconds until it is worth trying again.
    TooMany(i64),
}

/// What the form holds.
#[derive(Debug)]
pub(super) struct Form<'a> {
    pub(super) login: &'a str,
    pub(super) state: &'a str,
    pub(super) return_to: &'a str,
    pub(super) provider: bool,
}

/// Makes the pages of signing in.
#[derive(Debug)]
pub(super) struct Answers {
    pages: Pages,
    instance: String,
}

impl Answers {
    pub(super) fn new(pages: Pages, instance: &str) -> Self {
        Self {
            pages,
            instance: instance.to_owned(),
        }
    }

    /// The page that posts a form_post's fields once more from our own origin. Its Referrer-Policy stays the pages': with
    /// `no-referrer` browsers would send `Origin: null`, and its address holds nothing.
    pub(super) fn repost(&self, action: &str, fields: &[(String, String)]) -> Response<Bytes> {
        self.pages.repost(action, fields)
    }

    /// The form of name and password. Its Referrer-Policy stays the pages': with `no-referrer` browsers would send
    /// `Origin: null`, and its address holds nothing.
    pub(super) fn form(&self, form: &Form<'_>, notice: Notice, visit: &Visit) -> Response<Bytes> {
        let minutes;
        let (status, notice_text) = match notice {
            Notice::None => (StatusCode::OK, None),
            Notice::Incomplete => (StatusCode::BAD_REQUEST, Some("Please fill in both fields.")),
            Notice::Expired => (
                StatusCode::BAD_REQUEST,
                Some(
                    "This page was open for more than ten minutes, or your browser does not keep cookies for this address. \
                     Please try again.",
                ),
            ),
            Notice::Wrong => (
                StatusCode::UNAUTHORIZED,
                Some("That did not work: the user name or the password is wrong, or the account is locked."),
            ),
            Notice::But(obstacle) => (StatusCode::UNAUTHORIZED, Some(of_obstacle(obstacle))),
            Notice::TooMany(seconds) => {
                let count = (seconds + 59) / 60;
                let unit = if count == 1 { "minute" } else { "minutes" };
                minutes = format!("Too many wrong passwords. Please try again in {count} {unit}.");
                (StatusCode::TOO_MANY_REQUESTS, Some(minutes.as_str()))
            }
        };
        let action = login_location(form.return_to);
        let sign = if action.contains('?') { '&' } else { '?' };
        let provider = form.provider.then(|| format!("{action}{sign}{WITH_PROVIDER}=1"));
        let mut response = self.pages.sign_in(&SignInForm {
            status,
            action: &action,
            state: form.state,
            username: form.login,
            notice: notice_text,
            provider: provider.as_deref(),
            request_id: notice_text.map(|_| &*visit.request_id),
        });
        if let Notice::TooMany(seconds) = notice {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The one-time link's button.
    pub(super) fn restore(&self, action: &str, fields: &[(String, String)]) -> Response<Bytes> {
        self.pages.confirm(&Confirm {
            title: "Sign in to repair",
            text: &[
                "This link signs you in as an administrator for one hour, without single sign-on or directory. It works once.",
                "When the set-up works again, start the gateway without LOCAL_RESTORE.",
            ],
            action,
            fields,
            button: "Sign in",
        })
    }

    /// The one-time link is none, or no more.
    pub(super) fn link_gone(&self, visit: &Visit) -> Response<Bytes> {
        self.page(
            StatusCode::FORBIDDEN,
            "This link does not work",
            &[
                "It was used, is older than fifteen minutes, or is not the one that was written last.",
                "The gateway says on its standard error how to get another.",
            ],
            &[("Sign in", LOGIN_PATH)],
            visit,
        )
    }

    /// Too many links that were none.
    pub(super) fn too_many_links(&self, seconds: i64, visit: &Visit) -> Response<Bytes> {
        let mut response = self.page(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many tries",
            &["Please try again in some minutes."],
            &[],
            visit,
        );
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        response
    }

    /// Another site sent the form.
    pub(super) fn form_from_elsewhere(&self, visit: &Visit) -> Response<Bytes> {
        self.page(
            StatusCode::FORBIDDEN,
            "Not from here",
            &["Another page tried to sign you in. Nothing has happened."],
            &[("Sign in", LOGIN_PATH)],
            visit,
        )
    }

    /// The directory can't be used: nobody's wrong password.
    pub(super) fn directory_away(&self, error: &Unusable, return_to: &str, visit: &Visit) -> Response<Bytes> {
        metrics().sign_in(SignInOutcome::DirectoryFailed);
        tracing::error!(request_id = %visit.request_id, "nobody could be signed in with the directory: {error}");
        try_again_later(self.page(
            StatusCode::SERVICE_UNAVAILABLE,
            "The directory can't be used",
            &[
                "Signing in is done with the company's directory, which cannot be used at the moment. Your password was not \
                 the reason. Try again soon.",
            ],
            &[("Sign in again", &login_location(return_to))],
            visit,
        ))
    }

    /// The directory shows nothing by which this person would be known again.
    pub(super) fn without_id(&self, return_to: &str, visit: &Visit) -> Response<Bytes> {
        tracing::error!(request_id = %visit.request_id, "refused: the entry shows no stable id: {NO_ID}");
        let ask = format!("Whom to ask: an administrator of {}.", self.instance);
        self.page(
            StatusCode::FORBIDDEN,
            "You would not be known again",
            &[
                "Your password is right, but the directory shows no lasting id of yours, and people are known by that here.",
                &ask,
            ],
            &[("Try again", &login_location(return_to))],
            visit,
        )
    }

    pub(super) fn signed_out(&self) -> Response<Bytes> {
        private(self.pages.message(&Message {
            status: StatusCode::OK,
            title: "You are signed out",
            text: &[&format!("Your session at {} has ended.", self.instance)],
            links: &[("Sign in", LOGIN_PATH)],
            request_id: None,
        }))
    }

    /// A post from another site, or a picture on some page, that would have ended a session.
    pub(super) fn logout_from_elsewhere(&self, logout: &str, visit: &Visit) -> Response<Bytes> {
        self.page(
            StatusCode::FORBIDDEN,
            "Sign out?",
            &["Another page asked to sign you out. Nothing has happened."],
            &[("Sign out", logout), ("Stay", "/")],
            visit,
        )
    }

    pub(super) fn method_not_allowed(&self, allowed: &'static str, visit: &Visit) -> Response<Bytes> {
        let mut response = self.page(
            StatusCode::METHOD_NOT_ALLOWED,
            "Not like this",
            &["This address is not for requests of this kind."],
            &[],
            visit,
        );
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static(allowed));
        response
    }

    /// Neither provider nor directory is set.
    pub(super) fn no_way_in(&self, visit: &Visit) -> Response<Bytes> {
        tracing::warn!("somebody wants to sign in, but neither OIDC_ISSUER nor LOCAL_LDAP_LOGIN is set");
        self.page(
            StatusCode::SERVICE_UNAVAILABLE,
            "Nobody can sign in yet",
            &["No way to sign in has been set up here."],
            &[],
            visit,
        )
    }

    /// The attempt is used, over, or not this browser's.
    pub(super) fn attempt_gone(&self, return_to: &str, visit: &Visit) -> Response<Bytes> {
        self.page(
            StatusCode::BAD_REQUEST,
            "Sign in again",
            &[
                "This sign-in was used before, took longer than ten minutes, or was begun in another browser.",
                "If it happens each time, your browser may not be keeping cookies for this address.",
            ],
            &[("Sign in again", &login_location(return_to))],
            visit,
        )
    }

    pub(super) fn store_away(&self, error: &dyn std::error::Error, visit: &Visit) -> Response<Bytes> {
        tracing::error!(request_id = %visit.request_id, "signing in or out failed: {error}");
        let text = format!("{} cannot reach its own records. Nothing has changed.", self.instance);
        try_again_later(self.page(
            StatusCode::SERVICE_UNAVAILABLE,
            "Please try again in a moment",
            &[&text],
            &[("Try again", "/")],
            visit,
        ))
    }

    /// The provider vouches for nobody.
    pub(super) fn failure(&self, failure: &Failure, return_to: &str, visit: &Visit) -> Response<Bytes> {
        let request_id = &visit.request_id;
        let again = login_location(return_to);
        let again = ("Sign in again", again.as_str());
        match failure {
            Failure::Away(_) => {
                metrics().sign_in(SignInOutcome::ProviderFailed);
                tracing::warn!(%request_id, "nobody could be signed in: {failure}");
                try_again_later(self.page(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The sign-in service does not answer",
                    &["Signing in is done by another service, which cannot be used at the moment. Try again soon."],
                    &[again],
                    visit,
                ))
            }
            Failure::Denied => {
                metrics().sign_in(SignInOutcome::Denied);
                tracing::info!(%request_id, "a sign-in ended: {failure}");
                let someone_else = someone_else(return_to);
                self.page(
                    StatusCode::FORBIDDEN,
                    "You were not signed in",
                    &[
                        "The sign-in was cancelled, or the sign-in service does not let this account use this app.",
                        "If you did not cancel it, ask whoever manages accounts there.",
                    ],
                    &[again, ("Sign in as someone else", &someone_else)],
                    visit,
                )
            }
            Failure::SetWrong(_) => {
                metrics().sign_in(SignInOutcome::ProviderFailed);
                tracing::error!(%request_id, "nobody can sign in like this: {failure}");
                let text = format!(
                    "{} and its sign-in service do not understand each other.",
                    self.instance
                );
                self.page(
                    StatusCode::BAD_GATEWAY,
                    "Signing in is not set up right",
                    &[
                        &text,
                        "You can do nothing about it: tell an administrator. The log says what is wrong.",
                    ],
                    &[again],
                    visit,
                )
            }
            Failure::DoesNotHold(_) => {
                metrics().sign_in(SignInOutcome::Invalid);
                tracing::warn!(%request_id, client = %visit.client, "a sign-in was not taken: {failure}");
                self.page(
                    StatusCode::BAD_REQUEST,
                    "That did not work",
                    &["What came back from the sign-in service could not be accepted. Nothing has changed."],
                    &[again],
                    visit,
                )
            }
        }
    }

    /// The rules do not let this person in.
    pub(super) fn refused(
        &self,
        refused: &Refused,
        arrival: &Arrival,
        return_to: &str,
        visit: &Visit,
    ) -> Response<Bytes> {
        let words = if arrival.issuer == LDAP {
            Words::of_directory(refused)
        } else {
            Words::of(refused)
        };
        let address = arrival.email.address().map_or("", EmailAddress::as_str);
        tracing::warn!(request_id = %visit.request_id, address, "refused: {refused} ({})", words.for_the_log);
        let who = if address.is_empty() {
            String::new()
        } else {
            format!("You came as {address}.")
        };
        let ask = format!("Whom to ask: an administrator of {}.", self.instance);
        let mut text = vec![words.text];
        text.extend([who.as_str()].into_iter().filter(|who| !who.is_empty()));
        text.push(&ask);
        self.page(
            StatusCode::FORBIDDEN,
            words.title,
            &text,
            &[
                ("Sign in as someone else", &someone_else(return_to)),
                ("Try again", &login_location(return_to)),
            ],
            visit,
        )
    }

    fn page(
        &self,
        status: StatusCode,
        title: &str,
        text: &[&str],
        links: &[(&str, &str)],
        visit: &Visit,
    ) -> Response<Bytes> {
        private(self.pages.message(&Message {
            status,
            title,
            text,
            links,
            request_id: Some(&visit.request_id),
        }))
    }
}

fn someone_else(return_to: &str) -> String {
    let login = login_location(return_to);
    let sign = if login.contains('?') { '&' } else { '?' };
    format!("{login}{sign}{SOMEONE_ELSE}=1")
}

/// The address a page of ours stands on may hold a code or state: it goes into no Referer.
fn private(mut response: Response<Bytes>) -> Response<Bytes> {
    response
        .headers_mut()
        .insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn try_again_later(mut response: Response<Bytes>) -> Response<Bytes> {
    response.headers_mut().insert(RETRY_AFTER, TRY_AGAIN);
    response
}
