//! The LDAP directory.

use std::path::PathBuf;

use secrecy::SecretString;
use url::{Host, Url};

use super::Reader;
use crate::config::settings::{Ldap, LdapAttributes, LdapScheme, LdapServer};
use crate::config::words;

const ADDRESS: &str = "LOCAL_LDAP_ADDRESS";
const BASE_DN: &str = "LOCAL_LDAP_BASE_DN";

/// Whether people sign in with a directory; says nothing if that is unreadable.
pub(super) fn is_on(reader: &Reader<'_>) -> bool {
    reader.is_on("LOCAL_LDAP_LOGIN")
}

/// None inside: no directory is set.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
pub(super) fn settings(reader: &mut Reader<'_>) -> Option<Option<Ldap>> {
    let login = reader.flag("LOCAL_LDAP_LOGIN");
    if login == Some(false) && reader.set(ADDRESS).is_none() {
        return Some(None);
    }
    let start_tls = reader.flag("LOCAL_LDAP_TLS_ENABLE");
    let servers = servers(reader, start_tls == Some(true));
    let base_dn = base_dn(reader);
    let bind = bind(reader);
    let attributes = attributes(reader);
    let user_filter = user_filter(reader);
    let group_filter = group_filter(reader);
    let group_base_dn = reader.set("LOCAL_LDAP_GROUP_BASE_DN").map(|value| value.text.clone());
    let allow_list = allow_list(reader);
    let id_attribute = id_attribute(reader);
    let trust_email = reader.flag("VESTIBULE_LDAP_TRUST_EMAIL");
    let failures = count(reader, "VESTIBULE_LOGIN_FAILURES");
    let failures_address = count(reader, "VESTIBULE_LOGIN_FAILURES_ADDRESS");
    let recheck = reader.duration("VESTIBULE_SESSION_RECHECK", 0, 7 * 86_400);
    let recheck_grace = reader.duration("VESTIBULE_RECHECK_GRACE", 0, 31 * 86_400);
    Some(Some(Ldap {
        login: login?,
        servers: servers?,
        base_dn: base_dn?,
        bind: bind?,
        attributes: attributes?,
        user_filter: user_filter?,
        group_filter: group_filter?,
        group_base_dn,
        start_tls: start_tls?,
        allow_list: allow_list?,
        id_attribute: id_attribute?,
        trust_email: trust_email?,
        failures: failures?,
        failures_address: failures_address?,
        recheck: recheck.map(|every| (!every.is_zero()).then_some(every))?,
        recheck_grace: recheck_grace?,
    }))
}

fn servers(reader: &mut Reader<'_>, start_tls: bool) -> Option<Vec<LdapServer>> {
    const WRITE: &str = "ldaps://host, ldap://host with LOCAL_LDAP_TLS_ENABLE=true, or ldapi:///path/of/socket";
    const CLEARTEXT: &str = "VESTIBULE_LDAP_ALLOW_CLEARTEXT";
    let items = reader.items(ADDRESS);
    if items.is_empty() {
        reader.wrong(ADDRESS, "it is missing, and LOCAL_LDAP_LOGIN is true", WRITE);
        return None;
    }
    let allowed = reader.flag(CLEARTEXT)?;
    let (mut servers, mut well) = (Vec::new(), true);
    for item in items {
        let (server, loopback) = match server(&item) {
            Ok(server) => server,
            Err(wrong) => {
                reader.wrong_item(ADDRESS, &item, wrong, WRITE);
                well = false;
                continue;
            }
        };
        let cleartext = matches!(server.scheme, LdapScheme::Ldap { .. }) && !start_tls && !loopback;
        if cleartext && !allowed {
            reader.wrong_item(
                ADDRESS,
                &item,
                "passwords would go in clear: everybody on the way could read them",
                "ldaps://, LOCAL_LDAP_TLS_ENABLE=true for StartTLS, or VESTIBULE_LDAP_ALLOW_CLEARTEXT=true if that is what \
                 you want",
            );
            well = false;
        } else if cleartext {
            reader.warn(
                CLEARTEXT,
                format!("passwords go to {server} in clear: everybody on the way can read them"),
            );
        }
        servers.push(server);
    }
    well.then_some(servers)
}

/// A server, and whether it is on this machine whatever name servers say.
fn server(text: &str) -> Result<(LdapServer, bool), &'static str> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("it holds a blank, a control character or a backslash");
    }
    let (scheme, rest) = text
        .split_once("://")
        .ok_or("it does not begin with ldap://, ldaps:// or ldapi://")?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "ldapi" {
        let path = percent_encoding::percent_decode_str(rest)
            .decode_utf8()
            .map_err(|_| "its path is no text")?;
        if !path.starts_with('/') || path.len() < 2 {
            return Err("it names no socket");
        }
        let scheme = LdapScheme::Ldapi(PathBuf::from(path.into_owned()));
        return Ok((LdapServer { scheme }, true));
    }
    if !matches!(scheme.as_str(), "ldap" | "ldaps") {
        return Err("it does not begin with ldap://, ldaps:// or ldapi://");
    }
    // Read as https, so that a host is a host to whoever reads it: the other schemes' hosts are any text to the parser.
    let url = Url::parse(&format!("https://{rest}")).map_err(|_| "its host is no host")?;
    let more = !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some();
    if more || !url.username().is_empty() || url.password().is_some() || rest.contains('@') {
        return Err("it holds more than a host and a port; the base goes into LOCAL_LDAP_BASE_DN");
    }
    // The parser drops the port that it takes for its own scheme's default.
    let written_443 = rest.trim_end_matches('/').ends_with(":443");
    let default = if scheme == "ldaps" { 636 } else { 389 };
    let port = url.port().unwrap_or(if written_443 { 443 } else { default });
    if port == 0 {
        return Err("its port is no port");
    }
    let host = url.host().ok_or("it has no host")?;
    let loopback = words::is_loopback(&host);
    let host = match host {
        Host::Domain(domain) => domain.trim_end_matches('.').to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let scheme = if scheme == "ldaps" {
        LdapScheme::Ldaps { host, port }
    } else {
        LdapScheme::Ldap { host, port }
    };
    Ok((LdapServer { scheme }, loopback))
}

fn base_dn(reader: &mut Reader<'_>) -> Option<String> {
    let base = reader.set(BASE_DN).map(|value| value.text.clone());
    if base.is_none() {
        reader.wrong(
            BASE_DN,
            "it is missing",
            "where people are searched, such as ou=people,dc=example,dc=com",
        );
    }
    base
}

/// None inside: anonymous.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
fn bind(reader: &mut Reader<'_>) -> Option<Option<(String, SecretString)>> {
    const NAME: &str = "LOCAL_LDAP_BIND_DN";
    const PASSWORD: &str = "LOCAL_LDAP_BIND_PW";
    match (reader.set(NAME), reader.set(PASSWORD)) {
        (None, None) => Some(None),
        (Some(name), Some(password)) => Some(Some((name.text.clone(), SecretString::from(password.text.clone())))),
        // A bind with one of them alone succeeds as nobody at many servers (RFC 4513, section 5.1.2).
        (Some(_), None) => {
            reader.wrong(
                PASSWORD,
                "it is missing, and LOCAL_LDAP_BIND_DN is set",
                "the service account's password",
            );
            None
        }
        (None, Some(_)) => {
            reader.wrong(
                NAME,
                "it is missing, and LOCAL_LDAP_BIND_PW is set",
                "the service account's DN or principal name",
            );
            None
        }
    }
}

fn attributes(reader: &mut Reader<'_>) -> Option<LdapAttributes> {
    const NAME: &str = "LOCAL_LDAP_ATTRIBUTES";
    const WRITE: &str = "pairs such as email=mail,group=memberOf,username=uid,name=cn";
    let mut attributes = LdapAttributes {
        email: "mail".to_owned(),
        group: "memberOf".to_owned(),
        username: "uid".to_owned(),
        name: "cn".to_owned(),
    };
    let mut well = true;
    for item in reader.items(NAME) {
        let (name, attribute) = item.split_once('=').unwrap_or((&item, ""));
        let (name, attribute) = (name.trim().to_ascii_lowercase(), attribute.trim());
        let place = match name.as_str() {
            "email" => &mut attributes.email,
            "group" | "groups" => &mut attributes.group,
            "username" => &mut attributes.username,
            "name" => &mut attributes.name,
            _ => {
                reader.wrong_item(NAME, &item, "there is no such name", WRITE);
                well = false;
                continue;
            }
        };
        if is_attribute(attribute) {
            attribute.clone_into(place);
        } else {
            reader.wrong_item(NAME, &item, "it names no attribute", WRITE);
            well = false;
        }
    }
    well.then_some(attributes)
}

/// A name or number of an attribute (RFC 4512, section 2.5), without options.
fn is_attribute(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn user_filter(reader: &mut Reader<'_>) -> Option<String> {
    const NAME: &str = "LOCAL_LDAP_USER_FILTER";
    let filter = reader.text(NAME)?.to_owned();
    if !filter.contains("{login}") {
        reader.wrong(
            NAME,
            "it does not hold {login}: everybody would be anybody",
            "a filter such as (uid={login})",
        );
        return None;
    }
    checked_filter(reader, NAME, filter)
}

/// None inside: none.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
fn group_filter(reader: &mut Reader<'_>) -> Option<Option<String>> {
    const NAME: &str = "LOCAL_LDAP_GROUP_FILTER";
    let Some(value) = reader.set(NAME) else {
        return Some(None);
    };
    let filter = value.text.clone();
    if !filter.contains("{dn}") && !filter.contains("{username}") {
        reader.wrong(
            NAME,
            "it holds neither {dn} nor {username}: everybody would be in every group",
            "a filter such as (member={dn})",
        );
        return None;
    }
    checked_filter(reader, NAME, filter).map(Some)
}

fn checked_filter(reader: &mut Reader<'_>, name: &'static str, filter: String) -> Option<String> {
    let tried = filter
        .replace("{login}", "x")
        .replace("{dn}", "x")
        .replace("{username}", "x");
    if ldap3::parse_filter(&tried).is_err() || tried.contains(['{', '}']) {
        reader.wrong(
            name,
            "it is no filter (RFC 4515)",
            "a filter in parentheses, with {login} for people, {dn} and {username} for groups",
        );
        return None;
    }
    Some(filter)
}

/// None inside: not restricted.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
fn allow_list(reader: &mut Reader<'_>) -> Option<Option<Vec<String>>> {
    const NAME: &str = "LOCAL_LDAP_GROUP_ALLOW_LIST";
    let Some(value) = reader.set(NAME) else {
        return Some(None);
    };
    let text = value.text.as_str();
    let items: Vec<&str> = if text.contains('=') || text.contains(';') {
        split_unescaped(text)
    } else {
        text.split(',').collect()
    };
    let items: Vec<String> = items
        .into_iter()
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect();
    if items.is_empty() {
        reader.wrong(NAME, "it names no group", "names or DNs of groups, separated by ;");
        return None;
    }
    Some(Some(items))
}

/// At each `;` that no backslash stands before.
fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut items, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        if byte == b';' && !escaped {
            items.extend(text.get(start..at));
            start = at + 1;
        }
        escaped = byte == b'\\' && !escaped;
    }
    items.extend(text.get(start..));
    items
}

/// None inside: found out.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
fn id_attribute(reader: &mut Reader<'_>) -> Option<Option<String>> {
    const NAME: &str = "VESTIBULE_LDAP_ID_ATTRIBUTE";
    let Some(value) = reader.set(NAME) else {
        return Some(None);
    };
    let attribute = value.text.clone();
    if is_attribute(&attribute) {
        Some(Some(attribute))
    } else {
        reader.wrong(NAME, "it is no attribute's name", "an attribute such as entryUUID");
        None
    }
}

fn count(reader: &mut Reader<'_>, name: &'static str) -> Option<usize> {
    let count = reader
        .text(name)?
        .parse()
        .ok()
        .filter(|count| (1..=1_000).contains(count));
    if count.is_none() {
        reader.wrong(name, "it is no number of wrong passwords", "a number from 1 to 1000");
    }
    count
}

#[cfg(test)]
mod tests {
    use super::server;

    #[test]
    fn addresses_are_read_with_their_ports() {
        for (text, read, loopback) in [
            ("ldap://ldap.example.com", "ldap://ldap.example.com:389", false),
            ("LDAPS://LDAP.example.com./", "ldaps://ldap.example.com:636", false),
            ("ldaps://[::1]:1636", "ldaps://[::1]:1636", true),
            ("ldaps://ldap.example.com:443", "ldaps://ldap.example.com:443", false),
            ("ldap://127.0.0.1:3389", "ldap://127.0.0.1:3389", true),
            ("ldapi:///run/slapd/ldapi", "ldapi:///run/slapd/ldapi", true),
            ("ldapi://%2Frun%2Fslapd%2Fldapi", "ldapi:///run/slapd/ldapi", true),
        ] {
            let (server, local) = server(text).unwrap();
            assert_eq!((server.to_string().as_str(), local), (read, loopback), "{text}");
        }
        for text in [
            "ldap.example.com",
            "http://x",
            "ldap://",
            "ldap://a@b",
            "ldap://x/dc=a",
            "ldap://x:0",
            "ldap://x?a",
            "ldapi://",
            "ldap://a b",
        ] {
            assert!(server(text).is_err(), "{text}");
        }
    }
}
