//! Distinguished names (RFC 4514), compared as directories compare them: whatever case, spaces and escapes they are written
//! with. Names of groups decide who gets in; what cannot be read equals nothing.

use unicode_normalization::UnicodeNormalization as _;

/// A distinguished name in its one comparable form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dn {
    /// From the leaf up; the parts of one that has several are sorted.
    rdns: Vec<Vec<(String, Vec<u8>)>>,
}

impl Dn {
    /// Reads a name of one part or more.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rdns = parts(text)?
            .into_iter()
            .map(|rdn| {
                let mut rdn: Vec<_> = rdn
                    .into_iter()
                    .map(|(kind, value)| (attribute(&kind), comparable(&value)))
                    .collect();
                rdn.sort();
                rdn
            })
            .collect::<Vec<_>>();
        (!rdns.is_empty()).then_some(Self { rdns })
    }

    /// Whether this is `base` or stands below it.
    #[must_use]
    pub fn is_under(&self, base: &Self) -> bool {
        self.rdns.ends_with(&base.rdns)
    }
}

/// The value of the first part as it is written, escapes undone: the name that people call a group.
#[must_use]
pub fn first_value(text: &str) -> Option<String> {
    let rdn = parts(text)?.into_iter().next()?;
    let (_, value) = rdn.into_iter().next()?;
    String::from_utf8(value).ok()
}

/// A name as directories compare it (RFC 4518): case, width of letters and runs of spaces do not count.
#[must_use]
pub fn folded(name: &str) -> String {
    let lower: String = name.nfkc().flat_map(char::to_lowercase).collect();
    let lower: String = lower.nfkc().collect();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn comparable(value: &[u8]) -> Vec<u8> {
    std::str::from_utf8(value).map_or_else(|_| value.to_vec(), |text| folded(text).into_bytes())
}

/// One name for each kind: by name, case aside, or by number (RFC 4514, section 3).
fn attribute(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    let kind = kind.strip_prefix("oid.").unwrap_or(&kind);
    match kind {
        "2.5.4.3" | "commonname" => "cn",
        "2.5.4.7" | "localityname" => "l",
        "2.5.4.10" | "organizationname" => "o",
        "2.5.4.11" | "organizationalunitname" => "ou",
        "0.9.2342.19200300.100.1.25" | "domaincomponent" => "dc",
        "0.9.2342.19200300.100.1.1" | "userid" => "uid",
        other => other,
    }
    .to_owned()
}

type Rdn = Vec<(String, Vec<u8>)>;

/// The parts from the leaf up, each with its kinds and values.
fn parts(text: &str) -> Option<Vec<Rdn>> {
    let mut bytes = text.as_bytes();
    let mut rdns = Vec::new();
    let mut rdn: Rdn = Vec::new();
    loop {
        let equals = bytes.iter().position(|&byte| byte == b'=')?;
        let (kind, rest) = bytes.split_at_checked(equals)?;
        let kind = std::str::from_utf8(kind).ok()?.trim();
        let well = !kind.is_empty()
            && kind
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if !well {
            return None;
        }
        let (value, rest) = value(rest.get(1..)?)?;
        rdn.push((kind.to_owned(), value));
        match rest.split_first() {
            None => {
                rdns.push(rdn);
                return Some(rdns);
            }
            Some((b'+', rest)) => bytes = rest,
            // The semicolon is RFC 2253's.
            Some((b',' | b';', rest)) => {
                rdns.push(std::mem::take(&mut rdn));
                bytes = rest;
            }
            Some(_) => return None,
        }
    }
}

/// One value, its escapes undone, and what follows it, beginning with the separator.
fn value(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = bytes.trim_ascii_start();
    let mut value = Vec::new();
    // Up to here nothing is trimmed: an escaped space at the end counts.
    let mut kept = 0;
    if let Some(hex) = rest.strip_prefix(b"#") {
        let end = hex
            .iter()
            .position(|byte| matches!(byte, b',' | b';' | b'+'))
            .unwrap_or(hex.len());
        let (digits, after) = hex.split_at_checked(end)?;
        // A BER element; of a string, what it holds.
        let encoded = pairs(digits.trim_ascii_end())?;
        let (tag, content, left) = super::wire::element(&encoded)?;
        return (left.is_empty() && tag & 0x20 == 0).then(|| (content.to_vec(), after));
    }
    let quoted = rest.first() == Some(&b'"');
    if quoted {
        rest = rest.get(1..)?;
    }
    loop {
        match rest.split_first() {
            None if quoted => return None,
            None => break,
            Some((b'"', after)) if quoted => {
                rest = after.trim_ascii_start();
                kept = value.len();
                break;
            }
            Some((b',' | b';' | b'+', _)) if !quoted => break,
            Some((b'\\', after)) => {
                let (&first, more) = after.split_first()?;
                if first.is_ascii_hexdigit() {
                    let (&second, more) = more.split_first()?;
                    value.extend(pairs(&[first, second])?);
                    rest = more;
                } else {
                    value.push(first);
                    rest = more;
                }
                kept = value.len();
            }
            Some((&byte, after)) => {
                value.push(byte);
                rest = after;
            }
        }
    }
    while value.len() > kept && value.last() == Some(&b' ') {
        value.pop();
    }
    Some((value, rest))
}

/// The bytes that pairs of hexadecimal digits stand for.
pub(super) fn pairs(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Dn, first_value, folded};

    #[test]
    fn names_are_the_same_whatever_case_spaces_and_escapes() {
        let plain = Dn::parse("cn=R D\\, Ops,ou=Groups,dc=example,dc=com").unwrap();
        for same in [
            "CN=r d\\, ops, OU=groups , DC=Example,DC=COM",
            "cn=R  D\\2c Ops,ou=Groups,dc=example,dc=com",
            "cn=\"R D, Ops\",ou=Groups,dc=example,dc=com",
            "2.5.4.3=R D\\, Ops;ou=Groups;dc=example;dc=com",
            "cn = R D\\,\\20Ops,ou=Groups,dc=example,dc=com",
        ] {
            assert_eq!(Dn::parse(same).as_ref(), Some(&plain), "{same}");
        }
        for other in [
            "cn=R D,cn=Ops,ou=Groups,dc=example,dc=com",
            "cn=R D\\, Ops,ou=Groups,dc=example",
            "cn=R D\\, Ops\\,ou\\=Groups,dc=example,dc=com",
            "ou=R D\\, Ops,ou=Groups,dc=example,dc=com",
        ] {
            assert_ne!(Dn::parse(other).as_ref(), Some(&plain), "{other}");
        }
        assert_eq!(Dn::parse("a=1+b=2,dc=x"), Dn::parse("B=2+A=1,dc=x"));
        assert_ne!(Dn::parse("a=1+b=2,dc=x"), Dn::parse("a=1,b=2,dc=x"));
    }

    #[test]
    fn what_is_no_name_is_none() {
        for text in [
            "", "staff", "=x", "cn", "cn=a,", "cn=a,b", "cn=\"a", "cn=a\\", "cn=a\\2", "c n=a", "cn=#0", "cn=#04",
        ] {
            assert_eq!(Dn::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_is_under_its_base_only() {
        let base = Dn::parse("ou=Groups,dc=example,dc=com").unwrap();
        let under = |text: &str| Dn::parse(text).unwrap().is_under(&base);
        assert!(under("cn=staff,OU=groups,dc=example,dc=com") && under("ou=groups,dc=example,dc=com"));
        assert!(!under("cn=staff,dc=example,dc=com") && !under("cn=staff,ou=Groups\\,dc\\=example\\,dc\\=com"));
    }

    #[test]
    fn people_call_a_group_by_its_first_value() {
        assert_eq!(first_value("CN=R\\, D\\20,OU=x").as_deref(), Some("R, D "));
        assert_eq!(
            first_value("cn=M\\C3\\BCller \\2B Co,dc=x").as_deref(),
            Some("Müller + Co")
        );
        assert_eq!(first_value("cn=#04024869,dc=x").as_deref(), Some("Hi"));
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in "[a-c=,;+\"\\\\# 0-9é]{0,40}") {
            let _ = (Dn::parse(&text), first_value(&text));
        }

        #[test]
        fn a_name_is_itself_in_every_spelling_and_no_other(
            rdns in proptest::collection::vec(("cn|ou|dc", "[ab ,+=\"\\\\;<>#é🦀]{1,4}"), 1..5),
            other in "[ab ,+=\"\\\\;<>#é🦀]{1,4}",
        ) {
            let in_pairs = |value: &str| value.bytes().map(|byte| format!("\\{byte:02X}")).collect::<Vec<_>>().concat();
            // Each special character by itself; at the ends blanks are special, too.
            let plainly = |value: &str| value.chars().fold(String::new(), |mut text, c| {
                if !c.is_alphanumeric() && c.is_ascii() {
                    text.push('\\');
                }
                text.push(c);
                text
            });
            let spelled = |rdns: &[(String, String)], between: &str, value: &dyn Fn(&str) -> String| {
                let rdns: Vec<String> = rdns.iter().map(|(kind, text)| format!("{kind}={}", value(text))).collect();
                Dn::parse(&rdns.join(between)).unwrap()
            };
            let name = spelled(&rdns, ",", &in_pairs);
            prop_assert_eq!(&name, &spelled(&rdns, " , ", &plainly));
            let loud: Vec<_> = rdns.iter().map(|(kind, text)| (kind.to_uppercase(), text.to_uppercase())).collect();
            prop_assert_eq!(&name, &spelled(&loud, ";", &in_pairs));
            for at in 0..rdns.len() {
                let above = spelled(&rdns[at..], ",", &in_pairs);
                prop_assert!(name.is_under(&above));
                prop_assert_eq!(at == 0, name == above);
            }
            let mut changed = rdns.clone();
            changed[0].1.clone_from(&other);
            prop_assert_eq!(folded(&other) == folded(&rdns[0].1), name == spelled(&changed, ",", &plainly));
        }

        #[test]
        fn an_escaped_value_is_one_value(value in "\\PC{1,20}") {
            let escaped = value.bytes().map(|byte| format!("\\{byte:02x}")).collect::<Vec<_>>().concat();
            let text = format!("cn={escaped},dc=x");
            prop_assert_eq!(first_value(&text), Some(value));
            prop_assert!(Dn::parse(&text).unwrap().is_under(&Dn::parse("dc=x").unwrap()));
        }
    }
}
