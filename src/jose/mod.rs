//! The one place that verifies a JWT: our own list of algorithms, the choice of the key, the times. Pure: it is given the
//! token, keys and the time, and asks nobody.
//!
//! What a token must say beyond that (issuer, audience, nonce) is its reader's to check: `sign_in/oidc/id_token` does it
//! for ID tokens.
//!
//! Signatures are verified by aws-lc-rs directly: with one list of algorithms and one way to choose a key there is nothing
//! left that a JWT library could have a default for.

mod algorithm;
mod json;
mod key;

pub use algorithm::Algorithm;
pub use key::KeySet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::clock::UnixTime;

/// Clocks of provider and gateway may be this far apart.
pub const LEEWAY: i64 = 60;

/// A token whose signature and times hold.
#[derive(Clone)]
pub struct Verified {
    /// What it was signed with.
    pub algorithm: Algorithm,
    /// The claims; what they mean is not yet checked.
    pub claims: Map<String, Value>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verified({:?}, {} claims)", self.algorithm, self.claims.len())
    }
}

/// Why a token does not hold. The words tell nothing of the token's content but the name of its algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Five parts: RFC 7516.
    #[error("the token is encrypted (JWE); switch encryption of ID tokens off at the provider")]
    Encrypted,
    /// Not three parts of base64url that hold what they must.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// `none`, HMAC and whatever else is not on our list.
    #[error("the token is signed with {0}, which is not accepted")]
    Algorithm(String),
    /// RFC 7515, section 4.1.11: we know no extension.
    #[error("the token has critical header parameters")]
    Critical,
    /// RFC 8725, section 3.11: a token made for another use.
    #[error("the token is of another type")]
    Type,
    /// No key fits its algorithm and `kid`.
    #[error("none of the provider's keys fits the token")]
    NoKey,
    /// The fitting keys did not sign it.
    #[error("the token's signature does not hold")]
    Signature,
    /// `exp` is over.
    #[error("the token has expired {0} seconds ago")]
    Expired(i64),
    /// `nbf` or `iat` is still to come.
    #[error("the token is from {0} seconds in the future")]
    Future(i64),
}

impl Refused {
    /// Whether new keys could change it.
    #[must_use]
    pub const fn may_be_the_keys(&self) -> bool {
        matches!(self, Self::NoKey | Self::Signature)
    }
}

/// Verifies a token in compact form (RFC 7515, section 7.1; RFC 7519, section 7.2).
///
/// # Errors
/// If anything about its form, signature or times does not hold.
pub fn verify(token: &str, keys: &KeySet, now: UnixTime) -> Result<Verified, Refused> {
    let parts: Vec<&str> = token.splitn(6, '.').collect();
    let &[header, payload, signature] = parts.as_slice() else {
        return Err(match parts.len() {
            5 => Refused::Encrypted,
            _ => Refused::Malformed("not three parts"),
        });
    };
    let header = Header::read(header)?;
    let signature = decode(signature)?;
    let signed = token
        .rsplit_once('.')
        .map(|(signed, _)| signed.as_bytes())
        .ok_or(Refused::Malformed("not three parts"))?;

    let mut candidates = keys.candidates(header.algorithm, header.kid.as_deref()).peekable();
    if candidates.peek().is_none() {
        return Err(Refused::NoKey);
    }
    if !candidates.any(|key| key.verifies(header.algorithm, signed, &signature)) {
        return Err(Refused::Signature);
    }

    let claims = json::object(&decode(payload)?).ok_or(Refused::Malformed("the claims are no JSON object"))?;
    check_times(&claims, now)?;
    Ok(Verified {
        algorithm: header.algorithm,
        claims,
    })
}

/// The `kid` a token names, without verifying anything: only to see whether its key is still there.
#[must_use]
pub fn unverified_kid(token: &str) -> Option<String> {
    let (header, _) = token.split_once('.')?;
    Header::read(header).ok()?.kid
}

struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Header {
    fn read(part: &str) -> Result<Self, Refused> {
        let header = json::object(&decode(part)?).ok_or(Refused::Malformed("the header is no JSON object"))?;
        // An extension that must be understood, or is pretended to be none by an empty list: RFC 7515, section 4.1.11.
        if header.contains_key("crit") {
            return Err(Refused::Critical);
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => {
                Algorithm::named(name).ok_or_else(|| Refused::Algorithm(name.escape_debug().take(20).collect()))?
            }
            _ => return Err(Refused::Malformed("the header names no algorithm")),
        };
        // Explicitly typed tokens (`at+jwt`, `logout+jwt`, …) are not ID tokens: RFC 8725, section 3.11.
        match header.get("typ") {
            None | Some(Value::Null) => {}
            Some(Value::String(typ)) if !typ.contains('+') => {}
            Some(_) => return Err(Refused::Type),
        }
        let kid = match header.get("kid") {
            None | Some(Value::Null) => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Refused::Malformed("kid is no string")),
        };
        Ok(Self { algorithm, kid })
    }
}

/// RFC 7519, sections 4.1.4 to 4.1.6. `exp` and `iat` are required in ID tokens (OpenID Connect Core 1.0, section 2).
fn check_times(claims: &Map<String, Value>, now: UnixTime) -> Result<(), Refused> {
    let exp = time(claims, "exp")?.ok_or(Refused::Malformed("no exp"))?;
    let iat = time(claims, "iat")?.ok_or(Refused::Malformed("no iat"))?;
    let nbf = time(claims, "nbf")?;
    if now >= exp.plus(LEEWAY) {
        return Err(Refused::Expired(now.since(exp)));
    }
    let from = nbf.map_or(iat, |nbf| nbf.max(iat));
    if now < from.plus(-LEEWAY) {
        return Err(Refused::Future(from.since(now)));
    }
    Ok(())
}

/// A NumericDate: a number, perhaps with a fraction (RFC 7519, section 2).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<UnixTime>, Refused> {
    let number = match claims.get(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(Refused::Malformed("a time is no number")),
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, which is what a far time means"
    )]
    let seconds = number
        .as_i64()
        .or_else(|| number.as_f64().map(|float| float.floor() as i64))
        .ok_or(Refused::Malformed("a time is no number"))?;
    Ok(Some(UnixTime(seconds)))
}

/// Strict base64url: no padding, no white space, no loose bits (RFC 7515, section 2).
fn decode(part: &str) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Refused::Malformed("not base64url"))
}

#[cfg(test)]
mod tests;
