//! Attacks on the redirect URI: whose attempt, how often, with what.

use http::{Method, StatusCode};
use serde_json::json;
use vestibule::clock::UnixTime;
use vestibule::config::AuthMethod;
use vestibule::sign_in::Visit;

use crate::house::{Browser, House, callback, oidc, with_field};

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_not_this_browsers_is_refused_before_the_provider_hears_anything() {
    let house = House::open().await;
    let mut victim = house.browser();
    let mut attacker = house.browser();
    let request = victim.begin("/page?a=b").await;
    let fields = house.provider.authorize(&request);
    let foreign = attacker.begin("/attack").await;
    let foreign = house.provider.authorize(&foreign);
    let state = fields[0].1.clone();
    let (id, secret) = state.split_once('.').unwrap();
    let foreign_secret = foreign[0].1.split_once('.').unwrap().1;

    for (what, state) in [
        ("another browser's", Some(foreign[0].1.clone())),
        ("another's secret under our id", Some(format!("{id}.{foreign_secret}"))),
        ("none", None),
        ("empty", Some(String::new())),
        ("only the id", Some(id.to_owned())),
        ("an empty secret", Some(format!("{id}."))),
        ("a shortened one", Some(state[..state.len() - 1].to_owned())),
        ("a longer one", Some(format!("{state}A"))),
        ("one in capitals", Some(state.to_ascii_uppercase())),
        ("one with a space", Some(format!("{state} "))),
        ("one that walks", Some(format!("../{id}.{secret}"))),
        ("one with a line break", Some(format!("{state}\r\nSet-Cookie: a=b"))),
        ("a semicolon", Some(format!("{id};.{secret}"))),
    ] {
        let answer = victim.bring(&with_field(&fields, "state", state.as_deref())).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
        house.nobody_is_in(&mut victim, &answer, what).await;
        assert!(answer.body.contains("/.vestibule/login"), "{what}: no way back in");
    }
    // Login CSRF: the attacker's answer in the victim's browser.
    let answer = victim.bring(&foreign).await;
    house.nobody_is_in(&mut victim, &answer, "the attacker's answer").await;
    assert_eq!(house.provider.read(|state| state.heard("/token")), 0);

    // All that has left the attempt as it was.
    assert_eq!(victim.bring(&fields).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_stand_twice_are_refused() {
    let house = House::open().await;
    let mut browser = house.browser();
    let request = browser.begin("/page").await;
    let fields = house.provider.authorize(&request);
    for name in ["state", "code", "iss", "error"] {
        let mut twice = fields.clone();
        twice.push((name.to_owned(), "x".to_owned()));
        twice.push((name.to_owned(), "y".to_owned()));
        let answer = browser.bring(&twice).await;
        house.nobody_is_in(&mut browser, &answer, name).await;
    }
    assert_eq!(house.provider.read(|state| state.heard("/token")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_works_once() {
    let house = House::open().await;
    let mut browser = house.browser();
    let request = browser.begin("/page").await;
    let fields = house.provider.authorize(&request);
    let attempt = browser.jar.clone();
    assert_eq!(browser.bring(&fields).await.status, StatusCode::SEE_OTHER);
    assert_eq!(house.provider.read(|state| state.heard("/token")), 1);

    // Somebody who has the browser's old cookies and its history, but no session.
    let mut later = house.browser();
    later.jar = attempt;
    let answer = later.bring(&fields).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(!later.jar.contains_key(&house.session_cookie()));
    assert_eq!(
        house.provider.read(|state| state.heard("/token")),
        1,
        "a code was sent twice"
    );
    assert_eq!(house.sessions().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_counts() {
    let house = House::open().await;
    let mut browser = house.browser();
    let request = browser.begin("/page").await;
    let fields = house.provider.authorize(&request);
    let jar = browser.jar.clone();
    let each = (0..12).map(|_| {
        let mut browser = house.browser();
        browser.jar.clone_from(&jar);
        let fields = fields.clone();
        async move { browser.bring(&fields).await.status }
    });
    let answers = futures_util::future::join_all(each).await;
    assert_eq!(
        answers
            .iter()
            .filter(|status| **status == StatusCode::SEE_OTHER)
            .count(),
        1,
        "{answers:?}"
    );
    assert_eq!(house.provider.read(|state| state.heard("/token")), 1);
    assert_eq!(house.sessions().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_or_unknown_callback_of_somebody_signed_in_goes_on() {
    let house = House::open().await;
    let mut browser = house.browser();
    let request = browser.begin("/page").await;
    let fields = house.provider.authorize(&request);
    let attempt = browser.jar.clone();
    browser.bring(&fields).await;
    // The Back button at Keycloak, a bookmark, and nothing at all.
    for target in [
        callback(&fields),
        callback(&with_field(&fields, "state", Some("unknown.x"))),
        "/oidc/callback".to_owned(),
        "/oidc/callback?error=access_denied".to_owned(),
    ] {
        let answer = browser.get(&target).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, Some("/")),
            "{target}"
        );
    }
    // Where the attempt is known, to its page.
    browser.jar.extend(attempt);
    let answer = browser.bring(&fields).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, Some("/page"))
    );
    assert_eq!(house.sessions().await, 1);
    assert_eq!(house.provider.read(|state| state.heard("/token")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_tabs_sign_in_at_once() {
    let house = House::open().await;
    let mut browser = house.browser();
    let first = browser.begin("/first").await;
    let second = browser.begin("/second").await;
    let second = house.provider.authorize(&second);
    let first = house.provider.authorize(&first);
    assert_eq!(browser.bring(&second).await.header("location"), Some("/second"));
    assert_eq!(browser.bring(&first).await.header("location"), Some("/first"));
    assert_eq!(browser.get("/page").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sign_in_gives_a_new_token() {
    let house = House::open().await;
    let (mut browser, _) = house.sign_in().await;
    let old = browser.jar[&house.session_cookie()].clone();
    let request = browser.begin_at("/.vestibule/login?rd=/page&other=1").await;
    let fields = house.provider.authorize(&request);
    browser.bring(&fields).await;
    assert_ne!(browser.jar[&house.session_cookie()], old);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_cookie_that_somebody_planted_is_not_kept() {
    let house = House::open().await;
    let mut browser = house.browser();
    let planted = "A".repeat(43);
    browser.jar.insert(house.session_cookie(), planted.clone());
    let answer = browser.sign_in("/page").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_ne!(browser.jar[&house.session_cookie()], planted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_uses_nothing_up_and_a_token_in_an_address_counts_for_nothing() {
    let house = House::open().await;
    let mut browser = house.browser();
    let request = browser.begin("/page").await;
    let fields = house.provider.authorize(&request);
    let head = browser.ask(Method::HEAD, &callback(&fields), &[], None).await;
    assert_eq!(head.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(house.provider.read(|state| state.heard("/token")), 0);
    assert_eq!(browser.bring(&fields).await.status, StatusCode::SEE_OTHER);

    let house = House::implicit().await;
    let mut browser = house.browser();
    let request = browser.begin("/page?a=b").await;
    let fields = house.provider.authorize(&request);
    let answer = browser.get(&callback(&fields)).await;
    house.nobody_is_in(&mut browser, &answer, "a token in an address").await;
}

/// RFC 9207: an answer of another provider.
#[tokio::test(flavor = "multi_thread")]
async fn the_iss_parameter_must_be_the_issuer_where_it_is_announced_or_there() {
    for announced in [true, false] {
        let lie = json!({ "authorization_response_iss_parameter_supported": announced });
        let house = House::with(|_| {}, |state| state.metadata = lie).await;
        let mut lies = vec![Some("https://evil.example"), Some(""), Some("http://127.0.0.1")];
        if announced {
            lies.push(None);
        }
        for iss in lies {
            let mut browser = house.browser();
            let request = browser.begin("/page?a=b").await;
            let fields = with_field(&house.provider.authorize(&request), "iss", iss);
            let answer = browser.bring(&fields).await;
            house.nobody_is_in(&mut browser, &answer, "a wrong iss parameter").await;
        }
        assert_eq!(house.provider.read(|state| state.heard("/token")), 0);
        let mut browser = house.browser();
        let request = browser.begin("/page?a=b").await;
        let fields = house.provider.authorize(&request);
        let issuer = house.provider.issuer.clone();
        let answer = browser.bring(&with_field(&fields, "iss", Some(&issuer))).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_provider_become_our_own_words_and_nothing_is_reflected() {
    let house = House::open().await;
    for (error, status) in [
        ("access_denied", 403),
        ("login_required", 400),
        ("temporarily_unavailable", 503),
        ("server_error", 503),
        ("invalid_scope", 502),
        ("unauthorized_client", 502),
        ("<script>alert(1)</script>", 400),
        ("", 400),
    ] {
        let mut browser = house.browser();
        let request = browser.begin("/page?a=b").await;
        let state = house.provider.authorize(&request).remove(0);
        let fields = [
            state,
            ("error".into(), error.to_owned()),
            ("error_description".into(), "call 555-SCAM <b>now</b>".into()),
            ("error_uri".into(), "https://evil.example/help".into()),
            ("code".into(), "code-1".into()),
        ];
        let answer = browser.bring(&fields).await;
        assert_eq!(answer.status.as_u16(), status, "{error}");
        for reflected in ["SCAM", "evil.example", "<script>alert", "<b>now"] {
            assert!(!answer.body.contains(reflected), "{error}: {reflected}");
        }
        assert!(error.is_empty() || !answer.body.contains(error), "{error}");
        house.nobody_is_in(&mut browser, &answer, error).await;
        // The attempt is used up.
        let again = browser.bring(&fields[..1]).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(house.provider.read(|state| state.heard("/token")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_post_without_the_attempts_cookie_is_posted_once_more_and_no_more() {
    let house = House::implicit().await;
    let mut browser = house.browser();
    let request = browser.begin("/page?a=b").await;
    let fields = house.provider.authorize(&request);

    // The provider's site posts: Lax cookies stay behind.
    let mut across = house.browser();
    let page = across
        .post_with(
            "/oidc/callback",
            &[("origin", &house.provider.issuer), ("sec-fetch-site", "cross-site")],
            &fields,
        )
        .await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.set_cookies().is_empty());
    assert!(
        page.body.contains(&fields[1].1) && page.body.contains("vestibule_again"),
        "{}",
        page.body
    );

    // Our own page posts the same once more, with the cookies.
    let mut again = fields.clone();
    again.push(("vestibule_again".into(), "1".into()));
    let refused = house.browser().post("/oidc/callback", &again).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "there is no third round");
    let answer = browser.post("/oidc/callback", &again).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, Some("/page?a=b"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repost_page_takes_only_what_a_form_post_brings_and_escapes_it() {
    let house = House::implicit().await;
    let fields = [
        ("state", "\"><script>alert(1)</script>"),
        ("id_token", "a.b.c"),
        ("extra", "smuggled"),
        ("code", "code-1"),
        ("error_description", "call 555-SCAM"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let page = house.browser().post("/oidc/callback", &fields).await;
    assert_eq!(page.status, StatusCode::OK);
    for absent in ["<script>alert", "smuggled", "code-1", "SCAM"] {
        assert!(!page.body.contains(absent), "{absent}");
    }
    // In the code flow nothing is ever posted.
    let house = House::with(|settings| oidc(settings).auth_method = AuthMethod::Pkce, |_| {}).await;
    let answer = house.browser().post("/oidc/callback", &fields).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_in_and_opens_the_sign_in_page_goes_on_to_the_target() {
    let house = House::open().await;
    let (mut browser, _) = house.sign_in().await;
    for (login, target) in [
        ("/.vestibule/login?rd=/there%3Fa%3Db%2526c", "/there?a=b%26c"),
        ("/.vestibule/login", "/"),
        ("/.vestibule/login?rd=https://evil.example/", "/"),
        ("/.vestibule/login?rd=//evil.example", "/"),
        ("/.vestibule/login?rd=/%5Cevil.example", "/"),
        ("/.vestibule/login?rd=%2Foidc%2Fcallback", "/"),
        ("/.vestibule/login?rd=/.vestibule/logout", "/"),
    ] {
        let answer = browser.get(login).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::FOUND, Some(target)),
            "{login}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_never_leads_to_another_origin() {
    let house = House::open().await;
    for rd in [
        "https://evil.example/",
        "//evil.example",
        "/%5C%5Cevil.example",
        "/%2509/evil.example",
        "javascript:alert(1)",
    ] {
        let mut browser = house.browser();
        let request = browser.begin_at(&format!("/.vestibule/login?rd={rd}")).await;
        let fields = house.provider.authorize(&request);
        let answer = browser.bring(&fields).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, Some("/")),
            "{rd}"
        );
    }
}

fn visit(browser: &Browser<'_>, fields: &[(String, String)]) -> Visit {
    let target = callback(fields);
    Visit {
        method: Method::GET,
        query: target.split_once('?').map(|(_, query)| query.to_owned()),
        form: None,
        session_cookie: None,
        device_cookie: None,
        attempt_cookies: browser.jar.clone().into_iter().collect(),
        session: None,
        client: [127, 0, 0, 1].into(),
        user_agent: None,
        cross_site: true,
        embedded: false,
        request_id: "test".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_ends_after_ten_minutes_and_does_not_count_before_it_began() {
    let house = House::open().await;
    let mut browser = house.browser();
    let request = browser.begin("/page").await;
    let fields = house.provider.authorize(&request);
    let now = UnixTime::now();
    for later in [601, 86_400, -60] {
        let answer = house
            .instance
            .sign_in()
            .callback(visit(&browser, &fields), now.plus(later))
            .await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{later}");
    }
    assert_eq!(house.provider.read(|state| state.heard("/token")), 0);
    assert_eq!(house.sessions().await, 0);
    let answer = house
        .instance
        .sign_in()
        .callback(visit(&browser, &fields), now.plus(200))
        .await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_attempts_do_not_pile_up() {
    let house = House::open().await;
    let mut browser = house.browser();
    let mut last = None;
    for n in 0..30 {
        last = Some(browser.begin(&format!("/{}?q={n}", "x".repeat(n * 40))).await);
        let size: usize = browser.jar.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(size <= 6 * 1024, "{size} bytes after {n}");
    }
    let fields = house.provider.authorize(&last.unwrap());
    assert_eq!(browser.bring(&fields).await.status, StatusCode::SEE_OTHER);
    let long = format!("/page?q={}", "x".repeat(3000));
    let mut browser = house.browser();
    assert_eq!(browser.sign_in(&long).await.header("location"), Some("/page"));
}

/// What an attacker may put into each parameter that reaches us before anybody is known.
#[tokio::test(flavor = "multi_thread")]
async fn no_parameter_of_any_sign_in_path_breaks_or_opens_anything() {
    let house = House::open().await;
    let implicit = House::implicit().await;
    let long = "x".repeat(12_000);
    let hostile = [
        "",
        "%00",
        "%0d%0aSet-Cookie:%20a=b",
        "%ff%fe",
        "%C0%AF",
        "%E2%80%AE",
        "..%2f..%2f",
        "%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "'%20OR%201=1--",
        "%7B%7D",
        "a.b.c",
        "....",
        "%25%32%35",
        "+",
        "%",
        "%u0041",
        &long,
    ];
    for house in [&house, &implicit] {
        for value in hostile {
            for target in [
                format!("/.vestibule/login?rd={value}"),
                format!("/.vestibule/login?other={value}&rd=/{value}"),
                format!("/oidc/callback?state={value}&code={value}"),
                format!("/oidc/callback?state={value}.{value}&error={value}&error_description=x"),
                format!("/oidc/callback?state[]={value}&code[]={value}"),
                format!("/oidc/callback?{value}"),
                format!("/logout?state={value}"),
                format!("/logout?id_token_hint={value}&post_logout_redirect_uri=https://evil.example/"),
            ] {
                let mut browser = house.browser();
                let answer = browser.get(&target).await;
                let short: String = target.chars().take(80).collect();
                assert!(answer.status.as_u16() < 500, "{short}: {}", answer.status);
                if let Some(location) = answer.header("location") {
                    let issuer = &house.provider.issuer;
                    assert!(
                        location.starts_with(&format!("{issuer}/authorize?")),
                        "{short} leads to {location}"
                    );
                }
                assert!(!answer.body.contains("<script>alert"), "{short}");
                assert!(
                    answer.set_cookies().iter().all(|line| line.starts_with("vestibule-")),
                    "{short}"
                );
                assert!(!browser.jar.contains_key(&house.session_cookie()), "{short}");
            }
            let decoded = percent_encoding::percent_decode_str(value)
                .decode_utf8_lossy()
                .into_owned();
            for names in [
                ["state", "id_token"],
                ["state", "error"],
                ["id_token", "vestibule_again"],
            ] {
                let fields = names.map(|name| (name.to_owned(), decoded.clone()));
                let answer = house.browser().post("/oidc/callback", &fields).await;
                assert!(
                    matches!(answer.status.as_u16(), 200 | 400),
                    "{names:?}: {}",
                    answer.status
                );
                assert!(!answer.body.contains("<script>alert"), "{names:?}");
                assert!(answer.set_cookies().is_empty(), "{names:?}");
            }
        }
        assert_eq!(house.provider.read(|state| state.heard("/token")), 0);
        assert_eq!(house.sessions().await, 0);
        assert!(house.upstream_saw().is_empty());
    }
}
