//! Each test that needs a store runs on SQLite, and on PostgreSQL where there is one.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::key::SigningKey;
use super::*;
use crate::seal::{Sealer, SecretKey};
use crate::store::Store;
use crate::store::testing::{Place, damage, places};
use crate::telemetry::audit::Actor;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn claims() -> Claims {
    Claims {
        sub: UserId::new("u_1"),
        email: Some("zoë@example.com".to_owned()),
        username: "zoë".to_owned(),
        name: Some("Zoë, 100%".to_owned()),
        role: Role::Member,
        teams: vec![("a,b".to_owned(), Role::Viewer), ("Zoë's".to_owned(), Role::Admin)],
        groups: vec!["/staff".to_owned(), "a,b".to_owned()],
        groups_truncated: false,
        sid: "s1".to_owned(),
        method: "oidc",
        amr: Some(json!(["pwd", "otp"])),
        auth_time: Some(json!(1.5)),
    }
}

fn sealer(byte: u8) -> Arc<Sealer> {
    Arc::new(Sealer::new(&[SecretKey::new([byte; 32])]).unwrap())
}

fn settings() -> AssertionSettings {
    AssertionSettings {
        issuer: "https://app.example".to_owned(),
        audience: "https://aud.example".to_owned(),
        upstream_headers: vec![
            ("x-webauth-user".parse().unwrap(), IdentityField::Email),
            ("remote-name".parse().unwrap(), IdentityField::Name),
        ],
    }
}

async fn open(store: &Store, now: UnixTime) -> Result<KeyRing, KeyRingError> {
    KeyRing::open(store.clone(), sealer(1), settings(), now).await
}

/// As an app verifies it, at its own time.
fn verify(jwt: &str, jwks: &[u8], now: UnixTime) -> Result<(String, Value), String> {
    let keys: JwkSet = serde_json::from_slice(jwks).unwrap();
    let header = jsonwebtoken::decode_header(jwt).unwrap();
    assert_eq!(header.typ.as_deref(), Some("JWT"));
    let kid = header.kid.unwrap();
    let key = keys.find(&kid).ok_or("not published")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&["https://app.example"]);
    validation.set_audience(&["https://aud.example"]);
    // Times are compared below, with a time of our own.
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(key).unwrap();
    let claims = jsonwebtoken::decode::<Value>(jwt, &key, &validation)
        .map_err(|error| error.to_string())?
        .claims;
    let time = |name: &str| claims[name].as_i64().unwrap();
    if time("nbf") > now.0 || time("exp") <= now.0 {
        return Err("not in its time".to_owned());
    }
    Ok((kid, claims))
}

fn header_map(headers: &IdentityHeaders) -> HashMap<&str, &str> {
    let pairs = headers.values.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect()
}

fn assertion_of(ring: &KeyRing, now: UnixTime) -> String {
    let headers = ring.headers(&claims(), now).unwrap();
    header_map(&headers)["x-vestibule-assertion"].to_owned()
}

fn kids(ring: &KeyRing) -> Vec<String> {
    let keys: JwkSet = serde_json::from_slice(&ring.jwks()).unwrap();
    keys.keys.into_iter().map(|key| key.common.key_id.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_verifies_the_assertion_from_the_jwks_and_reads_what_the_contract_says() {
    for place in places().await {
        let ring = open(&place.open().await, NOW).await.unwrap();
        let (_, read) = verify(&assertion_of(&ring, NOW), &ring.jwks(), NOW).unwrap();
        let expected = json!({
            "iss": "https://app.example", "aud": "https://aud.example", "sub": "u_1", "email": "zoë@example.com",
            "preferred_username": "zoë", "name": "Zoë, 100%", "role": "member", "teams": {"a,b": "viewer", "Zoë's": "admin"}, "groups": ["/staff", "a,b"],
            "sid": "s1", "method": "oidc", "amr": ["pwd", "otp"], "auth_time": 1.5,
            "iat": NOW.0 - 30, "nbf": NOW.0 - 30, "exp": NOW.0 + 270,
        });
        assert_eq!(read, expected);
        let mut told = expected;
        for claim in ["nbf", "exp", "aud"] {
            told.as_object_mut().unwrap().remove(claim);
        }
        assert_eq!(ring.whoami(&claims(), NOW), told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_headers_say_the_same_encoded() {
    let ring = open(&Place::sqlite().open().await, NOW).await.unwrap();
    let headers = ring.headers(&claims(), NOW).unwrap();
    assert!(headers.values[0].1.is_sensitive());
    let mut map = header_map(&headers);
    map.remove("x-vestibule-assertion");
    let expected = HashMap::from([
        ("x-forwarded-user", "u_1"),
        ("x-forwarded-email", "zo%C3%AB@example.com"),
        ("x-forwarded-preferred-username", "zo%C3%AB"),
        ("x-forwarded-role", "member"),
        ("x-forwarded-groups", "/staff,a%2Cb"),
        ("x-forwarded-teams", "a%2Cb,Zo%C3%AB's"),
        ("x-webauth-user", "zo%C3%AB@example.com"),
        ("remote-name", "Zo%C3%AB, 100%25"),
    ]);
    assert_eq!(map, expected);
    assert_eq!(headers.not_before, NOW.plus(-30));
    assert_eq!(headers.resign_at, NOW.plus(240));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_absent_is_no_claim_and_no_header() {
    let ring = open(&Place::sqlite().open().await, NOW).await.unwrap();
    let bare = Claims {
        email: None,
        name: None,
        teams: Vec::new(),
        groups: Vec::new(),
        amr: None,
        auth_time: None,
        ..claims()
    };
    let headers = ring.headers(&bare, NOW).unwrap();
    let map = header_map(&headers);
    let mut names: Vec<_> = map.keys().copied().collect();
    names.sort_unstable();
    let left = [
        "x-forwarded-preferred-username",
        "x-forwarded-role",
        "x-forwarded-user",
        "x-vestibule-assertion",
    ];
    assert_eq!(names, left);
    let (_, read) = verify(map["x-vestibule-assertion"], &ring.jwks(), NOW).unwrap();
    for claim in [
        "email",
        "name",
        "amr",
        "auth_time",
        "teams_truncated",
        "groups_truncated",
    ] {
        assert!(read.get(claim).is_none(), "{claim}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_amr_and_auth_time_are_left_out() {
    let ring = open(&Place::sqlite().open().await, NOW).await.unwrap();
    for odd in [json!({"a": 1}), json!(true), json!(null), json!(["x".repeat(600)])] {
        let odd = Claims {
            auth_time: Some(odd.clone()),
            amr: Some(odd),
            ..claims()
        };
        let told = ring.whoami(&odd, NOW);
        assert!(told.get("amr").is_none() && told.get("auth_time").is_none(), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_groups_are_cut_in_the_assertion_and_it_says_so() {
    let ring = open(&Place::sqlite().open().await, NOW).await.unwrap();
    let many = Claims {
        groups: (0..5000).map(|n| format!("group \"{n}\"")).collect(),
        ..claims()
    };
    let headers = ring.headers(&many, NOW).unwrap();
    let map = header_map(&headers);
    let jwt = map["x-vestibule-assertion"];
    assert!(jwt.len() <= 6000 && jwt.len() > 5900, "{}", jwt.len());
    assert!(map["x-forwarded-groups"].len() <= 2000);
    let (_, read) = verify(jwt, &ring.jwks(), NOW).unwrap();
    assert_eq!(read["groups_truncated"], json!(true));
    let groups: Vec<String> = serde_json::from_value(read["groups"].clone()).unwrap();
    assert_eq!(groups, many.groups[..groups.len()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_cut_before_teams_and_teams_are_cut_last() {
    let ring = open(&Place::sqlite().open().await, NOW).await.unwrap();
    let told = |claims: &Claims| {
        let headers = ring.headers(claims, NOW).unwrap();
        let map = header_map(&headers);
        assert!(map["x-vestibule-assertion"].len() <= 6000);
        assert!(map["x-forwarded-teams"].len() <= 2000);
        verify(map["x-vestibule-assertion"], &ring.jwks(), NOW).unwrap().1
    };
    let groups: Vec<String> = (0..500).map(|n| format!("group {n}")).collect();
    let teams = |n: usize| -> Vec<_> { (0..n).map(|n| (format!("team \"{n}\""), Role::Member)).collect() };
    let some = told(&Claims {
        groups: groups.clone(),
        teams: teams(100),
        ..claims()
    });
    assert_eq!(some["teams"].as_object().unwrap().len(), 100);
    assert_eq!(some["groups_truncated"], json!(true));
    assert!(some.get("teams_truncated").is_none());
    let many = told(&Claims {
        groups,
        teams: teams(500),
        ..claims()
    });
    assert_eq!(many["teams_truncated"], json!(true));
    assert_eq!(many["groups"], json!([]));
    let kept = many["teams"].as_object().unwrap();
    assert!(kept.len() > 100 && kept.len() < 500);
    assert!(
        (0..kept.len()).all(|n| kept.contains_key(&format!("team \"{n}\""))),
        "not the first ones"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn an_assertion_is_never_over_its_size_and_tells_the_first_groups(
        groups in prop::collection::vec("\\PC{0,60}", 0..150),
        name in "\\PC{0,256}", username in "\\PC{1,128}", cut in any::<bool>(),
    ) {
        let (key, _) = SigningKey::make(&sealer(1)).unwrap();
        let claims = Claims { groups, name: Some(name), username, groups_truncated: cut, ..claims() };
        let jwt = assertion::sign(&key, &claims, &settings(), NOW).unwrap();
        prop_assert!(jwt.len() <= 6000);
        let jwks = format!(r#"{{"keys":[{}]}}"#, key.jwk);
        let (_, read) = verify(&jwt, jwks.as_bytes(), NOW).unwrap();
        let told: Vec<String> = serde_json::from_value(read["groups"].clone()).unwrap();
        prop_assert_eq!(&told[..], &claims.groups[..told.len()]);
        let truncated = read.get("groups_truncated").is_some();
        prop_assert_eq!(truncated, cut || told.len() < claims.groups.len());
        prop_assert_eq!(read["name"].as_str(), claims.name.as_deref());
        for field in [IdentityField::Name, IdentityField::Username, IdentityField::Groups] {
            if let Some(value) = plain::value(&claims, field).unwrap() {
                prop_assert!(value.to_str().is_ok());
            }
        }
    }
}

#[test]
fn the_kid_is_the_thumbprint_of_rfc_7638() {
    let (key, _) = SigningKey::make(&sealer(1)).unwrap();
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_str(&key.jwk).unwrap();
    let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
    assert_eq!(thumbprint, key.kid);
    let jwk: Value = serde_json::from_str(&key.jwk).unwrap();
    assert_eq!(
        (&jwk["use"], &jwk["alg"], &jwk["crv"]),
        (&json!("sig"), &json!("ES256"), &json!("P-256"))
    );
    assert!(jwk.get("d").is_none());
}

#[test]
fn a_sealed_key_opens_only_under_its_own_name_and_secret() {
    let (key, sealed) = SigningKey::make(&sealer(1)).unwrap();
    let (other, _) = SigningKey::make(&sealer(1)).unwrap();
    assert!(SigningKey::open(&sealer(1), &key.kid, &sealed).is_some());
    assert!(SigningKey::open(&sealer(1), &other.kid, &sealed).is_none());
    assert!(SigningKey::open(&sealer(2), &key.kid, &sealed).is_none());
    assert!(SigningKey::open(&sealer(1), &key.kid, &[]).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_start_together_have_the_same_keys() {
    for place in places().await {
        let opening: Vec<_> = (0..6)
            .map(|_| {
                let database = place.database.clone();
                tokio::spawn(async move {
                    let store = Store::open(&database).await.unwrap();
                    kids(&open(&store, NOW).await.unwrap())
                })
            })
            .collect();
        let mut all = Vec::new();
        for one in opening {
            all.push(one.await.unwrap());
        }
        assert_eq!(all[0].len(), 2);
        assert!(all.iter().all(|kids| *kids == all[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_published_before_it_signs_and_until_nothing_it_signed_is_valid() {
    for place in places().await {
        let store = place.open().await;
        let ring = open(&store, NOW).await.unwrap();
        let first = verify(&assertion_of(&ring, NOW), &ring.jwks(), NOW).unwrap().0;
        let next = kids(&ring).into_iter().find(|kid| *kid != first).unwrap();
        // Asked for too early, it waits until the next has been published for ten minutes.
        let rotated = rotate(&store, &sealer(1), false, &Actor::system(), NOW.plus(100))
            .await
            .unwrap();
        assert_eq!((&rotated.kid, rotated.at), (&next, NOW.plus(600)));
        let again = rotate(&store, &sealer(1), false, &Actor::system(), NOW.plus(200))
            .await
            .unwrap();
        assert_eq!((&again.kid, again.at), (&next, NOW.plus(600)));
        ring.reload(NOW.plus(200)).await.unwrap();
        assert_eq!(kids(&ring).len(), 3);
        // Goes by the clock from there, without another look at the store.
        let jwks = ring.jwks();
        assert_eq!(
            verify(&assertion_of(&ring, NOW.plus(599)), &jwks, NOW.plus(599))
                .unwrap()
                .0,
            first
        );
        assert_eq!(
            verify(&assertion_of(&ring, NOW.plus(600)), &jwks, NOW.plus(600))
                .unwrap()
                .0,
            next
        );
        // The last that the old key signed is verified as long as it is valid, then the key goes.
        let last = assertion_of(&ring, NOW.plus(599));
        ring.reload(NOW.plus(868)).await.unwrap();
        assert_eq!(verify(&last, &ring.jwks(), NOW.plus(868)).unwrap().0, first);
        let states: Vec<_> = list(&store, NOW.plus(868))
            .await
            .unwrap()
            .into_iter()
            .map(|key| key.state)
            .collect();
        assert!(
            states.contains(&KeyState::Old) && states.contains(&KeyState::Signing) && states.contains(&KeyState::Next)
        );
        ring.reload(NOW.plus(1200)).await.unwrap();
        ring.tend(NOW.plus(1200)).await.unwrap();
        assert!(!kids(&ring).contains(&first));
        assert_eq!(
            list(&store, NOW.plus(868)).await.unwrap().len(),
            2,
            "the private key is still in the store"
        );
        assert_eq!(verify(&last, &ring.jwks(), NOW.plus(868)).unwrap_err(), "not published");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_thirty_days_another_key_takes_over_by_itself_and_once_for_all_gateways() {
    for place in places().await {
        let store = place.open().await;
        let ring = open(&store, NOW).await.unwrap();
        let other = open(&store, NOW).await.unwrap();
        let before = NOW.plus(super::ROTATED_EVERY - 1);
        ring.tend(before).await.unwrap();
        assert_eq!(list(&store, before).await.unwrap().len(), 2, "too early");
        let due = NOW.plus(super::ROTATED_EVERY);
        let (first, second) = tokio::join!(ring.tend(due), other.tend(due));
        first.unwrap();
        second.unwrap();
        ring.reload(due).await.unwrap();
        let listed = list(&store, due).await.unwrap();
        let of = |state| listed.iter().filter(|key| key.state == state).count();
        assert_eq!(
            (of(KeyState::Signing), of(KeyState::Next), of(KeyState::Old)),
            (1, 1, 1)
        );
        let (old, _) = verify(&assertion_of(&ring, before), &ring.jwks(), before).unwrap();
        let (new, _) = verify(&assertion_of(&ring, due), &ring.jwks(), due).unwrap();
        assert_ne!(old, new);
        let later = due.plus(60);
        ring.tend(later).await.unwrap();
        assert_eq!(list(&store, later).await.unwrap().len(), 3, "and not again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_at_once_also_overtakes_a_planned_one() {
    for place in places().await {
        let store = place.open().await;
        let ring = open(&store, NOW).await.unwrap();
        let planned = rotate(&store, &sealer(1), false, &Actor::system(), NOW).await.unwrap();
        let rotated = rotate(&store, &sealer(1), true, &Actor::system(), NOW.plus(10))
            .await
            .unwrap();
        assert_eq!((&rotated.kid, rotated.at), (&planned.kid, NOW.plus(10)));
        ring.reload(NOW.plus(10)).await.unwrap();
        let (kid, _) = verify(&assertion_of(&ring, NOW.plus(10)), &ring.jwks(), NOW.plus(10)).unwrap();
        assert_eq!(kid, planned.kid);
        let listed = list(&store, NOW.plus(10)).await.unwrap();
        let of = |state| listed.iter().filter(|key| key.state == state).count();
        assert_eq!(
            (of(KeyState::Old), of(KeyState::Signing), of(KeyState::Next)),
            (1, 1, 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_signing_key_no_start() {
    for place in places().await {
        let store = place.open().await;
        open(&store, NOW).await.unwrap();
        // Another secret key.
        let other = KeyRing::open(store.clone(), sealer(2), settings(), NOW).await;
        assert!(matches!(other, Err(KeyRingError::DoesNotOpen(_))));
        // A damaged row.
        damage(&store, "UPDATE signing_keys SET sealed = sealed || sealed").await;
        let error = open(&store, NOW).await.unwrap_err();
        assert!(error.to_string().contains("keys rotate --now"), "{error}");
        assert!(matches!(
            rotate(&store, &sealer(1), false, &Actor::system(), NOW.plus(700)).await,
            Err(KeyRingError::DoesNotOpen(_))
        ));
        // The way out that the sentence names.
        let rotated = rotate(&store, &sealer(1), true, &Actor::system(), NOW.plus(700))
            .await
            .unwrap();
        let ring = open(&store, NOW.plus(700)).await.unwrap();
        let (kid, _) = verify(&assertion_of(&ring, NOW.plus(700)), &ring.jwks(), NOW.plus(700)).unwrap();
        assert_eq!(kid, rotated.kid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_took_anothers_name_does_not_sign() {
    for place in places().await {
        let store = place.open().await;
        open(&store, NOW).await.unwrap();
        damage(
            &store,
            "UPDATE signing_keys SET sealed = (SELECT sealed FROM signing_keys ORDER BY kid LIMIT 1)",
        )
        .await;
        assert!(matches!(open(&store, NOW).await, Err(KeyRingError::DoesNotOpen(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_leaves_the_keys_at_hand() {
    for place in places().await {
        let store = place.open().await;
        let ring = open(&store, NOW).await.unwrap();
        damage(&store, "UPDATE signing_keys SET sealed = sealed || sealed").await;
        assert!(ring.reload(NOW).await.is_err());
        verify(&assertion_of(&ring, NOW), &ring.jwks(), NOW).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_before_the_first_key_still_signs() {
    let ring = open(&Place::sqlite().open().await, NOW).await.unwrap();
    let before = NOW.plus(-86_400);
    verify(&assertion_of(&ring, before), &ring.jwks(), before).unwrap();
}
