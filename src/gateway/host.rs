//! Whose name a request was sent to.
//!
//! Names are compared by case, default port and one trailing dot, and in no other way: what is not one of ours is
//! foreign, however close.

use crate::config::PublicUrl;

/// Which of our names `Host` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The public URL's.
    Public,
    /// One of the extra ones.
    Extra,
    /// None of ours.
    Foreign,
}

/// Our names.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// As browsers write it: the fast path compares with this.
    public: String,
    default_port: u16,
    public_key: (String, u16),
    extra: Vec<(String, u16)>,
}

impl Hosts {
    /// The public URL's name and the extra ones (`host` or `host:port`).
    #[must_use]
    pub fn new(public: &PublicUrl, extra: &[String]) -> Self {
        let default_port = if public.https { 443 } else { 80 };
        Self {
            public: public.authority(),
            default_port,
            public_key: (public.host.clone(), public.port.unwrap_or(default_port)),
            extra: extra.iter().filter_map(|host| key(host, default_port)).collect(),
        }
    }

    /// Which of ours `host` is; None if it is no host at all (RFC 9110, section 7.2).
    #[must_use]
    pub fn which(&self, host: &str) -> Option<Host> {
        if host == self.public {
            return Some(Host::Public);
        }
        let key = key(host, self.default_port)?;
        Some(if key == self.public_key {
            Host::Public
        } else if self.extra.contains(&key) {
            Host::Extra
        } else {
            Host::Foreign
        })
    }
}

/// Name (lower case, without one trailing dot) and port; None if it is not of the form `host [":" port]`.
fn key(host: &str, default_port: u16) -> Option<(String, u16)> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            let port = match after {
                "" => default_port,
                _ => port(after.strip_prefix(':')?, default_port)?,
            };
            return Some((format!("[{address}]"), port));
        }
        None => match host.split_once(':') {
            Some((name, digits)) => (name, port(digits, default_port)?),
            None => (host, default_port),
        },
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let well_formed = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    well_formed.then(|| (name.to_ascii_lowercase(), port))
}

/// An empty port is the default one (RFC 3986, section 3.2.3).
fn port(digits: &str, default_port: u16) -> Option<u16> {
    if digits.is_empty() {
        return Some(default_port);
    }
    (digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::{Host, Hosts};
    use crate::config::PublicUrl;

    fn hosts(port: Option<u16>) -> Hosts {
        Hosts::new(
            &PublicUrl {
                https: true,
                host: "app.example.com".into(),
                port,
            },
            &["app.svc:8080".into(), "[::1]".into()],
        )
    }

    #[test]
    fn names_are_compared_by_case_default_port_and_one_trailing_dot() {
        for host in [
            "app.example.com",
            "APP.example.com",
            "app.example.com.",
            "app.example.com:443",
            "app.example.com.:443",
            "app.example.com:",
        ] {
            assert_eq!(hosts(None).which(host), Some(Host::Public), "{host}");
        }
        for host in [
            "app.example.com:80",
            "app.example.com:8443",
            "xapp.example.com",
            "app.example.com.evil",
            "app.svc",
            "localhost",
        ] {
            assert_eq!(hosts(None).which(host), Some(Host::Foreign), "{host}");
        }
        assert_eq!(hosts(Some(8443)).which("app.example.com"), Some(Host::Foreign));
        assert_eq!(hosts(Some(8443)).which("app.example.com:8443"), Some(Host::Public));
        assert_eq!(hosts(None).which("app.svc:8080"), Some(Host::Extra));
        assert_eq!(hosts(None).which("[0:0::1]"), Some(Host::Extra));
    }

    #[test]
    fn what_is_no_host_is_not_taken() {
        for host in [
            "",
            ".",
            "..",
            "app.example.com..",
            "a b",
            "app.example.com:x",
            "app.example.com:443:443",
            "app.example.com:+443",
            "user@app.example.com",
            "app.example.com/",
            "[::1",
            "[::1]x",
            "[zz]",
            ":443",
            "app.example.com,app.example.com",
            "app.example.com#",
        ] {
            let which = hosts(None).which(host);
            assert!(matches!(which, None | Some(Host::Foreign)), "{host:?} is {which:?}");
            assert_ne!(which, Some(Host::Public));
        }
    }
}
