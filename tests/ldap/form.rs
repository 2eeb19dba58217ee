//! The form: whose it is, and how often it may be wrong.

use http::{Method, StatusCode};

use crate::browser::{Answer, Browser};
use crate::house::House;
use crate::slapd::Slapd;

#[tokio::test(flavor = "multi_thread")]
async fn the_form_is_for_people_and_their_password_managers() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    let mut browser = house.browser();
    assert_eq!(
        browser.get("/page?a=b").await.header("location"),
        Some("/.vestibule/login?rd=/page%3Fa%3Db")
    );
    let form = browser.get("/.vestibule/login?rd=/page%3Fa%3Db").await;
    for expected in [
        "<label for=\"username\">",
        "<label for=\"password\">",
        "autocomplete=\"username\"",
        "autocomplete=\"current-password\"",
        "method=\"post\"",
        "action=\"/.vestibule/login?rd=/page%3Fa%3Db\"",
    ] {
        assert!(form.body.contains(expected), "{expected}: {}", form.body);
    }
    assert!(!form.body.contains("single sign-on"), "there is no provider");
    assert_eq!(form.header("cache-control"), Some("no-store"));
    // What was typed is kept, but for the password, and stays text.
    let again = browser.send(&form.state(), "\"><b>bob", "secret-word", &[]).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    assert!(
        again.body.contains("value=\"&#34;&#62;&#60;b&#62;bob\""),
        "{}",
        again.body
    );
    assert!(!again.body.contains("secret-word"));
    let right = browser.send(&again.state(), "bob", "bob's password", &[]).await;
    assert_eq!(right.header("location"), Some("/page?a=b"));
    assert_eq!(
        browser.get("/.vestibule/login?rd=/x").await.header("location"),
        Some("/x")
    );
    for method in [Method::PUT, Method::DELETE] {
        let answer = browser.ask(method, "/.vestibule/login", &[], None).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_signed_in_by_another_site_or_with_another_browsers_form() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    let (mut theirs, mut ours) = (house.browser(), house.browser());
    let form = theirs.get("/.vestibule/login").await;
    let mine = ours.get("/.vestibule/login").await;
    let password = "bob's password";
    // The form's state belongs to the browser that was shown it.
    assert_eq!(
        ours.send(&form.state(), "bob", password, &[]).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        ours.send("", "bob", password, &[]).await.status,
        StatusCode::BAD_REQUEST
    );
    let fields = [("username", "bob"), ("password", password)];
    let without = ours.ask(Method::POST, "/.vestibule/login", &[], Some(&fields)).await;
    assert_eq!(without.status, StatusCode::BAD_REQUEST);
    for headers in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "https://evil.example")],
        [("origin", "null")],
    ] {
        let answer = ours.send(&mine.state(), "bob", password, &headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    assert_eq!(ours.get("/page").await.status, StatusCode::FOUND);
    // Once only.
    assert_eq!(
        ours.send(&mine.state(), "bob", password, &[]).await.status,
        StatusCode::SEE_OTHER
    );
    let mut copy = house.browser();
    copy.jar = ours.jar.clone();
    assert_eq!(
        copy.send(&mine.state(), "bob", password, &[]).await.status,
        StatusCode::BAD_REQUEST
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_five_wrong_passwords_the_right_one_does_not_help_but_a_known_browser_does() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    let (mut known, signed_in) = house.sign_in("bob", "bob's password").await;
    assert_eq!(signed_in.status, StatusCode::SEE_OTHER);
    for login in ["bob", "BOB", " bob", "bob@example.com", "CORP\\bob"] {
        house.turns_away(login, "wrong", StatusCode::UNAUTHORIZED).await;
    }
    let slowed = house
        .turns_away("robert@example.com", "bob's password", StatusCode::TOO_MANY_REQUESTS)
        .await;
    let seconds: u64 = slowed.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=900).contains(&seconds), "{seconds}");
    assert!(slowed.body.contains("Too many wrong passwords"));
    // Others are not concerned, nor is the browser that bob has used before.
    house.lets_in("ann", "ann's password").await;
    known.jar.retain(|name, _| name.ends_with("-d"));
    assert_eq!(
        known.sign_in("bob", "bob's password").await.status,
        StatusCode::SEE_OTHER
    );
    // Made-up names are counted the same way.
    for login in ["nobody", "NOBODY", " nobody", "nobody ", "Nobody"] {
        house.turns_away(login, "wrong", StatusCode::UNAUTHORIZED).await;
    }
    house.turns_away("nobody", "wrong", StatusCode::TOO_MANY_REQUESTS).await;
    // As somebody's would be: who is here shows by no spelling.
    house
        .turns_away("CORP\\nobody", "wrong", StatusCode::TOO_MANY_REQUESTS)
        .await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_wrong_passwords_for_all_names_together() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| settings.ldap.as_mut().unwrap().failures_address = 3).await;
    for login in ["a", "b", "bob"] {
        house.turns_away(login, "wrong", StatusCode::UNAUTHORIZED).await;
    }
    house
        .turns_away("ann", "ann's password", StatusCode::TOO_MANY_REQUESTS)
        .await;
    house.close().await;
}

/// What a person reads, but for what is another's each time.
fn told(answer: &Answer, login: &str) -> String {
    let (_, text) = answer.body.split_once("<main>").unwrap();
    let (text, _) = text.split_once("<p class=\"small\">").unwrap();
    let text = text.replace(&answer.state(), "");
    text.replace(&format!("value=\"{login}\""), "")
        .replace(" autofocus", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_an_address_keep_nobody_out_of_a_browser_that_they_used_before() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| {
        settings.ldap.as_mut().unwrap().failures_address = 8;
        settings.ldap.as_mut().unwrap().failures = 2;
    })
    .await;
    let mut known = house.browser();
    let forget = |browser: &mut Browser| browser.jar.retain(|name, _| name.ends_with("-d"));
    assert_eq!(
        known.sign_in("ann", "ann's password").await.status,
        StatusCode::SEE_OTHER
    );
    forget(&mut known);
    for login in ["a", "b", "c", "d", "e", "f", "g", "bob"] {
        house.turns_away(login, "wrong", StatusCode::UNAUTHORIZED).await;
    }
    let without = house
        .turns_away("ann", "ann's password", StatusCode::TOO_MANY_REQUESTS)
        .await;
    // Of anybody but ann the browser hears the same: whether they are here does not show, nor does a right password help.
    for (login, password) in [
        ("a", "wrong"),
        ("nobody", "wrong"),
        ("bob", "bob's password"),
        ("twin@example.com", "twin's password"),
        ("hidden", "hidden's password"),
    ] {
        let begun = std::time::Instant::now();
        let answer = known.sign_in(login, password).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{login}");
        assert!(
            begun.elapsed() >= std::time::Duration::from_secs(1),
            "{login} is answered at once"
        );
        assert_eq!(told(&answer, login), told(&without, "ann"), "{login}");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(known.get("/page").await.status, StatusCode::FOUND, "{login}");
    }
    assert_eq!(house.users().await.len(), 1, "nobody else came in");
    assert_eq!(
        known.sign_in("ann", "ann's password").await.status,
        StatusCode::SEE_OTHER
    );
    forget(&mut known);
    // Nor has it more guesses at ann than it would have elsewhere.
    for _ in 0..2 {
        assert_eq!(known.sign_in("ann", "wrong").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(
        known.sign_in("ann", "ann's password").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_browser_has_the_directory_searched_no_more_often_than_an_address() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| settings.ldap.as_mut().unwrap().failures_address = 2).await;
    let mut known = house.browser();
    assert_eq!(
        known.sign_in("ann", "ann's password").await.status,
        StatusCode::SEE_OTHER
    );
    known.jar.retain(|name, _| name.ends_with("-d"));
    for login in ["a", "b"] {
        house.turns_away(login, "wrong", StatusCode::UNAUTHORIZED).await;
    }
    for login in ["a", "bob", "c"] {
        assert_eq!(
            known.sign_in(login, "wrong").await.status,
            StatusCode::TOO_MANY_REQUESTS
        );
    }
    assert_eq!(
        known.sign_in("ann", "ann's password").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_after_too_many_count_for_the_address() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| {
        settings.ldap.as_mut().unwrap().failures = 1;
        settings.ldap.as_mut().unwrap().failures_address = 3;
    })
    .await;
    // However often they are told to wait: an address can't have the directory searched without end.
    house.turns_away("bob", "wrong", StatusCode::UNAUTHORIZED).await;
    for _ in 0..2 {
        house.turns_away("bob", "wrong", StatusCode::TOO_MANY_REQUESTS).await;
    }
    house
        .turns_away("ann", "ann's password", StatusCode::TOO_MANY_REQUESTS)
        .await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_of_several_people_gives_nobody_more_guesses() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| settings.ldap.as_mut().unwrap().failures = 2).await;
    let mut shared = house.browser();
    let end = |browser: &mut Browser| browser.jar.retain(|name, _| name.ends_with("-d"));
    assert_eq!(
        shared.sign_in("bob", "bob's password").await.status,
        StatusCode::SEE_OTHER
    );
    end(&mut shared);
    for _ in 0..2 {
        assert_eq!(shared.sign_in("bob", "wrong").await.status, StatusCode::UNAUTHORIZED);
    }
    // Ann's own password gives her no new count for bob's.
    assert_eq!(
        shared.sign_in("ann", "ann's password").await.status,
        StatusCode::SEE_OTHER
    );
    end(&mut shared);
    assert_eq!(
        shared.sign_in("bob", "wrong").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wrong_passwords_at_once_are_not_more_than_are_allowed() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    let tries = (0..20).map(|_| house.sign_in("bob", "wrong"));
    let answers = futures_util::future::join_all(tries).await;
    let looked_at = answers
        .iter()
        .filter(|(_, answer)| answer.status == StatusCode::UNAUTHORIZED);
    assert_eq!(looked_at.count(), 5);
    house.close().await;
}
