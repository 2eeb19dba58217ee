//! The redirect URI: what a browser brings back from the provider, and the session it gets for it.
//!
//! In this order: the attempt that `state` names must be this browser's and in time; it must be its first use; only then
//! does the provider hear anything.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Response, StatusCode};

use super::answers::{redirect, with_cookies};
use super::attempt::{Attempt, Found};
use super::oidc::{Provider, Returned};
use super::{SignIn, Visit, provision};
use crate::clock::UnixTime;
use crate::config::AuthMethod;
use crate::telemetry::{SignInOutcome, metrics};

/// The field that our own repost page adds: what carries it is not posted a third time.
const MARKER: &str = "vestibule_again";
/// What a form_post may bring; nothing else is posted again.
const FIELDS: [&str; 4] = ["state", "id_token", "error", "iss"];

pub(super) async fn answer(sign_in: &SignIn, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    let raw = match visit.method {
        Method::GET => visit.query.as_deref().unwrap_or_default().as_bytes(),
        Method::POST => visit.form.as_deref().unwrap_or_default(),
        // A HEAD must not use an attempt up.
        _ => return sign_in.answers.method_not_allowed("GET, POST", visit),
    };
    let (Some(provider), Some(mut parameters)) = (&sign_in.provider, parameters(raw)) else {
        return gone(sign_in, visit, None);
    };
    let Some(state) = parameters.remove("state") else {
        return gone(sign_in, visit, None);
    };
    match sign_in.attempts.find(&state, &visit.attempt_cookies, now) {
        Found::None if may_post_again(provider, visit, &parameters) => {
            parameters.insert("state".to_owned(), state);
            post_again(sign_in, parameters)
        }
        Found::None => gone(sign_in, visit, None),
        Found::Expired(attempt) => gone(sign_in, visit, Some(&attempt)),
        Found::Open(attempt) => {
            let response = match sign_in.sessions.use_attempt(&attempt.id, attempt.expires()).await {
                Ok(true) => complete(sign_in, provider, visit, parameters, &attempt, now).await,
                Ok(false) => gone(sign_in, visit, Some(&attempt)),
                Err(unavailable) => {
                    metrics().sign_in(SignInOutcome::StoreFailed);
                    sign_in.answers.store_away(&unavailable, visit)
                }
            };
            with_cookies(response, sign_in.attempts.delete(&attempt.id))
        }
    }
}

async fn complete(
    sign_in: &SignIn,
    provider: &Provider,
    visit: &Visit,
    mut parameters: BTreeMap<String, String>,
    attempt: &Attempt,
    now: UnixTime,
) -> Response<Bytes> {
    let rules = sign_in.entry.load_full();
    // A code comes by GET, a token by POST: one in the other's place is not looked at (no token stands in a URL).
    let by_get = visit.method == Method::GET;
    let returned = Returned {
        code: parameters.remove("code").filter(|_| by_get),
        id_token: parameters.remove("id_token").filter(|_| !by_get),
        error: parameters.remove("error"),
        error_description: parameters.remove("error_description"),
        iss: parameters.remove("iss"),
    };
    match provider.complete(returned, attempt, &rules, now).await {
        Ok(vouched) => {
            let kept = provision::Kept {
                amr: vouched.amr,
                auth_time: vouched.auth_time,
                sid: vouched.sid,
                id_token: vouched.id_token,
                refresh_token: vouched.refresh_token,
            };
            let way = provision::Way::Provider(kept);
            provision::admit(sign_in, vouched.arrival, way, &rules, &attempt.return_to, visit, now).await
        }
        Err(failure) => sign_in.answers.failure(&failure, &attempt.return_to, visit),
    }
}

/// A used, expired, bookmarked or unknown callback: who is signed in goes on, another is told.
fn gone(sign_in: &SignIn, visit: &Visit, attempt: Option<&Attempt>) -> Response<Bytes> {
    let return_to = attempt.map_or("/", |attempt| &attempt.return_to);
    if visit.session.is_some() {
        return redirect(StatusCode::SEE_OTHER, return_to, []);
    }
    metrics().sign_in(SignInOutcome::Invalid);
    sign_in.answers.attempt_gone(return_to, visit)
}

/// A form_post comes from the provider's site, so that a Lax cookie does not come with it: the browser is let post the same
/// once more from our own origin. Nothing is stored for it.
fn may_post_again(provider: &Provider, visit: &Visit, parameters: &BTreeMap<String, String>) -> bool {
    visit.method == Method::POST
        && provider.settings().auth_method == AuthMethod::Implicit
        && !parameters.contains_key(MARKER)
        && (parameters.contains_key("id_token") || parameters.contains_key("error"))
}

fn post_again(sign_in: &SignIn, mut parameters: BTreeMap<String, String>) -> Response<Bytes> {
    let mut fields: Vec<_> = FIELDS
        .iter()
        .filter_map(|name| parameters.remove_entry(*name))
        .collect();
    fields.push((MARKER.to_owned(), "1".to_owned()));
    sign_in.answers.repost(&sign_in.paths.callback, &fields)
}

/// Parameters by name; None if one stands twice (RFC 6749, section 3.1): which of them counts must not be a question.
fn parameters(raw: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(raw) {
        if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
            return None;
        }
    }
    Some(parameters)
}
