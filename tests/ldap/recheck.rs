//! Whether people who are signed in are still there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use vestibule::clock::UnixTime;
use vestibule::config::Settings;
use vestibule::person::UserId;
use vestibule::session::{self, Device, NewSession};
use vestibule::telemetry::audit::Actor;

use crate::browser::Browser;
use crate::house::{House, plain};
use crate::protocol::{self, BIND, BOUND, DONE, entry, message, result};
use crate::slapd::{BASE, ELSEWHERE, ROOT, Slapd};

const BOB: &str = "uid=bob,ou=people,dc=example,dc=com";

fn often(settings: &mut Settings) {
    let ldap = settings.ldap.as_mut().unwrap();
    ldap.recheck = Some(Duration::from_secs(1));
    ldap.base_dn = format!("ou=people,{BASE}");
    ldap.group_base_dn = Some(format!("ou=groups,{BASE}"));
}

async fn signed_in(house: &House, who: &str) -> Browser {
    let (browser, answer) = house.sign_in(who, &format!("{who}'s password")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    browser
}

/// Waits until the session has ended.
async fn ends(browser: &mut Browser, why: &str) {
    let until = Instant::now() + Duration::from_secs(12);
    while browser.get("/.vestibule/whoami").await.status == StatusCode::OK {
        assert!(Instant::now() < until, "the session goes on: {why}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(browser.get("/page").await.status, StatusCode::FOUND, "{why}");
}

/// Waits until some looks have gone by.
async fn goes_on(browser: &mut Browser, why: &str) {
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(browser.get("/page").await.body, "the app", "{why}");
}

async fn becomes(browser: &mut Browser, expected: impl Fn(&Value) -> bool) {
    let until = Instant::now() + Duration::from_secs(12);
    loop {
        let who = browser.whoami().await;
        if expected(&who) {
            return;
        }
        assert!(Instant::now() < until, "{who}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn change(slapd: &Slapd, what: &str) {
    slapd.modify(&format!("dn: {BOB}\nchangetype: modify\n{what}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_or_switched_off_is_out_and_nobody_else() {
    let Some(slapd) = Slapd::with(ELSEWHERE) else { return };
    let house = House::with(&slapd, often).await;
    change(&slapd, "add: objectClass\nobjectClass: elsewhere");
    let mut ann = signed_in(&house, "ann").await;
    for (attribute, value) in [
        ("userAccountControl", "514"),
        ("nsAccountLock", "TRUE"),
        ("accountExpires", "132000000000000000"),
        ("pwdAccountLockedTime", "000001010000Z"),
        ("pwdReset", "TRUE"),
    ] {
        let mut bob = signed_in(&house, "bob").await;
        change(&slapd, &format!("add: {attribute}\n{attribute}: {value}"));
        ends(&mut bob, attribute).await;
        // Nor does a new sign-in get past it.
        let again = house.sign_in("bob", "bob's password").await.1;
        assert_eq!(again.status, StatusCode::UNAUTHORIZED, "{attribute}");
        change(&slapd, &format!("delete: {attribute}"));
    }
    let mut bob = signed_in(&house, "bob").await;
    slapd.delete(BOB);
    ends(&mut bob, "deleted").await;
    assert_eq!(ann.get("/page").await.body, "the app");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_guesses_cause_ends_no_session() {
    let Some(slapd) = Slapd::with(ELSEWHERE) else { return };
    let house = House::with(&slapd, often).await;
    change(&slapd, "add: objectClass\nobjectClass: elsewhere");
    let mut bob = signed_in(&house, "bob").await;
    change(
        &slapd,
        "add: pwdAccountLockedTime\npwdAccountLockedTime: 20260101000000Z\n-\nadd: lockoutTime\nlockoutTime: 132000000000000000",
    );
    goes_on(&mut bob, "locked by guesses").await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_grows_too_old_ends_the_session_but_a_grace_login_does_not() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, often).await;
    std::thread::sleep(Duration::from_secs(2));
    let mut graceful = signed_in(&house, "graceful").await;
    slapd.add(
        ROOT,
        "root",
        &format!(
            "dn: cn=soon,{BASE}\nobjectClass: organizationalRole\nobjectClass: pwdPolicy\ncn: soon\npwdAttribute: \
             userPassword\npwdMaxAge: 4\n"
        ),
    );
    change(
        &slapd,
        &format!("add: pwdPolicySubentry\npwdPolicySubentry: cn=soon,{BASE}"),
    );
    change(&slapd, "replace: userPassword\nuserPassword: bob's password");
    let mut bob = signed_in(&house, "bob").await;
    ends(&mut bob, "too old").await;
    goes_on(&mut graceful, "a grace login").await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_a_kerberos_directory_lets_expire_ends_the_session_and_lets_nobody_in() {
    let Some(slapd) = Slapd::with(ELSEWHERE) else { return };
    let house = House::with(&slapd, often).await;
    change(&slapd, "add: objectClass\nobjectClass: elsewhere");
    let mut bob = signed_in(&house, "bob").await;
    let soon = jiff::Timestamp::from_second(UnixTime::now().plus(3).0).unwrap();
    let soon = soon.strftime("%Y%m%d%H%M%SZ");
    change(
        &slapd,
        &format!("add: krbPasswordExpiration\nkrbPasswordExpiration: {soon}"),
    );
    ends(&mut bob, "expired").await;
    // This server takes the password all the same, as FreeIPA does.
    let again = house
        .turns_away("bob", "bob's password", StatusCode::UNAUTHORIZED)
        .await;
    assert!(again.body.contains("has expired"), "{}", again.body);
    let wrong = house.turns_away("bob", "wrong", StatusCode::UNAUTHORIZED).await;
    assert!(wrong.body.contains("That did not work"), "{}", wrong.body);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_allow_list_the_base_or_the_rules_is_out() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| {
        often(settings);
        settings.ldap.as_mut().unwrap().allow_list = Some(vec!["Staff, all".into()]);
    })
    .await;
    let leave = |verb: &str| {
        slapd.modify(&format!(
            "dn: cn=Staff\\2C all,ou=groups,{BASE}\nchangetype: modify\n{verb}: member\nmember: {BOB}\n"
        ));
    };
    let mut bob = signed_in(&house, "bob").await;
    goes_on(&mut bob, "still in it").await;
    leave("delete");
    ends(&mut bob, "out of the allow list").await;
    leave("add");
    let mut bob = signed_in(&house, "bob").await;
    slapd.move_to(BOB, "uid=bob", &format!("ou=elsewhere,{BASE}"));
    ends(&mut bob, "outside of the base").await;
    house.close().await;

    // The gateway's own rules count, as at a sign-in.
    let house = House::with(&slapd, |settings| {
        often(settings);
        settings.entry.allowed_groups = Some(vec!["unique".into()]);
        settings.ldap.as_mut().unwrap().group_filter = Some("(uniqueMember={dn})".into());
    })
    .await;
    let mut ann = signed_in(&house, "ann").await;
    slapd.modify(&format!(
        "dn: cn=unique,ou=groups,{BASE}\nchangetype: modify\nreplace: uniqueMember\nuniqueMember: {BOB}\n"
    ));
    ends(&mut ann, "out of the allowed groups").await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_groups_and_names_are_taken_over_into_the_live_session() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| {
        often(settings);
        settings.entry.names_follow = true;
    })
    .await;
    let mut bob = signed_in(&house, "bob").await;
    let before = bob.whoami().await;
    assert_eq!(before["groups"], json!(["circle", "everyone", "Staff, all"]));
    slapd.add(
        ROOT,
        "root",
        &format!("dn: cn=new,ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: new\nmember: {BOB}\n"),
    );
    becomes(&mut bob, |who| {
        who["groups"] == json!(["circle", "everyone", "new", "Staff, all"])
    })
    .await;
    slapd.delete(&format!("cn=Staff\\2C all,ou=groups,{BASE}"));
    becomes(&mut bob, |who| who["groups"] == json!(["new"])).await;
    change(&slapd, "replace: cn\ncn: Robert Builder");
    becomes(&mut bob, |who| who["name"] == "Robert Builder").await;
    let after = bob.whoami().await;
    assert_eq!((&after["sid"], &after["sub"]), (&before["sid"], &before["sub"]));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_leaves_sessions_for_a_while_and_then_they_end() {
    let Some(mut slapd) = Slapd::start() else { return };
    let patient = House::with(&slapd, often).await;
    let impatient = House::with(&slapd, |settings| {
        often(settings);
        settings.ldap.as_mut().unwrap().recheck_grace = Duration::from_secs(4);
    })
    .await;
    let (mut stays, mut goes) = (signed_in(&patient, "bob").await, signed_in(&impatient, "bob").await);
    slapd.stop();
    goes_on(&mut goes, "within the grace").await;
    ends(&mut goes, "after the grace").await;
    goes_on(&mut stays, "an hour's grace").await;
    slapd.run();
    goes_on(&mut stays, "the directory is back").await;
    patient.close().await;
    impatient.close().await;

    // A service account that sees nothing any more is no reason to believe that everybody is gone.
    let house = House::with(&slapd, often).await;
    let mut bob = signed_in(&house, "bob").await;
    slapd.stop();
    slapd.configure(
        "by dn.exact=cn=vestibule,ou=services,dc=example,dc=com read by * none",
        "by * none",
    );
    slapd.run();
    goes_on(&mut bob, "nothing is seen").await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_switched_off_nobody_is_looked_at_again() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::with(&slapd, |settings| settings.ldap.as_mut().unwrap().recheck = None).await;
    let mut bob = signed_in(&house, "bob").await;
    slapd.delete(BOB);
    goes_on(&mut bob, "switched off").await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_are_few_searches() {
    let (port, watched) = crate::hostile::honest().await;
    let house = House::at(vec![plain("127.0.0.1", port)], None, |settings| {
        settings.ldap.as_mut().unwrap().recheck = Some(Duration::from_secs(1));
    })
    .await;
    let bob = house.lets_in("bob", "anything").await;
    let now = UnixTime::now();
    for number in 0..400 {
        let new = NewSession {
            user: UserId::new(bob["sub"].as_str().unwrap()),
            issuer: "ldap".into(),
            subject: format!("entryUUID:{number}"),
            method: "ldap",
            how: "known",
            groups: vec![],
            amr: None,
            auth_time: None,
            provider_sid: None,
            id_token: None,
            refresh_token: None,
            from: Device::default(),
        };
        let (user, subject) = (new.user.as_str(), &new.subject);
        vestibule::directory::link(&house.store, &Actor::shell(), user, "ldap", subject, now)
            .await
            .unwrap();
        house
            .live_sessions()
            .begin(new, None, &Actor::system(), now)
            .await
            .unwrap();
    }
    let before = watched.searches.load(Ordering::SeqCst);
    let until = Instant::now() + Duration::from_secs(30);
    // None of them is found, bob is.
    while session::list(&house.store, None, now).await.unwrap().len() > 1 {
        assert!(Instant::now() < until, "they are not looked at");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let searched = watched.searches.load(Ordering::SeqCst) - before;
    assert!((1..60).contains(&searched), "{searched} searches for 400 sessions");
    house.close().await;
}

/// One whose groups never come, one who is switched off, and one whose groups are others by now.
#[tokio::test(flavor = "multi_thread")]
async fn groups_of_one_person_that_never_come_keep_nobody_else_waiting() {
    let later = Arc::new(AtomicBool::new(false));
    let is_later = Arc::clone(&later);
    let port = protocol::serve(move |request| {
        let (id, later) = (request.id, is_later.load(Ordering::SeqCst));
        if request.operation == BIND {
            return Some(message(id, &result(BOUND, 0, "")));
        }
        let mut found = Vec::new();
        if request.holds(b"uid=eve,") && later {
            return None;
        } else if request.holds(b"uid=ann,") && later {
            found = message(id, &entry("cn=new,dc=example,dc=com", &[]));
        } else if !request.has_text("1.1") {
            for who in ["eve", "bob", "ann"] {
                if !request.has_text(who) && !request.has_text(&format!("id-{who}")) {
                    continue;
                }
                let (uuid, mail) = (format!("id-{who}"), format!("{who}@example.com"));
                let mut attributes: Vec<(&str, &[u8])> = vec![
                    ("uid", who.as_bytes()),
                    ("mail", mail.as_bytes()),
                    ("entryUUID", uuid.as_bytes()),
                ];
                if who == "bob" && later {
                    attributes.push(("nsAccountLock", b"TRUE"));
                }
                found.extend(message(
                    id,
                    &entry(&format!("uid={who},dc=example,dc=com"), &attributes),
                ));
            }
        }
        Some([found, message(id, &result(DONE, 0, ""))].concat())
    })
    .await;
    let house = House::at(vec![plain("127.0.0.1", port)], None, |settings| {
        let ldap = settings.ldap.as_mut().unwrap();
        ldap.recheck = Some(Duration::from_secs(5));
        ldap.group_filter = Some("(member={dn})".into());
    })
    .await;
    let (mut eve, mut bob, mut ann) = (
        signed_in(&house, "eve").await,
        signed_in(&house, "bob").await,
        signed_in(&house, "ann").await,
    );
    later.store(true, Ordering::SeqCst);
    ends(&mut bob, "switched off").await;
    // Each look at eve takes as long as a search may.
    let until = Instant::now() + Duration::from_secs(40);
    while ann.whoami().await["groups"] != json!(["new"]) {
        assert!(Instant::now() < until, "ann is not looked at");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(eve.get("/page").await.body, "the app");
    house.close().await;
}
