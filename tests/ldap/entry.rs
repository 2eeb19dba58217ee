//! Who gets in, and as whom.

use http::StatusCode;
use serde_json::json;
use vestibule::config::Settings;
use vestibule::directory::{self, Actor, AuditQuery};

use crate::house::House;
use crate::slapd::{SERVICE, Slapd};

fn ldap(settings: &mut Settings) -> &mut vestibule::config::Ldap {
    settings.ldap.as_mut().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_lets_in_under_every_spelling_of_the_name() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    for login in [
        "bob",
        "BOB",
        " bob ",
        "bob@example.com",
        "Robert@example.com",
        "CORP\\bob",
    ] {
        let (mut browser, answer) = house.sign_in(login, "bob's password").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{login}: {}", answer.body);
        assert_eq!(answer.header("location"), Some("/page?a=b"));
        assert_eq!(browser.get("/page?a=b").await.body, "the app");
        let who = browser.whoami().await;
        assert_eq!(who["email"], "bob@example.com");
        assert_eq!(who["preferred_username"], "bob");
        assert_eq!((&who["name"], &who["method"]), (&json!("Bob Builder"), &json!("ldap")));
        assert_eq!(who["groups"], json!(["admins", "circle", "everyone", "Staff, all"]));
    }
    assert_eq!(house.users().await.len(), 1, "one account for all");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_find_their_own_entry_and_no_other() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    let smith = house.lets_in("sm*th(\\)", "smith's password").await;
    assert_eq!(smith["email"], "smith@example.com");
    assert_eq!(smith["groups"], json!(["circle", "everyone", "Staff, all"]));
    for login in [
        "*",
        "b*",
        "bob)(uid=*",
        "*)(|(uid=*",
        "\\62ob",
        "bob\0",
        "ünknown",
        "🦀",
        "{login}",
        "uid=bob,ou=people,dc=example,dc=com",
        "nobody",
    ] {
        house
            .turns_away(login, "bob's password", StatusCode::UNAUTHORIZED)
            .await;
    }
    let long = "b".repeat(100_000);
    house
        .turns_away(&long, "bob's password", StatusCode::UNAUTHORIZED)
        .await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_name_are_answered_alike() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    let mut answers = Vec::new();
    for login in ["bob", "nobody", "twin@example.com", "nopassword"] {
        let begun = std::time::Instant::now();
        let answer = house.turns_away(login, "wrong", StatusCode::UNAUTHORIZED).await;
        assert!(
            begun.elapsed() >= std::time::Duration::from_secs(1),
            "{login} is answered at once"
        );
        assert!(!answer.body.contains("wrong\""), "the password is not shown again");
        let state = answer.state();
        let (_, text) = answer.body.split_once("<main>").unwrap();
        let (text, _) = text.split_once("<p class=\"small\">").unwrap();
        answers.push(text.replace(&state, "").replace(login, "").replace(" autofocus", ""));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_password_never_lets_in() {
    let Some(slapd) = Slapd::with("allow bind_anon_dn bind_anon_cred") else {
        return;
    };
    let house = House::open(&slapd).await;
    house.turns_away("bob", "", StatusCode::BAD_REQUEST).await;
    house.turns_away("bob", "\0", StatusCode::UNAUTHORIZED).await;
    house
        .turns_away("bob", "\0bob's password", StatusCode::UNAUTHORIZED)
        .await;
    house.turns_away("", "bob's password", StatusCode::BAD_REQUEST).await;
    for nothing in [" ", "\u{a0}", "\u{ad}", "\u{200b}", "\t\n"] {
        house.turns_away("nopassword", nothing, StatusCode::UNAUTHORIZED).await;
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_directory_says_after_the_right_password_people_read() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let reset = house
        .turns_away("reset", "reset's password", StatusCode::UNAUTHORIZED)
        .await;
    assert!(reset.body.contains("must be changed"), "{}", reset.body);
    let expired = house
        .turns_away("expired", "expired's password", StatusCode::UNAUTHORIZED)
        .await;
    assert!(expired.body.contains("has expired"), "{}", expired.body);
    for login in ["reset", "expired"] {
        let wrong = house.turns_away(login, "wrong", StatusCode::UNAUTHORIZED).await;
        assert!(wrong.body.contains("That did not work"), "{}", wrong.body);
    }
    house.lets_in("graceful", "graceful's password").await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_an_account_is_locked_only_the_audit_log_is_told() {
    let Some(mut slapd) = Slapd::start() else { return };
    slapd.stop();
    slapd.configure("overlay ppolicy\n", "overlay ppolicy\nppolicy_use_lockout\n");
    slapd.run();
    slapd.modify(
        "dn: cn=policy,dc=example,dc=com\nchangetype: modify\nreplace: pwdMaxFailure\npwdMaxFailure: 2\n-\nadd: \
         pwdLockoutDuration\npwdLockoutDuration: 600\n",
    );
    let house = House::open(&slapd).await;
    let wrong = house.turns_away("bob", "wrong", StatusCode::UNAUTHORIZED).await;
    house.turns_away("bob", "wrong", StatusCode::UNAUTHORIZED).await;
    // The directory has locked him; the right password is answered as a wrong one is.
    let locked = house
        .turns_away("bob", "bob's password", StatusCode::UNAUTHORIZED)
        .await;
    for answer in [&wrong, &locked] {
        assert!(answer.body.contains("That did not work"), "{}", answer.body);
    }
    let query = AuditQuery {
        limit: 100,
        ..AuditQuery::default()
    };
    let told = directory::audit(&house.store, &Actor::shell(), &query).await.unwrap();
    assert!(
        format!("{told:?}").contains("the account is locked in the directory"),
        "{told:?}"
    );
    house.lets_in("ann", "ann's password").await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_an_address_an_id_or_a_group_is_turned_away() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    house
        .turns_away("nomail", "nomail's password", StatusCode::FORBIDDEN)
        .await;
    // That there is no id, only the person hears: by the answer to a wrong password nobody learns that they exist.
    let wrong = house.turns_away("hidden", "wrong", StatusCode::UNAUTHORIZED).await;
    assert!(wrong.body.contains("That did not work"), "{}", wrong.body);
    let right = house
        .turns_away("hidden", "hidden's password", StatusCode::FORBIDDEN)
        .await;
    assert!(right.body.contains("known again"), "{}", right.body);
    assert!(house.users().await.is_empty());
    house.close().await;

    let allowing = async |list: &[&str], base: Option<&str>| {
        let list = list.iter().map(|item| (*item).to_owned()).collect();
        House::with(&slapd, |settings| {
            ldap(settings).allow_list = Some(list);
            ldap(settings).group_base_dn = base.map(str::to_owned);
        })
        .await
    };
    let groups = Some("ou=groups,dc=example,dc=com");
    for (list, base) in [
        (&["CN=staff\\,  ALL , ou=Groups,dc=example,DC=com"][..], None),
        (&["nobody", "everyone"], groups),
        (&["Circle"], groups),
        (&["cn=admins,ou=elsewhere,dc=example,dc=com"], None),
        (&["admins"], None),
    ] {
        let house = allowing(list, base).await;
        house.lets_in("bob", "bob's password").await;
        house.turns_away("ann", "ann's password", StatusCode::FORBIDDEN).await;
        house.close().await;
    }
    // A bare name is not given away outside of the groups' place.
    for list in [&["admins"][..], &["cn=staff,dc=example,dc=com"], &["*"], &["staf"]] {
        let house = allowing(list, groups).await;
        house.turns_away("bob", "bob's password", StatusCode::FORBIDDEN).await;
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_found_by_filter_and_by_number() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| {
        ldap(settings).group_filter = Some("(|(member={dn})(uniqueMember={dn})(memberUid={username}))".into());
        ldap(settings).attributes.group = "gidNumber".into();
    })
    .await;
    let ann = house.lets_in("ann", "ann's password").await;
    assert_eq!(ann["groups"], json!(["posix", "unique", "1000"]));
    let bob = house.lets_in("bob", "bob's password").await;
    assert_eq!(bob["groups"], json!(["admins", "circle", "everyone", "Staff, all"]));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_groups_that_was_cut_short_allows_nobody() {
    // Everybody is in the last group by this filter; with the limit it does not come.
    let all = |settings: &mut Settings| {
        ldap(settings).allow_list = Some(vec!["admins".into()]);
        ldap(settings).group_filter = Some("(&(objectClass=groupOfNames)(!(cn={dn})))".into());
    };
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, all).await;
    house.lets_in("ann", "ann's password").await;
    house.close().await;
    let Some(slapd) = Slapd::with("sizelimit 2") else {
        return;
    };
    let house = House::with(&slapd, all).await;
    let refused = house.turns_away("ann", "ann's password", StatusCode::FORBIDDEN).await;
    // Nobody says that they are in none: nobody knows.
    assert!(refused.body.contains("cannot be read"), "{}", refused.body);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_keeps_its_account_and_a_new_one_under_its_name_does_not_get_it() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    let bob = house.lets_in("bob", "bob's password").await;
    slapd.rename("uid=bob,ou=people,dc=example,dc=com", "uid=rob");
    let rob = house.lets_in("bob@example.com", "bob's password").await;
    assert_eq!(rob["sub"], bob["sub"]);
    // The stored address stays while the entry has it, whatever stands first.
    slapd.modify("dn: uid=rob,ou=people,dc=example,dc=com\nchangetype: modify\nreplace: mail\nmail: robert@example.com\nmail: bob@example.com\n");
    assert_eq!(
        house.lets_in("robert@example.com", "bob's password").await["email"],
        "bob@example.com"
    );

    slapd.delete("uid=rob,ou=people,dc=example,dc=com");
    slapd.add(
        crate::slapd::ROOT,
        "root",
        "dn: uid=bob,ou=people,dc=example,dc=com\nobjectClass: inetOrgPerson\nuid: bob\ncn: Another\nsn: Bob\nmail: bob@example.com\nuserPassword: another's\n",
    );
    let refused = house.turns_away("bob", "another's", StatusCode::FORBIDDEN).await;
    assert!(refused.body.contains("taken"), "{}", refused.body);
    slapd.modify("dn: uid=bob,ou=people,dc=example,dc=com\nchangetype: modify\nreplace: mail\nmail: new@example.com\n");
    let another = house.lets_in("bob", "another's").await;
    assert_ne!(another["sub"], bob["sub"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_place_for_groups_is_set_names_from_elsewhere_are_not_told_nor_allowed() {
    let Some(slapd) = Slapd::start() else { return };
    let groups = Some("ou=Groups, dc=example,dc=com".to_owned());
    let house = House::with(&slapd, |settings| ldap(settings).group_base_dn.clone_from(&groups)).await;
    let bob = house.lets_in("bob", "bob's password").await;
    assert_eq!(bob["groups"], json!(["circle", "everyone", "Staff, all"]));
    house.close().await;
    // Whoever may make a group somewhere in the tree does not get in by its name.
    let house = House::with(&slapd, |settings| {
        ldap(settings).group_base_dn = groups;
        settings.entry.allowed_groups = Some(vec!["admins".into()]);
    })
    .await;
    house.turns_away("bob", "bob's password", StatusCode::FORBIDDEN).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_do_not_count_let_nobody_new_in() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| ldap(settings).trust_email = false).await;
    house.turns_away("bob", "bob's password", StatusCode::FORBIDDEN).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_that_is_not_let_in_is_nobodys_wrong_password() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| {
        ldap(settings).bind = Some((SERVICE.into(), "wrong".to_owned().into()));
        ldap(settings).failures = 1;
        ldap(settings).failures_address = 1;
    })
    .await;
    for _ in 0..3 {
        let answer = house
            .turns_away("bob", "bob's password", StatusCode::SERVICE_UNAVAILABLE)
            .await;
        assert!(answer.header("retry-after").is_some());
    }
    house.close().await;
}
