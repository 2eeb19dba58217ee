//! The algorithms that are accepted, and nothing else: never `none`, never HMAC. ES512 is missing because no library here
//! verifies it.

use aws_lc_rs::digest;

/// A signature algorithm (RFC 7518, section 3.1; RFC 8037, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the RFCs'")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// Every accepted algorithm with its name.
    pub const ALL: [(Self, &str); 9] = [
        (Self::Rs256, "RS256"),
        (Self::Rs384, "RS384"),
        (Self::Rs512, "RS512"),
        (Self::Ps256, "PS256"),
        (Self::Ps384, "PS384"),
        (Self::Ps512, "PS512"),
        (Self::Es256, "ES256"),
        (Self::Es384, "ES384"),
        (Self::EdDsa, "EdDSA"),
    ];

    /// The algorithm of this name; names are compared with case (RFC 7515, section 4.1.1).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find_map(|(algorithm, known)| (*known == name).then_some(*algorithm))
    }

    /// The left half of the hash of `text`, as `at_hash` has it (OpenID Connect Core 1.0, section 3.1.3.6). For EdDSA it is
    /// the hash of Ed25519, SHA-512.
    #[must_use]
    pub fn left_half_of_hash(self, text: &[u8]) -> Vec<u8> {
        let with = match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 => &digest::SHA256,
            Self::Rs384 | Self::Ps384 | Self::Es384 => &digest::SHA384,
            Self::Rs512 | Self::Ps512 | Self::EdDsa => &digest::SHA512,
        };
        let hash = digest::digest(with, text);
        let half = hash.as_ref().len() / 2;
        hash.as_ref().iter().take(half).copied().collect()
    }
}
