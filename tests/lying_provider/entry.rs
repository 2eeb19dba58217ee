//! Who gets in, and as whom, by what the provider says.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use vestibule::config::EmailVerified;
use vestibule::person::{EmailAddress, Role};

use crate::house::{House, oidc};
use crate::provider::State;

fn person(sub: &str, email: &str) -> impl FnOnce(&mut State) {
    let (sub, email) = (json!(sub), json!(email));
    move |state: &mut State| state.claims(vec![("sub", sub), ("email", email)])
}

/// Turned away with a page that says why, offers somebody else's sign-in, and makes no account.
async fn refused(house: &House, claims: Vec<(&'static str, Value)>, words: &str) {
    let before = house.users().await.len();
    house.provider.change(|state| {
        state.be_honest();
        state.claims(claims.clone());
    });
    let what = format!("{claims:?}");
    let answer = house.turns_away(&what).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}");
    assert!(answer.body.contains(words), "{what}: {}", answer.body);
    assert!(
        answer.body.contains("other=1"),
        "{what}: no way to come as somebody else"
    );
    assert_eq!(house.users().await.len(), before, "{what}: an account was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_verified_address_nobody_gets_an_account() {
    let house = House::open().await;
    for (claims, words) in [
        (vec![("email", json!("(none)"))], "No e-mail address"),
        (vec![("email", json!(null))], "No e-mail address"),
        (vec![("email", json!(""))], "No e-mail address"),
        (vec![("email", json!(7))], "Not an e-mail address"),
        (vec![("email", json!("nobody"))], "Not an e-mail address"),
        (
            vec![("email", json!("a@b@evil.example,c@d.example"))],
            "Not an e-mail address",
        ),
        (
            vec![("email", json!("a@example.com\r\nX-Forwarded-Email: boss@example.com"))],
            "Not an e-mail address",
        ),
        (vec![("email_verified", json!(false))], "is not verified"),
        (vec![("email_verified", json!("false"))], "is not verified"),
        (vec![("email_verified", json!(0))], "is not verified"),
    ] {
        refused(&house, claims, words).await;
    }
    let house = House::with(
        |settings| oidc(settings).email_verified = EmailVerified::Required,
        |_| {},
    )
    .await;
    refused(&house, vec![("email_verified", json!("(none)"))], "is not verified").await;
    refused(&house, vec![("email_verified", json!("yes"))], "is not verified").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_domains_and_groups_get_in_and_each_fails_closed() {
    let house = House::with(
        |settings| settings.entry.allowed_domains = Some(vec!["example.com".into()]),
        |_| {},
    )
    .await;
    for email in [
        "a@evil.example",
        "a@example.com.evil.example",
        "a@evilexample.com",
        "a@sub.example.com",
    ] {
        refused(&house, vec![("email", json!(email))], "Not for this e-mail address").await;
    }
    house.provider.change(person("b", "b@EXAMPLE.com"));
    assert_eq!(house.sign_in().await.1.status, StatusCode::SEE_OTHER);

    let house = House::with(
        |settings| settings.entry.allowed_groups = Some(vec!["staff".into()]),
        |_| {},
    )
    .await;
    for groups in [
        json!("(none)"),
        json!(null),
        json!([]),
        json!(["Staff"]),
        json!(["staff "]),
        json!(["//staff"]),
        json!(["other"]),
    ] {
        refused(&house, vec![("groups", groups)], "Not in an allowed group").await;
    }
    for groups in [json!(7), json!({ "staff": true }), json!([7])] {
        refused(&house, vec![("groups", groups)], "Groups cannot be read").await;
    }
    for overage in [
        ("_claim_names", json!({ "groups": "src1" })),
        ("hasgroups", json!(true)),
    ] {
        refused(&house, vec![overage], "groups overage").await;
    }
    house
        .provider
        .change(|state| state.claims(vec![("groups", json!(["/staff", "x"]))]));
    assert_eq!(house.sign_in().await.1.status, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_never_finds_somebody_elses_account() {
    let house = House::open().await;
    house.sign_in().await;
    house.provider.change(person("mallory", "Alice@Example.com"));
    let (browser, answer) = house.sign_in().await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("is taken"), "{}", answer.body);
    assert!(!browser.jar.contains_key(&house.session_cookie()));
    assert_eq!(house.users().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_provisioning_off_only_who_was_added_gets_in_and_is_told_whom_to_ask() {
    let boss = EmailAddress::parse("boss@example.com").unwrap();
    let house = House::with(
        |settings| {
            settings.entry.provisioning = false;
            settings.entry.initial_admins = vec![boss];
        },
        |_| {},
    )
    .await;
    refused(&house, vec![], "an administrator of localhost").await;
    refused(
        &house,
        vec![("email", json!("boss@example.com")), ("email_verified", json!(false))],
        "",
    )
    .await;
    house.provider.change(person("boss", "boss@example.com"));
    assert_eq!(house.sign_in().await.1.status, StatusCode::SEE_OTHER);
    assert_eq!(house.users().await[0].role, Role::Admin);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_person_is_out_and_a_new_sign_in_does_not_bring_them_back() {
    let house = House::open().await;
    house.sign_in().await;
    house.provider.change(person("bob", "bob@example.com"));
    let (mut browser, _) = house.sign_in().await;
    assert_eq!(browser.get("/page").await.status, StatusCode::OK);
    let seen = house.upstream_saw().len();
    house.deactivate("bob@example.com").await;
    let begun = Instant::now();
    let mut seen = seen;
    while browser.get("/page").await.status != StatusCode::FOUND {
        // One second is promised; a busy machine that runs all tests at once gets some more.
        assert!(begun.elapsed() < Duration::from_secs(4), "still in");
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen = house.upstream_saw().len();
    }
    let (browser, answer) = house.sign_in().await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("deactivated"));
    assert!(!browser.jar.contains_key(&house.session_cookie()));
    assert_eq!(house.upstream_saw().len(), seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_first_sign_ins_at_once_one_is_the_admin() {
    let house = House::open().await;
    let mut prepared = vec![];
    for n in 0..8 {
        let mut browser = house.browser();
        let request = browser.begin("/page").await;
        prepared.push((n, browser, house.provider.authorize(&request)));
    }
    // Each exchange is somebody else.
    house.provider.change(|state| {
        let count = std::sync::atomic::AtomicUsize::new(0);
        state.forge = Box::new(move |mut draft| {
            let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            draft.claims["sub"] = json!(format!("p{n}"));
            draft.claims["email"] = json!(format!("p{n}@example.com"));
            draft.sign()
        });
    });
    let each = prepared
        .into_iter()
        .map(|(_, mut browser, fields)| async move { browser.bring(&fields).await.status });
    let answers = futures_util::future::join_all(each).await;
    assert!(
        answers.iter().all(|status| *status == StatusCode::SEE_OTHER),
        "{answers:?}"
    );
    let users = house.users().await;
    assert_eq!(users.len(), 8);
    assert_eq!(users.iter().filter(|user| user.role == Role::Admin).count(), 1);
}
