//! Who the client is, and what the app is told of it: `X-Forwarded-*` and `Forwarded` (RFC 7239).
//!
//! Only a trusted proxy's word counts, and of it only the part that trusted proxies wrote: the client is the rightmost
//! address that is not trusted.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::config::{ForwardingHeader, PublicUrl};

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const FORWARDED: HeaderName = http::header::FORWARDED;

/// Entries of a forwarding header that are looked at; honest chains are shorter.
const MOST_HOPS: usize = 32;

/// Whom to believe, and what to tell.
#[derive(Clone, Debug)]
pub struct Forwarding {
    trusted: Vec<IpNet>,
    header: ForwardingHeader,
    proto: HeaderValue,
    host: HeaderValue,
    /// `;host="…";proto=…` of a `Forwarded` element.
    tail: String,
}

/// What is the same for every request of a connection whose peer is the client.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end of the connection, an IPv4 address mapped into IPv6 as IPv4.
    pub address: IpAddr,
    /// Whether its forwarding header is believed.
    pub trusted: bool,
    for_value: HeaderValue,
    forwarded_value: HeaderValue,
}

impl Forwarding {
    /// From the settings.
    #[must_use]
    pub fn new(trusted: Vec<IpNet>, header: ForwardingHeader, public: &PublicUrl) -> Self {
        let host = public.authority();
        Self {
            trusted,
            header,
            proto: HeaderValue::from_static(public.scheme()),
            tail: format!(";host=\"{host}\";proto={}", public.scheme()),
            host: value(&host),
        }
    }

    /// Reads a connection's other end, once per connection.
    #[must_use]
    pub fn peer(&self, address: SocketAddr) -> Peer {
        let address = address.ip().to_canonical();
        Peer {
            address,
            trusted: self.trusts(address),
            for_value: value(&address.to_string()),
            forwarded_value: value(&format!("for={}{}", node(address), self.tail)),
        }
    }

    /// Whether a request claims to be forwarded.
    #[must_use]
    pub fn claims_to_be_forwarded(headers: &HeaderMap) -> bool {
        headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED)
    }

    /// The client's address.
    #[must_use]
    pub fn client(&self, peer: &Peer, headers: &HeaderMap) -> IpAddr {
        if !peer.trusted {
            return peer.address;
        }
        let mut client = peer.address;
        for hop in self.hops(headers) {
            // What cannot be read was not written by a proxy of ours: the last address that could be stands.
            let Some(address) = hop else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }

    /// Sets what the app is told, in place of whatever the request brought.
    pub fn set(&self, peer: &Peer, headers: &mut HeaderMap) {
        if peer.trusted && Self::claims_to_be_forwarded(headers) {
            let before = self.chain(headers);
            let (for_value, forwarded_value) = match self.header {
                ForwardingHeader::XForwardedFor => {
                    let client = self.client(peer, headers);
                    (
                        value(&joined(&before, &peer.address.to_string())),
                        value(&format!("for={}{}", node(client), self.tail)),
                    )
                }
                ForwardingHeader::Forwarded => {
                    let mut addresses: Vec<String> = self
                        .hops(headers)
                        .into_iter()
                        .map_while(|hop| hop)
                        .map(|address| address.to_string())
                        .collect();
                    addresses.reverse();
                    addresses.push(peer.address.to_string());
                    (
                        value(&addresses.join(", ")),
                        value(&joined(&before, &format!("for={}{}", node(peer.address), self.tail))),
                    )
                }
            };
            headers.insert(X_FORWARDED_FOR, for_value);
            headers.insert(FORWARDED, forwarded_value);
        } else {
            headers.insert(X_FORWARDED_FOR, peer.for_value.clone());
            headers.insert(FORWARDED, peer.forwarded_value.clone());
        }
        headers.insert(X_FORWARDED_PROTO, self.proto.clone());
        headers.insert(X_FORWARDED_HOST, self.host.clone());
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }

    fn name(&self) -> HeaderName {
        match self.header {
            ForwardingHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardingHeader::Forwarded => FORWARDED,
        }
    }

    /// The trusted header's fields as one list, bytes that are not ASCII left out with their field.
    fn chain(&self, headers: &HeaderMap) -> String {
        let fields: Vec<&str> = headers
            .get_all(self.name())
            .iter()
            .filter_map(|field| field.to_str().ok())
            .filter(|field| !field.trim().is_empty())
            .collect();
        fields.join(", ")
    }

    /// The hops from the nearest one on; None for one that is no address.
    fn hops(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let chain = self.chain(headers);
        if chain.is_empty() {
            return Vec::new();
        }
        chain
            .rsplit(',')
            .take(MOST_HOPS)
            .map(|hop| match self.header {
                ForwardingHeader::XForwardedFor => address(hop.trim()),
                ForwardingHeader::Forwarded => for_parameter(hop).and_then(address),
            })
            .collect()
    }
}

fn joined(before: &str, last: &str) -> String {
    if before.is_empty() {
        last.to_owned()
    } else {
        format!("{before}, {last}")
    }
}

/// The `for` parameter of a `Forwarded` element, unquoted (RFC 7239, section 4).
fn for_parameter(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, node) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| node.trim().trim_matches('"'))
    })
}

/// An address with or without port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(address.to_canonical())
}

/// A node identifier (RFC 7239, section 6): IPv6 in brackets and quotes.
fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    }
}

/// What we wrote ourselves is always a header value; an empty one stands for what is not.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderMap;
    use http::header::{HeaderName, HeaderValue};

    use super::{FORWARDED, Forwarding, X_FORWARDED_FOR};
    use crate::config::{ForwardingHeader, PublicUrl};

    fn forwarding(header: ForwardingHeader) -> Forwarding {
        let public = PublicUrl {
            https: true,
            host: "app.example.com".into(),
            port: None,
        };
        Forwarding::new(
            vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            header,
            &public,
        )
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn client(header: ForwardingHeader, peer: &str, pairs: &[(HeaderName, &str)]) -> IpAddr {
        let forwarding = forwarding(header);
        forwarding.client(&forwarding.peer(format!("{peer}:1").parse().unwrap()), &headers(pairs))
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_trusted() {
        use ForwardingHeader::{Forwarded, XForwardedFor};
        for (header, peer, pairs, expected) in [
            (
                XForwardedFor,
                "192.0.2.1",
                &[(X_FORWARDED_FOR, "198.51.100.1")][..],
                "192.0.2.1",
            ),
            (
                XForwardedFor,
                "10.0.0.1",
                &[(X_FORWARDED_FOR, "198.51.100.1")],
                "198.51.100.1",
            ),
            (
                XForwardedFor,
                "10.0.0.1",
                &[(X_FORWARDED_FOR, "6.6.6.6, 198.51.100.1, 10.0.0.2")],
                "198.51.100.1",
            ),
            (
                XForwardedFor,
                "10.0.0.1",
                &[(X_FORWARDED_FOR, "6.6.6.6"), (X_FORWARDED_FOR, "198.51.100.1")],
                "198.51.100.1",
            ),
            (
                XForwardedFor,
                "10.0.0.1",
                &[(X_FORWARDED_FOR, "198.51.100.1, nonsense")],
                "10.0.0.1",
            ),
            (
                XForwardedFor,
                "10.0.0.1",
                &[(FORWARDED, "for=198.51.100.1")],
                "10.0.0.1",
            ),
            (XForwardedFor, "10.0.0.1", &[], "10.0.0.1"),
            (
                XForwardedFor,
                "[::ffff:10.0.0.1]",
                &[(X_FORWARDED_FOR, "198.51.100.1:99")],
                "198.51.100.1",
            ),
            (
                XForwardedFor,
                "[::1]",
                &[(X_FORWARDED_FOR, "2001:db8::1")],
                "2001:db8::1",
            ),
            (
                Forwarded,
                "10.0.0.1",
                &[(FORWARDED, "for=6.6.6.6, For=\"[2001:db8::1]:99\";proto=http")],
                "2001:db8::1",
            ),
            (Forwarded, "10.0.0.1", &[(FORWARDED, "for=unknown")], "10.0.0.1"),
            (Forwarded, "10.0.0.1", &[(X_FORWARDED_FOR, "198.51.100.1")], "10.0.0.1"),
        ] {
            assert_eq!(
                client(header, peer, pairs),
                expected.parse::<IpAddr>().unwrap(),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn a_strangers_chain_is_replaced_and_a_trusted_one_continued() {
        let forwarding = forwarding(ForwardingHeader::XForwardedFor);
        let mut stranger = headers(&[
            (X_FORWARDED_FOR, "1.1.1.1"),
            (FORWARDED, "for=1.1.1.1"),
            (super::X_FORWARDED_PROTO, "ftp"),
        ]);
        forwarding.set(&forwarding.peer("192.0.2.1:1".parse().unwrap()), &mut stranger);
        assert_eq!(stranger[X_FORWARDED_FOR], "192.0.2.1");
        assert_eq!(
            stranger[FORWARDED],
            "for=192.0.2.1;host=\"app.example.com\";proto=https"
        );
        assert_eq!(stranger[super::X_FORWARDED_PROTO], "https");
        let mut trusted = headers(&[(X_FORWARDED_FOR, "6.6.6.6, 198.51.100.1"), (FORWARDED, "for=1.1.1.1")]);
        forwarding.set(&forwarding.peer("10.0.0.1:1".parse().unwrap()), &mut trusted);
        assert_eq!(trusted[X_FORWARDED_FOR], "6.6.6.6, 198.51.100.1, 10.0.0.1");
        assert_eq!(
            trusted[FORWARDED],
            "for=198.51.100.1;host=\"app.example.com\";proto=https"
        );
    }
}
