//! People, teams, sessions and the audit log from a shell: each test runs on SQLite, and on PostgreSQL where there is a server.

#[path = "support/database.rs"]
mod database;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule::clock::UnixTime;
use vestibule::config::{self, Database};
use vestibule::directory::{self, Actor, Arrival, ClaimedEmail, Refused};
use vestibule::store::Store;

const KEY: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
const OLD: &str = "https://old.example";
const NEW: &str = "https://new.example";

/// A shell beside a database.
struct Shell {
    folder: TempDir,
    url: String,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// One on each database that this machine has.
fn shells() -> Vec<Shell> {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("v.db").display());
    let mut shells = vec![Shell { folder, url }];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if let Some(url) = runtime.block_on(database::schema()) {
        let folder = tempfile::tempdir().unwrap();
        shells.push(Shell { folder, url });
    }
    shells
}

impl Shell {
    fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(&[], arguments)
    }

    fn run_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .current_dir(self.path())
            .env_clear()
            .env("VESTIBULE_DATABASE_URL", &self.url)
            .env("VESTIBULE_SECRET_KEY", KEY)
            .envs(settings.iter().copied())
            .args(arguments)
            .output()
            .unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn database(&self) -> Database {
        let env = [
            ("VESTIBULE_DATABASE_URL", self.url.as_str()),
            ("VESTIBULE_SECRET_KEY", KEY),
        ];
        let env = env.map(|(name, text)| (name.to_owned(), text.to_owned()));
        config::load_store(env, None).unwrap().database
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What a command answers with --json.
    fn all(&self, arguments: &[&str]) -> Vec<Value> {
        let said = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.err);
        serde_json::from_str(&said.out).unwrap()
    }

    fn one(&self, arguments: &[&str]) -> Value {
        let mut all = self.all(arguments);
        assert_eq!(all.len(), 1, "{arguments:?}: {all:?}");
        all.remove(0)
    }

    /// A command that must not be done, for this reason, and changes nothing.
    fn refused(&self, arguments: &[&str], why: &str) {
        let before = self.state();
        let said = self.run(arguments);
        assert_eq!(said.code, Some(1), "{arguments:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(why), "{arguments:?}: {}", said.err);
        assert_eq!(self.state(), before, "{arguments:?} changed something");
    }

    fn state(&self) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
        let people = self.all(&["users", "list"]);
        let whole = people
            .iter()
            .map(|user| self.one(&["users", "show", user["id"].as_str().unwrap()]));
        (
            whole.collect(),
            self.all(&["teams", "list"]),
            self.all(&["audit", "list"]),
        )
    }
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn where_people_have_no_addresses_nobody_is_added_by_one() {
    for shell in shells() {
        let none = [("OIDC_EMAIL_CLAIM", "none")];
        let said = shell.run_with(&none, &["users", "add", "ada@example.com"]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(
            said.err.contains("OIDC_EMAIL_CLAIM=none") && said.err.contains("approve"),
            "{}",
            said.err
        );
        assert!(shell.all(&["users", "list"]).is_empty());
    }
}

#[test]
fn a_list_is_added_whole_or_not_at_all() {
    for shell in shells() {
        shell.one(&["teams", "create", "Engines"]);
        let file = shell.path().join("list.csv");
        let name = file.to_str().unwrap();
        std::fs::write(&file, "ada@example.com,admin,Engines\nnonsense\nbob@example.com,boss\n").unwrap();
        shell.refused(&["users", "import", name], "2 of 3 are a problem");
        std::fs::write(
            &file,
            "\u{feff}email,role,teams\nada@example.com,admin,Engines\nbob@example.com\n",
        )
        .unwrap();
        let lines = shell.all(&["users", "import", name, "--role", "viewer", "--dry-run"]);
        assert_eq!(keys(&lines[0]), ["email", "fate", "line", "role", "teams", "why"]);
        assert_eq!(lines[0]["fate"], "good");
        assert!(shell.all(&["users", "list"]).is_empty(), "a dry run added somebody");
        let lines = shell.all(&["users", "import", name, "--role", "viewer", "--days", "7"]);
        let told: Vec<_> = lines.iter().map(|line| (&line["role"], &line["fate"])).collect();
        assert_eq!(
            told,
            [(&json!("admin"), &json!("added")), (&json!("viewer"), &json!("added"))]
        );
        assert_eq!(shell.all(&["users", "list"]).len(), 2);
        assert_eq!(
            shell.one(&["users", "show", "ada@example.com"])["teams"][0]["team"],
            "Engines"
        );
        shell.refused(&["users", "import", name], "2 of 2 are a problem");
        shell.refused(&["users", "import", "nowhere.csv"], "nowhere.csv");
        std::fs::write(&file, "email,role,teams\n").unwrap();
        shell.refused(&["users", "import", name], "nobody in it");
    }
}

#[test]
fn who_was_refused_is_let_in_or_dismissed_from_a_shell() {
    for shell in shells() {
        shell.one(&["users", "add", "boss@example.com", "--role", "admin"]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = Store::open(&shell.database()).await.unwrap();
            for subject in ["eve", "mallory"] {
                let knocks = Arrival {
                    issuer: NEW.to_owned(),
                    subject: subject.to_owned(),
                    email: ClaimedEmail::Missing,
                    username: None,
                    name: Some(format!("{subject}\u{1b}[2J")),
                    groups: Ok(Vec::new()),
                    hosted_domain: None,
                };
                let now = UnixTime::now();
                directory::turn_away(&store, &Refused::NotInvited, &knocks, &Actor::system(), now).await;
            }
            store.close().await;
        });
        let listed = shell.all(&["users", "refused"]);
        assert_eq!(listed.len(), 2);
        assert_eq!(
            keys(&listed[0]),
            ["at", "email", "id", "issuer", "name", "subject", "times", "username"]
        );
        assert!(!shell.run(&["users", "refused"]).out.contains('\u{1b}'));
        let id = |subject: &str| {
            let row = listed.iter().find(|row| row["subject"] == subject).unwrap();
            row["id"].as_str().unwrap().to_owned()
        };
        let eve = shell.one(&["users", "approve", &id("eve"), "--role", "viewer"]);
        assert_eq!((&eve["role"], &eve["status"]), (&json!("viewer"), &json!("invited")));
        let eve = shell.one(&["users", "show", eve["id"].as_str().unwrap()]);
        assert_eq!(eve["identities"][0]["subject"], "eve");
        assert_eq!(shell.one(&["users", "dismiss", &id("mallory")])["subject"], "mallory");
        assert!(shell.all(&["users", "refused"]).is_empty());
        shell.refused(&["users", "approve", &id("mallory")], "not there");
        shell.refused(&["users", "dismiss", &id("eve")], "not there");
    }
}

#[test]
fn teams_are_run_from_a_shell() {
    for shell in shells() {
        for who in ["ada@example.com", "bob@example.com"] {
            shell.one(&["users", "add", who, "--role", "admin"]);
        }
        let team = shell.one(&["teams", "create", "Night shift"]);
        assert_eq!(keys(&team), ["created", "id", "members", "name"]);
        let (id, name) = (team["id"].as_str().unwrap(), "Night shift");
        let ada = shell.one(&[
            "teams",
            "add-member",
            "night SHIFT",
            "ada@example.com",
            "--role",
            "admin",
        ]);
        assert_eq!((&ada["role"], &ada["by_hand"]), (&json!("admin"), &json!("admin")));
        assert_eq!(
            keys(&ada),
            [
                "by_hand", "email", "groups", "name", "role", "status", "user", "username"
            ]
        );
        shell.one(&["teams", "add-member", id, "bob@example.com"]);
        assert_eq!(
            shell.one(&["teams", "set-role", name, "bob@example.com", "viewer"])["role"],
            "viewer"
        );
        let followed = shell.all(&["teams", "follow", name, "/nurses", "--role", "viewer"]);
        assert!(
            followed.contains(&json!({ "group": "nurses", "role": "viewer" })),
            "{followed:?}"
        );
        let whole = shell.one(&["teams", "show", id]);
        assert_eq!(whole["members"].as_array().unwrap().len(), 2);
        assert_eq!(whole["groups"].as_array().unwrap().len(), followed.len());
        assert_eq!(
            shell.one(&["users", "show", "ada@example.com"])["teams"][0]["team"],
            name
        );
        assert_eq!(shell.one(&["teams", "rename", name, "Nights"])["members"], 2);
        shell.one(&["teams", "remove-member", "Nights", "bob@example.com"]);
        assert!(
            !shell
                .all(&["teams", "unfollow", "Nights", "nurses"])
                .iter()
                .any(|row| row["group"] == "nurses")
        );

        shell.one(&["teams", "create", "Days"]);
        for (arguments, why) in [
            (&["teams", "create", "nights"][..], "there is a team"),
            (&["teams", "create", "  "], "cannot be a name"),
            (&["teams", "rename", "Nights", "Days"], "there is a team"),
            (&["teams", "rename", "nothing", "x"], "there is no team"),
            (&["teams", "delete", "nothing"], "there is no team"),
            (&["teams", "show", "nothing"], "there is no team"),
            (&["teams", "add-member", "Nights", "eve@example.com"], "there is nobody"),
            (
                &["teams", "set-role", "Nights", "bob@example.com", "viewer"],
                "not in this team",
            ),
            (
                &["teams", "remove-member", "Nights", "bob@example.com"],
                "not in this team",
            ),
            (&["teams", "unfollow", "Nights", "nurses"], "not there"),
        ] {
            shell.refused(arguments, why);
        }
        assert_eq!(
            shell
                .run(&["teams", "set-role", "Nights", "bob@example.com", "owner"])
                .code,
            Some(64)
        );
        let gone = shell.one(&["teams", "delete", "Nights"]);
        assert_eq!((&gone["id"], &gone["members"]), (&json!(id), &json!(1)));
        assert_eq!(shell.all(&["teams", "list"]).len(), 1);
    }
}

#[test]
fn whoever_is_added_is_in_their_teams_at_once() {
    for shell in shells() {
        for team in ["Nights", "Days"] {
            shell.one(&["teams", "create", team]);
        }
        let invited = shell.one(&[
            "users",
            "add",
            "cem@example.com",
            "--team",
            "Nights=viewer",
            "--team",
            "Days",
            "--days",
            "3",
        ]);
        let cem = shell.one(&["users", "show", invited["id"].as_str().unwrap()]);
        let teams: Vec<(&Value, &Value)> = cem["teams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|team| (&team["team"], &team["role"]))
            .collect();
        assert_eq!(
            teams,
            [(&json!("Days"), &json!("member")), (&json!("Nights"), &json!("viewer"))]
        );
        shell.refused(
            &["users", "add", "dan@example.com", "--team", "nothing"],
            "there is no team",
        );
        let table = shell.run(&["teams", "show", "Days"]).out;
        assert!(
            table.contains("cem@example.com") && table.contains("Follows"),
            "{table}"
        );
    }
}

#[test]
fn identities_are_linked_and_unlinked_and_belong_to_one_person() {
    for shell in shells() {
        for who in ["ada@example.com", "bob@example.com"] {
            shell.one(&["users", "add", who, "--role", "admin"]);
        }
        let ada = shell.one(&["users", "link", "ada@example.com", OLD, "a"]);
        assert_eq!(
            (&ada["identities"][0]["issuer"], &ada["identities"][0]["subject"]),
            (&json!(OLD), &json!("a"))
        );
        shell.one(&["users", "link", "ada@example.com", NEW, "a"]);
        for (arguments, why) in [
            (
                &["users", "link", "bob@example.com", OLD, "a"][..],
                "belongs to another account",
            ),
            (&["users", "link", "bob@example.com", OLD, ""], "issuer and a subject"),
            (&["users", "link", "nobody@example.com", OLD, "n"], "there is nobody"),
            (&["users", "unlink", "bob@example.com", OLD, "a"], "not there"),
        ] {
            shell.refused(arguments, why);
        }
        let left = shell.one(&["users", "unlink", "ada@example.com", OLD, "a"]);
        assert_eq!(left["identities"].as_array().unwrap().len(), 1);
        shell.refused(&["users", "unlink", "ada@example.com", NEW, "a"], "only identity");
        let table = shell.run(&["users", "show", "ada@example.com"]).out;
        assert!(table.contains(NEW), "{table}");
    }
}

#[test]
fn everybody_moves_to_another_issuer_or_nobody_does() {
    for shell in shells() {
        for (who, subject) in [
            ("ada@example.com", "a"),
            ("bob@example.com", "b"),
            ("cem@example.com", "c"),
        ] {
            shell.one(&["users", "add", who, "--role", "admin"]);
            shell.one(&["users", "link", who, OLD, subject]);
        }
        let relink = |by: &str, more: &[&str]| {
            let arguments = [
                &["users", "relink", "--from", OLD, "--to", NEW, "--by", by, "--json"],
                more,
            ]
            .concat();
            let said = shell.run(&arguments);
            let lines: Vec<Value> = serde_json::from_str(&said.out).unwrap_or_default();
            (said.code, lines, said.err)
        };
        let fates = |lines: &[Value]| -> Vec<String> {
            lines
                .iter()
                .map(|line| line["fate"].as_str().unwrap().to_owned())
                .collect()
        };
        let file = |name: &str, text: &str| {
            std::fs::write(shell.path().join(name), text).unwrap();
            name.to_owned()
        };
        let before = shell.state();
        for by in ["subject", "email"] {
            let (code, lines, said) = relink(by, &["--dry-run"]);
            assert_eq!((code, lines.len()), (Some(0), 3), "{said}");
            assert!(said.contains("nothing was changed"), "{said}");
        }
        let wrong = file("wrong.csv", "old,new\r\na,x\r\n\"b\",\"x\"\r\nnobody,y\r\n");
        for more in [&["--dry-run"][..], &[]] {
            let (code, lines, said) = relink(&wrong, more);
            assert_eq!(code, Some(1), "{said}");
            assert_eq!(fates(&lines), ["problem", "problem", "problem", "stays"]);
            assert_eq!(lines[2]["line"], 4);
            assert!(said.contains("nobody was moved"), "{said}");
        }
        for text in ["", "a\n", "a,b,c\n", "\"a,b\n"] {
            let (code, _, said) = relink(&file("broken.csv", text), &[]);
            assert_eq!(code, Some(1), "{text:?}: {said}");
        }
        assert_eq!(relink("nothing.csv", &[]).0, Some(1));
        assert_eq!(relink("email", &["--days", "1000"]).0, Some(64));
        assert_eq!(shell.state(), before, "something was changed");

        let (code, lines, said) = relink(&file("right.csv", "a,x\nBOB@example.com, y\n"), &[]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(fates(&lines), ["moves", "moves", "stays"]);
        assert_eq!(
            keys(&lines[0]),
            ["email", "fate", "line", "new_subject", "old_subject", "user", "why"]
        );
        let bob = shell.one(&["users", "show", "bob@example.com"]);
        let identities = bob["identities"].as_array().unwrap();
        assert_eq!(identities.len(), 1);
        assert_eq!(
            (&identities[0]["issuer"], &identities[0]["subject"]),
            (&json!(NEW), &json!("y"))
        );

        let (code, lines, said) = relink("email", &["--days", "7"]);
        assert_eq!((code, fates(&lines)), (Some(0), vec!["waits".to_owned()]), "{said}");
        assert!(said.contains("for 7 days"), "{said}");
        let (code, lines, _) = relink("email", &["--withdraw"]);
        assert_eq!((code, &lines[0]["withdrawn"]), (Some(0), &json!(1)));
        let again = shell.all(&["users", "relink", "--from", OLD, "--to", NEW, "--withdraw"]);
        assert_eq!(again, [json!({ "withdrawn": 0 })]);
        assert_eq!(
            shell.run(&["users", "relink", "--from", OLD, "--to", NEW]).code,
            Some(64)
        );
        let (code, lines, _) = relink("subject", &[]);
        assert_eq!((code, fates(&lines)), (Some(0), vec!["moves".to_owned()]));
        let events = shell.all(&[
            "audit",
            "list",
            "--user",
            "cem@example.com",
            "--event",
            "identity_change",
        ]);
        assert_eq!(events[0]["after"], json!({ "issuer": NEW, "subject": "c" }));
        assert_eq!(events[0]["actor_kind"], "shell");
    }
}

#[test]
fn who_did_what_is_listed_chosen_and_exported() {
    for shell in shells() {
        shell.one(&["users", "add", "ada@example.com", "--role", "admin"]);
        shell.one(&["users", "add", "bob@example.com"]);
        shell.one(&["users", "set-role", "bob@example.com", "viewer"]);
        shell.one(&["teams", "create", "=1+1"]);
        let all = shell.all(&["audit", "list"]);
        assert_eq!(all.len(), 4);
        assert_eq!(
            (&all[1]["before"], &all[1]["after"]),
            (&json!({ "role": "member" }), &json!({ "role": "viewer" }))
        );
        assert_eq!(
            keys(&all[0]),
            [
                "actor_id",
                "actor_kind",
                "actor_name",
                "address",
                "after",
                "at",
                "before",
                "detail",
                "event",
                "id",
                "request_id",
                "target_id",
                "target_kind",
                "target_name"
            ]
        );
        let count = |more: &[&str]| shell.all(&[&["audit", "list"], more].concat()).len();
        assert_eq!(count(&["--limit", "2"]), 2);
        assert_eq!(count(&["--user", "bob@example.com"]), 2);
        assert_eq!(count(&["--event", "team_change"]), 1);
        assert_eq!(count(&["--since", "2020-01-01"]), 4);
        assert_eq!(count(&["--until", "2020-01-01T00:00:00Z"]), 0);
        for wrong in [&["--event", "nonsense"][..], &["--since", "yesterday"]] {
            assert_eq!(
                shell.run(&[&["audit", "list"], wrong].concat()).code,
                Some(64),
                "{wrong:?}"
            );
        }

        let lines = shell.run(&["audit", "export"]).out;
        let objects: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects, all);
        let csv = shell.run(&["audit", "export", "--csv"]).out;
        assert!(csv.starts_with("id,at,event,") && csv.contains("\"'=1+1\""), "{csv}");
        let again = shell.all(&["audit", "export"]);
        assert_eq!(again.iter().filter(|event| event["event"] == "audit_export").count(), 2);
        assert_eq!(shell.run(&["audit", "export", "--csv", "--json"]).code, Some(64));
    }
}

#[test]
fn a_database_that_does_not_answer_is_69() {
    let folder = tempfile::tempdir().unwrap();
    // A file that is no database: nobody gets it to answer.
    std::fs::write(folder.path().join("v.db"), "this is no database. ".repeat(500)).unwrap();
    let url = format!("sqlite:{}", folder.path().join("v.db").display());
    let shell = Shell { folder, url };
    for command in [
        &["users", "list"][..],
        &["teams", "list"],
        &["audit", "list"],
        &["sessions", "list"],
        &["keys", "list"],
    ] {
        let said = shell.run(command);
        assert_eq!(said.code, Some(69), "{command:?}: {}", said.err);
        assert_eq!(said.out, "");
    }
    assert_eq!(shell.run(&["sessions", "revoke", "x", "--all"]).code, Some(64));
}
