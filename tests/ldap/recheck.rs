//! Whether people who are signed in are still there.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use vestibule::clock::UnixTime;
use vestibule::config::Settings;
use vestibule::person::UserId;
use vestibule::session::{self, Device, NewSession};
use vestibule::telemetry::audit::Actor;

use crate::house::{Browser, House, plain};
use crate::slapd::{BASE, ROOT, Slapd};

/// What Active Directory and 389 Directory Server know, for this slapd.
const SCHEMA: &str = "
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.159 NAME 'accountExpires' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.662 NAME 'lockoutTime' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 2.16.840.1.113730.3.1.610 NAME 'nsAccountLock' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.99999.1 NAME 'elsewhere' AUXILIARY
    MAY ( userAccountControl $ accountExpires $ lockoutTime $ nsAccountLock ) )
";
const BOB: &str = "uid=bob,ou=people,dc=example,dc=com";

fn often(settings: &mut Settings) {
    let ldap = settings.ldap.as_mut().unwrap();
    ldap.recheck = Some(Duration::from_secs(1));
    ldap.base_dn = format!("ou=people,{BASE}");
    ldap.group_base_dn = Some(format!("ou=groups,{BASE}"));
}

async fn signed_in<'a>(house: &'a House, who: &str) -> Browser<'a> {
    let (browser, answer) = house.sign_in(who, &format!("{who}'s password")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    browser
}

/// Waits until the session has ended.
async fn ends(browser: &mut Browser<'_>, why: &str) {
    let until = Instant::now() + Duration::from_secs(12);
    while browser.get("/.vestibule/whoami").await.status == StatusCode::OK {
        assert!(Instant::now() < until, "the session goes on: {why}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(browser.get("/page").await.status, StatusCode::FOUND, "{why}");
}

/// Waits until some looks have gone by.
async fn goes_on(browser: &mut Browser<'_>, why: &str) {
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(browser.get("/page").await.body, "the app", "{why}");
}

async fn becomes(browser: &mut Browser<'_>, expected: impl Fn(&Value) -> bool) {
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
    let Some(slapd) = Slapd::with(SCHEMA) else { return };
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
    let Some(slapd) = Slapd::with(SCHEMA) else { return };
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
    let (port, searches) = crate::hostile::counting().await;
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
    let before = searches.load(std::sync::atomic::Ordering::SeqCst);
    let until = Instant::now() + Duration::from_secs(30);
    // None of them is found, bob is.
    while session::list(&house.store, None, now).await.unwrap().len() > 1 {
        assert!(Instant::now() < until, "they are not looked at");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let searched = searches.load(std::sync::atomic::Ordering::SeqCst) - before;
    assert!((1..60).contains(&searched), "{searched} searches for 400 sessions");
    house.close().await;
}
