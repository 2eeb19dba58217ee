//! One signing key: made, sealed, opened, published, used.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::CannotSign;
use crate::seal::{self, Sealer};

const PURPOSE: &str = "signing key";

/// A private key that opened.
pub(super) struct SigningKey {
    pub(super) kid: String,
    /// The public key as it is published (RFC 7517, RFC 7518 section 6.2.1).
    pub(super) jwk: String,
    /// The first part of every assertion under this key, with its dot.
    head: String,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    /// A fresh key, and itself sealed for the store.
    pub(super) fn make(sealer: &Sealer) -> Option<(Self, Vec<u8>)> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
        let der = pair.to_pkcs8v1().ok()?;
        let key = Self::of(pair)?;
        let sealed = sealer.seal(PURPOSE, &key.kid, der.as_ref());
        Some((key, sealed))
    }

    /// Opens what `make` sealed under this `kid`; nothing else opens.
    pub(super) fn open(sealer: &Sealer, kid: &str, sealed: &[u8]) -> Option<Self> {
        let der = sealer.open(PURPOSE, kid, sealed).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).ok()?;
        Self::of(pair).filter(|key| key.kid == kid)
    }

    /// The whole JWS (RFC 7515, section 7.1) over a payload.
    pub(super) fn sign(&self, payload: &[u8]) -> Result<String, CannotSign> {
        let mut jws = self.head.clone();
        URL_SAFE_NO_PAD.encode_string(payload, &mut jws);
        let signature = self
            .pair
            .sign(&SystemRandom::new(), jws.as_bytes())
            .map_err(|_| CannotSign)?;
        jws.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut jws);
        Ok(jws)
    }

    /// How long a payload may be for the JWS to be of at most `longest` bytes.
    pub(super) const fn longest_payload(&self, longest: usize) -> usize {
        // The fixed ES256 signature is 64 bytes (RFC 7518, section 3.4), 86 letters, and a dot before it.
        longest.saturating_sub(self.head.len() + 87) / 4 * 3
    }

    fn of(pair: EcdsaKeyPair) -> Option<Self> {
        // An uncompressed point: 4, then x and y of 32 bytes each (SEC 1, section 2.3.3).
        let point = pair.public_key().as_ref();
        let (x, y) = point
            .strip_prefix(&[4])?
            .split_at_checked(32)
            .filter(|(_, y)| y.len() == 32)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638, section 3: the required members, in the order of their names, without white space.
        let thumbprint = seal::sha256(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        let jwk =
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}","kid":"{kid}","use":"sig","alg":"ES256"}}"#);
        let head = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{kid}"}}"#)) + ".";
        Some(Self { kid, jwk, head, pair })
    }
}
