//! `vestibule check`: shows the configuration and tries what it names.

use std::path::Path;
use std::process::ExitCode;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::output::{self, to_stdout};
use super::{CommandError, on_a_runtime};
use crate::config::{self, Loaded, Problems};
use crate::ops::{self, Trial};

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
        let person = ldap_person(&loaded, ldap_user, &mut report);
        let person = person.as_ref().map(|(user, password)| (*user, password));
        let found = ops::check(&loaded.settings, person).await;
        report.notes.extend(found.notes);
        report.warnings.extend(found.warnings);
        report.trials.extend(found.trials);
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

fn about(loaded: &Loaded, report: &mut Report) {
    let settings = &loaded.settings;
    report.settings.clone_from(&settings.shown.list());
    report.addresses = vec![
        ("redirect_uri", settings.redirect_uri()),
        ("post_logout_redirect_uri", settings.post_logout_redirect_uri()),
    ];
    if settings.oidc.is_some() {
        report.notes.push(format!(
            "somebody who signed in is not asked about again at the provider until the session ends: who is removed there \
             stays signed in here for up to {} hours (SESSION_LENGTH); `vestibule users deactivate` ends it at once",
            settings.session_length.as_secs().div_ceil(3_600)
        ));
    }
    let warnings = loaded.warnings.iter();
    report
        .warnings
        .extend(warnings.map(|warning| (warning.setting, warning.sentence.clone())));
}

/// Whose sign-in with the directory is tried.
fn ldap_person<'a>(loaded: &Loaded, user: Option<&'a str>, report: &mut Report) -> Option<(&'a str, SecretString)> {
    let user = user?;
    // Without a directory nobody need type a password to hear so.
    let password = if loaded.settings.ldap.is_some() {
        read_password()
    } else {
        Ok(SecretString::default())
    };
    match password {
        Ok(password) => Some((user, password)),
        Err(error) => {
            report.trials.push(Trial {
                of: "directory",
                outcome: Err(format!("the password could not be read: {error}")),
            });
            None
        }
    }
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
