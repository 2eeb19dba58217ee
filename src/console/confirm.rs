//! The page that asks once more before something is lost.

use askama::Template;

use crate::pages::console::Frame;

#[derive(Template)]
#[template(path = "console/confirm.html")]
pub(super) struct Confirm {
    pub(super) frame: Frame,
    pub(super) text: Vec<String>,
    /// Our own path, where the form goes.
    pub(super) action: String,
    /// Go with it, unseen.
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) button: &'static str,
    pub(super) danger: bool,
    /// Our own path of who thinks better of it.
    pub(super) back: String,
}
