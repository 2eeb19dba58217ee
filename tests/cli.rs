//! The program as a shell sees it: exit codes, what it prints where, and commands beside a running gateway.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The program in an empty folder and an environment of these settings alone.
fn vestibule(folder: &Path, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.current_dir(folder).env_clear().envs(env.iter().copied());
    command
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(folder: &Path, env: &[(&str, &str)], arguments: &[&str]) -> Said {
    said(vestibule(folder, env).args(arguments).output().unwrap())
}

fn objects(said: &Said) -> Vec<Value> {
    assert_eq!(said.code, Some(0), "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

/// A server of fixed answers by path; the rest is 404.
fn server(answers: impl FnOnce(SocketAddr) -> BTreeMap<&'static str, Value>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answers = answers(address);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (status, body) = answers.get(path).map_or(("404 Not Found", String::new()), |answer| {
                ("200 OK", answer.to_string())
            });
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let body = if request.starts_with("HEAD") { "" } else { &body };
            let _ = write!(stream, "{head}{body}");
        }
    });
    address
}

fn provider() -> SocketAddr {
    server(|address| {
        let issuer = format!("http://{address}");
        // The key of RFC 7515, appendix A.3.
        let key = json!({
            "kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        let metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/auth"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "profile"],
        });
        BTreeMap::from([
            ("/.well-known/openid-configuration", metadata),
            ("/keys", json!({ "keys": [key] })),
        ])
    })
}

fn app() -> SocketAddr {
    server(|_| BTreeMap::from([("/", json!("hello"))]))
}

/// An address on which nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_wrong_configuration_ends_with_64_and_tells_everything_on_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("VESTIBULE_UPSTREAM", "https://app/x"),
        ("VESTIBULE_LISTN", "127.0.0.1:1"),
        ("OIDC_ISSUER", "https://accounts.google.com"),
        ("OIDC_CLIENT_SECRET_FILE", "/nowhere"),
        ("VESTIBULE_SECRET_KEY", "canary"),
    ];
    for arguments in [&[][..], &["serve"], &["check"]] {
        let said = run(folder.path(), &env, arguments);
        assert_eq!(said.code, Some(64), "{arguments:?}: {}", said.err);
        for name in [
            "VESTIBULE_UPSTREAM",
            "VESTIBULE_LISTEN",
            "OIDC_ISSUER",
            "OIDC_CLIENT_ID",
            "OIDC_CLIENT_SECRET",
            "VESTIBULE_SECRET_KEY",
        ] {
            assert!(said.err.contains(name), "{arguments:?}: no {name} in {}", said.err);
        }
        assert!(!said.err.contains("canary"));
        assert_eq!(said.out, "");
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "something was made"
    );
}

#[test]
fn check_tells_problems_as_json_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &[("SESSION_LENGTH", "forever")], &["check", "--json"]);
    assert_eq!(said.code, Some(64));
    let problems: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    let names: Vec<&str> = problems
        .iter()
        .map(|problem| problem["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["VESTIBULE_UPSTREAM", "OIDC_ISSUER", "SESSION_LENGTH"]);
    assert_eq!(problems[2]["read"], "\"forever\"");
}

#[test]
fn wrong_use_ends_with_64_and_help_with_0() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["nonsense"][..],
        &["--nonsense"],
        &["users"],
        &["users", "add"],
        &["users", "set-role", "a@b.c", "owner"],
        &["sessions", "revoke"],
        &["sessions", "revoke", "x", "--user", "y"],
    ] {
        let said = run(folder.path(), &[], arguments);
        assert_eq!(said.code, Some(64), "{arguments:?}");
        assert_ne!(said.err, "");
    }
    let said = run(folder.path(), &[], &["--version"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.starts_with("vestibule "));
}

#[test]
fn help_lists_every_setting_with_its_default() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &[], &["--help"]);
    assert_eq!(said.code, Some(0));
    for setting in vestibule::config::table::SETTINGS {
        assert!(said.out.contains(&format!("{}  [", setting.name)), "{}", setting.name);
    }
    assert!(said.out.contains("VESTIBULE_LISTEN  [127.0.0.1:4180]"));
}

#[test]
fn people_are_managed_from_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let users = |arguments: &[&str]| run(folder.path(), &[], &[&["users", "--json"], arguments].concat());
    let one = |arguments: &[&str]| objects(&users(arguments)).remove(0);

    assert_eq!(objects(&users(&["list"])), [Value::Null; 0]);
    let ada = one(&["add", "Ada@Example.com", "--role", "admin"]);
    assert_eq!(
        (&ada["email"], &ada["role"], &ada["status"]),
        (&json!("Ada@Example.com"), &json!("admin"), &json!("invited"))
    );
    assert_eq!(one(&["add", "bob@example.com"])["role"], "member");
    assert_eq!(one(&["set-role", "BOB@example.com", "viewer"])["role"], "viewer");
    assert_eq!(one(&["deactivate", "bob@example.com"])["status"], "deactivated");
    assert_ne!(one(&["activate", "bob@example.com"])["status"], "deactivated");

    let fields: Vec<String> = ada.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        fields,
        [
            "created",
            "email",
            "id",
            "last_sign_in",
            "name",
            "role",
            "status",
            "username"
        ]
    );

    let id = ada["id"].as_str().unwrap();
    for (refused, why) in [
        (&["add", "bob@example.com"][..], "bob@example.com"),
        (&["add", "nobody"], "nobody"),
        (&["remove", "eve@example.com"], "eve@example.com"),
        (&["set-role", id, "member"], "last active admin"),
        (&["deactivate", id], "last active admin"),
        (&["remove", "ada@example.com"], "last active admin"),
    ] {
        let said = users(refused);
        assert_eq!(said.code, Some(1), "{refused:?}");
        assert!(said.err.contains(why), "{refused:?}: {}", said.err);
        assert_eq!(said.out, "");
    }

    one(&["remove", "bob@example.com"]);
    assert_eq!(objects(&users(&["list"])).len(), 1);
    let table = run(folder.path(), &[], &["users", "list"]).out;
    assert!(table.starts_with("ID ") && table.contains("Ada@Example.com"), "{table}");
}

#[test]
fn who_changed_what_goes_to_the_audit_log_from_a_shell_too() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &[], &["users", "list"]);
    let said = run(folder.path(), &[], &["users", "add", "ada@example.com"]);
    let event: Value = serde_json::from_str(said.err.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&event["target"], &event["email"]),
        (&json!("audit"), &json!("ada@example.com"))
    );
}

#[test]
fn keys_are_listed_and_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |arguments: &[&str]| objects(&run(folder.path(), &[], &[&["keys", "--json"], arguments].concat()));
    let rotated = keys(&["rotate", "--now"]);
    assert_eq!(rotated.len(), 1);
    let listed = keys(&["list"]);
    let signing: Vec<&Value> = listed.iter().filter(|key| key["state"] == "signing").collect();
    assert_eq!(signing.len(), 1, "{listed:?}");
    assert_eq!(signing[0]["kid"], rotated[0]["kid"]);
    // Without the key that sealed them nothing can be rotated as planned.
    let other = [("VESTIBULE_SECRET_KEY", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=")];
    let said = run(folder.path(), &other, &["keys", "rotate"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("VESTIBULE_SECRET_KEY"), "{}", said.err);
}

#[test]
fn a_command_that_made_the_database_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let list = || run(folder.path(), &[], &["users", "list"]).err;
    assert!(list().contains("vestibule.db was made"));
    assert_eq!(list(), "");
}

#[test]
fn sessions_are_listed_and_one_that_is_not_there_cannot_be_revoked() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), &[], &["sessions", "list"]).out, "none\n");
    let said = run(folder.path(), &[], &["sessions", "revoke", "nothing"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("nothing"));
}

#[test]
fn a_command_on_people_needs_no_setting_of_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("v.db").display());
    let env = [
        ("VESTIBULE_DATABASE_URL", database.as_str()),
        ("VESTIBULE_PUBLIC_URL", "https://app.example.com"),
        ("VESTIBULE_UPSTREAM", "nonsense"),
        ("OIDC_CLIENT_SECRET_FILE", "/nowhere"),
    ];
    assert_eq!(run(folder.path(), &env, &["users", "list"]).code, Some(0));
    assert_eq!(run(folder.path(), &env[1..], &["users", "list"]).code, Some(64));
    assert_eq!(
        run(folder.path(), &[("VESTIBULE_DATABSE_URL", "x")], &["users", "list"]).code,
        Some(64)
    );
}

#[test]
fn check_tries_everything_and_says_what_to_register() {
    let folder = tempfile::tempdir().unwrap();
    let (upstream, issuer) = (format!("http://{}", app()), format!("http://{}", provider()));
    let env = [
        ("VESTIBULE_UPSTREAM", upstream.as_str()),
        ("OIDC_ISSUER", issuer.as_str()),
        ("OIDC_CLIENT_ID", "vestibule"),
        ("OIDC_CLIENT_SECRET", "canary"),
        ("VESTIBULE_PUBLIC_URL", "http://localhost:4999"),
        ("VESTIBULE_LISTEN", "127.0.0.1:4999"),
    ];
    let said = run(folder.path(), &env, &["check"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for line in [
        "ok      provider",
        "ok      database",
        "ok      secret key",
        "ok      upstream",
        "http://localhost:4999/oidc/callback",
        "http://localhost:4999/logout",
        "OIDC_CLIENT_ID in the environment",
        "not asked about again",
        "the next person to sign in becomes the admin",
        "vestibule.db",
        "the scope email",
    ] {
        assert!(said.out.contains(line), "no {line:?} in {}", said.out);
    }
    assert!(!said.out.contains("canary") && said.out.contains("(secret, not shown)"));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "check made something"
    );

    // Once there is an admin, nobody else becomes one.
    run(
        folder.path(),
        &[],
        &["users", "add", "ada@example.com", "--role", "admin"],
    );
    let said = run(folder.path(), &env, &["check", "--json"]);
    let objects = objects(&said);
    let trials: Vec<(&Value, &Value)> = objects
        .iter()
        .filter(|object| object["kind"] == "trial")
        .map(|trial| (&trial["name"], &trial["ok"]))
        .collect();
    assert_eq!(
        trials,
        [
            (&json!("provider"), &json!(true)),
            (&json!("database"), &json!(true)),
            (&json!("secret key"), &json!(true)),
            (&json!("upstream"), &json!(true)),
        ]
    );
    assert!(!said.out.contains("becomes the admin"), "{}", said.out);
}

#[test]
fn check_fails_when_one_of_them_does_not_answer_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (app, provider) = (format!("http://{}", app()), format!("http://{}", provider()));
    let nobody = format!("http://{}", free_address());
    let base = [
        ("VESTIBULE_UPSTREAM", app.as_str()),
        ("OIDC_ISSUER", provider.as_str()),
        ("OIDC_CLIENT_ID", "vestibule"),
    ];
    let with = |name: &'static str, text: &str, failed: &str, setting: &str| {
        let mut env: Vec<(&str, &str)> = base.iter().copied().filter(|(other, _)| *other != name).collect();
        env.push((name, text));
        let said = run(folder.path(), &env, &["check"]);
        assert_eq!(said.code, Some(1), "{name}: {}{}", said.out, said.err);
        let lines: Vec<&str> = said.out.lines().filter(|line| line.starts_with("FAILED")).collect();
        assert_eq!(lines.len(), 1, "{}", said.out);
        assert!(lines[0].contains(failed) && lines[0].contains(setting), "{}", lines[0]);
    };
    with("VESTIBULE_UPSTREAM", &nobody, "upstream", "VESTIBULE_UPSTREAM");
    with("OIDC_ISSUER", &nobody, "provider", "OIDC_ISSUER");
    with("OIDC_ISSUER", &format!("{provider}/"), "provider", "OIDC_ISSUER");
    with(
        "VESTIBULE_DATABASE_URL",
        "sqlite:/nowhere/v.db",
        "database",
        "VESTIBULE_DATABASE_URL",
    );
    with(
        "DISABLE_SSO_PROVISIONING",
        "true",
        "database",
        "VESTIBULE_INITIAL_ADMINS",
    );
}

#[test]
fn check_fails_where_the_secret_key_is_not_the_databases() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &[], &["keys", "rotate", "--now"]);
    run(
        folder.path(),
        &[],
        &["users", "add", "ada@example.com", "--role", "admin"],
    );
    let (app, provider) = (format!("http://{}", app()), format!("http://{}", provider()));
    let check = |key: Option<&str>| {
        let mut env = vec![
            ("VESTIBULE_UPSTREAM", app.as_str()),
            ("OIDC_ISSUER", provider.as_str()),
            ("OIDC_CLIENT_ID", "vestibule"),
        ];
        env.extend(key.map(|key| ("VESTIBULE_SECRET_KEY", key)));
        run(folder.path(), &env, &["check"])
    };
    let file = folder.path().join("vestibule.db.key");
    let (own, other) = (
        std::fs::read_to_string(&file).unwrap().trim().to_owned(),
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=",
    );
    let both = format!("{other},{own}");
    for key in [None, Some(own.as_str()), Some(both.as_str())] {
        let said = check(key);
        assert_eq!(said.code, Some(0), "{}", said.out);
        assert!(
            said.out.contains("the signing keys in the database open with it"),
            "{}",
            said.out
        );
    }
    let fails = |said: &Said, why: &str| {
        assert_eq!(said.code, Some(1), "{}", said.out);
        let line = said
            .out
            .lines()
            .find(|line| line.starts_with("FAILED  secret key"))
            .unwrap();
        assert!(line.contains(why) && line.contains("VESTIBULE_SECRET_KEY"), "{line}");
    };
    fails(&check(Some(other)), "does not open");
    std::fs::remove_file(&file).unwrap();
    fails(&check(None), "is not there");
    assert!(!file.exists(), "check made something");
}

#[test]
fn a_backup_needs_a_name_that_the_database_can_write() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &[], &["users", "list"]);
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    let name = std::ffi::OsStr::from_bytes(b"copy-\xff.db");
    let output = vestibule(folder.path(), &[]).args(["db", "backup"]).arg(name).output();
    let said = said(output.unwrap());
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("UTF-8"), "{}", said.err);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before);
}

#[test]
fn settings_come_from_the_file_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vestibule.toml");
    std::fs::write(&file, "session_length = \"forever\"\nlistn = \"x\"\n").unwrap();
    let said = run(folder.path(), &[], &["check", "--config", "vestibule.toml"]);
    assert_eq!(said.code, Some(64));
    assert!(
        said.err.contains("session_length in vestibule.toml") && said.err.contains("write: listen"),
        "{}",
        said.err
    );
    let said = run(folder.path(), &[], &["--config", "missing.toml"]);
    assert_eq!(said.code, Some(64));
    assert!(said.err.contains("missing.toml"));
}

/// Ends with the test, whatever happens.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not happen");
        thread::sleep(Duration::from_millis(50));
    }
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_gateway_serves_beside_commands_until_it_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (listen, ops) = (free_address(), free_address());
    let (listen_text, ops_text) = (listen.to_string(), ops.to_string());
    let (upstream, issuer) = (format!("http://{}", app()), format!("http://{}", provider()));
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let env = [
        ("VESTIBULE_UPSTREAM", upstream.as_str()),
        ("OIDC_ISSUER", issuer.as_str()),
        ("OIDC_CLIENT_ID", "vestibule"),
        ("VESTIBULE_LISTEN", listen_text.as_str()),
        ("VESTIBULE_OPS_LISTEN", ops_text.as_str()),
        ("OIDC_ALLOW_HTTP", "true"),
    ];
    let child = vestibule(folder.path(), &env)
        .stderr(log)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut gateway = Gateway(child);
    until("readiness", || {
        get(ops, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200"))
    });

    assert_eq!(
        run(folder.path(), &[], &["users", "add", "ada@example.com"]).code,
        Some(0)
    );
    assert_eq!(objects(&run(folder.path(), &[], &["keys", "list", "--json"])).len(), 2);

    let signal = |name: &str| {
        let id = gateway.0.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    signal("-HUP");
    until("the reload", || log().contains("read anew").then_some(()));
    signal("-TERM");
    let status = until("the end", || gateway.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{}", log());
    assert!(log().contains("OIDC_ALLOW_HTTP"), "the warning is missing in {}", log());
}
