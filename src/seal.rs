//! Sealing of small things that leave our memory: cookies of attempts, private keys and provider tokens at rest.
//!
//! AES-256-GCM (NIST SP 800-38D) with a fresh random nonce each time; the purpose and the name of what is sealed are the
//! associated data, so that a sealed value put into another's place does not open. The first key seals, all open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac, rand};
use zeroize::Zeroizing;

const NONCE_LEN: usize = 12;

/// One 32-byte secret key; shows nothing of itself.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&*self.0, &*other.0).is_ok()
    }
}

impl SecretKey {
    /// Takes key bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh random key.
    #[must_use]
    pub fn generate() -> Self {
        Self::new(random())
    }

    /// The bytes, for the file that keeps them.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// Said of a value that was not sealed by one of our keys for this purpose and name.
#[derive(Debug, thiserror::Error)]
#[error("the sealed value does not open")]
pub struct DoesNotOpen;

/// Said when no key was given to make a sealer of.
#[derive(Debug, thiserror::Error)]
#[error("no secret key")]
pub struct NoKey;

/// Seals and opens with a list of keys.
pub struct Sealer {
    keys: Vec<(LessSafeKey, hmac::Key)>,
}

impl Sealer {
    /// Makes a sealer; the first key seals, all open.
    ///
    /// # Errors
    /// If the list is empty.
    pub fn new(keys: &[SecretKey]) -> Result<Self, NoKey> {
        let keys = keys
            .iter()
            .filter_map(|key| {
                Some((
                    derive_aead(key)?,
                    hmac::Key::new(hmac::HMAC_SHA256, derive(key, b"vestibule token check").as_slice()),
                ))
            })
            .collect::<Vec<_>>();
        if keys.is_empty() { Err(NoKey) } else { Ok(Self { keys }) }
    }

    /// Seals `plain` for one purpose (a constant of the caller's) and one name (a cookie's name, a row's id).
    #[must_use]
    pub fn seal(&self, purpose: &str, name: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random();
        let mut out = Vec::with_capacity(NONCE_LEN + plain.len() + 16);
        out.extend_from_slice(plain);
        let sealed = self.keys.first().and_then(|(key, _)| {
            key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(purpose, name), &mut out)
                .ok()
        });
        // Sealing fails only beyond 64 GiB; an empty value opens as nothing and so fails closed.
        if sealed.is_none() {
            return Vec::new();
        }
        out.splice(0..0, nonce);
        out
    }

    /// Opens what `seal` made for the same purpose and name.
    ///
    /// # Errors
    /// If no key opens it: another purpose or name, a changed byte, a key that is gone.
    pub fn open(&self, purpose: &str, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(DoesNotOpen)?;
        for (key, _) in &self.keys {
            let mut buffer = Zeroizing::new(rest.to_vec());
            if let Ok(plain) = key.open_in_place(Nonce::assume_unique_for_key(*nonce), aad(purpose, name), &mut buffer)
            {
                let len = plain.len();
                buffer.truncate(len);
                return Ok(buffer);
            }
        }
        Err(DoesNotOpen)
    }

    /// A keyed check of `data` (HMAC-SHA-256), under the first key.
    #[must_use]
    pub fn check_of(&self, data: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        if let Some((_, key)) = self.keys.first() {
            out.copy_from_slice(hmac::sign(key, data).as_ref());
        }
        out
    }

    /// Whether the first bytes of a keyed check of `data`, under any of our keys, are `check`; in constant time.
    #[must_use]
    pub fn checks(&self, data: &[u8], check: &[u8]) -> bool {
        self.keys.iter().any(|(_, key)| {
            let whole = hmac::sign(key, data);
            whole.as_ref().get(..check.len()).is_some_and(|start| {
                !check.is_empty() && aws_lc_rs::constant_time::verify_slices_are_equal(start, check).is_ok()
            })
        })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} keys)", self.keys.len())
    }
}

/// Whether two values are the same, in a time that does not say where they differ.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// `N` random bytes from the system's generator.
///
/// # Panics
/// If the system gives no random bytes: nothing safe can be done without.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random generator answers");
    bytes
}

/// A fresh random name of 20 letters and digits, which nobody guesses and no two things share (103 bits).
#[must_use]
pub fn random_name() -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut name = String::with_capacity(20);
    while name.len() < 20 {
        // Bytes from 252 on would make the first four letters likelier than the rest.
        for byte in random::<24>()
            .into_iter()
            .filter(|byte| *byte < 252)
            .take(20 - name.len())
        {
            // Less than 36, the alphabet's length.
            name.push(char::from(ALPHABET[usize::from(byte % 36)]));
        }
    }
    name
}

/// SHA-256 of `data`.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

fn derive(key: &SecretKey, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()), purpose).as_ref());
    out
}

fn derive_aead(key: &SecretKey) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, derive(key, b"vestibule sealing").as_slice())
        .ok()
        .map(LessSafeKey::new)
}

fn aad(purpose: &str, name: &str) -> Aad<Vec<u8>> {
    Aad::from([purpose.as_bytes(), b"\0", name.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::{Sealer, SecretKey, random_name};

    #[test]
    fn random_names_are_twenty_letters_and_digits_and_differ() {
        let (a, b) = (random_name(), random_name());
        assert_ne!(a, b);
        assert!(a.len() == 20 && a.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    }

    #[test]
    fn what_was_sealed_opens_only_for_its_purpose_and_name() {
        let sealer = Sealer::new(&[SecretKey::generate()]).unwrap();
        let sealed = sealer.seal("attempt", "a", b"secret");
        assert_eq!(sealer.open("attempt", "a", &sealed).unwrap().as_slice(), b"secret");
        assert!(sealer.open("attempt", "b", &sealed).is_err());
        assert!(sealer.open("key", "a", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(
                sealer.open("attempt", "a", &changed).is_err(),
                "byte {at} does not matter"
            );
        }
    }

    #[test]
    fn a_new_first_key_still_opens_what_the_old_one_sealed() {
        let (old, new) = (SecretKey::generate(), SecretKey::generate());
        let sealed = Sealer::new(std::slice::from_ref(&old)).unwrap().seal("p", "n", b"x");
        assert!(
            Sealer::new(&[new.clone(), old])
                .unwrap()
                .open("p", "n", &sealed)
                .is_ok()
        );
        assert!(Sealer::new(&[new]).unwrap().open("p", "n", &sealed).is_err());
    }

    #[test]
    fn an_empty_check_is_no_check() {
        let sealer = Sealer::new(&[SecretKey::generate()]).unwrap();
        assert!(!sealer.checks(b"data", b""));
        assert!(sealer.checks(b"data", &sealer.check_of(b"data")[..8]));
        assert!(!sealer.checks(b"datb", &sealer.check_of(b"data")[..8]));
    }
}
