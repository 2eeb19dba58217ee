//! The way out.

use http::{Method, StatusCode};
use serde_json::json;

use crate::house::House;
use crate::keys::SigningKey;
use crate::provider::jwks;

fn query(address: &str) -> std::collections::HashMap<String, String> {
    url::Url::parse(address).unwrap().query_pairs().into_owned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_the_session_here_and_goes_to_the_provider() {
    let house = House::open().await;
    let (mut browser, _) = house.sign_in().await;
    let token = browser.jar[&house.session_cookie()].clone();
    let answer = browser.get("/logout").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("clear-site-data"), Some("\"cache\""));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let there = answer.header("location").unwrap().to_owned();
    assert!(there.starts_with(&format!("{}/end?", house.provider.issuer)), "{there}");
    let sent = query(&there);
    assert_eq!(sent["client_id"], "app");
    assert!(sent["post_logout_redirect_uri"].ends_with("/logout"));
    assert!(sent.contains_key("id_token_hint"));
    assert!(!browser.jar.contains_key(&house.session_cookie()));
    assert_eq!(house.sessions().await, 0);

    // The old token opens nothing any more.
    browser.jar.insert(house.session_cookie(), token);
    assert_eq!(browser.get("/.vestibule/whoami").await.status, StatusCode::UNAUTHORIZED);
    assert!(house.upstream_saw().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_return_from_the_provider_ends_nothing_and_leads_nowhere() {
    let house = House::open().await;
    let (mut browser, _) = house.sign_in().await;
    let answer = browser.get("/logout").await;
    let state = query(answer.header("location").unwrap())["state"].clone();
    // In the meantime somebody has signed in again.
    browser.sign_in("/page").await;
    let answer = browser.get(&format!("/logout?state={state}")).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::OK, None));
    assert_eq!(answer.header("clear-site-data"), None);
    assert_eq!(house.sessions().await, 1);
    assert_eq!(browser.get("/page").await.status, StatusCode::OK);
    // A state that is not ours is a logout like any other.
    browser.get("/logout?state=made-up").await;
    assert_eq!(house.sessions().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_without_a_session_is_a_page_and_never_redirects() {
    let house = House::open().await;
    let mut browser = house.browser();
    for path in [
        "/logout",
        "/.vestibule/logout",
        "/logout?rd=https://evil.example/",
        "/logout?post_logout_redirect_uri=//evil.example",
    ] {
        let answer = browser.get(path).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::OK, None),
            "{path}"
        );
        assert!(!answer.body.contains("evil.example"), "{path}");
        let answer = browser.post(path, &[]).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::OK, None),
            "{path}"
        );
    }
    browser.jar.insert(house.session_cookie(), "A".repeat(43));
    let answer = browser.get("/logout").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        !browser.jar.contains_key(&house.session_cookie()),
        "a cookie without a session is deleted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_from_another_site_a_picture_and_a_head_sign_nobody_out() {
    let house = House::open().await;
    let (mut browser, _) = house.sign_in().await;
    for headers in [
        [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
        [("sec-fetch-site", "same-site"), ("origin", "http://localhost:1")],
        [("x", "y"), ("origin", "https://evil.example")],
        [("x", "y"), ("origin", "null")],
    ] {
        let answer = browser.ask(Method::POST, "/logout", &headers, Some(&[])).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
        assert_eq!(house.sessions().await, 1);
    }
    // A picture on a page of the app itself.
    for dest in ["image", "script", "style", "iframe", "embed", "font"] {
        let headers = [("sec-fetch-site", "same-origin"), ("sec-fetch-dest", dest)];
        let answer = browser.ask(Method::GET, "/logout", &headers, None).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{dest}");
        assert_eq!(house.sessions().await, 1);
    }
    browser.ask(Method::HEAD, "/logout", &[], None).await;
    assert_eq!(house.sessions().await, 1);
    assert_eq!(browser.post("/logout", &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(house.sessions().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_under_a_removed_key_is_not_sent() {
    let house = House::open().await;
    let (mut browser, _) = house.sign_in().await;
    let (mut other, _) = house.sign_in().await;
    let new = SigningKey::p256();
    house.provider.change(|state| {
        state.jwks = jwks(&[new.jwk_named("k2")]);
        state.key = std::sync::Arc::new(new);
        state.kid = Some("k2".into());
    });
    // Somebody signs in under the new key, which brings the new keys here.
    let (mut third, answer) = house.sign_in().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    for browser in [&mut browser, &mut other] {
        let answer = browser.get("/logout").await;
        let sent = query(answer.header("location").unwrap());
        assert!(!sent.contains_key("id_token_hint") && sent.contains_key("client_id"));
    }
    let answer = third.get("/logout").await;
    assert!(query(answer.header("location").unwrap()).contains_key("id_token_hint"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_a_place_for_it_is_not_visited() {
    let house = House::with(|_| {}, |state| state.metadata = json!({ "end_session_endpoint": null })).await;
    let (mut browser, _) = house.sign_in().await;
    let answer = browser.get("/logout").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::OK, None));
    assert_eq!(answer.header("clear-site-data"), Some("\"cache\""));
    assert_eq!(house.sessions().await, 0);
}
