//! `vestibule db copy` and `vestibule db backup`, and what comes of them.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::program::{KEY, run};
use crate::server::Server;

fn sqlite(path: &std::path::Path) -> String {
    format!("sqlite:{}", path.display())
}

#[test]
fn an_instance_moves_from_a_file_to_a_server_with_everybody_in_it() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = sqlite(&folder.path().join("v.db"));
    let target = server.database("target");
    let at_home = [("VESTIBULE_DATABASE_URL", file.as_str()), ("VESTIBULE_SECRET_KEY", "")];
    for who in ["ada@example.com", "bob@example.com"] {
        assert_eq!(
            run(folder.path(), &at_home, &["users", "add", who, "--role", "admin"]).code,
            Some(0)
        );
    }
    let key = run(folder.path(), &at_home, &["keys", "rotate", "--now", "--json"])
        .objects()
        .remove(0)["kid"]
        .clone();

    // With a key that opens nothing, it says so before it writes anything.
    let wrong = run(
        folder.path(),
        &[("VESTIBULE_SECRET_KEY", KEY)],
        &["db", "copy", &file, &target],
    );
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.err.contains("VESTIBULE_SECRET_KEY does not open"),
        "{}",
        wrong.err
    );
    assert_eq!(
        server.sql("target", "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0\n"
    );

    let copied = run(
        folder.path(),
        &[("VESTIBULE_SECRET_KEY", ""), ("VESTIBULE_DATABASE_URL", &target)],
        &["db", "copy", &file, "configured", "--json"],
    );
    // The setting alone would not do for a gateway; for the copy the source's key file does.
    let tables = copied.objects();
    let users = tables.iter().find(|table| table["table"] == "users").unwrap();
    assert_eq!(
        (&users["rows"], users["checksum"].as_str().unwrap().len()),
        (&json!(2), 64)
    );
    assert!(copied.err.contains("VESTIBULE_SECRET_KEY_FILE="), "{}", copied.err);
    assert!(!copied.err.contains("canary") && !copied.out.contains("canary"));

    // As it says.
    let key_file = folder.path().join("v.db.key").display().to_string();
    let there = [
        ("VESTIBULE_DATABASE_URL", target.as_str()),
        ("VESTIBULE_SECRET_KEY", ""),
        ("VESTIBULE_SECRET_KEY_FILE", &key_file),
    ];
    let users = run(folder.path(), &there, &["users", "list", "--json"]).objects();
    assert_eq!(
        users,
        run(folder.path(), &at_home, &["users", "list", "--json"]).objects()
    );
    let keys = run(folder.path(), &there, &["keys", "list", "--json"]).objects();
    assert!(
        keys.iter().any(|row| row["kid"] == key && row["state"] == "signing"),
        "{keys:?}"
    );

    let again = run(
        folder.path(),
        &[("VESTIBULE_SECRET_KEY", "")],
        &["db", "copy", &file, &target],
    );
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("not empty"), "{}", again.err);
    // And back into a file.
    let home = sqlite(&folder.path().join("back.db"));
    let back = run(folder.path(), &there, &["db", "copy", "configured", &home]);
    assert_eq!(back.code, Some(0), "{}", back.err);
    let env = [
        ("VESTIBULE_DATABASE_URL", home.as_str()),
        ("VESTIBULE_SECRET_KEY", ""),
        ("VESTIBULE_SECRET_KEY_FILE", &key_file),
    ];
    assert_eq!(run(folder.path(), &env, &["users", "list", "--json"]).objects(), users);
}

#[test]
fn an_address_that_is_wrong_is_refused_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let file = sqlite(&folder.path().join("v.db"));
    for (from, to, code) in [
        (
            file.as_str(),
            "postgres://u:canary@db.example.com/v?sslmode=require",
            64,
        ),
        (file.as_str(), "mysql://u:canary@db/v", 64),
        ("v.db", "sqlite:/tmp/x.db", 64),
        ("postgres://u:canary@db.example.com/v", file.as_str(), 64),
        (file.as_str(), "sqlite:other.db", 1),
    ] {
        let said = run(
            folder.path(),
            &[("VESTIBULE_SECRET_KEY", "")],
            &["db", "copy", from, to],
        );
        assert_eq!(said.code, Some(code), "{from} {to}: {}", said.err);
        assert!(!said.err.contains("canary"), "{}", said.err);
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "something was made");
}

#[test]
fn a_backup_on_a_server_is_its_own_tools_matter() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = server.url("localhost", "sslmode=require");
    let said = run(
        folder.path(),
        &[("VESTIBULE_DATABASE_URL", &url)],
        &["db", "backup", "copy.db"],
    );
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("pg_dump"), "{}", said.err);
    assert!(!folder.path().join("copy.db").exists());
}

#[test]
fn a_backup_is_for_its_owner_alone_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = sqlite(&folder.path().join("v.db"));
    let env = [("VESTIBULE_DATABASE_URL", file.as_str()), ("VESTIBULE_SECRET_KEY", "")];
    let backup = |name: &str| run(folder.path(), &env, &["db", "backup", name, "--json"]);
    let said = backup("copy.db");
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("there is no database"), "{}", said.err);
    assert!(!folder.path().join("copy.db").exists() && !folder.path().join("v.db").exists());

    assert_eq!(
        run(folder.path(), &env, &["users", "add", "ada@example.com"]).code,
        Some(0)
    );
    let said = backup("copy.db");
    let copy = folder.path().join("copy.db");
    assert_eq!(said.objects()[0]["bytes"], copy.metadata().unwrap().len());
    assert!(said.err.contains("v.db.key"), "{}", said.err);
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let before = std::fs::read(&copy).unwrap();
    let said = backup("copy.db");
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("is there already"), "{}", said.err);
    assert_eq!(std::fs::read(&copy).unwrap(), before);
    assert_eq!(backup("/nowhere/copy.db").code, Some(1));

    let restored = sqlite(&copy);
    let env = [
        ("VESTIBULE_DATABASE_URL", restored.as_str()),
        ("VESTIBULE_SECRET_KEY", KEY),
    ];
    assert_eq!(
        run(folder.path(), &env, &["users", "list", "--json"]).objects().len(),
        1
    );
}
