//! Words about people that every room uses: an e-mail address, a role, a user's id.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

/// What a user may do in this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Manages people, roles and keys.
    Admin,
    /// Ordinary use.
    Member,
    /// Reads; what that means is the app's to decide.
    Viewer,
}

impl Role {
    /// The word in claims, headers and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Said of a word that is no role.
#[derive(Debug, thiserror::Error)]
#[error("a role is admin, member or viewer")]
pub struct NotARole;

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(word: &str) -> Result<Self, NotARole> {
        match word {
            "admin" => Ok(Self::Admin),
            "member" => Ok(Self::Member),
            "viewer" => Ok(Self::Viewer),
            _ => Err(NotARole),
        }
    }
}

impl Role {
    /// How much it may: of several roles in a team the strongest counts.
    #[must_use]
    pub const fn strength(self) -> u8 {
        match self {
            Self::Admin => 2,
            Self::Member => 1,
            Self::Viewer => 0,
        }
    }
}

/// A team's stable id in this instance. Never reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TeamId(Arc<str>);

impl TeamId {
    /// Takes an id as the store gave it.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    /// The id as text: ASCII letters, digits and `_`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TeamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user's stable id in this instance: the `sub` of the assertion. Never reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Takes an id as the store gave it.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    /// The id as text: ASCII letters, digits and `_`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An e-mail address that is well formed enough to be compared safely: one `@` that counts (the last), a local part and
/// a domain, no white space, control or invisible characters, at most 254 bytes (RFC 5321, section 4.5.3.1).
///
/// Two addresses are the same when their folded forms are: ASCII lower case in NFC. Folding is done here and stored;
/// no database is asked to fold.
#[derive(Clone, Debug)]
pub struct EmailAddress {
    written: Arc<str>,
    folded: Arc<str>,
}

/// Said of text that is no e-mail address.
#[derive(Debug, thiserror::Error)]
#[error("not a well-formed e-mail address")]
pub struct MalformedEmail;

impl EmailAddress {
    /// Reads an address; surrounding white space is an error, not trimmed.
    ///
    /// # Errors
    /// If the text is not well formed in the sense of this type.
    pub fn parse(text: &str) -> Result<Self, MalformedEmail> {
        let written: String = text.nfc().collect();
        let (local, domain) = written.rsplit_once('@').ok_or(MalformedEmail)?;
        let domain_ok = !domain.is_empty()
            && !domain.starts_with(['.', '-'])
            && !domain.ends_with(['.', '-'])
            && !domain.contains("..")
            && domain.chars().all(|c| c == '.' || c == '-' || c.is_alphanumeric());
        let local_ok = !local.is_empty()
            && local
                .chars()
                .all(|c| !is_odd(c) && !matches!(c, '@' | '<' | '>' | ',' | ';' | '"' | '\\' | '(' | ')'));
        if written.len() > 254 || !domain_ok || !local_ok {
            return Err(MalformedEmail);
        }
        // A small letter may join an accent that the capital could not.
        let folded: String = written.to_ascii_lowercase().nfc().collect();
        Ok(Self {
            written: written.into(),
            folded: folded.into(),
        })
    }

    /// The address as it was written, in NFC.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The form in which addresses are compared and stored as unique.
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// What follows the last `@`, folded.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.folded.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl PartialEq for EmailAddress {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for EmailAddress {}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// The word for the LDAP directory: it stands for an issuer where people come from there, and says how they signed in.
pub const LDAP: &str = "ldap";

/// The form in which names are compared, sorted and found: NFC, lower case.
#[must_use]
pub fn folded(name: &str) -> String {
    name.nfc().flat_map(char::to_lowercase).nfc().collect()
}

/// Characters that have no place in a name that is compared: white space, controls, and those that are not seen.
fn is_odd(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_unseen(c)
}

/// Characters that show nothing, or change how their neighbours are read: joiners, marks of direction, fillers, tags.
#[must_use]
pub const fn is_unseen(c: char) -> bool {
    matches!(c, '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::EmailAddress;

    #[test]
    fn an_address_is_compared_in_nfc_and_ascii_lower_case() {
        let a = EmailAddress::parse("Jose\u{301}@Example.COM").unwrap();
        let b = EmailAddress::parse("Jos\u{e9}@example.com").unwrap();
        assert_eq!(a, b);
        assert_eq!(a.domain(), "example.com");
    }

    proptest::proptest! {
        #[test]
        fn a_folded_address_folds_to_itself_and_keeps_its_domain(text in "\\PC{0,12}@[a-zA-Z.]{1,8}|.*") {
            if let Ok(email) = EmailAddress::parse(&text) {
                let again = EmailAddress::parse(email.folded()).unwrap();
                proptest::prop_assert_eq!(again.folded(), email.folded());
                proptest::prop_assert_eq!(again.domain(), email.domain());
                proptest::prop_assert!(!email.as_str().chars().any(|c| c.is_control() || c.is_whitespace()));
            }
        }
    }

    #[test]
    fn a_capital_with_an_accent_is_the_small_letter_with_it() {
        let (capital, small) = ("H\u{331}@example.com", "\u{1e96}@example.com");
        assert_eq!(
            EmailAddress::parse(capital).unwrap(),
            EmailAddress::parse(small).unwrap()
        );
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for text in [
            "",
            "a",
            "@",
            "a@",
            "@b",
            "a b@c",
            "a@b c",
            "a@b@c.d",
            "a@b..c",
            "a@.b",
            "a@b.",
            "a\n@b.c",
            "a@b.c\n",
            " a@b.c",
            "a\u{200b}@b.c",
            "a@b.c>",
            "<a@b.c",
            "\"a@evil\"@b.c",
            "a@b.c,d@e.f",
        ] {
            assert!(EmailAddress::parse(text).is_err(), "{text:?} was taken");
        }
    }
}
