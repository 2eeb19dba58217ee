//! The app behind, and the header names that it reads.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use http::header::HeaderName;
use url::Host;

use super::Reader;
use crate::config::settings::{IdentityField, Upstream, UpstreamScheme};
use crate::config::words;

pub(super) fn settings(
    reader: &mut Reader<'_>,
    listen: Option<&[SocketAddr]>,
    ops_listen: Option<SocketAddr>,
) -> Option<Upstream> {
    let address = address(reader, listen, ops_listen);
    let timeout = reader.duration("VESTIBULE_UPSTREAM_TIMEOUT", 1, 86_400);
    let preserve_host = reader.flag("VESTIBULE_PRESERVE_HOST");
    let headers = upstream_headers(reader);
    let (scheme, authority) = address?;
    Some(Upstream {
        scheme,
        authority: authority.parse().ok()?,
        timeout: timeout?,
        preserve_host: preserve_host?,
        headers: headers?,
    })
}

/// Scheme, and `host:port` to connect to.
fn address(
    reader: &mut Reader<'_>,
    listen: Option<&[SocketAddr]>,
    ops_listen: Option<SocketAddr>,
) -> Option<(UpstreamScheme, String)> {
    const NAME: &str = "VESTIBULE_UPSTREAM";
    const WRITE: &str = "http://host:port, where the app listens (or https://…, h2c://…, unix:/path)";
    let Some(value) = reader.set(NAME) else {
        reader.wrong(NAME, "it is missing", WRITE);
        return None;
    };
    if let Some(path) = value.text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            reader.wrong(NAME, "the path of the socket is not absolute", "unix:/run/app.sock");
            return None;
        }
        return Some((UpstreamScheme::Unix(path), "localhost:80".to_owned()));
    }
    let (scheme, text) = match value.text.split_at_checked("h2c://".len()) {
        Some((h2c, rest)) if h2c.eq_ignore_ascii_case("h2c://") => {
            (Some(UpstreamScheme::H2c), format!("http://{rest}"))
        }
        _ => (None, value.text.clone()),
    };
    let origin = match words::origin(&text) {
        Ok(origin) => origin,
        Err("it does not begin with http:// or https://") => {
            reader.wrong(NAME, "it does not begin with http://, https://, h2c:// or unix:", WRITE);
            return None;
        }
        Err(wrong) => {
            reader.wrong(NAME, wrong, WRITE);
            return None;
        }
    };
    let (scheme, default) = match scheme {
        Some(scheme) => (scheme, 80),
        None if origin.scheme == "https" => (UpstreamScheme::Https, 443),
        None => (UpstreamScheme::Http, 80),
    };
    let port = origin.port.unwrap_or(default);
    let own = listen.unwrap_or_default().iter().copied().chain(ops_listen);
    if own.into_iter().any(|address| leads_to(&origin.host, port, address)) {
        reader.wrong(
            NAME,
            "it is the gateway's own address: every request would come back to it",
            WRITE,
        );
        return None;
    }
    Some((scheme, format!("{}:{port}", origin.host)))
}

/// Whether a connection to `host` and `port` certainly arrives at our listener.
fn leads_to(host: &Host<String>, port: u16, listener: SocketAddr) -> bool {
    if port != listener.port() {
        return false;
    }
    let own = listener.ip().to_canonical();
    let addressed = match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(IpAddr::V4(*address)),
        Host::Ipv6(address) => Some(IpAddr::V6(*address).to_canonical()),
    };
    match addressed {
        // A connection to 0.0.0.0 or :: goes to this machine, too.
        Some(address) => {
            address == own
                || (own.is_unspecified() && (address.is_loopback() || address.is_unspecified()))
                || (address.is_unspecified() && own.is_loopback())
        }
        None => words::is_loopback(host) && (own.is_loopback() || own.is_unspecified()),
    }
}

fn upstream_headers(reader: &mut Reader<'_>) -> Option<Vec<(HeaderName, IdentityField)>> {
    const NAME: &str = "VESTIBULE_UPSTREAM_HEADERS";
    const WRITE: &str =
        "header=field, such as X-WEBAUTH-USER=email; fields: sub, email, username, name, role, groups, teams";
    let mut headers: Vec<(HeaderName, IdentityField)> = Vec::new();
    let mut well = true;
    for item in reader.items(NAME) {
        let wrong = match header_and_field(&item) {
            Ok((name, _)) if headers.iter().any(|(other, _)| *other == name) => "the header is there twice",
            Ok(pair) => {
                headers.push(pair);
                continue;
            }
            Err(wrong) => wrong,
        };
        reader.wrong_item(NAME, &item, wrong, WRITE);
        well = false;
    }
    well.then_some(headers)
}

fn header_and_field(item: &str) -> Result<(HeaderName, IdentityField), &'static str> {
    // Headers that frame a message, name its addressee, carry credentials or say how to read the body, and our own.
    const TAKEN: &[&str] = &[
        "accept",
        "allow",
        "alt-svc",
        "authorization",
        "cache-control",
        "connection",
        "cookie",
        "cookie2",
        "date",
        "expect",
        "forwarded",
        "from",
        "host",
        "http2-settings",
        "keep-alive",
        "max-forwards",
        "origin",
        "pragma",
        "range",
        "referer",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "vary",
        "via",
        "www-authenticate",
        "x-real-ip",
        "x-request-id",
    ];
    const TAKEN_BEGINNINGS: &[&str] = &[
        "accept-",
        "access-control-",
        "content-",
        "if-",
        "proxy-",
        "sec-",
        "x-forwarded-",
        "x-vestibule-",
    ];
    let (name, field) = item.split_once('=').ok_or("there is no = in it")?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| "its header name is none")?;
    // Many servers read `_` and `-` as the same; a name with `_` would be two names.
    if name.as_str().contains('_') {
        return Err("its header name holds _, which many servers read as -");
    }
    let taken = TAKEN.contains(&name.as_str())
        || TAKEN_BEGINNINGS
            .iter()
            .any(|beginning| name.as_str().starts_with(beginning));
    if taken {
        return Err("the header has a meaning of its own that must not be overwritten");
    }
    let field = match field.trim() {
        "sub" => IdentityField::Sub,
        "email" => IdentityField::Email,
        "username" => IdentityField::Username,
        "name" => IdentityField::Name,
        "role" => IdentityField::Role,
        "groups" => IdentityField::Groups,
        "teams" => IdentityField::Teams,
        _ => return Err("there is no such field"),
    };
    Ok((name, field))
}
