//! Lies in the ID token, told in both ways that it can come: from the token endpoint and by form_post.

use std::sync::Arc;

use serde_json::{Value, json};
use vestibule::clock::UnixTime;

use crate::house::House;
use crate::keys::{SigningKey, b64, with};
use crate::provider::{CLIENT_SECRET, Draft, State, jwks};

type Lie = Box<dyn Fn(&mut State)>;

fn claim(name: &'static str, value: Value) -> Lie {
    Box::new(move |state| state.claim(name, value.clone()))
}

fn claims(changes: &[(&'static str, Value)]) -> Lie {
    let changes = changes.to_vec();
    Box::new(move |state| state.claims(changes.clone()))
}

fn header(change: impl Fn(&mut Value) + Clone + Send + 'static) -> Lie {
    Box::new(move |state| state.header(change.clone()))
}

fn forge(forge: impl Fn(Draft) -> String + Clone + Send + 'static) -> Lie {
    Box::new(move |state| state.forge = Box::new(forge.clone()))
}

/// A token over `claims` with an HMAC of `secret`.
fn hmac(claims: &Value, secret: &[u8]) -> String {
    let signed = format!(
        "{}.{}",
        b64(br#"{"alg":"HS256","typ":"JWT"}"#),
        b64(claims.to_string().as_bytes())
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    format!(
        "{signed}.{}",
        b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref())
    )
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn lies() -> Vec<(&'static str, Lie)> {
    let now = UnixTime::now().0;
    vec![
        ("another issuer", claim("iss", json!("https://evil.example"))),
        ("no issuer", claim("iss", json!("(none)"))),
        ("a list of issuers", claim("iss", json!(["http://127.0.0.1"]))),
        ("another audience", claim("aud", json!("other"))),
        ("no audience", claim("aud", json!("(none)"))),
        ("an empty list of audiences", claim("aud", json!([]))),
        ("an audience that only begins like us", claim("aud", json!("app2"))),
        ("several audiences without azp", claim("aud", json!(["app", "other"]))),
        ("an azp that is another client", claim("azp", json!("other"))),
        (
            "several audiences and an azp that is another client",
            claims(&[("aud", json!(["app", "other"])), ("azp", json!("other"))]),
        ),
        ("an azp of a wrong type", claim("azp", json!(["app"]))),
        ("no subject", claim("sub", json!("(none)"))),
        ("an empty subject", claim("sub", json!(""))),
        ("a number as subject", claim("sub", json!(7))),
        ("a subject that is null", claim("sub", json!(null))),
        ("no nonce", claim("nonce", json!("(none)"))),
        ("another nonce", claim("nonce", json!("0123456789"))),
        ("an empty nonce", claim("nonce", json!(""))),
        ("a token that has expired", claim("exp", json!(now - 61))),
        ("no expiry", claim("exp", json!("(none)"))),
        ("an expiry as text", claim("exp", json!((now + 300).to_string()))),
        ("a token issued in the future", claim("iat", json!(now + 120))),
        ("no time of issue", claim("iat", json!("(none)"))),
        ("a token not valid yet", claim("nbf", json!(now + 120))),
        ("alg none", forge(|draft| unsigned(&draft, "none"))),
        ("alg NONE", forge(|draft| unsigned(&draft, "NONE"))),
        (
            "alg none with a signature",
            header(|header| header["alg"] = json!("none")),
        ),
        ("alg empty", header(|header| header["alg"] = json!(""))),
        (
            "HMAC with the client secret",
            forge(|draft| hmac(&draft.claims, CLIENT_SECRET.as_bytes())),
        ),
        (
            "HMAC with the public key",
            forge(|draft| hmac(&draft.claims, draft.key.jwk().to_string().as_bytes())),
        ),
        ("HMAC with nothing", forge(|draft| hmac(&draft.claims, b"\0"))),
        (
            "an algorithm that the key is not of",
            header(|header| header["alg"] = json!("RS256")),
        ),
        (
            "an algorithm that is not on the list",
            header(|header| header["alg"] = json!("ES512")),
        ),
        ("a critical extension", header(|header| header["crit"] = json!(["exp"]))),
        (
            "an access token in its place",
            header(|header| header["typ"] = json!("at+jwt")),
        ),
        (
            "a logout token in its place",
            header(|header| header["typ"] = json!("logout+jwt")),
        ),
        ("an unknown kid", header(|header| header["kid"] = json!("k2"))),
        (
            "a kid that is a path",
            header(|header| header["kid"] = json!("../../dev/null")),
        ),
        ("a kid of a wrong type", header(|header| header["kid"] = json!(["k1"]))),
        (
            "another key under our kid",
            forge(|mut draft| {
                draft.key = Arc::new(SigningKey::p256());
                draft.sign()
            }),
        ),
        (
            "its own key in its header",
            forge(|mut draft| {
                draft.key = Arc::new(SigningKey::p256());
                draft.header = with(draft.header, "jwk", draft.key.jwk());
                draft.header.as_object_mut().unwrap().remove("kid");
                draft.sign()
            }),
        ),
        (
            "a changed claim under an honest signature",
            forge(|mut draft| {
                let honest = draft.sign();
                draft.claims["sub"] = json!("boss");
                let (head, rest) = honest.split_once('.').unwrap();
                let (_, signature) = rest.split_once('.').unwrap();
                format!("{head}.{}.{signature}", b64(draft.claims.to_string().as_bytes()))
            }),
        ),
        (
            "no signature",
            forge(|draft| {
                let honest = draft.sign();
                honest.rsplit_once('.').unwrap().0.to_owned()
            }),
        ),
        (
            "an empty signature",
            forge(|draft| {
                let honest = draft.sign();
                format!("{}.", honest.rsplit_once('.').unwrap().0)
            }),
        ),
        (
            "the same claim twice",
            forge(|draft| {
                let claims = draft.claims.to_string().replacen('{', r#"{"sub":"boss","#, 1);
                draft.key.sign(&draft.header, claims.as_bytes())
            }),
        ),
        (
            "claims that are no object",
            forge(|draft| draft.key.sign(&draft.header, b"[]")),
        ),
        ("padding", forge(|draft| format!("{}=", draft.sign()))),
        ("a line break", forge(|draft| format!("{}\n", draft.sign()))),
        ("five parts", forge(|draft| format!("{}.a.b", draft.sign()))),
        ("no token at all", forge(|_| "nonsense".into())),
        ("an empty token", forge(|_| String::new())),
    ]
}

fn unsigned(draft: &Draft, alg: &str) -> String {
    let header = json!({ "alg": alg, "typ": "JWT" });
    format!(
        "{}.{}.",
        b64(header.to_string().as_bytes()),
        b64(draft.claims.to_string().as_bytes())
    )
}

async fn each_is_turned_away(house: &House, lies: Vec<(&'static str, Lie)>) {
    for (what, lie) in lies {
        house.provider.change(|state| {
            state.be_honest();
            lie(state);
        });
        house.turns_away(what).await;
    }
    // The house is one in which an honest token opens the door.
    house.provider.change(State::be_honest);
    let (_, answer) = house.sign_in().await;
    assert_eq!(answer.header("location"), Some("/page?a=b"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lie_in_an_id_token_of_the_token_endpoint_opens_the_door() {
    each_is_turned_away(&House::open().await, lies()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lie_in_a_posted_id_token_opens_the_door() {
    each_is_turned_away(&House::implicit().await, lies()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_at_hash_of_another_access_token_is_turned_away() {
    let house = House::open().await;
    let lies = [json!("77QmUPtjPfzWtF2AnpK9RQ"), json!(""), json!(7), json!(null)]
        .into_iter()
        .map(|hash| ("a wrong at_hash", claim("at_hash", hash)))
        .collect();
    each_is_turned_away(&house, lies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_sign_in_is_turned_away() {
    let house = House::implicit().await;
    let mut thief = house.browser();
    let stolen = {
        let request = house.browser().begin("/page").await;
        house.provider.authorize(&request)
    };
    let token = &stolen.iter().find(|(name, _)| name == "id_token").unwrap().1;
    let request = thief.begin("/page?a=b").await;
    let fields = crate::house::with_field(&house.provider.authorize(&request), "id_token", Some(token));
    let answer = thief.bring(&fields).await;
    house.nobody_is_in(&mut thief, &answer, "another sign-in's token").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_must_not_verify_do_not() {
    let short = json!({ "kty": "RSA", "n": b64(&[0xff; 128]), "e": "AQAB", "kid": "k1" });
    for (what, name, value) in [
        ("an encryption key", "use", json!("enc")),
        ("a key of another algorithm", "alg", json!("ES384")),
        ("a key that may only sign", "key_ops", json!(["sign"])),
        ("a key of another id", "kid", json!("k2")),
    ] {
        let house = House::with(
            |_| {},
            |state| state.jwks = jwks(&[with(state.key.jwk_named("k1"), name, value)]),
        )
        .await;
        house.turns_away(what).await;
    }
    let house = House::with(|_| {}, |state| state.jwks = jwks(&[short])).await;
    house.turns_away("a short key").await;
    let house = House::with(|_| {}, |state| state.jwks = jwks(&[])).await;
    house.turns_away("no key").await;
}
