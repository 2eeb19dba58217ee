//! The token in the cookie: 32 random bytes, and a keyed check of them, so that a made-up one is refused without a query.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::seal::{self, Sealer};

const RANDOM: usize = 32;
const CHECK: usize = 16;
const PURPOSE: &[u8] = b"session token ";
/// 48 bytes are exactly 64 letters: each token has one spelling.
const LETTERS: usize = 64;

/// What a session cookie holds. Only [`Sessions::begin`](super::Sessions::begin) makes one; the store knows its hash
/// alone.
#[derive(Clone)]
pub struct Token {
    text: SecretString,
}

impl Token {
    pub(super) fn generate(sealer: &Sealer) -> Self {
        let random: [u8; RANDOM] = seal::random();
        let mut bytes = [0; RANDOM + CHECK];
        let (first, rest) = bytes.split_at_mut(RANDOM);
        first.copy_from_slice(&random);
        for (to, from) in rest.iter_mut().zip(sealer.check_of(&checked(&random))) {
            *to = from;
        }
        Self {
            text: URL_SAFE_NO_PAD.encode(bytes).into(),
        }
    }

    /// The cookie's value.
    #[must_use]
    pub fn cookie_value(&self) -> &str {
        self.text.expose_secret()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What the store and the cache know a token by: SHA-256 of all its letters, the check's too, so that a token with
/// another check is another token.
pub(super) type TokenHash = [u8; 32];

/// The hash of a cookie's value that has a token's length.
pub(super) fn hash_of(cookie: &[u8]) -> Option<TokenHash> {
    (cookie.len() == LETTERS).then(|| seal::sha256(cookie))
}

/// Whether one of our keys made this cookie's value.
pub(super) fn is_ours(cookie: &[u8], sealer: &Sealer) -> bool {
    let mut bytes = [0; RANDOM + CHECK];
    let whole = cookie.len() == LETTERS && URL_SAFE_NO_PAD.decode_slice(cookie, &mut bytes).is_ok();
    let (random, check) = bytes.split_at(RANDOM);
    whole && sealer.checks(&checked(random), check)
}

/// The purpose goes into the check: nothing else that we check is a token.
fn checked(random: &[u8]) -> [u8; PURPOSE.len() + RANDOM] {
    let mut data = [0; PURPOSE.len() + RANDOM];
    for (to, from) in data.iter_mut().zip(PURPOSE.iter().chain(random)) {
        *to = *from;
    }
    data
}

#[cfg(test)]
mod tests {
    use super::{Token, hash_of, is_ours};
    use crate::seal::{Sealer, SecretKey};

    #[test]
    fn a_token_changed_in_any_letter_is_not_ours() {
        let sealer = Sealer::new(&[SecretKey::generate()]).unwrap();
        let token = Token::generate(&sealer);
        let cookie = token.cookie_value().as_bytes();
        assert!(is_ours(cookie, &sealer));
        for at in 0..cookie.len() {
            for letter in [b'A', b'B', b'-', b'_', b'=', b' ', b'+', 0, 0xff] {
                let mut changed = cookie.to_vec();
                if std::mem::replace(&mut changed[at], letter) != letter {
                    assert!(!is_ours(&changed, &sealer), "letter {at} does not matter");
                    assert_ne!(hash_of(&changed), hash_of(cookie));
                }
            }
        }
        assert!(!is_ours(&cookie[..63], &sealer));
        assert!(!is_ours(&[cookie, b"="].concat(), &sealer));
        assert!(!is_ours(b"", &sealer));
        assert!(!is_ours(cookie, &Sealer::new(&[SecretKey::generate()]).unwrap()));
    }

    #[test]
    fn a_token_says_nothing_of_itself() {
        let sealer = Sealer::new(&[SecretKey::generate()]).unwrap();
        assert_eq!(format!("{:?}", Token::generate(&sealer)), "Token(…)");
    }
}
