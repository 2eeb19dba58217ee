//! What is taken out of a request's headers and what is put in, and the same on the way back (CONTRACT, section 4).
//!
//! Names are compared in lower case with `_` read as `-`: many app servers make one variable of both (RFC 3875,
//! section 4.1.18), and some (lighttpd, older Apache) of every other mark that a name may hold.

use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::cookies::{self, Taken};
use super::forwarded::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// The request's id, ours and new for every request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Name families that no request from outside may carry.
const FAMILIES: [&str; 8] = [
    "x-vestibule-",
    "remote-",
    "x-remote-",
    "x-webauth-",
    "x-auth-request-",
    "x-pomerium-",
    "x-authentik-",
    "gap-",
];

/// Single names that no request from outside may carry.
const SINGLE: [&str; 7] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-preferred-username",
    "x-forwarded-role",
    "x-forwarded-groups",
    "x-forwarded-teams",
    "x-forwarded-access-token",
];

/// Names that we set on every request, whatever it brought: the plain spelling is replaced, every other is dropped.
const REPLACED: [&str; 5] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
    "x-request-id",
];

/// What the app's fields say of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of transfer codings only `chunked` is understood, and undone, on the way (RFC 9112, section 6.1): another one could
    /// not be passed on as what it is.
    pub is_plainly_framed: bool,
    /// Events that need not end.
    pub is_event_stream: bool,
}

/// The names that are guarded besides those above: the operator's.
#[derive(Clone, Debug, Default)]
pub struct Guarded {
    /// Lower case, with `-` for every other mark.
    names: Vec<String>,
}

impl Guarded {
    /// The identity headers that the operator named.
    #[must_use]
    pub fn new<'a>(names: impl Iterator<Item = &'a HeaderName>) -> Self {
        Self {
            names: names.map(|name| as_read(name.as_str())).collect(),
        }
    }

    /// Takes out of a request what may not go on: hop-by-hop fields, what `Connection` names, identity in any spelling,
    /// our cookies, and unless the peer is trusted what only a proxy may say. Says whether `TE: trailers` stays.
    pub fn strip_request(&self, headers: &mut HeaderMap, peer_is_trusted: bool, cookies: Taken) -> bool {
        let (mut te, mut trailers) = (0, false);
        let mut goes: Vec<HeaderName> = Vec::new();
        for (name, value) in headers.iter() {
            if *name == CONNECTION {
                named_by_connection(value, &mut goes);
            } else if *name == TE {
                te += 1;
                trailers = value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"trailers");
                continue;
            }
            if is_hop_by_hop(name) || *name == EXPECT || self.is_guarded(name.as_str(), peer_is_trusted) {
                goes.push(name.clone());
            }
        }
        let keeps_te = te == 1 && trailers;
        if te > 0 && !keeps_te {
            goes.push(TE);
        }
        for name in goes {
            headers.remove(name);
        }
        cookies.strip(headers);
        keeps_te
    }

    /// Takes out of a response what ends here, and any attempt to set our cookies. Says what kind of answer it is.
    pub fn strip_response(headers: &mut HeaderMap) -> Answer {
        let mut goes: Vec<HeaderName> = Vec::new();
        let (mut sets_ours, mut typed) = (false, false);
        let (mut codings, mut chunked) = (0, false);
        let mut is_event_stream = false;
        // One way through them all; asking for each name by itself costs more.
        for (name, value) in headers.iter() {
            if *name == CONTENT_TYPE && !typed {
                typed = true;
                is_event_stream = value.as_bytes().starts_with(b"text/event-stream");
            }
            if !is_hop_by_hop(name) {
                sets_ours |= *name == SET_COOKIE && cookies::sets_ours(value.as_bytes());
                continue;
            }
            if *name == CONNECTION {
                named_by_connection(value, &mut goes);
            } else if *name == TRANSFER_ENCODING {
                codings += 1;
                chunked = value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
                // RFC 9112, section 6.3: the coding counts, and a length beside it is not passed on.
                goes.push(CONTENT_LENGTH);
            }
            goes.push(name.clone());
        }
        for name in goes {
            headers.remove(name);
        }
        if sets_ours {
            let kept: Vec<HeaderValue> = headers
                .get_all(SET_COOKIE)
                .iter()
                .filter(|value| !cookies::sets_ours(value.as_bytes()))
                .cloned()
                .collect();
            headers.remove(SET_COOKIE);
            for value in kept {
                headers.append(SET_COOKIE, value);
            }
        }
        Answer {
            is_plainly_framed: codings == 0 || codings == 1 && chunked,
            is_event_stream,
        }
    }

    /// Takes out of trailers what has no place there: our names, framing, routing, cookies (RFC 9110, section 6.5.1).
    pub fn strip_trailers(&self, trailers: &mut HeaderMap) {
        let goes: Vec<HeaderName> = trailers
            .keys()
            .filter(|name| {
                is_hop_by_hop(name)
                    || matches!(
                        **name,
                        HOST | CONTENT_LENGTH
                            | TRAILER
                            | http::header::COOKIE
                            | SET_COOKIE
                            | http::header::AUTHORIZATION
                            | EXPECT
                    )
                    || self.is_guarded(name.as_str(), false)
                    || REPLACED.contains(&name.as_str())
            })
            .cloned()
            .collect();
        for name in goes {
            trailers.remove(name);
        }
    }

    /// Whether a request from outside may not carry this name.
    fn is_guarded(&self, name: &str, peer_is_trusted: bool) -> bool {
        // Nearly every name an honest request has fails this: all guarded names but the operator's begin with one of these.
        let may_be = matches!(name.as_bytes().first(), Some(b'x' | b'r' | b'g' | b'f'));
        if !may_be && self.names.is_empty() {
            return false;
        }
        if name.bytes().any(|byte| is_mark(byte) && byte != b'-') {
            let read = as_read(name);
            return REPLACED.contains(&read.as_str()) || self.is_guarded_reading(&read, peer_is_trusted);
        }
        self.is_guarded_reading(name, peer_is_trusted)
    }

    fn is_guarded_reading(&self, name: &str, peer_is_trusted: bool) -> bool {
        FAMILIES.iter().any(|family| name.starts_with(family))
            || SINGLE.contains(&name)
            || self.names.iter().any(|guarded| guarded == name)
            || (!peer_is_trusted && is_a_proxys_word(name))
    }
}

/// What a name may hold besides letters and digits (RFC 9110, section 5.6.2).
const fn is_mark(byte: u8) -> bool {
    !byte.is_ascii_alphanumeric()
}

/// A name as an app server may read it that makes one of all marks.
fn as_read(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

/// What only a proxy may say: `X-Forwarded-*` beyond what we set, the original address, rewriting.
fn is_a_proxys_word(name: &str) -> bool {
    name == "x-real-ip"
        || name.starts_with("x-original-")
        || name.starts_with("x-rewrite-")
        || (name.starts_with("x-forwarded-") && !REPLACED.contains(&name))
}

/// Fields that concern one connection only (RFC 9110, section 7.6.1).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        CONNECTION | TE | TRANSFER_ENCODING | UPGRADE | PROXY_AUTHENTICATE | PROXY_AUTHORIZATION
    ) || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || *name == HTTP2_SETTINGS
}

/// The fields that a `Connection` field names. Framing, routing and what we set ourselves are not a client's to drop.
fn named_by_connection(field: &HeaderValue, goes: &mut Vec<HeaderName>) {
    // No field's name, and what nearly everybody says.
    let says_nothing = |word: &[u8]| word.eq_ignore_ascii_case(b"keep-alive") || word.eq_ignore_ascii_case(b"close");
    if says_nothing(field.as_bytes()) {
        return;
    }
    let words = field.as_bytes().split(|&byte| byte == b',');
    let names = words
        .map(<[u8]>::trim_ascii)
        .filter(|word| !says_nothing(word))
        .filter_map(|word| HeaderName::from_bytes(word).ok())
        .filter(|name| {
            !matches!(*name, HOST | CONTENT_LENGTH | TRAILER | TE | FORWARDED | SET_COOKIE)
                && *name != X_FORWARDED_FOR
                && *name != X_FORWARDED_PROTO
                && *name != X_FORWARDED_HOST
                && *name != X_REQUEST_ID
        });
    goes.extend(names);
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::Guarded;
    use crate::gateway::cookies::Taken;

    fn guarded() -> Guarded {
        Guarded::new(
            [
                HeaderName::from_static("token-user"),
                HeaderName::from_static("my_name"),
            ]
            .iter(),
        )
    }

    fn stripped(pairs: &[(&str, &str)], trusted: bool) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        guarded().strip_request(&mut headers, trusted, Taken::Ours);
        let mut names: Vec<String> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn identity_cannot_come_from_outside_in_any_spelling() {
        for name in [
            "X-Vestibule-Assertion",
            "x_vestibule_assertion",
            "X-Vestibule_Assertion",
            "X-Vestibule-Anything",
            "X-Forwarded-User",
            "X_Forwarded_User",
            "x-forwarded_email",
            "X-Forwarded-Preferred-Username",
            "X-Forwarded-Role",
            "X-Forwarded-Groups",
            "X-Forwarded-Teams",
            "X-Forwarded-Access-Token",
            "Remote-User",
            "Remote_User",
            "remote-anything",
            "X-Remote-User",
            "X-WEBAUTH-USER",
            "X_WEBAUTH_USER",
            "X-Auth-Request-Email",
            "X-Pomerium-Jwt-Assertion",
            "X-Authentik-Username",
            "GAP-Auth",
            "gap_signature",
            "Token-User",
            "token_user",
            "My-Name",
            "my_name",
            "X_Forwarded_For",
            "x-forwarded_host",
            "X_Forwarded-Proto",
            "X_Request_Id",
            "X.Forwarded.User",
            "x!vestibule~assertion",
            "Token+User",
            "X.Forwarded.For",
        ] {
            for trusted in [false, true] {
                assert!(
                    stripped(&[(name, "evil"), (name, "twice")], trusted).is_empty(),
                    "{name} passed"
                );
            }
        }
    }

    #[test]
    fn only_a_trusted_peer_speaks_as_a_proxy() {
        for name in [
            "x-real-ip",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-uri",
            "x-forwarded-method",
            "x-forwarded-server",
            "x-original-url",
            "x-rewrite-url",
        ] {
            assert!(stripped(&[(name, "v")], false).is_empty(), "{name}");
            assert_eq!(stripped(&[(name, "v")], true), [name]);
        }
        assert!(stripped(&[("x_real_ip", "v"), ("X_Original_URL", "v")], false).is_empty());
    }

    #[test]
    fn hop_by_hop_fields_and_what_connection_names_end_here() {
        let pairs = [
            ("connection", "close, X-Secret, host, content-length, X-Forwarded-For"),
            ("x-secret", "s"),
            ("host", "h"),
            ("keep-alive", "1"),
            ("proxy-connection", "x"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("proxy-authorization", "x"),
            ("expect", "100-continue"),
            ("content-length", "3"),
            ("x-forwarded-for", "x"),
            ("accept", "a"),
            ("authorization", "Bearer x"),
        ];
        assert_eq!(
            stripped(&pairs, false),
            ["accept", "authorization", "content-length", "host", "x-forwarded-for"]
        );
        assert_eq!(stripped(&[("te", "trailers")], false), ["te"]);
        assert!(stripped(&[("te", "trailers"), ("te", "gzip")], false).is_empty());
    }

    #[test]
    fn trailers_smuggle_nothing() {
        let mut trailers = HeaderMap::new();
        for name in [
            "x-vestibule-assertion",
            "x_forwarded_user",
            "x-forwarded-for",
            "content-length",
            "transfer-encoding",
            "host",
            "cookie",
            "set-cookie",
            "authorization",
            "x-checksum",
        ] {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        guarded().strip_trailers(&mut trailers);
        assert_eq!(
            trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-checksum"]
        );
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_guarded_name_passes(name in "(x-vestibule-assertion|x-forwarded-user|remote-user|x-webauth-user|token-user|gap-auth)", flips in proptest::collection::vec((any::<bool>(), any::<bool>()), 30), trusted: bool) {
            let spelled: String = name.chars().zip(flips).map(|(c, (upper, underscore))| {
                if c == '-' && underscore { '_' } else if upper { c.to_ascii_uppercase() } else { c }
            }).collect();
            prop_assert!(stripped(&[(&spelled, "v")], trusted).is_empty(), "{}", spelled);
        }

        #[test]
        fn an_ordinary_name_passes(name in "[a-w][a-z]{2,12}") {
            prop_assume!(!["upgrade", "te", "expect", "connection", "cookie", "forwarded", "trailer"].contains(&name.as_str()));
            prop_assert_eq!(stripped(&[(&name, "v")], false), [name]);
        }
    }
}
