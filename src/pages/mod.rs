//! What people see: one quiet design, no external asset, no inline script or style. No rules in here.
//!
//! Every page is a finished response with its status, `Content-Type`, `Content-Security-Policy` (`default-src 'none'`
//! and what is needed by name), `Referrer-Policy: same-origin`, `X-Content-Type-Options: nosniff` and
//! `Cache-Control: no-store`; the style, script and icon files have names that hold their hash and may be kept.

mod assets;
pub mod console;

use std::sync::Arc;

use askama::Template;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};

use self::assets::{ASSETS, Assets};

/// Makes pages in the instance's name.
#[derive(Clone, Debug)]
pub struct Pages {
    instance: Arc<str>,
    assets: &'static Assets,
}

/// A page that says what happened and offers next steps.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The response's status.
    pub status: StatusCode,
    /// The heading: what happened, in a few words.
    pub title: &'a str,
    /// Paragraphs; text, escaped by the page.
    pub text: &'a [&'a str],
    /// Label and address of links, the first being the main step. An address is a path of ours or a URL.
    pub links: &'a [(&'a str, &'a str)],
    /// Shown small, so that an operator can find the log line.
    pub request_id: Option<&'a str>,
}

/// A question with one button.
#[derive(Clone, Debug)]
pub struct Confirm<'a> {
    /// The heading.
    pub title: &'a str,
    /// Paragraphs; text, escaped by the page.
    pub text: &'a [&'a str],
    /// Our own path, where it goes.
    pub action: &'a str,
    /// Go with it, unseen.
    pub fields: &'a [(String, String)],
    /// What the button says.
    pub button: &'a str,
}

/// The form of name and password.
#[derive(Clone, Debug)]
pub struct SignInForm<'a> {
    /// The response's status.
    pub status: StatusCode,
    /// Our own path, where it goes.
    pub action: &'a str,
    /// Goes with it, unseen.
    pub state: &'a str,
    /// What was typed before.
    pub username: &'a str,
    /// What was wrong with it.
    pub notice: Option<&'a str>,
    /// The way to the provider, where there is one, too.
    pub provider: Option<&'a str>,
    /// Shown small, so that an operator can find the log line.
    pub request_id: Option<&'a str>,
}

impl Pages {
    /// Pages for an instance of this name.
    #[must_use]
    pub fn new(instance_name: &str) -> Self {
        Self {
            instance: Arc::from(instance_name),
            assets: &ASSETS,
        }
    }

    /// A page that says what happened.
    #[must_use]
    pub fn message(&self, message: &Message<'_>) -> Response<Bytes> {
        let page = MessagePage {
            assets: self.assets,
            instance: &self.instance,
            title: message.title,
            text: message.text,
            links: message.links,
            request_id: message.request_id,
        };
        finished(message.status, &page, LINKS_ONLY)
    }

    /// A page that posts `fields` to `action` (our own path) once more from our own origin: by an external script, and by
    /// a button for those without script.
    #[must_use]
    pub fn repost(&self, action: &str, fields: &[(String, String)]) -> Response<Bytes> {
        let page = RepostPage {
            assets: self.assets,
            instance: &self.instance,
            title: "Signing in",
            action,
            fields,
        };
        finished(StatusCode::OK, &page, FORM_WITH_SCRIPT)
    }

    /// A page with one button, which posts `fields` to `action`.
    #[must_use]
    pub fn confirm(&self, confirm: &Confirm<'_>) -> Response<Bytes> {
        let page = ConfirmPage {
            assets: self.assets,
            instance: &self.instance,
            title: confirm.title,
            text: confirm.text,
            action: confirm.action,
            fields: confirm.fields,
            button: confirm.button,
        };
        finished(StatusCode::OK, &page, FORM)
    }

    /// A page with the form of name and password.
    #[must_use]
    pub fn sign_in(&self, form: &SignInForm<'_>) -> Response<Bytes> {
        let page = SignInPage {
            assets: self.assets,
            instance: &self.instance,
            title: "Sign in",
            action: form.action,
            state: form.state,
            username: form.username,
            notice: form.notice,
            provider: form.provider,
            request_id: form.request_id,
        };
        finished(form.status, &page, FORM)
    }

    /// The style, script and icon files: what stands at `path` (whole, beginning with `/.vestibule/assets/`).
    #[must_use]
    pub fn asset(&self, path: &str) -> Option<Response<Bytes>> {
        self.assets.find(path).map(assets::Asset::response)
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    assets: &'a Assets,
    instance: &'a str,
    title: &'a str,
    text: &'a [&'a str],
    links: &'a [(&'a str, &'a str)],
    request_id: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage<'a> {
    assets: &'a Assets,
    instance: &'a str,
    title: &'a str,
    text: &'a [&'a str],
    action: &'a str,
    fields: &'a [(String, String)],
    button: &'a str,
}

#[derive(Template)]
#[template(path = "repost.html")]
struct RepostPage<'a> {
    assets: &'a Assets,
    instance: &'a str,
    title: &'a str,
    action: &'a str,
    fields: &'a [(String, String)],
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    assets: &'a Assets,
    instance: &'a str,
    title: &'a str,
    action: &'a str,
    state: &'a str,
    username: &'a str,
    notice: Option<&'a str>,
    provider: Option<&'a str>,
    request_id: Option<&'a str>,
}

/// Most pages have links and nothing else.
const LINKS_ONLY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
);
/// Without `form-action`: browsers hold it against the redirect after the form, too, and the page somebody goes on to is the
/// app's, which may send them further. The form is ours and holds no text of anybody's that is not escaped.
const FORM: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'",
);
const FORM_WITH_SCRIPT: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; form-action 'self'; frame-ancestors 'none'; \
     base-uri 'none'",
);

fn finished(status: StatusCode, page: &impl Template, policy: HeaderValue) -> Response<Bytes> {
    // Templates here only write into a String, and their filters do not fail.
    let html = page.render().unwrap_or_default();
    response(
        status,
        html.into(),
        [
            (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (CONTENT_SECURITY_POLICY, policy),
            (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ],
    )
}

fn response(
    status: StatusCode,
    body: Bytes,
    headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().extend(headers);
    response
}

/// A problem detail (RFC 9457), for programs.
#[must_use]
pub fn problem(status: StatusCode, title: &str, detail: &str, request_id: &str) -> Response<Bytes> {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "request_id": request_id,
    });
    response(
        status,
        Bytes::from(body.to_string()),
        [
            (CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ],
    )
}

/// An address that leads somewhere and runs nothing: a path of ours or a web address; anything else leads to `/`.
pub(crate) fn address(href: &str) -> &str {
    let leads = href.starts_with('/') || href.starts_with("https://") || href.starts_with("http://");
    if leads { href } else { "/" }
}

#[cfg(test)]
mod tests;
