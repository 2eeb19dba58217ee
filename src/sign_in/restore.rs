//! `/.vestibule/restore`: the one-time link of `LOCAL_RESTORE`, whatever provider and directory do. Opening it shows a
//! button, so that no reader of links uses it up; the button signs in, once.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};

use super::answers::{redirect, with_cookies};
use super::attempt::Found;
use super::failures::{Failures, TooMany};
use super::{SignIn, Visit, cookies};
use crate::clock::UnixTime;
use crate::directory;
use crate::session::{CannotBegin, Device, NewSession};
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
        Method::POST => used(sign_in, visit, now).await,
        _ => sign_in.answers.method_not_allowed("GET, POST", visit),
    }
}

async fn shown(sign_in: &SignIn, tries: &Failures, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    let secret = field(visit.query.as_deref().unwrap_or_default().as_bytes(), LINK).map(SecretString::from);
    let opens = match &secret {
        Some(secret) => directory::opens(&sign_in.store, secret, now).await,
        None => Ok(false),
    };
    match (secret, opens) {
        (Some(secret), Ok(true)) => {
            let (attempt, cookies) = sign_in.attempts.begin("/".to_owned(), &visit.attempt_cookies, now);
            let fields = [
                ("state".to_owned(), attempt.state()),
                (LINK.to_owned(), secret.expose_secret().to_owned()),
            ];
            with_cookies(sign_in.answers.restore(RESTORE_PATH, &fields), cookies)
        }
        (_, Ok(_)) => match tries.at_address(visit.client, now).await {
            Ok(Ok(place)) => {
                place.keep();
                sign_in.answers.link_gone(visit)
            }
            Ok(Err(TooMany(seconds))) => sign_in.answers.too_many_links(seconds, visit),
            Err(error) => sign_in.answers.store_away(&error, visit),
        },
        (_, Err(error)) => sign_in.answers.store_away(&error, visit),
    }
}

async fn used(sign_in: &SignIn, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    if visit.cross_site || visit.embedded {
        metrics().sign_in(SignInOutcome::Invalid);
        return sign_in.answers.form_from_elsewhere(visit);
    }
    let form = visit.form.as_deref().unwrap_or_default();
    let (state, secret) = (field(form, "state"), field(form, LINK).map(SecretString::from));
    let (Some(state), Some(secret)) = (state, secret) else {
        return sign_in.answers.attempt_gone("/", visit);
    };
    // Only the browser that was shown the button has the attempt's cookie, and it had a right link: nobody is signed in by
    // another's page, and nobody guesses here.
    let Found::Open(attempt) = sign_in.attempts.find(&state, &visit.attempt_cookies, now) else {
        metrics().sign_in(SignInOutcome::Invalid);
        return sign_in.answers.attempt_gone("/", visit);
    };
    let door = visit.actor();
    let user = match directory::restore(&sign_in.store, &secret, &door, now).await {
        Ok(Some(user)) => user,
        Ok(None) => {
            metrics().sign_in(SignInOutcome::Refused);
            Event::new(Kind::Refusal, &door)
                .detail("reason", "the restore link is used, over, or another")
                .tell();
            return sign_in.answers.link_gone(visit);
        }
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
        from: Device {
            user_agent: visit.user_agent.clone(),
            address: Some(visit.client),
        },
    };
    let replaces = visit.session_cookie.as_deref().map(str::as_bytes);
    match sign_in.sessions.begin(new, replaces, &door, now).await {
        Ok((token, session)) => {
            metrics().sign_in(SignInOutcome::SignedIn);
            let cookie = cookies::keep(
                &sign_in.public.cookie_name(),
                token.cookie_value(),
                session.expires_at().since(now),
                sign_in.public.https,
            );
            let response = with_cookies(redirect(StatusCode::SEE_OTHER, "/", []), cookie);
            with_cookies(response, sign_in.attempts.delete(&attempt.id))
        }
        Err(CannotBegin::NotActive) => sign_in.answers.link_gone(visit),
        Err(CannotBegin::Unavailable(unavailable)) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            sign_in.answers.store_away(&unavailable, visit)
        }
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
