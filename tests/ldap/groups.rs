//! Groups of groups, and a directory's limits.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use vestibule::config::Settings;

use crate::house::House;
use crate::slapd::{BASE, ROOT, Slapd};

const ANN: &str = "uid=ann,ou=people,dc=example,dc=com";

fn ldap(settings: &mut Settings) -> &mut vestibule::config::Ldap {
    settings.ldap.as_mut().unwrap()
}

/// A groupOfUniqueNames.
fn unique(name: &str, members: &[&str]) -> String {
    let members = members.join("\nuniqueMember: ");
    format!("dn: cn={name},ou=groups,{BASE}\nobjectClass: groupOfUniqueNames\ncn: {name}\nuniqueMember: {members}\n\n")
}

fn group(name: &str) -> String {
    format!("cn={name},ou=groups,{BASE}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_unique_names_is_climbed_and_one_that_is_round_comes_to_an_end() {
    let Some(slapd) = Slapd::start() else { return };
    let ldif = [
        unique("team", &[ANN]),
        unique("unit", &[&group("team"), &group("company")]),
        unique("company", &[&group("unit"), &group("company")]),
        unique("board", &["uid=bob,ou=people,dc=example,dc=com"]),
        // A chain, deeper than anybody's company.
        (0..30)
            .map(|at| {
                let below = if at == 0 {
                    "team".to_owned()
                } else {
                    format!("chain{}", at - 1)
                };
                unique(&format!("chain{at}"), &[&group(&below)])
            })
            .collect::<Vec<_>>()
            .concat(),
    ];
    slapd.add(ROOT, "root", &ldif.concat());
    let by_filter = |settings: &mut Settings| ldap(settings).group_filter = Some("(uniqueMember={dn})".into());
    let house = House::with(&slapd, by_filter).await;
    let ann = house.lets_in("ann", "ann's password").await;
    let mut expected: Vec<String> = (0..30).map(|at| format!("chain{at}")).collect();
    expected.extend(["company", "team", "unique", "unit"].map(str::to_owned));
    expected.sort();
    assert_eq!(ann["groups"], json!(expected));
    house.close().await;

    for (list, status) in [
        ("company", StatusCode::SEE_OTHER),
        ("cn=Company,ou=Groups,dc=example,dc=com", StatusCode::SEE_OTHER),
        ("chain29", StatusCode::SEE_OTHER),
        ("board", StatusCode::FORBIDDEN),
    ] {
        let house = House::with(&slapd, |settings| {
            by_filter(settings);
            ldap(settings).allow_list = Some(vec![list.into()]);
        })
        .await;
        assert_eq!(house.sign_in("ann", "ann's password").await.1.status, status, "{list}");
        house.close().await;
    }
    // A step taken out of the middle: who is above it is no more.
    slapd.delete(&group("unit"));
    let house = House::with(&slapd, |settings| {
        by_filter(settings);
        ldap(settings).allow_list = Some(vec!["company".into()]);
    })
    .await;
    house.turns_away("ann", "ann's password", StatusCode::FORBIDDEN).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_limit_of_the_servers_lets_nobody_in_and_ends_nobody() {
    let Some(slapd) = Slapd::with("sizelimit 1") else {
        return;
    };
    let house = House::with(&slapd, |settings| ldap(settings).recheck = Some(Duration::from_secs(1))).await;
    // Two match; this server tells of one.
    let (_, answer) = house.sign_in("twin@example.com", "twin's password").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    // Three people are looked at again in one search, which is cut short; each is looked up all the same.
    let mut people = Vec::new();
    for who in ["ann", "bob", "graceful"] {
        if who == "graceful" {
            // Its password is out of time by then.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let (browser, answer) = house.sign_in(who, &format!("{who}'s password")).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{who}: {}", answer.body);
        people.push(browser);
    }
    slapd.delete(ANN);
    let until = std::time::Instant::now() + Duration::from_secs(12);
    while people[0].get("/.vestibule/whoami").await.status == StatusCode::OK {
        assert!(std::time::Instant::now() < until, "ann's session goes on");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for browser in &mut people[1..] {
        assert_eq!(browser.get("/page").await.body, "the app");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_limit_of_the_servers_lets_nobody_in_and_is_nobodys_wrong_password() {
    let Some(mut slapd) = Slapd::with("moduleload retcode\ntimelimit 1") else {
        return;
    };
    let house = House::with(&slapd, |settings| {
        ldap(settings).failures = 1;
        ldap(settings).failures_address = 1;
        ldap(settings).recheck = Some(Duration::from_secs(1));
    })
    .await;
    let (mut bob, answer) = house.sign_in("bob", "bob's password").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    // Each operation begins late: the server itself ends its searches.
    slapd.stop();
    slapd.configure(
        "overlay memberof",
        &format!("overlay retcode\nretcode-parent ou=codes,{BASE}\nretcode-sleep 3\noverlay memberof"),
    );
    slapd.run();
    // timeLimitExceeded
    assert_eq!(slapd.search_code("ann"), Some(3));
    for _ in 0..2 {
        let answer = house
            .turns_away("ann", "ann's password", StatusCode::SERVICE_UNAVAILABLE)
            .await;
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(bob.get("/page").await.body, "the app", "sessions go on");
    house.close().await;
}
