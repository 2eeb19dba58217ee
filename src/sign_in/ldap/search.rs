//! From what somebody typed to one entry, and from the entry to who that is.

use std::fmt::Write as _;

use super::entry::Entry;
use super::standing;
use crate::config::Ldap;
use crate::directory::{Arrival, ClaimedEmail, GroupsUnreadable};
use crate::person::{EmailAddress, LDAP};
use crate::sign_in::hex;

/// Attributes that hold an id that is never given again, in the order in which they are looked for.
const IDS: [&str; 4] = ["entryUUID", "objectGUID", "nsUniqueId", "ipaUniqueID"];
/// What to do where none is seen.
pub(in crate::sign_in) const NO_ID: &str = "make entryUUID, objectGUID, nsUniqueId or ipaUniqueID readable for the service account, or \
                                name another in VESTIBULE_LDAP_ID_ATTRIBUTE";
/// Where the user name is looked for when its own attribute is not there.
const USERNAMES: [&str; 2] = ["sAMAccountName", "userPrincipalName"];

/// Text as it may stand in a filter (RFC 4515, section 3): whatever it is, it is one value.
pub(super) fn escaped(value: &[u8]) -> String {
    value.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(*byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "\\{byte:02x}");
        }
        text
    })
}

/// The filter that finds who typed `login`.
pub(super) fn user_filter(settings: &Ldap, login: &str) -> String {
    settings.user_filter.replace("{login}", &escaped(login.as_bytes()))
}

/// `DOMAIN\user`: the part that the entry knows, too.
pub(in crate::sign_in) fn without_domain(login: &str) -> Option<&str> {
    let (domain, user) = login.split_once('\\')?;
    let well = !domain.is_empty() && !user.is_empty() && !user.contains('\\');
    well.then_some(user)
}

/// What is asked of a person's entry. Operational attributes come only by name (RFC 4511, section 4.5.1.8).
pub(super) fn attributes(settings: &Ldap) -> Vec<String> {
    let names = &settings.attributes;
    let mut wanted: Vec<String> = Vec::new();
    let all = [&names.email, &names.group, &names.username, &names.name]
        .into_iter()
        .map(String::as_str)
        .chain(settings.id_attribute.as_deref())
        .chain(IDS)
        .chain(USERNAMES)
        .chain(["primaryGroupID", "objectSid"])
        .chain(standing::ATTRIBUTES);
    for name in all {
        if !wanted.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            wanted.push(name.to_owned());
        }
    }
    wanted
}

/// The id by which an entry is known again, with its attribute's name: a value of another attribute is another id. The
/// first attribute that is there decides: where its value is none, the entry has no id, rather than another one.
pub(super) fn stable_id(entry: &Entry, settings: &Ldap) -> Option<String> {
    let name = match settings.id_attribute.as_deref() {
        Some(own) => own,
        None => IDS.into_iter().find(|name| entry.values(name).next().is_some())?,
    };
    id_by(entry, name)
}

/// The id by one attribute.
fn id_by(entry: &Entry, name: &str) -> Option<String> {
    let known = IDS.into_iter().find(|id| id.eq_ignore_ascii_case(name));
    let mut values = entry.values(name);
    // Two values would be two people's, or nobody's.
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let text = if known == Some("objectGUID") {
        guid(value)?
    } else {
        match std::str::from_utf8(value) {
            Ok(text) if text.trim().is_empty() || text.contains(char::is_control) => return None,
            Ok(text) if known.is_some() => text.to_ascii_lowercase(),
            Ok(text) => text.to_owned(),
            Err(_) => hex(value),
        }
    };
    Some(format!("{}:{text}", known.unwrap_or(name)))
}

/// Whether this is an entry's id, by whichever attribute the id is.
pub(super) fn has_id(entry: &Entry, subject: &str) -> bool {
    subject
        .split_once(':')
        .is_some_and(|(name, _)| id_by(entry, name).as_deref() == Some(subject))
}

/// The filter that finds the entries of these ids, as far as the user filter finds them for any name. None if none of them
/// is an id.
pub(super) fn ids_filter(settings: &Ldap, subjects: &[String]) -> Option<String> {
    let ids: String = subjects.iter().filter_map(|subject| id_filter(subject)).collect();
    if ids.is_empty() {
        return None;
    }
    let anybody = settings.user_filter.replace("{login}", "*");
    let both = format!("(&{anybody}(|{ids}))");
    // A name inside of what takes no wildcard (an extensible match).
    if ldap3::parse_filter(&both).is_ok() {
        Some(both)
    } else {
        Some(format!("(|{ids})"))
    }
}

fn id_filter(subject: &str) -> Option<String> {
    let (name, text) = subject.split_once(':')?;
    let well = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if !well || name.is_empty() || text.is_empty() {
        return None;
    }
    if name == "objectGUID" {
        return Some(format!("({name}={})", escaped(&guid_bytes(text)?)));
    }
    let as_text = format!("({name}={})", escaped(text.as_bytes()));
    // One's own attribute of bytes is written in hexadecimal; nobody knows whether this is one.
    let as_bytes = if IDS.contains(&name) {
        None
    } else {
        super::dn::pairs(text.as_bytes())
    };
    Some(match as_bytes {
        Some(bytes) => format!("{as_text}({name}={})", escaped(&bytes)),
        None => as_text,
    })
}

/// Who an entry is. `stored` is the address that the account has now, if there is one.
pub(super) fn arrival(
    entry: &Entry,
    subject: &str,
    groups: Result<Vec<String>, GroupsUnreadable>,
    settings: &Ldap,
    stored: Option<&EmailAddress>,
) -> Arrival {
    let names = &settings.attributes;
    let username = std::iter::once(names.username.as_str())
        .chain(USERNAMES)
        .find_map(|name| entry.texts(name).next());
    Arrival {
        issuer: LDAP.to_owned(),
        subject: subject.to_owned(),
        email: email(entry, settings, stored),
        username: username.map(str::to_owned),
        name: entry.texts(&names.name).next().map(str::to_owned),
        groups,
        hosted_domain: None,
    }
}

/// Of several addresses the one that the account has while it is among them, else the first.
fn email(entry: &Entry, settings: &Ldap, stored: Option<&EmailAddress>) -> ClaimedEmail {
    let written: Vec<&str> = entry.texts(&settings.attributes.email).collect();
    let read: Vec<EmailAddress> = written
        .iter()
        .filter_map(|text| EmailAddress::parse(text.trim()).ok())
        .collect();
    let stored = read.iter().find(|email| Some(*email) == stored);
    match stored.or(read.first()) {
        Some(email) if settings.trust_email => ClaimedEmail::Presumed(email.clone()),
        Some(email) => ClaimedEmail::Unverified(email.clone()),
        None if written.is_empty() => ClaimedEmail::Missing,
        None => ClaimedEmail::Malformed,
    }
}

/// As Windows writes a GUID: the first three groups from the lowest byte up. Sixteen bytes, also when they look like text.
fn guid(bytes: &[u8]) -> Option<String> {
    let bytes = <&[u8; 16]>::try_from(bytes).ok()?;
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    let (second, rest) = rest.split_first_chunk::<2>()?;
    let (third, rest) = rest.split_first_chunk::<2>()?;
    let (clock, node) = rest.split_at_checked(2)?;
    Some(format!(
        "{:08x}-{:04x}-{:04x}-{}-{}",
        u32::from_le_bytes(*first),
        u16::from_le_bytes(*second),
        u16::from_le_bytes(*third),
        hex(clock),
        hex(node)
    ))
}

/// The bytes of a GUID as `guid` writes it.
fn guid_bytes(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.split('-').collect();
    let bytes = super::dn::pairs(digits.as_bytes())?;
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    let (second, rest) = rest.split_first_chunk::<2>()?;
    let (third, rest) = rest.split_first_chunk::<2>()?;
    let turned = [
        &u32::from_be_bytes(*first).to_le_bytes()[..],
        &[second[1], second[0]],
        &[third[1], third[0]],
        rest,
    ];
    let bytes = turned.concat();
    (bytes.len() == 16).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::settings;
    use super::{Entry, arrival, escaped, has_id, ids_filter, stable_id, user_filter, without_domain};
    use crate::directory::ClaimedEmail;
    use crate::person::EmailAddress;

    #[test]
    fn what_is_typed_stays_one_value() {
        let settings = settings();
        assert_eq!(
            user_filter(&settings, "bob)(uid=*"),
            "(|(uid=bob\\29\\28uid\\3d\\2a)(mail=bob\\29\\28uid\\3d\\2a))"
        );
        assert_eq!(
            user_filter(&settings, "{login}\0\\"),
            "(|(uid=\\7blogin\\7d\\00\\5c)(mail=\\7blogin\\7d\\00\\5c))"
        );
    }

    #[test]
    fn a_domain_before_the_name_is_understood() {
        assert_eq!(without_domain("CORP\\bob"), Some("bob"));
        for other in ["bob", "\\bob", "CORP\\", "A\\B\\bob"] {
            assert_eq!(without_domain(other), None, "{other}");
        }
    }

    #[test]
    fn an_id_is_kept_with_its_attribute_and_sixteen_bytes_stay_bytes() {
        let mut settings = settings();
        let id = |settings: &_, attributes: &[(&str, &[&[u8]])]| stable_id(&Entry::of("uid=a", attributes), settings);
        assert_eq!(
            id(&settings, &[("entryuuid", &[b"597AE2F6-16A6-1027-98F4-D28B5365DC14"])]).as_deref(),
            Some("entryUUID:597ae2f6-16a6-1027-98f4-d28b5365dc14")
        );
        assert_eq!(
            id(&settings, &[("objectGUID", &[b"abcdefghijklmnop"])]).as_deref(),
            Some("objectGUID:64636261-6665-6867-696a-6b6c6d6e6f70")
        );
        assert_eq!(id(&settings, &[("objectGUID", &[b"abcdefghijklmno"])]), None);
        assert_eq!(id(&settings, &[("entryUUID", &[b"a", b"b"])]), None);
        for first in [&[b"a".as_slice(), b"b"][..], &[b" "], &[b"\0"]] {
            let both = [("entryUUID", first), ("objectGUID", &[b"abcdefghijklmnop".as_slice()])];
            assert_eq!(id(&settings, &both), None, "another attribute does not stand in");
        }
        assert_eq!(id(&settings, &[("uid", &[b"bob"])]), None);
        settings.id_attribute = Some("employeeNumber".into());
        assert_eq!(
            id(&settings, &[("employeenumber", &[b"7"]), ("entryUUID", &[b"x"])]).as_deref(),
            Some("employeeNumber:7")
        );
    }

    #[test]
    fn an_id_finds_its_entry_again() {
        let mut settings = settings();
        let entry = Entry::of("uid=a", &[("objectGUID", &[b"abcdefghijklmn\x00p"])]);
        let subject = stable_id(&entry, &settings).unwrap();
        assert!(has_id(&entry, &subject) && !has_id(&entry, "objectGUID:x") && !has_id(&entry, "entryUUID:x"));
        let ids = [
            subject,
            "entryUUID:a*)".to_owned(),
            "no id".to_owned(),
            "a(:x".to_owned(),
        ];
        assert_eq!(
            ids_filter(&settings, &ids).as_deref(),
            Some("(&(|(uid=*)(mail=*))(|(objectGUID=abcdefghijklmn\\00p)(entryUUID=a\\2a\\29)))")
        );
        settings.user_filter = "(memberOf:1.2.840.113556.1.4.1941:={login})".into();
        assert_eq!(
            ids_filter(&settings, &["badge:6162".to_owned()]).as_deref(),
            Some("(|(badge=6162)(badge=ab))")
        );
        assert_eq!(ids_filter(&settings, &["no id".to_owned()]), None);
        settings.id_attribute = Some("badge".into());
        for value in [&b"\xff\x00"[..], b"6162"] {
            let entry = Entry::of("uid=a", &[("badge", &[value])]);
            let subject = stable_id(&entry, &settings).unwrap();
            assert!(has_id(&entry, &subject));
            ldap3::parse_filter(ids_filter(&settings, &[subject]).unwrap()).unwrap();
        }
    }

    #[test]
    fn of_several_addresses_the_stored_one_stays_while_it_is_there() {
        let mut settings = settings();
        let entry = Entry::of("uid=a", &[("mail", &[b"a@x.example", b"b@x.example"])]);
        let of = |settings: &_, stored: Option<&str>| {
            let stored = stored.map(|text| EmailAddress::parse(text).unwrap());
            arrival(&entry, "s", Ok(vec![]), settings, stored.as_ref()).email
        };
        assert!(matches!(of(&settings, None), ClaimedEmail::Presumed(email) if email.as_str() == "a@x.example"));
        assert!(
            matches!(of(&settings, Some("B@x.example")), ClaimedEmail::Presumed(email) if email.as_str() == "b@x.example")
        );
        assert!(
            matches!(of(&settings, Some("c@x.example")), ClaimedEmail::Presumed(email) if email.as_str() == "a@x.example")
        );
        settings.trust_email = false;
        assert!(matches!(of(&settings, None), ClaimedEmail::Unverified(_)));
    }

    #[test]
    fn the_user_name_has_two_more_places() {
        let settings = settings();
        let name = |attributes: &[(&str, &[&[u8]])]| {
            arrival(&Entry::of("cn=a", attributes), "s", Ok(vec![]), &settings, None).username
        };
        assert_eq!(
            name(&[("uid", &[b"u"]), ("sAMAccountName", &[b"s"])]).as_deref(),
            Some("u")
        );
        assert_eq!(
            name(&[("userPrincipalName", &[b"p@x"]), ("samaccountname", &[b"s"])]).as_deref(),
            Some("s")
        );
        assert_eq!(name(&[("userPrincipalName", &[b"p@x"])]).as_deref(), Some("p@x"));
        assert_eq!(name(&[]), None);
    }

    proptest! {
        #[test]
        fn nothing_but_letters_digits_and_escapes_is_left(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = escaped(&value);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'\\'));
            let filter = format!("(uid={text})");
            prop_assert!(ldap3::parse_filter(filter).is_ok());
        }
    }
}
