//! What people see: one quiet design, no external asset, no inline script or style. No rules in here.
//!
//! Every page is a finished response with its status, `Content-Type`, `Content-Security-Policy` (`default-src 'none'`
//! and what is needed by name), `Referrer-Policy: same-origin`, `X-Content-Type-Options: nosniff` and
//! `Cache-Control: no-store`; the style and script files have names that hold their hash and may be kept.

use bytes::Bytes;
use http::{Response, StatusCode};

/// Makes pages in the instance's name.
#[derive(Clone, Debug)]
pub struct Pages {}

/// A page that says what happened and offers next steps.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The response's status.
    pub status: StatusCode,
    /// The heading: what happened, in a few words.
    pub title: &'a str,
    /// Paragraphs; text, escaped by the page.
    pub text: &'a [&'a str],
    /// Label and address of links, the first being the main step.
    pub links: &'a [(&'a str, &'a str)],
    /// Shown small, so that an operator can find the log line.
    pub request_id: Option<&'a str>,
}

impl Pages {
    /// Pages for an instance of this name.
    #[must_use]
    pub fn new(_instance_name: &str) -> Self {
        Self {}
    }

    /// A page that says what happened.
    #[must_use]
    pub fn message(&self, _message: &Message<'_>) -> Response<Bytes> {
        unimplemented!()
    }

    /// The sign-in page with the provider's button, a link to `provider_href`.
    #[must_use]
    pub fn sign_in(&self, _provider_href: &str) -> Response<Bytes> {
        unimplemented!()
    }

    /// A page that posts `fields` to `action` (our own path) once more from our own origin: by an external script, and by
    /// a button for those without script.
    #[must_use]
    pub fn repost(&self, _action: &str, _fields: &[(String, String)]) -> Response<Bytes> {
        unimplemented!()
    }

    /// The style, script and icon files: what stands at `path` (whole, beginning with `/.vestibule/assets/`).
    #[must_use]
    pub fn asset(&self, _path: &str) -> Option<Response<Bytes>> {
        unimplemented!()
    }
}
