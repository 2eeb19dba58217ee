//! The style, script and icon files, each under a name that holds its hash: it may be kept for good, and a new version has
//! a new name.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};

/// All of them.
pub static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new(
        "style",
        "css",
        "text/css; charset=utf-8",
        include_str!("assets/style.css"),
    ),
    icon: Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")),
    console: Asset::new(
        "console",
        "css",
        "text/css; charset=utf-8",
        include_str!("assets/console.css"),
    ),
    console_script: Asset::new(
        "console",
        "js",
        "text/javascript; charset=utf-8",
        include_str!("assets/console.js"),
    ),
    repost: Asset::new(
        "repost",
        "js",
        "text/javascript; charset=utf-8",
        include_str!("assets/repost.js"),
    ),
});

/// The files that pages name.
#[derive(Debug)]
pub struct Assets {
    /// The one style sheet.
    pub style: Asset,
    /// The icon.
    pub icon: Asset,
    /// What the console's pages need besides.
    pub console: Asset,
    /// Makes the console's pages a little better.
    pub console_script: Asset,
    /// Sends the form of the repost page.
    pub repost: Asset,
}

impl Assets {
    /// The file at this path.
    pub fn find(&self, path: &str) -> Option<&Asset> {
        [
            &self.style,
            &self.icon,
            &self.console,
            &self.console_script,
            &self.repost,
        ]
        .into_iter()
        .find(|asset| asset.path == path)
    }
}

/// One file.
#[derive(Debug)]
pub struct Asset {
    /// Where it stands.
    pub path: String,
    media_type: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(name: &str, extension: &str, media_type: &'static str, content: &'static str) -> Self {
        let hash = digest::digest(&digest::SHA256, content.as_bytes());
        let hash = hash
            .as_ref()
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self {
            path: format!("/.vestibule/assets/{name}-{hash:016x}.{extension}"),
            media_type,
            content,
        }
    }

    /// The file as an answer.
    pub fn response(&self) -> Response<Bytes> {
        super::response(
            StatusCode::OK,
            Bytes::from_static(self.content.as_bytes()),
            [
                (CONTENT_TYPE, HeaderValue::from_static(self.media_type)),
                (
                    CACHE_CONTROL,
                    HeaderValue::from_static("public, max-age=31536000, immutable"),
                ),
                (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'")),
                (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            ],
        )
    }
}
