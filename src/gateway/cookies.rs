//! Our cookies among the others (RFC 6265, section 4.2): found, and taken out of what goes on.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};

/// What the `Cookie` fields hold of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OurCookies {
    /// The session cookie's value.
    pub session: Option<String>,
    /// Two session cookies with different values: somebody planted one.
    pub conflict: bool,
    /// Whether anything must be taken out of what goes on.
    pub any: bool,
}

/// What is to be taken out of a request's `Cookie` fields.
#[derive(Clone, Debug)]
pub enum Taken {
    /// Nothing is ours.
    Nothing,
    /// Ours are somewhere among them.
    Ours,
    /// There is one field, of which it is known what is left.
    Known(Option<HeaderValue>),
}

/// The names that are ours.
#[derive(Clone, Debug)]
pub struct CookieNames {
    session: String,
    attempt_prefix: String,
    device: String,
}

/// All Vestibules' names: cookies do not know ports (RFC 6265, section 8.5), so another gateway's cookie on the same host
/// comes here, too, and its app is not ours.
const FAMILY: [&str; 2] = ["__Host-vestibule", "vestibule"];

impl CookieNames {
    /// By the session cookie's name.
    #[must_use]
    pub fn new(session: String) -> Self {
        let attempt_prefix = format!("{session}-a-");
        let device = format!("{session}-d");
        Self {
            session,
            attempt_prefix,
            device,
        }
    }

    /// The session cookie's name.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Looks through every `Cookie` field.
    #[must_use]
    pub fn find(&self, headers: &HeaderMap) -> OurCookies {
        let mut found = OurCookies::default();
        for field in headers.get_all(COOKIE) {
            for (name, value) in pairs(field.as_bytes()) {
                if !is_of_the_family(name) {
                    continue;
                }
                found.any = true;
                if name != self.session.as_bytes() {
                    continue;
                }
                let value = String::from_utf8_lossy(value);
                match &found.session {
                    Some(other) if *other != value => found.conflict = true,
                    _ => found.session = Some(value.into_owned()),
                }
            }
        }
        found
    }

    /// The device cookie's value; of several, the first.
    #[must_use]
    pub fn device(&self, headers: &HeaderMap) -> Option<String> {
        let fields = headers.get_all(COOKIE);
        fields
            .iter()
            .flat_map(|field| pairs(field.as_bytes()))
            .find(|(name, _)| *name == self.device.as_bytes())
            .and_then(|(_, value)| Some(std::str::from_utf8(value).ok()?.to_owned()))
    }

    /// Name and value of the attempts' cookies.
    #[must_use]
    pub fn attempts(&self, headers: &HeaderMap) -> Vec<(String, String)> {
        let fields = headers.get_all(COOKIE);
        let pairs = fields.iter().flat_map(|field| pairs(field.as_bytes()));
        pairs
            .filter(|(name, _)| name.starts_with(self.attempt_prefix.as_bytes()))
            .filter_map(|(name, value)| {
                Some((
                    std::str::from_utf8(name).ok()?.to_owned(),
                    std::str::from_utf8(value).ok()?.to_owned(),
                ))
            })
            .collect()
    }
}

impl Taken {
    /// Takes our cookies out of the `Cookie` fields; what is left stays byte for byte, an emptied field goes.
    pub fn strip(self, headers: &mut HeaderMap) {
        match self {
            Self::Nothing => {}
            Self::Known(Some(rest)) => drop(headers.insert(COOKIE, rest)),
            Self::Known(None) => drop(headers.remove(COOKIE)),
            Self::Ours => {
                let fields = headers.get_all(COOKIE);
                let kept: Vec<HeaderValue> = fields
                    .iter()
                    .filter_map(|field| {
                        if pairs(field.as_bytes()).any(|(name, _)| is_of_the_family(name)) {
                            without_ours(field.as_bytes())
                        } else {
                            Some(field.clone())
                        }
                    })
                    .collect();
                headers.remove(COOKIE);
                for field in kept {
                    headers.append(COOKIE, field);
                }
            }
        }
    }
}

/// What is left of a field without our cookies, if anything.
pub fn without_ours(field: &[u8]) -> Option<HeaderValue> {
    let rest: Vec<&[u8]> = field
        .split(|&byte| byte == b';')
        .filter(|part| !is_of_the_family(name_of(part)))
        .collect();
    let joined = rest.join(&b';');
    let trimmed = joined.trim_ascii();
    HeaderValue::from_bytes(trimmed).ok().filter(|rest| !rest.is_empty())
}

/// Whether a `Set-Cookie` value would set a cookie of ours in some browser's reading: by name in any case, or as a
/// nameless cookie whose value is taken for name and value when it comes back.
#[must_use]
pub fn sets_ours(set_cookie: &[u8]) -> bool {
    let pair = set_cookie.split(|&byte| byte == b';').next().unwrap_or_default();
    let pair = pair.trim_ascii();
    let pair = pair.strip_prefix(b"=").unwrap_or(pair);
    let name = name_of(pair);
    FAMILY
        .iter()
        .any(|family| starts_with_family(&name.to_ascii_lowercase(), family.to_ascii_lowercase().as_bytes()))
}

fn is_of_the_family(name: &[u8]) -> bool {
    // A quick no for nearly every cookie there is.
    matches!(name.first(), Some(b'_' | b'v')) && FAMILY.iter().any(|family| starts_with_family(name, family.as_bytes()))
}

fn starts_with_family(name: &[u8], family: &[u8]) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
}

fn pairs(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field.split(|&byte| byte == b';').map(|part| {
        let part = part.trim_ascii();
        match memchr::memchr(b'=', part) {
            Some(at) => {
                let (name, value) = part.split_at(at);
                (name.trim_ascii(), value.get(1..).unwrap_or_default().trim_ascii())
            }
            None => (part, &b""[..]),
        }
    })
}

fn name_of(part: &[u8]) -> &[u8] {
    let part = part.trim_ascii();
    memchr::memchr(b'=', part)
        .and_then(|at| part.get(..at))
        .unwrap_or(part)
        .trim_ascii()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::{COOKIE, HeaderValue};
    use proptest::prelude::*;

    use super::{CookieNames, Taken, sets_ours};

    fn headers(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, HeaderValue::from_str(field).unwrap());
        }
        headers
    }

    fn stripped(fields: &[&str]) -> Vec<String> {
        let mut headers = headers(fields);
        Taken::Ours.strip(&mut headers);
        headers
            .get_all(COOKIE)
            .iter()
            .map(|field| field.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_session_cookie_is_found_wherever_it_stands() {
        let names = CookieNames::new("vestibule-4180".into());
        for fields in [
            &["vestibule-4180=x"][..],
            &["a=b; vestibule-4180=x"],
            &["a=b;vestibule-4180=x;c"],
            &["a=b", "vestibule-4180=x"],
            &["vestibule-4180 = x "],
            &["vestibule-4180=x; vestibule-4180=x"],
        ] {
            let found = names.find(&headers(fields));
            assert_eq!(found.session.as_deref(), Some("x"), "{fields:?}");
            assert!(!found.conflict);
        }
        assert_eq!(
            names
                .find(&headers(&["vestibule=x; Vestibule-4180=y; vestibule-41800=z"]))
                .session,
            None
        );
    }

    #[test]
    fn two_different_session_cookies_are_a_conflict() {
        let names = CookieNames::new("vestibule".into());
        assert!(names.find(&headers(&["vestibule=x; vestibule=y"])).conflict);
        assert!(names.find(&headers(&["vestibule=x", "vestibule=y"])).conflict);
        assert!(names.find(&headers(&["vestibule=; vestibule=y"])).conflict);
        assert!(
            names
                .find(&headers(&["vestibule=x; vestibule=y; vestibule=x"]))
                .conflict
        );
    }

    #[test]
    fn our_cookies_are_taken_out_and_the_rest_is_untouched() {
        assert_eq!(stripped(&["a=b; vestibule=x; c=\"d e\""]), ["a=b; c=\"d e\""]);
        assert_eq!(
            stripped(&["__Host-vestibule-8443=x; a=b", "vestibule-a-1=y", "z"]),
            ["a=b", "z"]
        );
        assert_eq!(
            stripped(&["a=b;  c ; ;d==; vestibules=1"]),
            ["a=b;  c ; ;d==; vestibules=1"]
        );
        assert!(stripped(&["vestibule=x"]).is_empty());
    }

    #[test]
    fn an_attempt_to_set_ours_is_seen_in_every_reading() {
        for value in [
            "vestibule=x",
            "vestibule =x; Path=/",
            " VESTIBULE-4180=x",
            "__Host-vestibule=x; Secure",
            "__HOST-vestibule-a-1=",
            "=vestibule=x",
            "= vestibule=x",
            "vestibule",
        ] {
            assert!(sets_ours(value.as_bytes()), "{value}");
        }
        for value in ["vestibules=x", "session=vestibule", "a=b; vestibule=x"] {
            assert!(!sets_ours(value.as_bytes()), "{value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_ours_goes_on_and_nothing_else_is_lost(parts in proptest::collection::vec("(vestibule|__Host-vestibule|a|b|vestibule-80|vestibulex|)[ =;a-c\"]{0,6}", 0..8)) {
            let field = parts.join("; ");
            let mut map = HeaderMap::new();
            map.append(COOKIE, HeaderValue::from_str(&field).unwrap());
            Taken::Ours.strip(&mut map);
            let left: Vec<String> = map.get_all(COOKIE).iter().flat_map(|f| f.to_str().unwrap().split(';').map(|p| p.trim().to_owned()).collect::<Vec<_>>()).filter(|p| !p.is_empty()).collect();
            let expected: Vec<String> = field.split(';').map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).filter(|p| {
                let name = p.split('=').next().unwrap().trim();
                !["vestibule", "__Host-vestibule"].contains(&name) && !name.starts_with("vestibule-") && !name.starts_with("__Host-vestibule-")
            }).collect();
            prop_assert_eq!(left, expected);
        }
    }
}
