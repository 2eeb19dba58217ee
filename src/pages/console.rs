//! What all pages of the console share: the head, the way around, and the one place where such a page is finished.

use askama::Template;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};

use super::Pages;
use super::assets::Assets;

/// What stands around a page's own content.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The style, script and icon files.
    pub assets: &'static Assets,
    /// What the instance is called.
    pub instance: String,
    /// The heading.
    pub title: String,
    /// The ways to other pages.
    pub ways: Vec<WayTo>,
    /// Who is signed in.
    pub who: String,
    /// What was done a moment ago, or what went wrong.
    pub notice: Option<Notice>,
    /// Goes with every form.
    pub token: String,
    /// Shown small, so that an operator can find the log line.
    pub request_id: String,
}

/// A way to another page.
#[derive(Clone, Debug)]
pub struct WayTo {
    /// Its name.
    pub label: &'static str,
    /// Its path.
    pub href: &'static str,
    /// Whether this page is of that part.
    pub here: bool,
}

/// A sentence above the content.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What it says.
    pub text: String,
    /// Whether something went wrong.
    pub bad: bool,
}

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; form-action 'self'; frame-ancestors 'none'; \
     base-uri 'none'",
);
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const EMBEDDER_POLICY: HeaderName = HeaderName::from_static("cross-origin-embedder-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

impl Pages {
    /// A frame with nothing in it yet.
    #[must_use]
    pub fn frame(&self, title: &str) -> Frame {
        Frame {
            assets: self.assets,
            instance: self.instance.as_ref().to_owned(),
            title: title.to_owned(),
            ways: Vec::new(),
            who: String::new(),
            notice: None,
            token: String::new(),
            request_id: String::new(),
        }
    }
}

/// A finished page of the console. Nothing that has it open, or that it was opened from, can reach into it: the app's pages
/// are of the same origin.
#[must_use]
pub fn finished(status: StatusCode, page: &impl Template) -> Response<Bytes> {
    // Templates here only write into a String, and their filters do not fail.
    let html = page.render().unwrap_or_default();
    super::response(
        status,
        html.into(),
        [
            (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (CONTENT_SECURITY_POLICY, POLICY),
            (OPENER_POLICY, HeaderValue::from_static("same-origin")),
            // Two pages of one origin that both say `same-origin` stay together, and many apps say it: with this the console's
            // is another policy than theirs.
            (EMBEDDER_POLICY, HeaderValue::from_static("require-corp")),
            (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
            (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ],
    )
}
