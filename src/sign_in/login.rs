//! `GET /.vestibule/login`: the form where a directory is set, the way to the provider, or back to the page when somebody
//! is signed in.

use bytes::Bytes;
use http::{Method, Response, StatusCode};

use super::answers::{Notice, redirect};
use super::{SignIn, Visit, password, return_to};
use crate::clock::UnixTime;

/// The parameter of "sign in as someone else".
pub(super) const SOMEONE_ELSE: &str = "other";
/// The parameter of the provider's button, where there is a form, too.
pub(super) const WITH_PROVIDER: &str = "provider";

pub(super) async fn answer(sign_in: &SignIn, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    match visit.method {
        Method::GET | Method::HEAD => {}
        Method::POST if sign_in.ldap.is_some() => return password::answer(sign_in, visit, now).await,
        _ if sign_in.ldap.is_some() => return sign_in.answers.method_not_allowed("GET, HEAD, POST", visit),
        _ => return sign_in.answers.method_not_allowed("GET, HEAD", visit),
    }
    let query = visit.query.as_deref();
    let return_to = return_to::from_query(query, &sign_in.paths);
    let someone_else = has(query, SOMEONE_ELSE);
    if visit.session.is_some() && !someone_else {
        return redirect(StatusCode::FOUND, &return_to, []);
    }
    let provider = match &sign_in.provider {
        Some(provider) if sign_in.ldap.is_none() || has(query, WITH_PROVIDER) => provider,
        _ if sign_in.ldap.is_some() => {
            return password::form(sign_in, return_to, "", Notice::None, None, visit, now);
        }
        _ => return sign_in.answers.no_way_in(visit),
    };
    let (attempt, cookies) = sign_in.attempts.begin(return_to, &visit.attempt_cookies, now);
    match provider.sign_in_address(&attempt, someone_else).await {
        Ok(address) => redirect(StatusCode::FOUND, address.as_str(), cookies),
        Err(failure) => sign_in.answers.failure(&failure, &attempt.return_to, visit),
    }
}

fn has(query: Option<&str>, parameter: &str) -> bool {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(|(name, _)| name == parameter)
}
