//! The same identity in plain headers, for apps that verify no assertion.

use std::borrow::Cow;

use http::header::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{CannotSign, Claims};
use crate::config::IdentityField;

const LONGEST_LIST: usize = 2000;

/// Bytes outside 0x20–0x7E are always encoded; `%` so that the encoding can be undone.
const IN_VALUE: &AsciiSet = &CONTROLS.add(b'%');
/// In a list the comma separates.
const IN_LIST: &AsciiSet = &IN_VALUE.add(b',');

/// One value, or None where there is nothing to say.
pub(super) fn value(claims: &Claims, field: IdentityField) -> Result<Option<HeaderValue>, CannotSign> {
    let text = match field {
        IdentityField::Sub => Some(encode(claims.sub.as_str(), IN_VALUE)),
        IdentityField::Email => claims.email.as_deref().map(|email| encode(email, IN_VALUE)),
        IdentityField::Username => Some(encode(&claims.username, IN_VALUE)),
        IdentityField::Name => claims.name.as_deref().map(|name| encode(name, IN_VALUE)),
        IdentityField::Role => Some(Cow::Borrowed(claims.role.as_str())),
        IdentityField::Groups => Some(Cow::Owned(list(claims.groups.iter().map(String::as_str)))),
        IdentityField::Teams => Some(Cow::Owned(list(claims.teams.iter().map(|(name, _)| name.as_str())))),
    };
    text.filter(|text| !text.is_empty())
        .map(|text| HeaderValue::from_str(&text).map_err(|_| CannotSign))
        .transpose()
}

/// Whole items only: half a group's name could be another group's.
fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for item in items.filter(|item| !item.is_empty()) {
        let item = encode(item, IN_LIST);
        if out.len() + 1 + item.len() > LONGEST_LIST {
            break;
        }
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&item);
    }
    out
}

/// A space at either end is encoded, too: every reader of HTTP takes it away (RFC 9110, section 5.5), and " admin" is not
/// "admin".
fn encode<'a>(text: &'a str, set: &'static AsciiSet) -> Cow<'a, str> {
    let inner = text.trim_matches(' ');
    if inner.len() == text.len() {
        return utf8_percent_encode(text, set).into();
    }
    let before = text.len() - text.trim_start_matches(' ').len();
    let after = text.len() - inner.len() - before;
    let inner: Cow<'_, str> = utf8_percent_encode(inner, set).into();
    Cow::Owned(format!("{}{inner}{}", "%20".repeat(before), "%20".repeat(after)))
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::{IN_LIST, IN_VALUE, LONGEST_LIST, encode, list};

    #[test]
    fn only_what_the_contract_names_is_encoded() {
        assert_eq!(
            encode("a b~!\"#&'()*+,-./:;<=>?@[\\]^_`{|}", IN_VALUE),
            "a b~!\"#&'()*+,-./:;<=>?@[\\]^_`{|}"
        );
        assert_eq!(encode("50% é\r\n\u{7f}", IN_VALUE), "50%25 %C3%A9%0D%0A%7F");
        assert_eq!(encode(" a ", IN_VALUE), "%20a%20");
        assert_eq!(encode("  ", IN_VALUE), "%20%20");
        assert_eq!(list(["a,b", "", "c d"].into_iter()), "a%2Cb,c d");
    }

    #[test]
    fn a_list_is_cut_between_items() {
        let items: Vec<String> = (0..400).map(|n| format!("group-{n:04}")).collect();
        let cut = list(items.iter().map(String::as_str));
        assert!(cut.len() <= LONGEST_LIST && cut.len() > LONGEST_LIST - 12);
        assert!(cut.split(',').zip(&items).all(|(a, b)| a == b));
        assert_eq!(list([&*"x".repeat(3000)].into_iter()), "");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_comes_in_the_value_is_printable_and_means_the_same(text in any::<String>()) {
            let value = encode(&text, IN_VALUE);
            prop_assert!(value.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
            prop_assert_eq!(value.trim(), &*value);
            prop_assert_eq!(percent_decode_str(&value).decode_utf8().unwrap(), &*text);
        }

        #[test]
        fn a_list_means_the_items_it_was_made_of(items in prop::collection::vec(".{0,60}", 0..60)) {
            let value = list(items.iter().map(String::as_str));
            prop_assert!(value.len() <= LONGEST_LIST);
            prop_assert!(value.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
            let read: Vec<_> = value.split(',').filter(|item| !item.is_empty())
                .map(|item| percent_decode_str(item).decode_utf8().unwrap().into_owned()).collect();
            let sent: Vec<_> = items.iter().filter(|item| !item.is_empty()).take(read.len()).cloned().collect();
            prop_assert_eq!(&read, &sent);
            let one_more = items.iter().filter(|item| !item.is_empty()).nth(read.len());
            if let Some(next) = one_more {
                prop_assert!(value.len() + 1 + encode(next, IN_LIST).len() > LONGEST_LIST);
            }
        }
    }
}
