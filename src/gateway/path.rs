//! What a path means, to every reader it may meet.
//!
//! The gateway decides by the path and the app behind reads it again, perhaps otherwise: decoded once or twice, with `//`
//! merged, `..` resolved, `;parameters` cut, `\` taken for `/`, some escapes decoded and others not. A path is taken only if every such reading leads to the
//! same decision; what would be ours or public in one reading and not in another is [`Ambiguous`].

use crate::config::PublicPaths;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A path that the gateway keeps for itself, or one below `/.vestibule`.
    Own,
    /// The app's, without a session.
    Public,
    /// The app's, with a session.
    Protected,
}

/// Said of a path that different readers would take differently, or that holds what no path may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path means different things to different readers")]
pub struct Ambiguous;

/// The paths that decide: ours and the public ones.
#[derive(Clone, Debug)]
pub struct Paths {
    own: Vec<String>,
    public: PublicPaths,
}

/// More readings than this, or more bytes of them, are nobody's honest path: they would keep the thread busy. A path that
/// came once costs its sender a byte to send again (RFC 7541, section 6.1), so what it costs us must not be much.
const MOST_READINGS: usize = 128;
const MOST_BYTES: usize = 192 * 1024;
/// Bytes of readings for however short a path, and for each byte of a longer one.
const LEAST_BYTES: usize = 16 * 1024;
const BYTES_A_BYTE: usize = 8;

impl Paths {
    /// `own` are exact paths besides everything at and below `/.vestibule`.
    #[must_use]
    pub fn new(own: Vec<String>, public: PublicPaths) -> Self {
        Self { own, public }
    }

    /// Classifies a path (without query) as it was received.
    pub fn classify(&self, path: &[u8]) -> Result<Class, Ambiguous> {
        let looks = look(path)?;
        let class = self.class_of(path);
        if looks == Looks::Plain {
            return Ok(class);
        }
        let mut seen = vec![path.to_vec()];
        let mut room = MOST_BYTES
            .min(LEAST_BYTES + BYTES_A_BYTE * path.len())
            .saturating_sub(path.len());
        let mut next = 0;
        while let Some(reading) = seen.get(next).cloned() {
            next += 1;
            for read in READERS {
                let Some(other) = read(&reading) else { continue };
                if seen.contains(&other) {
                    continue;
                }
                room = room.checked_sub(other.len()).ok_or(Ambiguous)?;
                if seen.len() == MOST_READINGS || other.contains(&0) || self.class_of(&other) != class {
                    return Err(Ambiguous);
                }
                seen.push(other);
            }
        }
        Ok(class)
    }

    fn class_of(&self, path: &[u8]) -> Class {
        if is_below_own_root(path) || self.own.iter().any(|own| own.as_bytes() == path) {
            Class::Own
        } else if self.public.contains(path) {
            Class::Public
        } else {
            Class::Protected
        }
    }
}

/// `/.vestibule` and what is below it, in any case: an app on a file system that folds case must not see it either.
fn is_below_own_root(path: &[u8]) -> bool {
    const ROOT: &[u8] = b"/.vestibule";
    path.split_at_checked(ROOT.len())
        .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(ROOT) && (rest.is_empty() || rest.starts_with(b"/")))
}

#[derive(PartialEq, Eq)]
enum Looks {
    /// Every reader takes it as it stands.
    Plain,
    /// It holds something that readers take differently.
    Odd,
}

/// One pass over the bytes: refuses what no path may hold, and tells whether readers could differ.
fn look(path: &[u8]) -> Result<Looks, Ambiguous> {
    let mut looks = Looks::Plain;
    let mut before = 0_u8;
    for &byte in path {
        match byte {
            // Controls, space, DEL, `\` and bytes beyond ASCII: RFC 3986, section 2 knows none of them.
            0..=0x20 | 0x7F..=0xFF | b'\\' | b'#' => return Err(Ambiguous),
            b'%' | b';' => looks = Looks::Odd,
            b'/' | b'.' if before == b'/' => looks = Looks::Odd,
            _ => {}
        }
        before = byte;
    }
    Ok(looks)
}

/// Gives its reading of a path, or None where it reads it as it stands.
type Reader = fn(&[u8]) -> Option<Vec<u8>>;

const READERS: [Reader; 12] = [
    decoded,
    decoded_but_slash,
    decoded_but_slashes,
    unreserved_decoded,
    dots_decoded,
    slashes_forward,
    without_parameters,
    cut_at_parameter,
    merged,
    resolved,
    cut_at_end_mark,
    overlong_decoded,
];

/// Percent-decoded once (RFC 3986, section 2.1).
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    decoded_where(path, |_| true)
}

/// An encoded `/` is no separator to many servers (Kestrel), and to some (Go, Tomcat) an encoded `\` is left, too.
fn decoded_but_slash(path: &[u8]) -> Option<Vec<u8>> {
    decoded_where(path, |byte| byte != b'/')
}

fn decoded_but_slashes(path: &[u8]) -> Option<Vec<u8>> {
    decoded_where(path, |byte| !matches!(byte, b'/' | b'\\'))
}

/// Normalized (RFC 3986, section 6.2.2.2), as proxies do it.
fn unreserved_decoded(path: &[u8]) -> Option<Vec<u8>> {
    decoded_where(path, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
    })
}

/// To the URL Standard `%2e` is a dot in dot segments, and every other escape stays.
fn dots_decoded(path: &[u8]) -> Option<Vec<u8>> {
    decoded_where(path, |byte| byte == b'.')
}

fn decoded_where(path: &[u8], decodes: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    memchr::memchr(b'%', path)?;
    let digit = |at: usize| path.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let value = match (byte, digit(at + 1), digit(at + 2)) {
            // Two digits are a byte.
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok().filter(|&value| decodes(value)),
            _ => None,
        };
        out.push(value.unwrap_or(byte));
        at += if value.is_some() { 3 } else { 1 };
    }
    (out.len() != path.len()).then_some(out)
}

/// `\` as `/`.
fn slashes_forward(path: &[u8]) -> Option<Vec<u8>> {
    path.contains(&b'\\').then(|| {
        path.iter()
            .map(|&byte| if byte == b'\\' { b'/' } else { byte })
            .collect()
    })
}

/// `;parameters` cut out of every segment (RFC 3986, section 3.3).
fn without_parameters(path: &[u8]) -> Option<Vec<u8>> {
    path.contains(&b';').then(|| {
        let segments: Vec<&[u8]> = path
            .split(|&byte| byte == b'/')
            .map(|segment| segment.split(|&byte| byte == b';').next().unwrap_or_default())
            .collect();
        segments.join(&b'/')
    })
}

/// Everything from the first `;` on cut off.
fn cut_at_parameter(path: &[u8]) -> Option<Vec<u8>> {
    cut(path, |byte| byte == b';')
}

/// Cut at a decoded `?` or `#`.
fn cut_at_end_mark(path: &[u8]) -> Option<Vec<u8>> {
    cut(path, |byte| matches!(byte, b'?' | b'#'))
}

fn cut(path: &[u8], at: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    path.iter()
        .position(|&byte| at(byte))
        .map(|end| path.get(..end).unwrap_or_default().to_vec())
}

/// `//` as `/`.
fn merged(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    for &byte in path {
        if byte != b'/' || out.last() != Some(&b'/') {
            out.push(byte);
        }
    }
    (out.len() != path.len()).then_some(out)
}

/// `.` and `..` segments resolved (RFC 3986, section 5.2.4).
fn resolved(path: &[u8]) -> Option<Vec<u8>> {
    let dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    if !path.split(|&byte| byte == b'/').any(dots) {
        return None;
    }
    let mut out: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            b"." => {}
            b".." => drop(out.pop()),
            _ => {
                out.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            out.push(b"");
        }
    }
    Some([b"/".as_slice(), &out.join(&b'/')].concat())
}

/// The overlong UTF-8 forms of `/`, `.` and `\` that careless decoders take (`%c0%af`), after decoding.
fn overlong_decoded(path: &[u8]) -> Option<Vec<u8>> {
    if !path.iter().any(|byte| matches!(byte, 0xC0 | 0xC1)) {
        return None;
    }
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek().copied()) {
            (0xC0 | 0xC1, Some(second @ 0x80..=0xBF)) => {
                out.push(((byte & 1) << 6) | (second & 0x3F));
                bytes.next();
            }
            _ => out.push(byte),
        }
    }
    (out != path).then_some(out)
}

#[cfg(test)]
mod tests;
