use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{KeySet, Refused, Verified, unverified_kid, verify};
use crate::clock::UnixTime;

#[path = "../../tests/support/keys.rs"]
mod keys;

use keys::{SigningKey, b64, with};

const NOW: UnixTime = UnixTime(1_800_000_000);

fn claims() -> Value {
    json!({ "sub": "a", "iat": NOW.0, "exp": NOW.0 + 300 })
}

fn set(jwks: &[Value]) -> KeySet {
    KeySet::read(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
}

fn signed(key: &SigningKey, header: &Value, claims: &Value) -> String {
    key.sign(header, claims.to_string().as_bytes())
}

fn check(token: &str, jwks: &[Value]) -> Result<Verified, Refused> {
    verify(token, &set(jwks), NOW)
}

#[test]
fn each_algorithm_of_the_list_verifies_what_it_signed_and_no_changed_byte() {
    let (rsa, p256, p384, ed) = (
        SigningKey::rsa(),
        SigningKey::p256(),
        SigningKey::p384(),
        SigningKey::ed25519(),
    );
    for (alg, key) in [
        ("RS256", &rsa),
        ("RS384", &rsa),
        ("RS512", &rsa),
        ("PS256", &rsa),
        ("PS384", &rsa),
        ("PS512", &rsa),
        ("ES256", &p256),
        ("ES384", &p384),
        ("EdDSA", &ed),
    ] {
        let token = signed(key, &json!({ "alg": alg, "kid": "k" }), &claims());
        let jwks = [key.jwk_named("k")];
        assert!(check(&token, &jwks).is_ok(), "{alg}");
        let (head, rest) = token.split_once('.').unwrap();
        let (payload, signature) = rest.split_once('.').unwrap();
        let changed_claims = b64(with(claims(), "sub", "b").to_string().as_bytes());
        assert_eq!(
            check(&format!("{head}.{changed_claims}.{signature}"), &jwks).unwrap_err(),
            Refused::Signature,
            "{alg}"
        );
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[10] ^= 1;
        assert_eq!(
            check(&format!("{head}.{payload}.{}", b64(&bytes)), &jwks).unwrap_err(),
            Refused::Signature,
            "{alg}"
        );
        assert_eq!(
            check(&format!("{head}.{payload}."), &jwks).unwrap_err(),
            Refused::Signature
        );
    }
}

#[test]
fn none_hmac_es512_and_every_other_word_are_refused_whatever_the_keys() {
    let key = SigningKey::rsa();
    let secret = json!({ "kty": "oct", "k": b64(b"secret"), "kid": "k" });
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "ES512", "ES256K", "Ed448", "rs256", "RS1",
        "RS256 ", "RSA1_5", "dir",
    ] {
        let token = signed(&key, &json!({ "alg": alg, "kid": "k" }), &claims());
        assert!(
            matches!(
                check(&token, &[key.jwk_named("k"), secret.clone()]),
                Err(Refused::Algorithm(_))
            ),
            "{alg}"
        );
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert!(matches!(
            check(&format!("{signed}."), &[key.jwk()]),
            Err(Refused::Algorithm(_))
        ));
    }
    for alg in [json!(null), json!(1), json!(["RS256"]), json!({})] {
        let token = signed(&key, &json!({ "alg": alg }), &claims());
        assert!(matches!(check(&token, &[key.jwk()]), Err(Refused::Malformed(_))));
    }
}

/// RFC 8725, section 2.1: the public key as an HMAC secret; section 3.1: one key, one algorithm.
#[test]
fn a_key_verifies_only_its_own_family_of_algorithms() {
    let (rsa, p256, p384, ed) = (
        SigningKey::rsa(),
        SigningKey::p256(),
        SigningKey::p384(),
        SigningKey::ed25519(),
    );
    for (alg, signer, published) in [
        ("ES256", &p256, &rsa),
        ("ES384", &p256, &p256),
        ("ES256", &p384, &p384),
        ("RS256", &rsa, &p256),
        ("EdDSA", &ed, &p256),
        ("EdDSA", &p256, &p256),
    ] {
        let token = signed(signer, &json!({ "alg": alg, "kid": "k" }), &claims());
        assert_eq!(
            check(&token, &[published.jwk_named("k")]).unwrap_err(),
            Refused::NoKey,
            "{alg}"
        );
    }
    // The header says one thing, the signature is made by another.
    let token = signed(&ed, &json!({ "alg": "RS256", "kid": "k" }), &claims());
    assert_eq!(
        check(&token, &[ed.jwk_named("k"), rsa.jwk_named("k")]).unwrap_err(),
        Refused::Signature
    );
}

#[test]
fn a_key_is_used_only_for_what_it_says() {
    let key = SigningKey::rsa();
    let token = signed(&key, &json!({ "alg": "RS256", "kid": "k" }), &claims());
    let jwk = key.jwk_named("k");
    for good in [
        with(jwk.clone(), "use", "sig"),
        with(jwk.clone(), "alg", "RS256"),
        with(jwk.clone(), "key_ops", json!(["verify"])),
        with(jwk.clone(), "key_ops", json!(["sign", "verify"])),
        with(jwk.clone(), "use", json!(null)),
        with(jwk.clone(), "x5c", json!(["not looked at"])),
    ] {
        assert!(check(&token, std::slice::from_ref(&good)).is_ok(), "{good}");
    }
    for bad in [
        with(jwk.clone(), "use", "enc"),
        with(jwk.clone(), "use", 1),
        with(jwk.clone(), "alg", "RS512"),
        with(jwk.clone(), "alg", "PS256"),
        with(jwk.clone(), "alg", "RSA-OAEP"),
        with(jwk.clone(), "alg", "ES256"),
        with(jwk.clone(), "alg", 1),
        with(jwk.clone(), "key_ops", json!(["encrypt"])),
        with(jwk.clone(), "key_ops", json!([])),
        with(jwk.clone(), "key_ops", "verify"),
        with(jwk.clone(), "kid", 7),
        with(jwk.clone(), "kty", "oct"),
        with(jwk.clone(), "kty", "EC"),
        with(jwk.clone(), "n", ""),
        with(jwk.clone(), "n", "!"),
        with(jwk.clone(), "e", ""),
        with(jwk.clone(), "e", json!(65537)),
    ] {
        assert_eq!(
            check(&token, std::slice::from_ref(&bad)).unwrap_err(),
            Refused::NoKey,
            "{bad}"
        );
    }
}

#[test]
fn rsa_keys_under_2048_bits_are_no_keys() {
    for bytes in [64, 128, 255] {
        let jwk = json!({ "kty": "RSA", "n": b64(&vec![0xff; bytes]), "e": "AQAB" });
        assert!(set(&[jwk]).is_empty(), "{bytes} bytes");
    }
    let mut n = vec![0xff; 256];
    n[0] = 0x7f;
    assert!(
        set(&[json!({ "kty": "RSA", "n": b64(&n), "e": "AQAB" })]).is_empty(),
        "2047 bits"
    );
    let mut padded = vec![0; 64];
    padded.extend(vec![0xff; 200]);
    assert!(
        set(&[json!({ "kty": "RSA", "n": b64(&padded), "e": "AQAB" })]).is_empty(),
        "zeros make no bits"
    );
}

#[test]
fn kid_chooses_the_key_and_without_one_each_that_fits_is_tried() {
    let (a, b, other_kind) = (SigningKey::p256(), SigningKey::p256(), SigningKey::rsa());
    let jwks = [other_kind.jwk_named("r"), a.jwk_named("a"), b.jwk_named("b")];
    let by = |key: &SigningKey, header: &Value| check(&signed(key, header, &claims()), &jwks);
    assert!(by(&b, &json!({ "alg": "ES256", "kid": "b" })).is_ok());
    assert!(by(&b, &json!({ "alg": "ES256" })).is_ok());
    assert!(by(&a, &json!({ "alg": "ES256" })).is_ok());
    assert_eq!(
        by(&b, &json!({ "alg": "ES256", "kid": "a" })).unwrap_err(),
        Refused::Signature
    );
    assert_eq!(
        by(&b, &json!({ "alg": "ES256", "kid": "c" })).unwrap_err(),
        Refused::NoKey
    );
    assert_eq!(
        by(&b, &json!({ "alg": "ES256", "kid": "" })).unwrap_err(),
        Refused::NoKey
    );
    assert_eq!(
        by(&SigningKey::p256(), &json!({ "alg": "ES256" })).unwrap_err(),
        Refused::Signature
    );
    assert!(matches!(
        by(&b, &json!({ "alg": "ES256", "kid": 1 })).unwrap_err(),
        Refused::Malformed(_)
    ));
    // Two keys of one id, and a key without one.
    let same = [a.jwk_named("k"), b.jwk_named("k")];
    assert!(check(&signed(&b, &json!({ "alg": "ES256", "kid": "k" }), &claims()), &same).is_ok());
    assert!(
        check(
            &signed(&b, &json!({ "alg": "ES256", "kid": "k" }), &claims()),
            &[b.jwk()]
        )
        .is_ok()
    );
}

#[test]
fn keys_in_the_token_itself_are_not_looked_at() {
    let (provider, attacker) = (SigningKey::p256(), SigningKey::p256());
    for header in [
        json!({ "alg": "ES256", "jwk": attacker.jwk() }),
        json!({ "alg": "ES256", "jku": "https://evil.example/jwks" }),
        json!({ "alg": "ES256", "x5u": "https://evil.example/x", "x5c": ["AA=="] }),
    ] {
        let token = signed(&attacker, &header, &claims());
        assert_eq!(check(&token, &[provider.jwk()]).unwrap_err(), Refused::Signature);
    }
}

#[test]
fn critical_extensions_and_tokens_of_other_types_are_refused() {
    let key = SigningKey::p256();
    for crit in [json!(["b64"]), json!([]), json!(null), json!("exp")] {
        let token = signed(&key, &json!({ "alg": "ES256", "crit": crit, "b64": false }), &claims());
        assert_eq!(check(&token, &[key.jwk()]).unwrap_err(), Refused::Critical);
    }
    for typ in [
        json!("at+jwt"),
        json!("application/at+jwt"),
        json!("logout+jwt"),
        json!("dpop+jwt"),
        json!(1),
    ] {
        let token = signed(&key, &json!({ "alg": "ES256", "typ": typ }), &claims());
        assert_eq!(check(&token, &[key.jwk()]).unwrap_err(), Refused::Type);
    }
    for typ in [json!("JWT"), json!("jwt"), json!(null)] {
        let token = signed(&key, &json!({ "alg": "ES256", "typ": typ }), &claims());
        assert!(check(&token, &[key.jwk()]).is_ok());
    }
}

#[test]
fn only_the_compact_form_in_strict_base64url_is_read() {
    let key = SigningKey::p256();
    let good = signed(&key, &json!({ "alg": "ES256" }), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let (h, p, s) = (parts[0], parts[1], parts[2]);
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        h.to_owned(),
        format!("{h}.{p}"),
        format!("{h}.{p}.{s}."),
        format!("{h}.{p}.{s}.x"),
        format!("{h}..{s}"),
        format!(".{p}.{s}"),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{h}=.{p}.{s}"),
        format!("{h}.{p}.{s}=="),
        format!("{h}.{p}.{s}A"),
        format!("{h}.{p}.+{s}"),
        format!("{h}\n.{p}.{s}"),
        format!("{{\"protected\":\"{h}\",\"payload\":\"{p}\",\"signature\":\"{s}\"}}"),
    ] {
        assert!(check(&bad, &[key.jwk()]).is_err(), "{bad:?}");
    }
    assert_eq!(
        check(&format!("{h}.{p}.{s}.a.b"), &[key.jwk()]).unwrap_err(),
        Refused::Encrypted
    );
    assert!(check(&good, &[key.jwk()]).is_ok());
}

#[test]
fn loose_bits_at_the_end_of_a_part_are_refused() {
    // 64 bytes of signature end in a digit of which two bits count; four others would decode to the same bytes.
    let key = SigningKey::p256();
    let good = signed(&key, &json!({ "alg": "ES256" }), &claims());
    let last = good.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let changed = format!("{}{next}", &good[..good.len() - 1]);
    assert!(matches!(check(&changed, &[key.jwk()]), Err(Refused::Malformed(_))));
}

#[test]
fn times_hold_with_a_minute_of_leeway() {
    let key = SigningKey::p256();
    let at = |name: &str, value: Value| {
        let token = signed(&key, &json!({ "alg": "ES256" }), &with(claims(), name, value));
        check(&token, &[key.jwk()])
    };
    assert!(at("exp", json!(NOW.0 - 59)).is_ok());
    assert_eq!(at("exp", json!(NOW.0 - 60)).unwrap_err(), Refused::Expired(60));
    assert!(at("iat", json!(NOW.0 + 60)).is_ok());
    assert_eq!(at("iat", json!(NOW.0 + 61)).unwrap_err(), Refused::Future(61));
    assert!(at("nbf", json!(NOW.0 + 60)).is_ok());
    assert_eq!(at("nbf", json!(NOW.0 + 61)).unwrap_err(), Refused::Future(61));
    assert!(at("nbf", json!(NOW.0 - 99_999)).is_ok());
    assert!(at("iat", json!(1_800_000_000.75)).is_ok());
    assert!(at("exp", json!(1e300)).is_ok());
    assert!(at("exp", json!(-1e300)).is_err());
    for (name, value) in [
        ("exp", json!(null)),
        ("exp", json!("1800000300")),
        ("exp", json!([1_800_000_300])),
        ("exp", json!(true)),
        ("iat", json!(null)),
        ("iat", json!("1800000000")),
        ("nbf", json!("0")),
        ("nbf", json!(null)),
    ] {
        assert!(matches!(at(name, value), Err(Refused::Malformed(_))), "{name}");
    }
    for missing in ["exp", "iat"] {
        let mut without = claims();
        without.as_object_mut().unwrap().remove(missing);
        let token = signed(&key, &json!({ "alg": "ES256" }), &without);
        assert!(
            matches!(check(&token, &[key.jwk()]), Err(Refused::Malformed(_))),
            "{missing}"
        );
    }
}

#[test]
fn claims_and_header_are_objects_without_duplicate_names() {
    let key = SigningKey::p256();
    for payload in [
        "[]",
        "1",
        "",
        r#"{"sub":"a","sub":"b","iat":1800000000,"exp":1800000300}"#,
        "{\"sub\":\"\u{0}\"",
    ] {
        let token = key.sign(&json!({ "alg": "ES256" }), payload.as_bytes());
        assert!(
            matches!(check(&token, &[key.jwk()]), Err(Refused::Malformed(_))),
            "{payload}"
        );
    }
    let good = signed(&key, &json!({ "alg": "ES256" }), &claims());
    let (_, rest) = good.split_once('.').unwrap();
    for header in [
        r#"{"alg":"ES256","alg":"none"}"#,
        r#"{"alg":"none","alg":"ES256"}"#,
        "[]",
        "\"ES256\"",
    ] {
        assert!(matches!(
            check(&format!("{}.{rest}", b64(header.as_bytes())), &[key.jwk()]),
            Err(Refused::Malformed(_))
        ));
    }
}

#[test]
fn a_jwks_is_read_past_what_is_odd_in_it() {
    let key = SigningKey::ed25519();
    let keys = set(&[
        json!(null),
        json!(7),
        json!({}),
        json!({ "kty": "oct", "k": "AA" }),
        json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" }),
        json!({ "kty": "EC", "crv": "P-256", "x": b64(&[1; 33]), "y": b64(&[1; 32]) }),
        json!({ "kty": "OKP", "crv": "X25519", "x": b64(&[1; 32]) }),
        key.jwk_named("k"),
    ]);
    assert_eq!(keys.len(), 1);
    assert!(keys.has("k") && !keys.has("x"));
    let token = signed(&key, &json!({ "alg": "EdDSA", "kid": "k" }), &claims());
    assert!(verify(&token, &keys, NOW).is_ok());
    assert_eq!(unverified_kid(&token).as_deref(), Some("k"));
    for none in ["", "{}", "[]", "{\"keys\":{}}", "<html>"] {
        assert!(KeySet::read(none.as_bytes()).is_none(), "{none}");
    }
    assert_eq!(
        verify(&token, &KeySet::read(br#"{"keys":[]}"#).unwrap(), NOW).unwrap_err(),
        Refused::NoKey
    );
}
