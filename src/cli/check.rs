//! `vestibule check`: shows the configuration and tries what it names. Changes nothing: a database that is not there yet
//! is not made, as it would belong to whoever runs the check.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::output::{self, to_stdout};
use super::{CommandError, on_a_runtime};
use crate::config::{self, Database, Loaded, Problems, SecretKeys, Settings};
use crate::directory;
use crate::gateway;
use crate::sign_in::ldap;
use crate::sign_in::oidc::{Finding, probe};
use crate::store::{Found, Store, StoreError};

/// How long the upstream may take to say anything.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(file: Option<&Path>, json: bool, ldap_user: Option<&str>) -> ExitCode {
    let loaded = match config::load(config::process_environment(), file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            if json {
                to_stdout(format_args!("{:#}", problems_as_json(&problems)));
            }
            return super::wrong_configuration(&problems);
        }
    };
    let told = on_a_runtime(async {
        let mut report = Report::default();
        about(&loaded, &mut report);
        if loaded.settings.oidc.is_some() {
            try_provider(&loaded.settings, &mut report).await;
        }
        try_directory(&loaded.settings, ldap_user, &mut report).await;
        let folder_is_there = try_database(&loaded.settings, &mut report).await;
        try_secret_keys(&loaded.settings, folder_is_there, &mut report);
        try_upstream(&loaded.settings, &mut report).await;
        Ok::<_, CommandError>(report)
    });
    let report = match told {
        Ok(report) => report,
        Err(error) => return super::failed(error),
    };
    report.print(json);
    if report.trials.iter().all(|trial| trial.outcome.is_ok()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What there is to tell.
#[derive(Default)]
struct Report {
    settings: Vec<config::Shown>,
    addresses: Vec<(&'static str, String)>,
    notes: Vec<String>,
    /// What it is about, and the sentence.
    warnings: Vec<(&'static str, String)>,
    trials: Vec<Trial>,
}

struct Trial {
    of: &'static str,
    /// What was found, or what to do.
    outcome: Result<String, String>,
}

fn about(loaded: &Loaded, report: &mut Report) {
    let settings = &loaded.settings;
    report.settings = loaded.shown().collect();
    report.addresses = vec![
        ("redirect_uri", settings.redirect_uri()),
        ("post_logout_redirect_uri", settings.post_logout_redirect_uri()),
    ];
    report.notes.push(format!(
        "somebody who signed in is not asked about again at the provider until the session ends: who is removed there \
         stays signed in here for up to {} hours (SESSION_LENGTH); `vestibule users deactivate` ends it at once",
        settings.session_length.as_secs().div_ceil(3_600)
    ));
    let warnings = loaded.warnings.iter();
    report
        .warnings
        .extend(warnings.map(|warning| (warning.setting, warning.sentence.clone())));
}

async fn try_provider(settings: &Settings, report: &mut Report) {
    let issuer = settings.oidc.as_ref().map_or("", |oidc| oidc.issuer.as_str());
    let outcome = match probe(settings).await {
        Ok(found) => {
            for finding in found.findings {
                match finding {
                    Finding::Warning(sentence) => report.warnings.push(("provider", sentence)),
                    Finding::Note(sentence) => report.notes.push(sentence),
                }
            }
            Ok(format!("{issuer} answers, with {} usable keys", found.keys))
        }
        Err(error) => Err(with_advice(
            &error.to_string(),
            "OIDC_",
            "look whether OIDC_ISSUER is right and the gateway can reach it (OIDC_BACKCHANNEL_URL, HTTPS_PROXY, \
             VESTIBULE_CA_FILE)",
        )),
    };
    report.trials.push(Trial {
        of: "provider",
        outcome,
    });
}

async fn try_directory(settings: &Settings, ldap_user: Option<&str>, report: &mut Report) {
    let Some(ldap) = &settings.ldap else {
        if ldap_user.is_some() {
            report.trials.push(Trial {
                of: "directory",
                outcome: Err("no directory is set: LOCAL_LDAP_ADDRESS".to_owned()),
            });
        }
        return;
    };
    if !ldap.login {
        let note = "nobody signs in with the directory yet: LOCAL_LDAP_LOGIN=true lets them";
        report.notes.push(note.to_owned());
    }
    report.notes.push(match ldap.recheck {
        Some(interval) => format!(
            "the directory is asked again about live sessions every {} minutes (VESTIBULE_SESSION_RECHECK): who is removed, \
             disabled or out of the allow list there is out here by then",
            interval.as_secs().div_ceil(60)
        ),
        None => "the directory is not asked again about live sessions (VESTIBULE_SESSION_RECHECK=0): who is removed there stays \
                 signed in until the session ends"
            .to_owned(),
    });
    let password = ldap_user.map(|_| read_password());
    let password = match password.transpose() {
        Ok(password) => password,
        Err(error) => {
            report.trials.push(Trial {
                of: "directory",
                outcome: Err(format!("the password could not be read: {error}")),
            });
            return;
        }
    };
    let steps = ldap::probe(ldap, settings, ldap_user.zip(password.as_ref())).await;
    let trials = steps.into_iter().map(|outcome| Trial {
        of: "directory",
        outcome,
    });
    report.trials.extend(trials);
}

/// One line of standard input; on a terminal it is asked for and not shown.
fn read_password() -> std::io::Result<SecretString> {
    use std::io::IsTerminal as _;
    let hidden = std::io::stdin().is_terminal();
    // There is no safe call for it in the standard library; stty is on every system that has terminals.
    let echo = |word: &str| std::process::Command::new("stty").arg(word).status();
    if hidden {
        output::to_stderr("password:");
        echo("-echo")?;
    }
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if hidden {
        echo("echo")?;
    }
    read?;
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(SecretString::from(line))
}

/// Says whether there is a folder in which the key can be made.
async fn try_database(settings: &Settings, report: &mut Report) -> bool {
    let database = &settings.database;
    let file = match database {
        Database::Sqlite(file) => Some(file.as_path()),
        Database::Postgres(_) => None,
    };
    let outcome = match file {
        Some(file) if !file.exists() => new_file(file, settings, report),
        _ => existing_database(database, settings, report).await,
    };
    let there = outcome.is_ok();
    report.trials.push(Trial {
        of: "database",
        outcome,
    });
    there
}

fn new_file(file: &Path, settings: &Settings, report: &mut Report) -> Result<String, String> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Only trying tells: rights, read-only mounts and quotas all have a say.
    tempfile_in(folder).map_err(|error| {
        format!(
            "nothing can be written in {}: {error}; make the folder and give it to the gateway's user, or set \
             VESTIBULE_DATABASE_URL",
            folder.display()
        )
    })?;
    let place = file.display().to_string();
    nobody_is_in_it(&place, settings, report)?;
    Ok(format!("{place} is not there yet and can be made at the first start"))
}

fn nobody_is_in_it(place: &str, settings: &Settings, report: &mut Report) -> Result<(), String> {
    if settings.entry.initial_admins.is_empty() {
        if !settings.entry.provisioning {
            return Err(nobody_can_sign_in());
        }
        warn_of_first_admin(place, report);
    }
    Ok(())
}

async fn existing_database(database: &Database, settings: &Settings, report: &mut Report) -> Result<String, String> {
    let place = match database {
        Database::Sqlite(file) => file.display().to_string(),
        Database::Postgres(postgres) => format!("PostgreSQL at {}", postgres.place),
    };
    let advised = |error: StoreError| {
        let advice = match database {
            Database::Sqlite(_) => {
                "look whether VESTIBULE_DATABASE_URL names a file that the gateway's user may read and write"
            }
            Database::Postgres(_) => "look whether VESTIBULE_DATABASE_URL is right and the server can be reached",
        };
        with_advice(&format!("{place}: {error}"), "VESTIBULE_", advice)
    };
    let store = match Store::look(database).await.map_err(advised)? {
        Found::Current(store) => store,
        Found::Empty => {
            nobody_is_in_it(&place, settings, report)?;
            return Ok(format!(
                "{place} answers, and is empty: the first start makes the tables"
            ));
        }
        Found::Older { found, known } => {
            return Ok(format!(
                "{place} answers; it is of version {found}, and the next start brings it to {known}"
            ));
        }
    };
    let looked = async {
        store.ping().await?;
        let empty = directory::is_empty(&store).await?;
        Ok((empty, directory::first_admin_open(&store, &settings.entry).await?))
    };
    let looked: Result<_, StoreError> = looked.await;
    store.close().await;
    let (empty, first_admin_open) = looked.map_err(advised)?;
    if empty && !settings.entry.provisioning && settings.entry.initial_admins.is_empty() {
        return Err(nobody_can_sign_in());
    }
    if first_admin_open {
        warn_of_first_admin(&place, report);
    }
    Ok(format!("{place} answers"))
}

/// What went wrong, and what to do unless that names a setting already.
fn with_advice(wrong: &str, settings: &str, advice: &str) -> String {
    if wrong.contains(settings) {
        wrong.to_owned()
    } else {
        format!("{wrong}; {advice}")
    }
}

fn nobody_can_sign_in() -> String {
    super::serve::StartError::NobodyCanSignIn.to_string()
}

fn warn_of_first_admin(place: &str, report: &mut Report) {
    let sentence = format!(
        "nobody is admin yet in {place}: the next person to sign in becomes the admin; VESTIBULE_INITIAL_ADMINS says who \
         it should be"
    );
    report.warnings.push(("database", sentence));
}

fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let name = folder.join(format!(
        ".vestibule-check-{:016x}",
        u64::from_ne_bytes(crate::seal::random())
    ));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&name)?;
    std::fs::remove_file(name)
}

fn try_secret_keys(settings: &Settings, folder_is_there: bool, report: &mut Report) {
    let outcome = match &settings.secret_keys {
        SecretKeys::Given(keys) => Ok(format!("{} given", keys.len())),
        SecretKeys::File(file) if file.exists() => settings
            .secret_keys
            .load()
            .map(|_| format!("read from {}", file.display()))
            .map_err(|error| error.to_string()),
        SecretKeys::File(file) if folder_is_there => Ok(format!(
            "{} is not there yet and can be made at the first start",
            file.display()
        )),
        // The database's line says what to do.
        SecretKeys::File(_) => return,
    };
    report.trials.push(Trial {
        of: "secret key",
        outcome,
    });
}

async fn try_upstream(settings: &Settings, report: &mut Report) {
    let upstream = &settings.upstream;
    let outcome = match tokio::time::timeout(PATIENCE, gateway::probe(upstream, settings.ca_file.as_deref())).await {
        Ok(Ok(status)) => Ok(format!("{upstream} answers (status {})", status.as_u16())),
        Ok(Err(error)) => Err(format!("{upstream}: {}", output::visible(&error))),
        Err(_) => Err(format!(
            "{upstream} does not answer within {} s; look whether the app is well, or put its address into \
             VESTIBULE_UPSTREAM",
            PATIENCE.as_secs()
        )),
    };
    report.trials.push(Trial {
        of: "upstream",
        outcome,
    });
}

impl Report {
    fn print(&self, json: bool) {
        if json {
            to_stdout(format_args!("{:#}", self.as_json()));
        } else {
            to_stdout(self.as_text());
        }
    }

    fn as_text(&self) -> String {
        let mut lines = vec!["Settings".to_owned()];
        let rows: Vec<Vec<String>> = self
            .settings
            .iter()
            .map(|shown| {
                vec![
                    format!("  {}", shown.setting.name),
                    shown.value.clone().unwrap_or_else(|| "-".to_owned()),
                    shown.source.to_string(),
                ]
            })
            .collect();
        lines.push(output::table(&rows));
        lines.push("\nAddresses to register at the provider".to_owned());
        lines.extend(
            self.addresses
                .iter()
                .map(|(name, address)| format!("  {address}  ({name})")),
        );
        if !self.notes.is_empty() {
            lines.push("\nGood to know".to_owned());
            lines.extend(self.notes.iter().map(|note| format!("  {}", output::visible(note))));
        }
        if !self.warnings.is_empty() {
            lines.push("\nWarnings".to_owned());
            let warnings = self.warnings.iter();
            lines.extend(warnings.map(|(about, sentence)| format!("  {about}: {}", output::visible(sentence))));
        }
        lines.push(String::new());
        lines.extend(self.trials.iter().map(|trial| match &trial.outcome {
            Ok(found) => format!("ok      {}: {}", trial.of, output::visible(found)),
            Err(wrong) => format!("FAILED  {}: {}", trial.of, output::visible(wrong)),
        }));
        lines.join("\n")
    }

    fn as_json(&self) -> Value {
        let settings = self.settings.iter().map(|shown| {
            json!({
                "kind": "setting",
                "name": shown.setting.name,
                "value": shown.value,
                "source": shown.source.to_string(),
            })
        });
        let addresses = self
            .addresses
            .iter()
            .map(|(name, address)| json!({ "kind": "address", "name": name, "value": address }));
        let notes = self.notes.iter().map(|note| json!({ "kind": "note", "message": note }));
        let warnings = self
            .warnings
            .iter()
            .map(|(about, sentence)| json!({ "kind": "warning", "name": about, "message": sentence }));
        let trials = self.trials.iter().map(|trial| {
            let (Ok(message) | Err(message)) = &trial.outcome;
            json!({ "kind": "trial", "name": trial.of, "ok": trial.outcome.is_ok(), "message": message })
        });
        settings
            .chain(addresses)
            .chain(notes)
            .chain(warnings)
            .chain(trials)
            .collect()
    }
}

fn problems_as_json(problems: &Problems) -> Value {
    let problems = problems.0.iter().map(|problem| {
        json!({
            "kind": "problem",
            "name": problem.setting,
            "source": problem.source.as_ref().map(ToString::to_string),
            "read": problem.read,
            "message": problem.wrong,
            "write": problem.write,
        })
    });
    problems.collect()
}
