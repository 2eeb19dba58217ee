//! What an ID token must say once its signature and times hold (OpenID Connect Core 1.0, sections 3.1.3.7 and 3.2.2.11).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::jose::{self, Verified};

/// What the token must be for.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    /// The attempt's.
    pub(super) nonce: &'a str,
    /// The access token that came with it, if one did.
    pub(super) access_token: Option<&'a str>,
}

/// Why an ID token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    #[error(transparent)]
    Token(#[from] jose::Refused),
    #[error("its iss is not the issuer")]
    Issuer,
    #[error("its aud is not this client")]
    Audience,
    #[error("its azp is not this client, or is missing though there are several audiences")]
    AuthorizedParty,
    #[error("its nonce is missing or not this sign-in's")]
    Nonce,
    #[error("its at_hash is not the access token's")]
    AccessTokenHash,
    #[error("it has no usable sub")]
    Subject,
}

/// Checks a verified token; gives its claims.
pub(super) fn check(token: Verified, expected: &Expected<'_>) -> Result<Map<String, Value>, NotTaken> {
    let claim = |name: &str| token.claims.get(name);
    // Item 2.
    if claim("iss").and_then(Value::as_str) != Some(expected.issuer) {
        return Err(NotTaken::Issuer);
    }
    // Items 3 to 5.
    let audiences = audiences(claim("aud")).ok_or(NotTaken::Audience)?;
    if !audiences.contains(&expected.client_id) {
        return Err(NotTaken::Audience);
    }
    match claim("azp") {
        None if audiences.len() == 1 => {}
        Some(Value::String(azp)) if azp == expected.client_id => {}
        _ => return Err(NotTaken::AuthorizedParty),
    }
    // Item 11: we always send one.
    let nonce = claim("nonce").and_then(Value::as_str).ok_or(NotTaken::Nonce)?;
    if verify_slices_are_equal(nonce.as_bytes(), expected.nonce.as_bytes()).is_err() {
        return Err(NotTaken::Nonce);
    }
    // Section 3.1.3.8. Without an access token there is nothing that it could protect.
    if let (Some(hash), Some(access_token)) = (claim("at_hash"), expected.access_token) {
        let ours = URL_SAFE_NO_PAD.encode(token.algorithm.left_half_of_hash(access_token.as_bytes()));
        if hash.as_str().map(|hash| hash.trim_end_matches('=')) != Some(ours.as_str()) {
            return Err(NotTaken::AccessTokenHash);
        }
    }
    // Section 2: at most 255 characters. A blank one would make one person of many.
    match claim("sub").and_then(Value::as_str) {
        Some(sub) if !sub.trim().is_empty() && sub.len() <= 255 && !sub.contains(char::is_control) => {}
        _ => return Err(NotTaken::Subject),
    }
    Ok(token.claims)
}

/// One audience, or a list of nothing but audiences.
fn audiences(claim: Option<&Value>) -> Option<Vec<&str>> {
    match claim? {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => several.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Expected, NotTaken, check};
    use crate::jose::{Algorithm, Verified};

    const EXPECTED: Expected<'_> = Expected {
        issuer: "https://id.example.com",
        client_id: "app",
        nonce: "n-0S6_WzA2Mj",
        access_token: Some("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
    };

    fn token(change: &Value) -> Verified {
        let mut claims =
            json!({ "iss": "https://id.example.com", "aud": "app", "nonce": "n-0S6_WzA2Mj", "sub": "alice" });
        for (name, value) in change.as_object().unwrap() {
            if *value == "(none)" {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        Verified {
            algorithm: Algorithm::Rs256,
            claims: claims.as_object().unwrap().clone(),
        }
    }

    fn refused(change: &Value) -> NotTaken {
        check(token(change), &EXPECTED).expect_err(&change.to_string())
    }

    #[test]
    fn a_token_for_us_is_taken() {
        for change in [
            json!({}),
            json!({ "aud": ["app"] }),
            json!({ "azp": "app" }),
            json!({ "aud": ["app", "api"], "azp": "app" }),
            // The example of OpenID Connect Core 1.0, appendix A.3.
            json!({ "at_hash": "77QmUPtjPfzWtF2AnpK9RQ" }),
            json!({ "name": 7, "updated_at": "yesterday", "email": null }),
        ] {
            assert!(check(token(&change), &EXPECTED).is_ok(), "{change}");
        }
    }

    #[test]
    fn another_issuer_is_refused_down_to_the_last_byte() {
        for iss in [
            json!("(none)"),
            json!(null),
            json!("https://evil.example"),
            json!("https://id.example.com/"),
            json!("https://ID.example.com"),
            json!("http://id.example.com"),
            json!(["https://id.example.com"]),
            json!(""),
        ] {
            assert_eq!(refused(&json!({ "iss": iss })), NotTaken::Issuer);
        }
    }

    #[test]
    fn another_audience_is_refused() {
        for aud in [
            json!("(none)"),
            json!(null),
            json!(""),
            json!("App"),
            json!("app "),
            json!("other"),
            json!([]),
            json!(["other"]),
            json!(["app", 7]),
            json!({ "app": true }),
            json!(["other", ["app"]]),
        ] {
            assert_eq!(
                refused(&json!({ "aud": aud, "azp": "app" })),
                NotTaken::Audience,
                "{aud}"
            );
        }
    }

    #[test]
    fn several_audiences_need_an_authorized_party_and_it_must_always_be_us() {
        for change in [
            json!({ "aud": ["app", "api"] }),
            json!({ "aud": ["app", "app"] }),
            json!({ "aud": ["app", "api"], "azp": "api" }),
            json!({ "azp": "api" }),
            json!({ "azp": "" }),
            json!({ "azp": null }),
            json!({ "azp": 7 }),
            json!({ "azp": ["app"] }),
            json!({ "aud": ["app"], "azp": "other" }),
        ] {
            assert_eq!(refused(&change), NotTaken::AuthorizedParty, "{change}");
        }
    }

    #[test]
    fn a_nonce_of_another_sign_in_or_none_is_refused() {
        for nonce in [
            json!("(none)"),
            json!(null),
            json!(""),
            json!("other"),
            json!("n-0S6_WzA2MJ"),
            json!(7),
            json!(["n-0S6_WzA2Mj"]),
        ] {
            assert_eq!(refused(&json!({ "nonce": nonce })), NotTaken::Nonce);
        }
    }

    #[test]
    fn a_hash_of_another_access_token_is_refused() {
        for hash in [
            json!(""),
            json!(null),
            json!("77QmUPtjPfzWtF2AnpK9RR"),
            json!(7),
            json!("77QmUPtjPfzWtF2AnpK9R"),
        ] {
            assert_eq!(refused(&json!({ "at_hash": hash })), NotTaken::AccessTokenHash);
        }
    }

    #[test]
    fn a_token_about_nobody_is_refused() {
        for sub in [
            json!("(none)"),
            json!(null),
            json!(""),
            json!(" "),
            json!(7),
            json!(["alice"]),
            json!("a\nb"),
            json!("x".repeat(256)),
        ] {
            assert_eq!(refused(&json!({ "sub": sub })), NotTaken::Subject);
        }
    }
}
