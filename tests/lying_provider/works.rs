//! What must work, odd as it may look.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use crate::house::House;
use crate::keys::SigningKey;
use crate::provider::jwks;

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_sign_in_reaches_the_page_that_was_asked_for() {
    let house = House::open().await;
    let (mut browser, answer) = house.sign_in().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    assert_eq!(answer.header("location"), Some("/page?a=b"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(browser.jar.len(), 1, "the attempt's cookie is deleted: {:?}", browser.jar);
    let page = browser.get("/page?a=b").await;
    assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, "the app"));
    let seen = house.upstream_saw();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].uri.to_string(), "/page?a=b");
    assert_eq!(seen[0].headers["x-forwarded-email"], "alice@example.com");
    assert_eq!(house.sessions().await, 1);
    let _ = (Arc::new(SigningKey::p256()), json!({}), jwks(&[]));
}
