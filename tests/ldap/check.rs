//! What `vestibule check --ldap-user` says of people.

use std::io::Write as _;
use std::process::{Command, Stdio};

use vestibule::directory::{self, Actor, AuditQuery};

use crate::house::House;
use crate::slapd::{BASE, SECRET, SERVICE, Slapd};

fn check(slapd: &Slapd, folder: &std::path::Path, who: &str, password: &str) -> String {
    check_with(slapd, folder, Some((who, password)), &[])
}

fn check_with(
    slapd: &Slapd,
    folder: &std::path::Path,
    person: Option<(&str, &str)>,
    settings: &[(&str, &str)],
) -> String {
    let password = person.map_or("", |(_, password)| password);
    let arguments = person.map(|(who, _)| ["--ldap-user", who]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .arg("check")
        .args(arguments.into_iter().flatten())
        .env_clear()
        .env("VESTIBULE_UPSTREAM", "http://127.0.0.1:9")
        .env(
            "VESTIBULE_DATABASE_URL",
            format!("sqlite:{}", folder.join("v.db").display()),
        )
        .env("LOCAL_LDAP_LOGIN", "true")
        .env("LOCAL_LDAP_ADDRESS", format!("ldap://127.0.0.1:{}", slapd.port))
        .env("LOCAL_LDAP_BASE_DN", BASE)
        .env("LOCAL_LDAP_BIND_DN", SERVICE)
        .env("LOCAL_LDAP_BIND_PW", SECRET)
        .envs(settings.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(
        password.is_empty() || !said.contains(password),
        "the password is told: {said}"
    );
    said
}

#[test]
fn each_step_of_a_sign_in_is_told_and_why_it_would_be_refused() {
    let Some(slapd) = Slapd::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    for (who, password, expected) in [
        ("bob", "bob's password", "bob: the password is right"),
        ("bob", "bob's password", "bob: e-mail bob@example.com"),
        ("bob", "never-this", "bob: wrong password"),
        ("bob", "", "bob: an empty password is not sent"),
        ("nobody", "never-this", "nobody: nobody is found"),
        ("twin@example.com", "never-this", "several entries match"),
        ("hidden", "hidden's password", "shows no stable id"),
        ("nomail", "nomail's password", "there is no mail"),
        ("reset", "reset's password", "must be changed first"),
        ("expired", "expired's password", "the password has expired"),
    ] {
        let said = check(&slapd, folder.path(), who, password);
        let refused = expected != "bob: the password is right" && !expected.contains("e-mail bob");
        let line = said.lines().find(|line| line.contains(expected));
        let line = line.unwrap_or_else(|| panic!("{who}: no {expected:?} in {said}"));
        assert_eq!(line.starts_with("FAILED"), refused, "{line}");
    }
}

#[test]
fn it_says_what_the_entry_and_the_rules_would_say_to_a_sign_in() {
    let Some(slapd) = Slapd::with(crate::slapd::ELSEWHERE) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let of = |settings: &[(&str, &str)]| {
        let said = check_with(&slapd, folder.path(), Some(("bob", "bob's password")), settings);
        said.lines()
            .filter(|line| line.starts_with("FAILED") && line.contains("bob:"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&[]), [""; 0]);
    for (setting, other, own) in [
        ("VESTIBULE_ALLOWED_EMAIL_DOMAINS", "example.org", "example.com"),
        ("VESTIBULE_ALLOWED_GROUPS", "nobody", "circle"),
    ] {
        let failed = of(&[(setting, other)]);
        assert!(failed.len() == 1 && failed[0].contains(setting), "{failed:?}");
        assert_eq!(of(&[(setting, own)]), [""; 0]);
    }
    for (attribute, value, reason) in [
        ("nsAccountLock", "TRUE", "disabled"),
        ("accountExpires", "132000000000000000", "has expired in the directory"),
        ("krbPasswordExpiration", "20200101000000Z", "the password has expired"),
    ] {
        let dn = "uid=bob,ou=people,dc=example,dc=com";
        let class = "add: objectClass\nobjectClass: elsewhere\n-\n";
        slapd.modify(&format!(
            "dn: {dn}\nchangetype: modify\n{class}add: {attribute}\n{attribute}: {value}\n"
        ));
        let failed = of(&[]);
        assert!(
            failed.len() == 1 && failed[0].contains(reason),
            "{attribute}: {failed:?}"
        );
        let class = "delete: objectClass\nobjectClass: elsewhere\n";
        slapd.modify(&format!(
            "dn: {dn}\nchangetype: modify\ndelete: {attribute}\n-\n{class}"
        ));
    }
}

#[test]
fn a_sample_of_people_and_of_groups_is_told() {
    let Some(slapd) = Slapd::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        (
            "LOCAL_LDAP_GROUP_FILTER",
            "(|(uniqueMember={dn})(memberUid={username}))",
        ),
        ("LOCAL_LDAP_GROUP_BASE_DN", "ou=groups,dc=example,dc=com"),
    ];
    let said = check_with(&slapd, folder.path(), None, &settings);
    for expected in [
        "ok      directory: 11 people are found, with cn,",
        "1 of them show no stable id",
        "groups are seen in memberOf: cn=",
        "ok      directory: 2 groups are found by LOCAL_LDAP_GROUP_FILTER: cn=",
    ] {
        assert!(said.contains(expected), "no {expected:?} in {said}");
    }
    assert!(!said.contains("at the provider until"), "there is none: {said}");
}

#[test]
fn the_place_for_groups_is_tried_without_a_person_too() {
    let Some(slapd) = Slapd::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (place, begins) in [
        ("ou=groups,dc=example,dc=com", "ok"),
        ("ou=nowhere,dc=example,dc=com", "FAILED"),
    ] {
        let said = check_with(&slapd, folder.path(), None, &[("LOCAL_LDAP_GROUP_BASE_DN", place)]);
        let line = said
            .lines()
            .find(|line| line.contains("directory:") && line.contains(place));
        let line = line.unwrap_or_else(|| panic!("{place}: {said}"));
        assert!(line.starts_with(begins), "{line}");
        assert_eq!(line.contains("LOCAL_LDAP_GROUP_BASE_DN"), begins == "FAILED", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_with_which_account_they_would_be_let_in_and_changes_nothing() {
    let Some(slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    house.lets_in("bob", "bob's password").await;
    let database = house.database();
    let says = |who: &str, expected: &str, settings: &[(&str, &str)]| {
        let settings = [&[("VESTIBULE_DATABASE_URL", database.as_str())], settings].concat();
        let password = format!("{who}'s password");
        let said = check_with(&slapd, std::path::Path::new("/"), Some((who, &password)), &settings);
        let line = said.lines().find(|line| line.contains(expected));
        let line = line.unwrap_or_else(|| panic!("{who}: no {expected:?} in {said}"));
        assert_eq!(line.starts_with("FAILED"), expected.contains("refused"), "{line}");
    };
    let audited = async || {
        let query = AuditQuery {
            limit: 100,
            ..AuditQuery::default()
        };
        let page = directory::audit(&house.store, &Actor::shell(), &query).await.unwrap();
        format!("{page:?}")
    };
    let before = audited().await;
    says(
        "bob",
        "bob would be let in with the account that they have, as admin",
        &[],
    );
    says("ann", "ann would be let in with a new account, as member", &[]);
    says("ann", "as viewer", &[("VESTIBULE_DEFAULT_ROLE", "viewer")]);
    let off = [("DISABLE_SSO_PROVISIONING", "true")];
    says("ann", "ann would be refused: nobody added this person", &off);
    slapd.modify("dn: uid=ann,ou=people,dc=example,dc=com\nchangetype: modify\nreplace: mail\nmail: bob@example.com\n");
    says(
        "ann",
        "ann would be refused: the e-mail address belongs to another account",
        &[],
    );
    assert_eq!(audited().await, before);
    assert_eq!(house.users().await.len(), 1);
    // Nor is anybody kept waiting by it.
    house.lets_in("bob", "bob's password").await;
    let admin = &house.users().await[0];
    assert_eq!(admin.email.as_deref(), Some("bob@example.com"));
    house.close().await;
}
