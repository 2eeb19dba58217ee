//! How an app written in Rust verifies `X-Vestibule-Assertion`: see docs/upstreams.md.
//!
//! `verify_assertion JWKS_FILE ISSUER AUDIENCE`, with the assertion on standard input.

use std::error::Error;
use std::io;

use jsonwebtoken::jwk::JwkSet; // jsonwebtoken = { version = "11", features = ["aws_lc_rs"] }
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

#[derive(serde::Deserialize)]
struct Person {
    sub: String,
    email: String,
    role: String,
}

/// Who `X-Vestibule-Assertion` speaks of, or an error if it is not to be believed.
///
/// `jwks` is `/.vestibule/jwks.json` as the app's HTTP client brought it: keep it for five minutes, and fetch it again (at
/// most once every few seconds) for a `kid` that is not in it.
fn verify(assertion: &str, jwks: &JwkSet, issuer: &str, audience: &str) -> Result<Person, Box<dyn Error>> {
    let kid = decode_header(assertion)?.kid.ok_or("the assertion names no key")?;
    let key = DecodingKey::from_jwk(jwks.find(&kid).ok_or("the assertion's key is not published")?)?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
    validation.validate_nbf = true;
    validation.leeway = 10;
    Ok(decode(assertion, &key, &validation)?.claims)
}

fn main() -> Result<(), Box<dyn Error>> {
    let [_, jwks, issuer, audience] = &std::env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: verify_assertion JWKS_FILE ISSUER AUDIENCE".into());
    };
    let jwks: JwkSet = serde_json::from_str(&std::fs::read_to_string(jwks)?)?;
    let person = verify(io::read_to_string(io::stdin())?.trim(), &jwks, issuer, audience)?;
    println!("{} {} {}", person.sub, person.email, person.role);
    Ok(())
}
