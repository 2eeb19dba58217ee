//! What must work, odd as it may look.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use vestibule::config::{AuthMethod, ClientAuth};
use vestibule::sign_in::ProviderState;

use crate::house::{House, oidc};
use crate::keys::{SigningKey, with};
use crate::provider::{ACCESS_TOKEN, Raw, jwks};

/// Signs in and looks at the page; what the app saw of it.
async fn gets_in(house: &House, what: &str) -> http::HeaderMap {
    let (mut browser, answer) = house.sign_in().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{what}: {}", answer.body);
    assert_eq!(browser.get("/page").await.status, StatusCode::OK, "{what}");
    house.upstream_saw().pop().unwrap().headers
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_sign_in_reaches_the_page_that_was_asked_for() {
    let house = House::open().await;
    let (mut browser, answer) = house.sign_in().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    assert_eq!(answer.header("location"), Some("/page?a=b"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let cookie = answer.set_cookies().join("\n");
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=3600"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert_eq!(
        browser.jar.len(),
        1,
        "the attempt's cookie is deleted: {:?}",
        browser.jar
    );
    let page = browser.get("/page?a=b").await;
    assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, "the app"));
    let seen = house.upstream_saw();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].uri.to_string(), "/page?a=b");
    assert_eq!(seen[0].headers["x-forwarded-email"], "alice@example.com");
    assert!(!seen[0].headers.contains_key("cookie"));
    assert_eq!(house.sessions().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn path_and_query_come_back_byte_for_byte() {
    let house = House::open().await;
    for target in [
        "/a%2Fb//c?x=%2f%2F&y=+%20&z",
        "/%7Euser/?a=b&a=c",
        "/?",
        "/a;v=1?q=%26%3D%23",
    ] {
        let mut browser = house.browser();
        let answer = browser.sign_in(target).await;
        assert_eq!(answer.header("location"), Some(target));
        browser.get(target).await;
        assert_eq!(house.upstream_saw().pop().unwrap().uri.to_string(), target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn implicit_signs_in_by_a_posted_token() {
    let house = House::implicit().await;
    gets_in(&house, "implicit").await;
    assert_eq!(house.provider.read(|state| state.heard("/token")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_algorithm_of_the_list_signs_in() {
    let rsa = Arc::new(SigningKey::rsa());
    for (alg, key) in [
        ("RS256", Arc::clone(&rsa)),
        ("RS384", Arc::clone(&rsa)),
        ("RS512", Arc::clone(&rsa)),
        ("PS256", Arc::clone(&rsa)),
        ("PS384", Arc::clone(&rsa)),
        ("PS512", rsa),
        ("ES256", Arc::new(SigningKey::p256())),
        ("ES384", Arc::new(SigningKey::p384())),
        ("EdDSA", Arc::new(SigningKey::ed25519())),
    ] {
        let house = House::with(
            |_| {},
            |state| {
                state.jwks = jwks(&[with(key.jwk_named("k1"), "alg", alg)]);
                state.alg = alg;
                state.key = key;
            },
        )
        .await;
        gets_in(&house, alg).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_without_names_and_among_others_are_found() {
    let others = || {
        [
            json!({ "kty": "oct", "k": "AA", "kid": "k1" }),
            SigningKey::rsa().jwk_named("r"),
            json!(7),
        ]
    };
    for kid in [None, Some("k1".to_owned())] {
        let house = House::with(
            |_| {},
            |state| {
                state.kid.clone_from(&kid);
                let mut keys = others().to_vec();
                keys.push(SigningKey::p256().jwk_named("old"));
                keys.push(state.key.jwk_named("k1"));
                state.jwks = jwks(&keys);
            },
        )
        .await;
        gets_in(&house, "several keys").await;
    }
    let house = House::with(
        |_| {},
        |state| {
            state.kid = None;
            state.jwks = jwks(&[state.key.jwk()]);
        },
    )
    .await;
    gets_in(&house, "one key without a name").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found_at_once_under_a_new_name_and_under_the_old_one() {
    let house = House::open().await;
    gets_in(&house, "before").await;
    for kid in ["k2", "k2"] {
        house.provider.change(|state| {
            state.key = Arc::new(SigningKey::p256());
            state.kid = Some(kid.into());
            state.jwks = jwks(&[state.key.jwk_named(kid)]);
        });
        gets_in(&house, "after a rotation").await;
    }
    // A refetch that fails leaves the old keys.
    house
        .provider
        .change(|state| state.jwks = Raw::new(500, "text/plain", ""));
    gets_in(&house, "while the keys can't be fetched").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_comes_late_needs_no_restart() {
    let house = House::with(|_| {}, |state| state.discovery = Some(Raw::new(503, "text/plain", ""))).await;
    let answer = house.browser().get("/.vestibule/login").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(matches!(
        house.instance.sign_in().provider_state(),
        ProviderState::Unknown(_)
    ));
    house.provider.change(|state| state.discovery = None);
    // Who wants in makes us look again; the answer may come a moment later.
    for _ in 0..20 {
        if house.browser().get("/.vestibule/login").await.status == StatusCode::FOUND {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    gets_in(&house, "a late provider").await;
    assert_eq!(house.instance.sign_in().provider_state(), ProviderState::Known);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_claims_neither_break_nor_smuggle_anything() {
    let house = House::open().await;
    let odd: Vec<(&str, Vec<(&'static str, Value)>)> = vec![
        (
            "a number as name",
            vec![
                ("name", json!(7)),
                ("updated_at", json!("2026-01-01")),
                ("birthdate", json!([])),
            ],
        ),
        (
            "null everywhere",
            vec![
                ("name", json!(null)),
                ("preferred_username", json!(null)),
                ("groups", json!(null)),
                ("auth_time", json!(null)),
            ],
        ),
        (
            "line breaks",
            vec![
                ("name", json!("A\r\nX-Forwarded-Role: admin")),
                ("preferred_username", json!("a\r\nb")),
            ],
        ),
        (
            "right to left",
            vec![
                ("name", json!("\u{202e}nimda")),
                ("preferred_username", json!("\u{202e}nimda")),
            ],
        ),
        (
            "emoji",
            vec![
                ("name", json!("👩‍🚀 Zoë")),
                ("groups", json!(["🚀", "a,b", "c%2Cd", "e\nf"])),
            ],
        ),
        (
            "a fraction of a second",
            vec![("auth_time", json!(1_800_000_000.5)), ("exp", json!(9_999_999_999.5))],
        ),
        (
            "5000 groups",
            vec![(
                "groups",
                json!((0..5000).map(|n| format!("group {n}")).collect::<Vec<_>>()),
            )],
        ),
        ("groups of a wrong type", vec![("groups", json!(7))]),
        ("a very long name", vec![("name", json!("x".repeat(20_000)))]),
        (
            "deep nesting",
            vec![("address", (0..100).fold(json!(1), |inner, _| json!([inner])))],
        ),
        ("one audience in a list", vec![("aud", json!(["app"]))]),
        (
            "several audiences with azp",
            vec![("aud", json!(["other", "app"])), ("azp", json!("app"))],
        ),
        (
            "clocks a minute apart",
            vec![
                ("iat", json!(vestibule::clock::UnixTime::now().0 + 50)),
                ("nbf", json!(vestibule::clock::UnixTime::now().0 + 50)),
            ],
        ),
        (
            "an expiry within the leeway",
            vec![("exp", json!(vestibule::clock::UnixTime::now().0 - 30))],
        ),
        ("overage where no groups are needed", vec![("hasgroups", json!(true))]),
    ];
    for (what, claims) in odd {
        house.provider.change(|state| {
            state.be_honest();
            state.claims(claims);
        });
        let headers = gets_in(&house, what).await;
        assert_eq!(headers["x-forwarded-email"], "alice@example.com", "{what}");
        assert_eq!(headers.get_all("x-forwarded-role").iter().count(), 1, "{what}");
        for (name, value) in &headers {
            assert!(
                value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte)),
                "{what}: {name}"
            );
        }
        if let Some(groups) = headers.get("x-forwarded-groups") {
            assert!(groups.len() <= 2048, "{what}");
        }
    }
    assert_eq!(house.users().await.len(), 1, "it was always the same person");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_at_hash_of_the_access_token_is_taken() {
    let house = House::open().await;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, ACCESS_TOKEN.as_bytes());
    let hash = crate::keys::b64(&hash.as_ref()[..16]);
    house.provider.change(|state| state.claim("at_hash", json!(hash)));
    gets_in(&house, "at_hash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_token_lacks_comes_from_userinfo() {
    let house = House::with(
        |settings| settings.entry.allowed_groups = Some(vec!["staff".into()]),
        |_| {},
    )
    .await;
    house.provider.change(|state| {
        state.claims(vec![("email", json!("(none)")), ("name", json!("(none)"))]);
        state.userinfo = Raw::json(&json!({
            "sub": "alice", "email": "alice@example.com", "email_verified": "true", "name": ["Alice"], "groups": "staff",
        }));
    });
    let headers = gets_in(&house, "userinfo").await;
    assert_eq!(headers["x-forwarded-groups"], "staff");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_name_and_without_userinfo_one_gets_in() {
    let house = House::open().await;
    house.provider.change(|state| {
        state.claim("name", json!("(none)"));
        state.userinfo = Raw::new(500, "text/plain", "");
    });
    gets_in(&house, "no name").await;
    // Where nothing is missing, nothing is asked.
    house.provider.change(crate::provider::State::be_honest);
    gets_in(&house, "whole").await;
    assert_eq!(house.provider.read(|state| state.heard("/userinfo")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_shows_who_it_is_in_each_way() {
    for (auth, announced, by_header) in [
        (ClientAuth::Auto, json!(null), true),
        (ClientAuth::Auto, json!(["client_secret_post"]), false),
        (
            ClientAuth::Auto,
            json!(["client_secret_post", "client_secret_basic"]),
            true,
        ),
        (ClientAuth::Post, json!(null), false),
        (ClientAuth::Basic, json!(["client_secret_post"]), true),
    ] {
        let house = House::with(
            |settings| oidc(settings).client_auth = auth,
            |state| state.metadata = json!({ "token_endpoint_auth_methods_supported": announced }),
        )
        .await;
        gets_in(&house, "client authentication").await;
        let (header, form) = house.provider.read(|state| state.exchanges[0].clone());
        assert_eq!(header.is_some(), by_header);
        assert_eq!(form.contains_key("client_secret"), !by_header);
    }
    let house = House::with(
        |settings| oidc(settings).client_secret = None,
        |state| state.strict = false,
    )
    .await;
    gets_in(&house, "a public client").await;
    let (header, form) = house.provider.read(|state| state.exchanges[0].clone());
    assert!(header.is_none() && !form.contains_key("client_secret") && form["client_id"] == "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_channel_reaches_a_provider_that_browsers_call_otherwise() {
    let house = House::with(
        |settings| {
            let real = oidc(settings).issuer.clone();
            oidc(settings).backchannel = Some(real.parse().unwrap());
            oidc(settings).issuer = "https://id.example.com/realm".into();
        },
        |state| {
            state.metadata = json!({
                "issuer": "https://id.example.com/realm",
                "authorization_endpoint": "https://id.example.com/realm/authorize",
                "token_endpoint": "https://id.example.com/token",
                "jwks_uri": "https://id.example.com/jwks",
                "userinfo_endpoint": "https://id.example.com/userinfo",
                "end_session_endpoint": "https://id.example.com/realm/end",
            });
        },
    )
    .await;
    // The token still says who it is from by the name that browsers know.
    for (iss, status) in [
        (house.provider.issuer.as_str(), 400),
        ("https://id.example.com/realm", 303),
    ] {
        house.provider.change(|state| state.claim("iss", json!(iss)));
        let mut browser = house.browser();
        let sent = browser.get("/.vestibule/login?rd=/page").await;
        let address = url::Url::parse(sent.header("location").unwrap()).unwrap();
        assert!(
            address.as_str().starts_with("https://id.example.com/realm/authorize?"),
            "{address}"
        );
        let fields = house.provider.authorize(&address);
        assert_eq!(browser.bring(&fields).await.status, status, "{iss}");
    }
    let asked = house.provider.read(|state| state.heard.clone());
    assert_eq!(asked[0], "GET /realm/.well-known/openid-configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn implicit_needs_no_token_endpoint() {
    let house = House::with(
        |settings| oidc(settings).auth_method = AuthMethod::Implicit,
        |state| state.metadata = json!({ "token_endpoint": null, "userinfo_endpoint": null }),
    )
    .await;
    gets_in(&house, "no token endpoint").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_need_new_keys_at_once_one_asks_for_them() {
    let house = House::implicit().await;
    gets_in(&house, "before").await;
    let before = house.provider.read(|state| state.heard("/jwks"));
    house.provider.change(|state| {
        state.key = Arc::new(SigningKey::p256());
        state.kid = Some("k2".into());
        state.jwks = jwks(&[state.key.jwk_named("k2")]).after(Duration::from_millis(500));
    });
    let each = (0..10).map(|_| async { house.sign_in().await.1.status });
    let answers = futures_util::future::join_all(each).await;
    assert!(
        answers.iter().all(|status| *status == StatusCode::SEE_OTHER),
        "{answers:?}"
    );
    // Whoever came only after the first answer found the keys there.
    assert_eq!(house.provider.read(|state| state.heard("/jwks")) - before, 1);
}
