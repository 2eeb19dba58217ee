//! What `vestibule check --ldap-user` says of people.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::slapd::{BASE, SECRET, SERVICE, Slapd};

fn check(slapd: &Slapd, folder: &std::path::Path, who: &str, password: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(["check", "--ldap-user", who])
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
