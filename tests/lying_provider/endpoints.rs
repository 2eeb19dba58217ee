//! Lies of the provider's addresses: discovery, keys, token endpoint, userinfo.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use vestibule::sign_in::ProviderState;

use crate::house::{House, oidc};
use crate::provider::{Raw, Reply, State, token_answer};

async fn stays_unknown(what: &str, lie: impl FnOnce(&mut State)) -> String {
    let house = House::with(|_| {}, lie).await;
    let mut browser = house.browser();
    let answer = browser.get("/.vestibule/login?rd=/page").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
    assert!(answer.header("retry-after").is_some(), "{what}");
    assert_eq!(answer.set_cookies(), Vec::<&str>::new(), "{what}");
    house.nobody_is_in(&mut browser, &answer, what).await;
    match house.instance.sign_in().provider_state() {
        ProviderState::Unknown(why) => why,
        state => panic!("{what}: {state:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_another_name_is_not_known_and_both_names_are_told() {
    for issuer in ["https://evil.example", "http://127.0.0.1", ""] {
        let why = stays_unknown("another issuer", |state| state.metadata = json!({ "issuer": issuer })).await;
        assert!(
            why.contains(issuer) && why.contains("OIDC_ISSUER=http://127.0.0.1:"),
            "{why}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_that_is_no_discovery_is_not_believed() {
    let big = format!("{{\"issuer\":\"{}\"}}", "x".repeat(1 << 20));
    for (what, raw) in [
        ("a page", Raw::new(200, "text/html", "<html>")),
        ("a list", Raw::json(&json!([]))),
        ("nothing", Raw::new(200, "application/json", "")),
        ("not found", Raw::new(404, "application/json", "{}")),
        ("an error", Raw::new(500, "application/json", "{}")),
        (
            "a redirect",
            Raw::redirect(302, "https://evil.example/.well-known/openid-configuration"),
        ),
        ("a permanent redirect", Raw::redirect(308, "/elsewhere")),
        ("more than a mebibyte", Raw::new(200, "application/json", big)),
    ] {
        let why = stays_unknown(what, |state| state.discovery = Some(raw)).await;
        assert!(!why.is_empty());
        if what == "a redirect" {
            assert!(why.contains("points to https://evil.example"), "{why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_read_leave_the_provider_unknown() {
    for (what, raw) in [
        ("a page", Raw::new(200, "text/html", "<html>")),
        ("no list", Raw::json(&json!({ "keys": {} }))),
        ("an error", Raw::new(500, "application/json", "{}")),
        ("a redirect", Raw::redirect(302, "https://evil.example/jwks")),
    ] {
        stays_unknown(what, |state| state.jwks = raw).await;
    }
}

fn token(reply: impl Fn(&str) -> Raw + Send + 'static) -> impl FnOnce(&mut State) {
    move |state| state.token = Box::new(reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lie_of_the_token_endpoint_opens_the_door_and_no_code_is_sent_twice() {
    let house = House::open().await;
    let good = |id_token: &str| token_answer(id_token).to_string();
    let lies: Vec<(&str, Reply)> = vec![
        (
            "a good answer with 201",
            Box::new(move |t| Raw::new(201, "application/json", good(t))),
        ),
        (
            "a good answer with 400",
            Box::new(move |t| Raw::new(400, "application/json", good(t))),
        ),
        (
            "a good answer with 500",
            Box::new(move |t| Raw::new(500, "application/json", good(t))),
        ),
        ("a redirect", Box::new(|_| Raw::redirect(307, "/token"))),
        (
            "a redirect elsewhere",
            Box::new(|_| Raw::redirect(308, "https://evil.example/token")),
        ),
        ("a see other", Box::new(|_| Raw::redirect(303, "/token"))),
        ("a page", Box::new(|_| Raw::new(200, "text/html", "<html>"))),
        ("nothing", Box::new(|_| Raw::new(200, "application/json", ""))),
        ("a list", Box::new(|t| Raw::json(&json!([token_answer(t)])))),
        ("no ID token", Box::new(|_| Raw::json(&json!({ "access_token": "x" })))),
        (
            "an ID token of a wrong type",
            Box::new(|t| Raw::json(&json!({ "id_token": [t], "access_token": "x" }))),
        ),
        (
            "two answers",
            Box::new(move |t| Raw::new(200, "application/json", good(t).repeat(2))),
        ),
        (
            "a form",
            Box::new(|t| Raw::new(200, "application/x-www-form-urlencoded", format!("id_token={t}"))),
        ),
        (
            "too much",
            Box::new(|t| {
                let mut answer = token_answer(t);
                answer["padding"] = json!("x".repeat(1 << 20));
                Raw::json(&answer)
            }),
        ),
        (
            "an error",
            Box::new(|_| Raw::new(400, "application/json", r#"{"error":"invalid_grant"}"#)),
        ),
        (
            "an error with 200",
            Box::new(|_| Raw::json(&json!({ "error": "invalid_grant" }))),
        ),
    ];
    for (what, lie) in lies {
        house.provider.change(|state| {
            state.be_honest();
            token(lie)(state);
        });
        house.turns_away(what).await;
        assert_eq!(
            house.provider.read(|state| state.heard("/token")),
            1,
            "{what}: a code was sent again"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_is_down_or_slow_is_503_and_holds_nobody_else_up() {
    let house = House::open().await;
    house
        .provider
        .change(token(|t| Raw::json(&token_answer(t)).after(Duration::from_mins(1))));
    let begun = Instant::now();
    let slow = house.sign_in();
    let others = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        house.provider.change(State::be_honest);
        let (mut browser, answer) = house.sign_in().await;
        assert_eq!(answer.header("location"), Some("/page?a=b"));
        assert_eq!(browser.get("/page").await.status, StatusCode::OK);
        assert!(
            begun.elapsed() < Duration::from_secs(9),
            "the others waited {:?}",
            begun.elapsed()
        );
    };
    let ((_, answer), ()) = tokio::join!(slow, others);
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.header("retry-after").is_some());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(house.sessions().await, 1);

    house.provider.change(token(|_| Raw::new(503, "text/plain", "")));
    let (_, answer) = house.sign_in().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_provider_does_not_know_is_told_apart() {
    let house = House::with(
        |settings| oidc(settings).client_secret = Some("wrong".to_owned().into()),
        |_| {},
    )
    .await;
    let answer = house.turns_away("a wrong secret").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let house = House::with(|settings| oidc(settings).client_secret = None, |_| {}).await;
    house.turns_away("no secret").await;
}

fn without_email(state: &mut State, userinfo: Raw) {
    state.be_honest();
    state.claims(vec![("email", json!("(none)")), ("email_verified", json!("(none)"))]);
    state.userinfo = userinfo;
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_of_somebody_else_or_in_another_form_opens_no_door() {
    let house = House::open().await;
    let email = |sub: Value| Raw::json(&json!({ "sub": sub, "email": "alice@example.com" }));
    for (what, userinfo) in [
        ("somebody else's", email(json!("boss"))),
        ("nobody's", Raw::json(&json!({ "email": "alice@example.com" }))),
        ("a list of subs", email(json!(["alice"]))),
        ("sub null", email(json!(null))),
        ("a token", Raw::new(200, "application/jwt", "a.b.c")),
        (
            "a page",
            Raw::new(200, "text/html", r#"{"sub":"alice","email":"alice@example.com"}"#),
        ),
        (
            "an error",
            Raw {
                status: 500,
                ..email(json!("alice"))
            },
        ),
        ("a redirect", Raw::redirect(302, "/userinfo")),
        (
            "an unverified address",
            Raw::json(&json!({ "sub": "alice", "email": "alice@example.com", "email_verified": false })),
        ),
        ("no address", Raw::json(&json!({ "sub": "alice" }))),
        ("a number as address", Raw::json(&json!({ "sub": "alice", "email": 7 }))),
        (
            "too much",
            Raw::json(&json!({ "sub": "alice", "email": "alice@example.com", "x": "x".repeat(1 << 20) })),
        ),
    ] {
        house.provider.change(|state| without_email(state, userinfo));
        house.turns_away(what).await;
    }
    house
        .provider
        .change(|state| without_email(state, email(json!("alice"))));
    let (_, answer) = house.sign_in().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_of_somebody_else_is_a_lie_also_where_only_the_name_is_missing() {
    let house = House::open().await;
    house.provider.change(|state| {
        state.claim("name", json!("(none)"));
        state.userinfo = Raw::json(&json!({ "sub": "boss", "name": "Boss" }));
    });
    house.turns_away("somebody else's name").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_tokens_do_not_make_us_hammer_the_provider() {
    let house = House::implicit().await;
    house.sign_in().await;
    let before = house.provider.read(|state| state.heard("/jwks"));
    house
        .provider
        .change(|state| state.header(|header| header["kid"] = json!("unknown")));
    for _ in 0..30 {
        house.sign_in().await;
    }
    let asked = house.provider.read(|state| state.heard("/jwks")) - before;
    assert!((1..=8).contains(&asked), "{asked} refetches");
}
