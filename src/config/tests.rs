//! The rules of values and those between them, through [`load`] as everybody else calls it.

mod network;
mod provider;

use std::time::Duration;

use super::table::{Kind, Preset, SETTINGS, Secret};
use super::{AuthMethod, ClientAuth, Database, Loaded, Problems, SecretKeys, Settings, load, load_store};

/// The fewest settings a gateway starts with.
pub(super) fn minimal() -> Vec<(&'static str, &'static str)> {
    vec![
        ("VESTIBULE_UPSTREAM", "http://127.0.0.1:8080"),
        ("OIDC_ISSUER", "https://idp.example.com"),
        ("OIDC_CLIENT_ID", "vestibule"),
    ]
}

pub(super) fn owned(env: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    env.iter().map(pair).collect()
}

pub(super) fn read(env: &[(&str, &str)]) -> Result<Loaded, Problems> {
    load(owned(env), None)
}

/// The fewest settings and these; a later one goes before an earlier one.
fn read_with(more: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let base = minimal();
    let mut env: Vec<(&str, &str)> = base
        .into_iter()
        .filter(|(name, _)| more.iter().all(|(other, _)| other != name))
        .collect();
    env.extend(more);
    read(&env)
}

pub(super) fn with(more: &[(&str, &str)]) -> Settings {
    match read_with(more) {
        Ok(loaded) => loaded.settings,
        Err(problems) => panic!("{more:?}: {problems}"),
    }
}

/// Refused, and the first problem is about this setting and says what to write.
fn refused_for(setting: &str, more: &[(&str, &str)]) -> String {
    let Err(problems) = read_with(more) else {
        panic!("{more:?} was taken");
    };
    let problem = problems
        .0
        .iter()
        .find(|problem| problem.setting == setting)
        .unwrap_or_else(|| panic!("{more:?}: nothing about {setting} in {problems}"));
    assert!(!problem.wrong.is_empty() && !problem.write.is_empty());
    format!("{} / {}", problem.wrong, problem.write)
}

fn refused(setting: &str, text: &str) -> String {
    refused_for(setting, &[(setting, text)])
}

fn warnings(more: &[(&str, &str)]) -> Vec<&'static str> {
    let loaded = read_with(more).unwrap_or_else(|problems| panic!("{problems}"));
    loaded.warnings.iter().map(|warning| warning.setting).collect()
}

const PUBLIC: (&str, &str) = ("VESTIBULE_PUBLIC_URL", "https://app.example.com");
const KEPT: (&str, &str) = ("VESTIBULE_DATABASE_URL", "sqlite:/srv/v.db");

#[test]
fn three_settings_are_enough_on_loopback() {
    let settings = with(&[]);
    assert_eq!(settings.public.origin(), "http://localhost:4180");
    assert_eq!(settings.listen, ["127.0.0.1:4180".parse().unwrap()]);
    assert_eq!(settings.ops_listen, "127.0.0.1:4181".parse().unwrap());
    assert_eq!(settings.assertion_audience, "http://localhost:4180");
    assert_eq!(settings.instance_name, "localhost");
    assert_eq!(settings.session_length, Duration::from_hours(24));
    assert_eq!(settings.session_idle, None);
    assert_eq!(settings.callback_path, "/oidc/callback");
    assert_eq!(settings.logout_path.as_deref(), Some("/logout"));
    assert_eq!(settings.upstream.timeout, Duration::from_mins(5));
    assert!((1..=8).contains(&settings.threads));
    assert!(settings.entry.provisioning && settings.entry.email_needed && settings.upstream.preserve_host);
    assert!(matches!(&settings.database, Database::Sqlite(file) if file.as_os_str() == "vestibule.db"));
    assert!(matches!(&settings.secret_keys, SecretKeys::File(file) if file.as_os_str() == "vestibule.db.key"));
    let oidc = settings.oidc.unwrap();
    assert_eq!(
        (oidc.auth_method, oidc.client_auth),
        (AuthMethod::Pkce, ClientAuth::Auto)
    );
    assert_eq!(oidc.email_claim.as_deref(), Some("email"));
}

#[test]
fn what_is_needed_is_named_when_it_is_missing() {
    let Err(problems) = read(&[]) else {
        panic!("nothing is enough");
    };
    let names: Vec<&str> = problems.0.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(names, ["VESTIBULE_UPSTREAM", "OIDC_ISSUER"]);
    refused_for("OIDC_CLIENT_ID", &[("OIDC_CLIENT_ID", "")]);
}

#[test]
fn every_problem_is_told_at_once() {
    let Err(problems) = read(&[
        ("VESTIBULE_UPSTREAM", "https://u:canary@app/x"),
        ("VESTIBULE_LISTEN", "here"),
        ("VESTIBULE_PUBLIC_URL", "http://app.example.com"),
        ("VESTIBULE_LISTN", "127.0.0.1:1"),
        ("DISABLE_SSO_PROVISONING", "true"),
        ("OIDC_ISSUER", "https://accounts.google.com"),
        ("OIDC_AUTH_METHOD", "hybrid"),
        ("OIDC_CLIENT_AUTH", "basic"),
        ("VESTIBULE_SECRET_KEY", "canary"),
        ("VESTIBULE_DATABASE_URL", "postgres://u:canary@h/d?sslmode=require"),
        ("VESTIBULE_PUBLIC_PATHS", "/*,/ok,/a%2f"),
        ("SESSION_LENGTH", "forever"),
        ("LOCAL_RESTORE", "perhaps"),
        ("VESTIBULE_THREADS", "0"),
    ]) else {
        panic!("that was taken");
    };
    let text = problems.to_string();
    assert!(!text.contains("canary"));
    insta::assert_snapshot!(text);
    assert!(!problems.on_one_line().contains('\n'));
}

#[test]
fn no_secret_is_told_whatever_is_wrong_with_it() {
    const CANARY: &str = "c4n4ryS3cretValue";
    let shapes = [
        CANARY.to_owned(),
        format!("{CANARY}\n"),
        format!("a\n{CANARY}"),
        format!("http://u:{CANARY}@host:1"),
        format!("socks5://u:{CANARY}@host:1"),
        format!("postgres://u:{CANARY}@host/db"),
        format!("sqlite-{CANARY}"),
        format!("u:{CANARY}@host"),
        format!("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA,{CANARY}"),
        format!("{CANARY}\u{fffd}"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let toml = folder.path().join("v.toml");
    for setting in SETTINGS {
        let secret = setting.secret != Secret::No;
        for shape in &shapes {
            // A password in a setting that is no secret stands in a URL's user part.
            let may_hold_one = secret || (matches!(setting.kind, Kind::Url | Kind::Urls) && shape.contains('@'));
            if !may_hold_one {
                continue;
            }
            std::fs::write(&file, shape).unwrap();
            let (named, path) = (format!("{}_FILE", setting.name), file.to_str().unwrap());
            let misspelt = format!("{}X", setting.name);
            let other = format!("GORILLA_{}", setting.name);
            std::fs::write(&toml, format!("{} = {shape:?}\n", setting.key())).unwrap();
            let mut outcomes = vec![
                read_with(&[(setting.name, shape)]),
                read_with(&[(&misspelt, shape)]),
                read_with(&[(setting.name, shape), (&other, "else")]),
                load(owned(&minimal()), Some(&toml)),
            ];
            if secret {
                outcomes.push(read_with(&[(&named, path)]));
                outcomes.push(read_with(&[(&named, shape)]));
                outcomes.push(read_with(&[(&named, path), (setting.name, "else")]));
            }
            std::fs::write(&toml, format!("{} = \"{shape}\nlisten = 1\n", setting.key())).unwrap();
            outcomes.push(load(owned(&minimal()), Some(&toml)));
            for outcome in outcomes {
                let told = match &outcome {
                    Ok(loaded) => {
                        let shown: Vec<String> = loaded
                            .settings
                            .shown
                            .list()
                            .iter()
                            .map(|shown| format!("{shown:?}"))
                            .collect();
                        format!("{loaded:?} {shown:?}")
                    }
                    Err(problems) => format!("{problems} {problems:?} {}", problems.on_one_line()),
                };
                assert!(!told.contains(CANARY), "{} {shape:?}: {told}", setting.name);
            }
        }
    }
}

#[test]
fn a_command_on_the_database_needs_no_other_setting() {
    let store = |env: &[(&str, &str)]| load_store(owned(env), None);
    assert!(store(&[]).is_ok());
    assert!(
        store(&[
            KEPT,
            ("VESTIBULE_UPSTREAM", "nonsense"),
            ("OIDC_CLIENT_SECRET_FILE", "/nowhere")
        ])
        .is_ok()
    );
    assert!(store(&[KEPT, PUBLIC]).is_ok());
    // Else it would work on an empty database beside the real one.
    for env in [
        &[PUBLIC][..],
        &[("VESTIBULE_PUBLIC_URL", "nonsense")],
        &[("VESTIBULE_LISTEN", "0.0.0.0:80")],
        &[("VESTIBULE_DATABSE_URL", "sqlite:/srv/v.db")],
        &[KEPT, ("VESTIBULE_SECRET_KEY", "x")],
    ] {
        assert!(store(env).is_err(), "{env:?}");
    }
}

#[test]
fn the_table_is_sound() {
    let mut names = std::collections::BTreeSet::new();
    let mut keys = std::collections::BTreeSet::new();
    for setting in SETTINGS {
        assert!(keys.insert(setting.key()), "{}", setting.name);
        for name in std::iter::once(&setting.name).chain(setting.aliases) {
            assert!(names.insert(*name), "{name}");
        }
        assert!(setting.help.ends_with('.'), "{}", setting.name);
        if let Preset::Text(text) = setting.default {
            with(&[(setting.name, text)]);
        }
    }
}

#[test]
fn people_come_back_from_a_logout_to_a_path_of_the_gateways_own() {
    let public = "http://localhost:4180";
    let back_to = |path| with(&[("VESTIBULE_LOGOUT_PATH", path)]).post_logout_redirect_uri();
    assert_eq!(with(&[]).post_logout_redirect_uri(), format!("{public}/logout"));
    assert_eq!(back_to("/signout"), format!("{public}/signout"));
    // Empty: `/logout` is the app's.
    assert_eq!(back_to(""), format!("{public}/.vestibule/logout"));
}
