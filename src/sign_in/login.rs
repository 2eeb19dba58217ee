//! `GET /.vestibule/login`: on to the provider, or back to the page when somebody is signed in.

use bytes::Bytes;
use http::{Method, Response, StatusCode};

use super::answers::redirect;
use super::{SignIn, Visit, return_to};
use crate::clock::UnixTime;

/// The parameter of "sign in as someone else".
pub(super) const SOMEONE_ELSE: &str = "other";

pub(super) async fn answer(sign_in: &SignIn, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    if !matches!(visit.method, Method::GET | Method::HEAD) {
        return sign_in.answers.method_not_allowed("GET, HEAD", visit);
    }
    let query = visit.query.as_deref();
    let return_to = return_to::from_query(query, &sign_in.paths);
    let someone_else =
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(|(name, _)| name == SOMEONE_ELSE);
    if visit.session.is_some() && !someone_else {
        return redirect(StatusCode::FOUND, &return_to, []);
    }
    let Some(provider) = &sign_in.provider else {
        return sign_in.answers.no_way_in(visit);
    };
    let (attempt, cookies) = sign_in.attempts.begin(return_to, &visit.attempt_cookies, now);
    match provider.sign_in_address(&attempt, someone_else).await {
        Ok(address) => redirect(StatusCode::FOUND, address.as_str(), cookies),
        Err(failure) => sign_in.answers.failure(&failure, &attempt.return_to, visit),
    }
}
