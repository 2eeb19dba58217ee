//! Where people go after signing in: the page they asked for, and never another origin (CONTRACT, section 5, `rd`).
//!
//! Public face: [`login_location`] writes the address of the sign-in page that comes back to a request's target;
//! [`from_query`] reads it again. What is read was possibly written by somebody else: it is a path of ours or it is `/`.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::config::PublicUrl;

/// Path of the sign-in page.
pub const LOGIN_PATH: &str = "/.vestibule/login";

/// Where the console stands: the one part of ours that somebody comes back to. Reading it changes nothing.
pub const CONSOLE_PATH: &str = "/.vestibule/console";

/// A longer return address keeps only its path (it travels in a cookie).
const LONGEST: usize = 2048;

/// What is encoded when an address is put into `rd`: all but what RFC 3986, section 2.3, calls unreserved, and `/`.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// What a request target cannot hold as it is; everything else stays byte for byte.
const IN_TARGET: &AsciiSet = &CONTROLS.add(b' ');

/// Paths of ours that nobody is sent back to.
#[derive(Clone, Debug)]
pub struct OurPaths {
    /// The public URL.
    pub public: PublicUrl,
    /// The redirect URI's path.
    pub callback: String,
    /// The logout's, unless left to the app.
    pub logout: Option<String>,
}

/// The address of the sign-in page that comes back to `target`, the path and query of a request, byte for byte.
#[must_use]
pub fn login_location(target: &str) -> String {
    let target = shortened(target);
    if target == "/" {
        return LOGIN_PATH.to_owned();
    }
    format!("{LOGIN_PATH}?rd={}", utf8_percent_encode(target, IN_QUERY))
}

/// The return address in the query of the sign-in page; `/` if there is none, several, or one that is not ours.
#[must_use]
pub fn from_query(query: Option<&str>, ours: &OurPaths) -> String {
    let mut values = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter_map(|(name, value)| (name == "rd").then_some(value));
    match (values.next(), values.next()) {
        (Some(value), None) => checked(&value, ours),
        _ => "/".to_owned(),
    }
}

/// `address` if it is a path of this origin that a browser, however it reads it, finds here; else `/`.
#[must_use]
pub fn checked(address: &str, ours: &OurPaths) -> String {
    path_of_our_origin(address, &ours.public)
        .filter(|target| stays_here(target) && (is_console(target) || !is_ours(target, ours)))
        .map_or_else(
            || "/".to_owned(),
            |target| shortened(&utf8_percent_encode(&target, IN_TARGET).to_string()).to_owned(),
        )
}

/// The path and query of a path or of an absolute URL of our origin.
fn path_of_our_origin(address: &str, public: &PublicUrl) -> Option<String> {
    if address.starts_with('/') {
        return Some(address.to_owned());
    }
    let default_port = if public.https { ":443" } else { ":80" };
    let with_default_port = public.port.is_none().then(|| public.origin() + default_port);
    [Some(public.origin()), with_default_port]
        .into_iter()
        .flatten()
        .find_map(|origin| {
            let (start, rest) = address.split_at_checked(origin.len())?;
            match rest.as_bytes().first() {
                _ if !start.eq_ignore_ascii_case(&origin) => None,
                None => Some("/".to_owned()),
                Some(b'/') => Some(rest.to_owned()),
                Some(b'?' | b'#') => Some(format!("/{rest}")),
                Some(_) => None,
            }
        })
}

/// Whether a browser that follows `target` stays on this origin, also if something on the way decodes it, drops dot
/// segments, or strips the white space that the URL Standard strips.
fn stays_here(target: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}');
    if target.contains(odd) {
        return false;
    }
    readings(path_of(target)).all(|path| {
        [&path, &without_dot_segments(&path)]
            .iter()
            .all(|path| path.starts_with('/') && !path.starts_with("//") && !path.contains('\\') && !path.contains(odd))
    })
}

/// Whether `target` is a page of the console in a spelling that has one reading only.
fn is_console(target: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_');
    path_of(target).strip_prefix(CONSOLE_PATH).is_some_and(|rest| {
        (rest.is_empty() || rest.starts_with('/')) && rest.bytes().all(plain) && !rest.contains("//")
    })
}

/// Whether any reading of `target` is a path that the gateway keeps for itself.
fn is_ours(target: &str, ours: &OurPaths) -> bool {
    let is = |path: &str, own: &str| path.eq_ignore_ascii_case(own.trim_end_matches('/'));
    readings(path_of(target)).any(|path| {
        let path: String = path.split('/').map(without_parameters).collect::<Vec<_>>().join("/");
        [
            with_single_slashes(&without_dot_segments(&path)),
            without_dot_segments(&with_single_slashes(&path)),
        ]
        .iter()
        .any(|path| {
            let path = path.trim_end_matches('/');
            is(path, "/.vestibule")
                || path.to_ascii_lowercase().starts_with("/.vestibule/")
                || is(path, &ours.callback)
                || ours.logout.as_deref().is_some_and(|logout| is(path, logout))
        })
    })
}

/// `path` as it stands, and decoded once, twice and three times.
fn readings(path: &str) -> impl Iterator<Item = String> {
    std::iter::successors(Some(path.to_owned()), |path| {
        path.contains('%')
            .then(|| percent_decode_str(path).decode_utf8_lossy().into_owned())
    })
    .take(4)
}

/// `path` after RFC 3986, section 5.2.4.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

fn with_single_slashes(path: &str) -> String {
    let mut single = String::with_capacity(path.len());
    for c in path.chars() {
        if !(c == '/' && single.ends_with('/')) {
            single.push(c);
        }
    }
    single
}

fn without_parameters(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

fn path_of(target: &str) -> &str {
    target
        .find(['?', '#'])
        .and_then(|end| target.get(..end))
        .unwrap_or(target)
}

fn shortened(target: &str) -> &str {
    if target.len() <= LONGEST {
        return target;
    }
    let path = path_of(target);
    if path.len() <= LONGEST { path } else { "/" }
}

#[cfg(test)]
mod tests;
