//! The cookies that signing in sets and deletes. Attributes are the same for all: a cookie is only deleted by one of the
//! same name and path, and `__Host-` names need `Secure` and `Path=/`.

use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use http::HeaderValue;

/// `Set-Cookie` for a value that lives `seconds`; None if it does not fit into a header.
pub(super) fn keep(name: &str, value: &str, seconds: i64, secure: bool) -> Option<HeaderValue> {
    let cookie = Cookie::build((name, value))
        .path("/")
        .http_only(true)
        // Lax: sent when somebody comes from the provider by a link or redirect, not with other sites' posts.
        .same_site(SameSite::Lax)
        .secure(secure)
        .max_age(Duration::seconds(seconds))
        .build();
    HeaderValue::from_str(&cookie.to_string()).ok()
}

/// `Set-Cookie` that deletes.
pub(super) fn delete(name: &str, secure: bool) -> Option<HeaderValue> {
    keep(name, "", 0, secure)
}
