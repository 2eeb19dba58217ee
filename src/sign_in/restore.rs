//! `/.vestibule/restore`: the one-time link of `LOCAL_RESTORE`, whatever provider and directory do. Opening it shows a
//! button, so that no reader of links uses it up; the button signs in, once.

use bytes::Bytes;
use http::{Method, Response};
use secrecy::{ExposeSecret as _, SecretString};

use super::answers::with_cookies;
use super::attempt::Found;
use super::failures::{Door, Failures, TooMany};
use super::provision::{self, NotActive};
use super::{SignIn, Visit};
use crate::clock::UnixTime;
use crate::directory;
use crate::session::NewSession;
use crate::telemetry::audit::{Event, Kind};
use crate::telemetry::{SignInOutcome, metrics};

/// Where it is.
pub const RESTORE_PATH: &str = "/.vestibule/restore";
/// The parameter and field that hold the secret.
const LINK: &str = "link";
/// Wrong links in 15 minutes per address. Nobody guesses a hundred bits: the limit is for the log's sake, and the right link
/// is taken whatever others at the same address have tried.
pub(super) const WRONG_LINKS: usize = 10;

pub(super) async fn answer(sign_in: &SignIn, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    let Some(tries) = &sign_in.restore else {
        return sign_in.answers.no_way_in(visit);
    };
    match visit.method {
        Method::GET => shown(sign_in, tries, visit, now).await,
        Method::POST => used(sign_in, tries, visit, now).await,
        _ => sign_in.answers.method_not_allowed("GET, POST", visit),
    }
}

async fn shown(sign_in: &SignIn, tries: &Failures, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    let query = visit.query.as_deref().unwrap_or_default().as_bytes();
    let secret = match right_link(sign_in, tries, query, visit, now).await {
        Ok(secret) => secret,
        Err(response) => return response,
    };
    let (attempt, cookies) = sign_in.attempts.begin("/".to_owned(), &visit.attempt_cookies, now);
    let fields = [
        ("state".to_owned(), attempt.state()),
        (LINK.to_owned(), secret.expose_secret().to_owned()),
    ];
    with_cookies(sign_in.answers.restore(RESTORE_PATH, &fields), cookies)
}

async fn used(sign_in: &SignIn, tries: &Failures, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    if visit.cross_site || visit.embedded {
        metrics().sign_in(SignInOutcome::Invalid);
        return sign_in.answers.form_from_elsewhere(visit);
    }
    let form = visit.form.as_deref().unwrap_or_default();
    let secret = match right_link(sign_in, tries, form, visit, now).await {
        Ok(secret) => secret,
        Err(response) => return response,
    };
    // An attempt's cookie, whatever it was begun for, is this browser's alone: nobody is signed in by another's page.
    let attempt = field(form, "state").map(|state| sign_in.attempts.find(&state, &visit.attempt_cookies, now));
    let Some(Found::Open(attempt)) = attempt else {
        metrics().sign_in(SignInOutcome::Invalid);
        return sign_in.answers.attempt_gone("/", visit);
    };
    let user = match directory::restore(&sign_in.store, &secret, &visit.actor(), now).await {
        Ok(Some(user)) => user,
        // Used a moment ago.
        Ok(None) => return wrong_link(sign_in, tries, visit, now).await,
        Err(error) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            return sign_in.answers.store_away(&error, visit);
        }
    };
    let new = NewSession {
        issuer: "restore".to_owned(),
        subject: user.as_str().to_owned(),
        user,
        method: "restore",
        how: "restore link",
        groups: Vec::new(),
        amr: None,
        auth_time: None,
        provider_sid: None,
        id_token: None,
        refresh_token: None,
        from: provision::device(visit),
    };
    match provision::begin(sign_in, new, "/", visit, now).await {
        Ok(response) => with_cookies(response, sign_in.attempts.delete(&attempt.id)),
        Err(NotActive) => sign_in.answers.link_gone(visit),
    }
}

/// The link's secret among these fields, or what whoever brings none that opens is told.
async fn right_link(
    sign_in: &SignIn,
    tries: &Failures,
    fields: &[u8],
    visit: &Visit,
    now: UnixTime,
) -> Result<SecretString, Response<Bytes>> {
    let Some(secret) = field(fields, LINK).map(SecretString::from) else {
        return Err(wrong_link(sign_in, tries, visit, now).await);
    };
    match directory::opens(&sign_in.store, &secret, now).await {
        Ok(true) => Ok(secret),
        Ok(false) => Err(wrong_link(sign_in, tries, visit, now).await),
        Err(error) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            Err(sign_in.answers.store_away(&error, visit))
        }
    }
}

async fn wrong_link(sign_in: &SignIn, tries: &Failures, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    metrics().sign_in(SignInOutcome::Refused);
    match tries.at_door(Door::Address(visit.client), now).await {
        Ok(Ok(place)) => {
            place.keep();
            Event::new(Kind::Refusal, &visit.actor())
                .detail("reason", "the restore link is used, over, or another")
                .tell();
            sign_in.answers.link_gone(visit)
        }
        Ok(Err(TooMany(seconds))) => sign_in.answers.too_many_links(seconds, visit),
        Err(error) => sign_in.answers.store_away(&error, visit),
    }
}

/// A field that stands there once.
fn field(form: &[u8], name: &str) -> Option<String> {
    let mut values = url::form_urlencoded::parse(form).filter(|(other, _)| other == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Some(value.into_owned()),
        _ => None,
    }
}
