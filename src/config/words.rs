//! The small languages that values are written in: flags, durations, origins, paths. Each is read strictly: what could
//! mean two things is refused.

use std::net::IpAddr;
use std::time::Duration;

use url::{Host, Url};

/// A boolean: true, false, 1, 0, yes, no, in any case.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// A length of time: a number in the unit `plain`, or numbers with units as Go writes them (`720h`, `1h30m`), days too.
pub(super) fn duration(text: &str, plain: Duration) -> Option<Duration> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return scaled(text, plain);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(unit_at)?;
        let (unit, tail) = tail.split_at_checked(1)?;
        let unit = match unit {
            "d" => 86_400,
            "h" => 3_600,
            "m" => 60,
            "s" => 1,
            _ => return None,
        };
        total = total.checked_add(scaled(number, Duration::from_secs(unit))?)?;
        rest = tail;
    }
    Some(total)
}

fn scaled(number: &str, unit: Duration) -> Option<Duration> {
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * unit.as_secs_f64()).ok()
}

/// An origin (RFC 6454) as it was meant: lower case, IDN as punycode, no default port, no trailing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub scheme: String,
    pub host: Host<String>,
    pub port: Option<u16>,
}

impl Origin {
    /// The host as it stands in a URL: an IPv6 address in brackets.
    pub fn host_text(&self) -> String {
        self.host.to_string()
    }

    /// `scheme://host[:port]`, as browsers write it.
    pub fn text(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.scheme, self.host)
    }
}

/// Reads an `http://` or `https://` origin; the error says what is wrong.
pub(super) fn origin(text: &str) -> Result<Origin, &'static str> {
    let url = web_url(text)?;
    if !matches!(url.path(), "" | "/") {
        return Err("it has a path");
    }
    // The parser takes `https://host/.` for `https://host/`.
    if text.rfind('/').is_some_and(|at| at + 1 != text.len()) && text.matches('/').count() > 2 {
        return Err("it has a path");
    }
    let host = match url.host() {
        Some(Host::Domain(domain)) => Host::Domain(without_dot(domain)?),
        Some(other) => other.to_owned(),
        None => return Err("it has no host"),
    };
    Ok(Origin {
        scheme: url.scheme().to_owned(),
        host,
        port: url.port(),
    })
}

/// Reads an `http://` or `https://` URL without user part, query and fragment; the error says what is wrong.
pub(super) fn web_url(text: &str) -> Result<Url, &'static str> {
    // The parser would take tabs and line breaks out and turn `\` into `/` in silence.
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("it holds a blank, a control character or a backslash");
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err("it does not begin with http:// or https://");
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::EmptyHost => "it has no host",
        url::ParseError::InvalidPort => "its port is no port",
        _ => "its host is no host",
    })?;
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err("it has a user part");
    }
    if url.query().is_some() {
        return Err("it has a query");
    }
    if url.fragment().is_some() {
        return Err("it has a fragment");
    }
    if url.port() == Some(0) {
        return Err("its port is no port");
    }
    Ok(url)
}

fn without_dot(domain: &str) -> Result<String, &'static str> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let fits = !domain.is_empty()
        && domain.len() <= 253
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        });
    if fits {
        Ok(domain.to_owned())
    } else {
        Err("its host is no host")
    }
}

/// Whether a host is this machine whatever name servers say: `localhost`, 127.0.0.0/8, `::1`.
pub(super) fn is_loopback<T: AsRef<str>>(host: &Host<T>) -> bool {
    match host {
        Host::Domain(domain) => domain.as_ref() == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).to_canonical().is_loopback(),
    }
}

/// A path that reads the same to everybody: begins with one `/`, holds nothing encoded, no `.` or `..` segment, no
/// `//`, `;`, `\`, query, or wildcard. The error says what is wrong.
pub(super) fn plain_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("it does not begin with /");
    }
    if path.contains("//") {
        return Err("it holds //");
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("it holds a . or .. segment");
    }
    if let Some(odd) = path.chars().find(|c| matches!(c, '%' | ';' | '\\' | '?' | '#' | '*')) {
        return Err(match odd {
            '%' => "it holds %: write the path decoded, or choose another",
            ';' => "it holds ;",
            '\\' => "it holds a backslash",
            '?' => "it holds a query",
            '#' => "it holds a fragment",
            _ => "it holds * elsewhere than in a last /*",
        });
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it holds a blank or a byte outside ASCII");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, flag, is_loopback, origin, plain_path};

    #[test]
    fn flags_are_read_in_any_case() {
        for text in ["true", "TRUE", "1", "yes", "Yes"] {
            assert_eq!(flag(text), Some(true));
        }
        for text in ["false", "False", "0", "no", "NO"] {
            assert_eq!(flag(text), Some(false));
        }
        for text in ["on", "off", "y", "2", "truee", "t"] {
            assert_eq!(flag(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_plain_numbers_or_numbers_with_units() {
        let hour = Duration::from_hours(1);
        for (text, seconds) in [
            ("24", 86_400),
            ("720h", 2_592_000),
            ("30d", 2_592_000),
            ("1h30m", 5_400),
            ("0.5", 1_800),
            ("90s", 90),
            ("0", 0),
        ] {
            assert_eq!(duration(text, hour), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "h",
            "-1",
            "1w",
            "1 h",
            "1e3",
            "inf",
            "1h30",
            ".",
            "1é",
            "99999999999999999999d",
        ] {
            assert_eq!(duration(text, hour), None, "{text}");
        }
    }

    #[test]
    fn an_origin_has_one_spelling() {
        for (text, one) in [
            ("https://App.Example.COM", "https://app.example.com"),
            ("https://app.example.com:443/", "https://app.example.com"),
            ("HTTP://app.example.com.:80", "http://app.example.com"),
            ("http://app:8080", "http://app:8080"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("http://0x7f.1:1", "http://127.0.0.1:1"),
            ("http://[0:0::1]:80", "http://[::1]"),
            ("http://my_app:1", "http://my_app:1"),
        ] {
            assert_eq!(origin(text).map(|origin| origin.text()), Ok(one.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_refused() {
        for text in [
            "app.example.com",
            "//app",
            "ftp://app",
            "https:app",
            "https:/app",
            "https://",
            "https:///x",
            "https://u@app",
            "https://u:p@app",
            "https://@app",
            "https://app/x",
            "https://app/.",
            "https://app//",
            "https://app/?",
            "https://app?",
            "https://app?x",
            "https://app#",
            "https://app#x",
            "https://app\\x",
            "https://a b",
            "https://app:99999",
            "https://app:0",
            "https://app..",
            "https://a..b",
            "https://.",
            "https://*.app",
            "https://a,b",
            "https://a\tb",
        ] {
            assert!(origin(text).is_err(), "{text} was taken");
        }
    }

    #[test]
    fn loopback_is_only_what_no_name_server_can_change() {
        for (text, loopback) in [
            ("http://localhost", true),
            ("http://127.8.0.1", true),
            ("http://[::1]", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://app.localhost", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0", false),
        ] {
            assert_eq!(is_loopback(&origin(text).unwrap().host), loopback, "{text}");
        }
    }

    #[test]
    fn a_path_that_two_readers_may_read_differently_is_refused() {
        for path in ["/", "/a", "/a/b.c", "/.well-known/x", "/a~b", "/a/"] {
            assert_eq!(plain_path(path), Ok(()), "{path}");
        }
        for path in [
            "", "a", "//a", "/a//b", "/a/../b", "/..", "/./a", "/a%2fb", "/a;b", "/a\\b", "/a?b", "/a#b", "/a*",
            "/a b", "/ä",
        ] {
            assert!(plain_path(path).is_err(), "{path} was taken");
        }
    }
}
