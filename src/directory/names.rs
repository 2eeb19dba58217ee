//! What becomes of names that a provider claims: any text comes in, something that can be shown and compared goes out.

use unicode_normalization::UnicodeNormalization as _;

use super::{Arrival, ChangeError};
use crate::person::{self, EmailAddress, UserId};
use crate::seal;
use crate::store::{Change, StoreError, UserRow};

const LONGEST_USERNAME: usize = 128;
const LONGEST_NAME: usize = 256;

/// A full name, or None if nothing is left of it.
pub(super) fn full_name(claimed: Option<&str>) -> Option<String> {
    clean(claimed?, LONGEST_NAME)
}

/// A user name, or None if nothing is left of it.
pub(super) fn username(claimed: Option<&str>) -> Option<String> {
    clean(claimed?, LONGEST_USERNAME)
}

/// The form in which user names are compared and stored as unique.
pub(super) fn fold(username: &str) -> String {
    person::folded(username)
}

/// The longest name that somebody gives a team, in characters.
const LONGEST_TEAM: usize = 320;
/// The longest name of a group, in characters.
pub(super) const LONGEST_GROUP: usize = 512;

/// A team's name as somebody typed it: NFC, without white space around it. Nothing is taken out in silence: apps decide by
/// this name.
pub(super) fn team(typed: &str) -> Result<String, ChangeError> {
    let name: String = typed.trim().nfc().collect();
    let wrong = if name.is_empty() {
        "it is empty"
    } else if name.chars().count() > LONGEST_TEAM {
        "it has more than 320 characters"
    } else if name.chars().any(char::is_control) {
        "it has control characters"
    } else if name
        .chars()
        .any(|c| person::is_unseen(c) || c != ' ' && c.is_whitespace())
    {
        "it has characters that are not seen"
    } else {
        return Ok(name);
    };
    Err(ChangeError::NotAName(name.chars().take(LONGEST_TEAM).collect(), wrong))
}

/// A group as it is compared: exactly, but for one leading slash (Keycloak's paths).
pub(super) fn group(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// NFC, white space as single spaces, nothing that is not seen, bounded.
fn clean(text: &str, longest: usize) -> Option<String> {
    let mut out = String::new();
    let mut length = 0;
    let mut space = false;
    for c in text.nfc() {
        if c.is_whitespace() {
            space = !out.is_empty();
            continue;
        }
        if c.is_control() || person::is_unseen(c) {
            continue;
        }
        if length + 1 + usize::from(space) > longest {
            break;
        }
        if std::mem::take(&mut space) {
            out.push(' ');
            length += 1;
        }
        out.push(c);
        length += 1;
    }
    // What was taken out may have stood between a letter and its accent.
    let out: String = out.nfc().collect();
    (!out.is_empty()).then_some(out)
}

/// A user name that is free, shown and folded: the claimed one, the e-mail's local part, the first of them with a number
/// behind it; made of the identity where there is neither.
pub(super) async fn choose_username(
    change: &mut Change,
    user: &UserId,
    claimed: Option<&str>,
    email: Option<&EmailAddress>,
    identity: (&str, &str),
) -> Result<(String, String), StoreError> {
    let local = email
        .and_then(|email| email.as_str().rsplit_once('@'))
        .map(|(local, _)| local);
    let mut wanted: Vec<String> = [username(claimed), username(local)].into_iter().flatten().collect();
    if wanted.is_empty() {
        wanted.push(username_of_identity(identity));
    }
    for name in &wanted {
        if let Some(free) = free(change, user, name).await? {
            return Ok(free);
        }
    }
    let base: String = wanted.swap_remove(0).chars().take(LONGEST_USERNAME - 24).collect();
    for number in 2..100 {
        if let Some(free) = free(change, user, &format!("{base}-{number}")).await? {
            return Ok(free);
        }
    }
    let name = format!("{base}-{}", seal::random_name());
    let folded = fold(&name);
    Ok((name, folded))
}

/// Takes over the names that came now, as `USE_IDENTIFIER_CLAIMS` says: a full name, and a user name that is free.
pub(super) async fn follow(change: &mut Change, user: &mut UserRow, arrival: &Arrival) -> Result<(), StoreError> {
    if let Some(name) = full_name(arrival.name.as_deref()) {
        user.name = Some(name);
    }
    if let Some(name) = username(arrival.username.as_deref())
        && let Some(free) = free(change, &user.id, &name).await?
    {
        user.username = Some(free);
    }
    Ok(())
}

/// The name, shown and folded, if nobody else goes by it: not as user name, and not as e-mail address or id either, by
/// which an app might take one for the other.
pub(super) async fn free(
    change: &mut Change,
    user: &UserId,
    name: &str,
) -> Result<Option<(String, String)>, StoreError> {
    let folded = fold(name);
    let taken = change.name_taken(&folded, user).await?;
    Ok((!taken).then(|| (name.to_owned(), folded)))
}

fn username_of_identity((issuer, subject): (&str, &str)) -> String {
    let hash = seal::sha256([issuer.as_bytes(), b"\0", subject.as_bytes()].concat().as_slice());
    hash.iter()
        .take(5)
        .fold("user-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::{clean, fold};

    #[test]
    fn nothing_that_hides_or_breaks_a_line_is_left_of_a_name() {
        assert_eq!(
            clean("  a\r\nSet-Cookie: x\u{0}\u{7f}\u{85}b  ", 99).as_deref(),
            Some("a Set-Cookie: x b")
        );
        assert_eq!(
            clean("ad\u{202e}nim\u{200b}\u{2066}\u{e0041}", 99).as_deref(),
            Some("adnim")
        );
        assert_eq!(clean("e\u{200d}\u{301}", 99).as_deref(), Some("\u{e9}"));
        assert_eq!(clean("\u{200b} \u{2028}\n", 99), None);
        assert_eq!(clean("🦀 x", 99).as_deref(), Some("🦀 x"));
        assert_eq!(clean("ab cd", 3).as_deref(), Some("ab"));
        assert_eq!(clean("ab cd", 4).as_deref(), Some("ab c"));
    }

    #[test]
    fn names_that_look_the_same_in_another_case_or_composition_fold_to_one() {
        assert_eq!(fold("JOSE\u{301}"), fold("jos\u{e9}"));
        assert_eq!(fold("ÄÖÜ"), fold("äöü"));
        assert_ne!(fold("a"), fold("b"));
    }

    proptest::proptest! {
        #[test]
        fn a_cleaned_name_is_bounded_and_stays_as_it_is(text in "\\PC*|.*") {
            if let Some(name) = clean(&text, 20) {
                proptest::prop_assert!(name.chars().count() <= 20 && !name.is_empty());
                proptest::prop_assert!(!name.chars().any(char::is_control));
                proptest::prop_assert_eq!(clean(&name, 20), Some(name.clone()));
                proptest::prop_assert_eq!(fold(&fold(&name)), fold(&name));
            }
        }
    }
}
