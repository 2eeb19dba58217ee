//! Layers, spellings and names, through [`load`].

use std::fs;
use std::path::PathBuf;

use crate::config::tests::{minimal, owned, read, with};
use crate::config::{Loaded, Problems, Source, load};

fn with_file(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vestibule.toml");
    fs::write(&file, text).unwrap();
    load(owned(env), Some(&file))
}

fn told(outcome: Result<Loaded, Problems>) -> String {
    match outcome {
        Ok(_) => panic!("it was taken"),
        Err(problems) => problems.to_string(),
    }
}

/// What is said of one more name in the environment; empty if nothing.
fn told_of(name: &str, text: &str) -> String {
    let mut env = minimal();
    env.push((name, text));
    read(&env).map_or_else(|problems| problems.to_string(), |_| String::new())
}

#[test]
fn the_environment_goes_before_the_file_and_the_file_before_the_default() {
    let file = "session_length = 10\nupstream = \"http://file:1\"\noidc_issuer = \"https://idp.example.com\"\noidc_client_id = \"v\"\n";
    let loaded = with_file(file, &[("VESTIBULE_UPSTREAM", "http://env:1")]).unwrap();
    assert_eq!(loaded.settings.upstream.authority.as_str(), "env:1");
    assert_eq!(loaded.settings.session_length.as_secs(), 36_000);
    assert_eq!(loaded.settings.keepalive.as_secs(), 75);
    let list = loaded.settings.shown.list();
    let source = |name| {
        let found = list.iter().find(|shown| shown.setting.name == name);
        found.unwrap().source.clone()
    };
    assert_eq!(
        source("VESTIBULE_UPSTREAM"),
        Source::Environment("VESTIBULE_UPSTREAM".to_owned())
    );
    assert!(matches!(source("SESSION_LENGTH"), Source::File { key, .. } if key == "session_length"));
    assert_eq!(source("VESTIBULE_KEEPALIVE"), Source::Default);
    // Empty is unset: it does not take the file's away.
    let loaded = with_file(file, &[("SESSION_LENGTH", "")]).unwrap();
    assert_eq!(loaded.settings.session_length.as_secs(), 36_000);
}

#[test]
fn toml_values_are_texts_numbers_flags_and_lists() {
    let file =
        "allowed_groups = [\"a,b\", \"c\"]\npreserve_host = false\npublic_paths = \"/a,/b\"\nsession_length = 1.5\n";
    let settings = with_file(file, &minimal()).unwrap().settings;
    assert_eq!(settings.entry.allowed_groups.unwrap(), ["a,b", "c"]);
    assert_eq!(settings.public_paths.exact, ["/a", "/b"]);
    assert_eq!(settings.session_length.as_secs(), 5_400);
    assert!(!settings.upstream.preserve_host);
    for file in [
        "session_length = [1]",
        "allowed_groups = [[\"a\"]]",
        "[oidc]\nissuer = \"x\"",
        "[allowed_groups]\na = 1",
        "session_length = 2020-01-01",
        "listen = ",
    ] {
        told(with_file(file, &minimal()));
    }
}

#[test]
fn unknown_toml_keys_are_errors_that_name_the_right_one() {
    for (key, right) in [
        ("listn", "listen"),
        ("vestibule_listen", "listen"),
        ("OIDC_ISSUER", "oidc_issuer"),
        ("oidc_isuer", "oidc_issuer"),
        ("host", "public_url"),
        ("session_lenght", "session_length"),
        ("nonsense", "--help"),
    ] {
        let told = told(with_file(&format!("{key} = \"x\""), &minimal()));
        let write = told.split("write: ").nth(1).unwrap();
        assert!(write.contains(right), "{key}: {told}");
    }
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_told_with_its_line() {
    let missing = PathBuf::from("/nowhere/vestibule.toml");
    assert!(told(load(owned(&minimal()), Some(&missing))).contains("/nowhere/vestibule.toml"));
    let text = told(with_file(
        "listen = \"127.0.0.1:1\"\n\noidc_client_secret = \"canary\nx = 1\n",
        &minimal(),
    ));
    assert!(text.contains("line 3") && !text.contains("canary"), "{text}");
    told(with_file("keepalive = 1\nkeepalive = 2\n", &minimal()));
}

#[test]
fn gorilla_names_are_aliases_and_the_rest_of_them_is_ignored() {
    let settings = with(&[
        ("GORILLA_AUTH_METHOD", "implicit"),
        ("GORILLA_SESSION_LENGTH", "720h"),
        ("GORILLA_OIDC_SECRET", "s"),
        ("GORILLA_GLUE_LIST", "true"),
        ("GORILLA_OIDC_ISSUR", "x"),
    ]);
    let oidc = settings.oidc.unwrap();
    assert_eq!(oidc.auth_method, crate::config::AuthMethod::Implicit);
    assert!(oidc.client_secret.is_some());
    assert_eq!(settings.session_length.as_secs(), 720 * 3600);
}

#[test]
fn spellings_that_agree_are_one_and_those_that_do_not_are_an_error() {
    with(&[
        ("OIDC_SECRET", "s"),
        ("OIDC_CLIENT_SECRET", "s"),
        ("GORILLA_OIDC_SECRET", "s"),
    ]);
    for other in ["OIDC_SECRET", "GORILLA_OIDC_CLIENT_SECRET"] {
        let mut env = minimal();
        env.extend([("OIDC_CLIENT_SECRET", "canary1"), (other, "canary2")]);
        let text = told(read(&env));
        assert!(
            text.contains(other) && text.contains("OIDC_CLIENT_SECRET") && !text.contains("canary"),
            "{text}"
        );
    }
}

#[test]
fn a_secret_can_come_from_a_file_with_one_line_break_at_its_end() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let path = file.to_str().unwrap();
    for (written, read) in [
        ("s3cret", "s3cret"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        (" s \n", " s "),
    ] {
        fs::write(&file, written).unwrap();
        for name in [
            "OIDC_CLIENT_SECRET_FILE",
            "OIDC_SECRET_FILE",
            "GORILLA_OIDC_CLIENT_SECRET_FILE",
        ] {
            let secret = with(&[(name, path)]).oidc.unwrap().client_secret.unwrap();
            assert_eq!(secret.expose_secret(), read, "{name} {written:?}");
        }
    }
    let key = "oidc_client_secret_file";
    assert!(
        with_file(&format!("{key} = {path:?}"), &minimal())
            .unwrap()
            .settings
            .oidc
            .unwrap()
            .client_secret
            .is_some()
    );
    let both = |text| told_of_both(path, text);
    assert_eq!(both(" s "), "");
    assert!(both("else").contains("says something else"));
}

fn told_of_both(path: &str, text: &str) -> String {
    let mut env = minimal();
    env.extend([("OIDC_CLIENT_SECRET_FILE", path), ("OIDC_CLIENT_SECRET", text)]);
    read(&env).map_or_else(|problems| problems.to_string(), |_| String::new())
}

#[test]
fn a_secret_file_that_is_missing_empty_or_of_many_lines_is_an_error_and_not_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let path = file.to_str().unwrap();
    let text = told_of("OIDC_CLIENT_SECRET_FILE", path);
    assert!(text.contains(path), "{text}");
    for written in ["", "\n", "a\nb\n", "a\n\n"] {
        fs::write(&file, written).unwrap();
        assert_ne!(told_of("OIDC_CLIENT_SECRET_FILE", path), "", "{written:?}");
    }
    fs::write(&file, [0xff, 0xfe]).unwrap();
    assert_ne!(told_of("OIDC_CLIENT_SECRET_FILE", path), "");
}

#[test]
fn unknown_names_of_our_kind_are_errors_that_name_the_right_one() {
    for (name, right) in [
        ("VESTIBULE_LISTN", "VESTIBULE_LISTEN"),
        ("VESTIBULE_UPSTRAEM", "VESTIBULE_UPSTREAM"),
        ("OIDC_CLIENT_SECERT", "OIDC_CLIENT_SECRET"),
        ("OIDC_CLIENT_SECRETFILE", "OIDC_CLIENT_SECRET_FILE"),
        ("DISABLE_SSO_PROVISONING", "DISABLE_SSO_PROVISIONING"),
        ("USE_IDENTIFER_CLAIMS", "USE_IDENTIFIER_CLAIMS"),
        ("SESSION_LENGHT", "SESSION_LENGTH"),
        ("SESSIONLENGTH", "SESSION_LENGTH"),
        ("LOCAL_LDAP_ADRESS", "LOCAL_LDAP_ADDRESS"),
        ("VESTIBULE_UPSTREAM_FILE", "only secrets"),
        ("VESTIBULE_WHATEVER_ELSE", "--help"),
        ("OIDC_", "--help"),
        ("VESTIBULE_OIDC_ISSUER", "OIDC_ISSUER, if"),
    ] {
        let told = told_of(name, "canary");
        let write = told
            .split("write: ")
            .nth(1)
            .unwrap_or_else(|| panic!("{name} was taken"));
        assert!(write.contains(right) && !told.contains("canary"), "{name}: {told}");
    }
}

#[test]
fn names_that_are_not_meant_for_us_are_passed_over() {
    for name in [
        "PATH",
        "HTTP_PROXY",
        "https_proxy",
        "http_proxy",
        "no_proxy",
        "HOSTNAME",
        "SESSION_LEN",
        "SESSION",
        "ISSUER",
        "RUST_LOG",
        "LOCAL_LDAP_SOMETHING_ELSE",
        "vestibule_listen",
        "VESTIBULE_SERVICE_HOST",
        "VESTIBULE_SERVICE_PORT",
        "VESTIBULE_SERVICE_PORT_HTTP",
        "VESTIBULE_PORT",
        "VESTIBULE_PORT_4180_TCP",
        "VESTIBULE_PORT_4180_TCP_ADDR",
        "VESTIBULE_PORT_53_UDP_PROTO",
        "VESTIBULE_PORT_1_SCTP_PORT",
        "OIDC_MOCK_PORT_80_TCP_PORT",
        "VESTIBULE_OPS_LISTEN_SERVICE_HOST",
    ] {
        assert_eq!(told_of(name, "tcp://10.0.0.1:80"), "", "{name}");
    }
    for name in [
        "VESTIBULE_PORT_X_TCP",
        "VESTIBULE_PORTS",
        "VESTIBULE_PORT_1_ICMP",
        "VESTIBULE_SERVICE_HOSTS",
    ] {
        assert_ne!(told_of(name, "x"), "", "{name}");
    }
}

#[test]
fn values_are_one_line_of_utf_8() {
    for text in ["a\nb", "a\u{0}", "a\u{fffd}", "\u{1b}[2J"] {
        assert_ne!(told_of("VESTIBULE_INSTANCE_NAME", text), "", "{text:?}");
    }
    assert_eq!(
        with(&[("VESTIBULE_INSTANCE_NAME", " Größe 🦀\n")]).instance_name,
        "Größe 🦀"
    );
}
