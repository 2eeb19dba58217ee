//! `vestibule users relink`: moving people to another issuer, or to another subject claim of the same.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::CommandError;
use super::output::{show, to_stderr};
use crate::clock::UnixTime;
use crate::directory::{self, Actor, RelinkBy, RelinkFate, RelinkLine};
use crate::store::Store;

#[derive(Debug, Args)]
pub(super) struct Relink {
    /// The issuer they come from so far, or the word ldap
    #[arg(long, value_name = "ISSUER")]
    from: String,
    /// The issuer they will come from (the same one if only the subject claim changes)
    #[arg(long, value_name = "ISSUER")]
    to: String,
    /// How their new identities are known: `email` (at the next sign-in with the account's address, verified), `subject` (it
    /// stays the same), or a CSV file with lines of the old subject or the e-mail address, and the new subject
    #[arg(long, value_name = "email|subject|FILE", required_unless_present = "withdraw")]
    by: Option<By>,
    /// Say what would become of each, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// With `--by email`: for how many days a sign-in is waited for
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(i64).range(1..=90))]
    days: i64,
    /// Wait no longer for anybody of this move, after `--by email`
    #[arg(long, conflicts_with = "dry_run")]
    withdraw: bool,
}

#[derive(Clone, Debug)]
enum By {
    Email,
    Subject,
    File(PathBuf),
}

impl FromStr for By {
    type Err = std::convert::Infallible;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(match word {
            "email" => Self::Email,
            "subject" => Self::Subject,
            file => Self::File(PathBuf::from(file)),
        })
    }
}

pub(super) async fn run(relink: Relink, store: &Store, json: bool, now: UnixTime) -> Result<(), CommandError> {
    let shell = Actor::shell();
    let issuers = [relink.from.as_str(), relink.to.as_str()];
    let Some(by) = relink.by.filter(|_| !relink.withdraw) else {
        let gone = directory::forget_relinks(store, &shell, issuers, now).await?;
        show(vec![json!({ "withdrawn": gone })], &["withdrawn"], json);
        return Ok(());
    };
    let by = match &by {
        By::Email => RelinkBy::Email {
            until: now.plus(relink.days * 86_400),
        },
        By::Subject => RelinkBy::Subject,
        By::File(file) => RelinkBy::List(list_of(file)?),
    };
    let (lines, done) = directory::relink(store, &shell, issuers, &by, relink.dry_run, now).await?;
    show(
        lines.iter().map(object).collect(),
        &["line", "email", "old_subject", "new_subject", "fate", "why"],
        json,
    );
    let problems = lines
        .iter()
        .filter(|line| matches!(line.fate, RelinkFate::Problem(_)))
        .count();
    if problems > 0 {
        return Err(CommandError::Said(format!(
            "nobody was moved: {problems} of {} are a problem",
            lines.len()
        )));
    }
    if !done {
        to_stderr("a dry run: nothing was changed");
    } else if matches!(by, RelinkBy::Email { .. }) {
        let waits_for_more = |line: &RelinkLine| matches!(line.fate, RelinkFate::Waits(Some(_)));
        let more = if lines.iter().any(waits_for_more) {
            " (an admin only if the provider says that the address is verified, or OIDC_EMAIL_VERIFIED=ignored that it need \
             not)"
        } else {
            ""
        };
        to_stderr(format_args!(
            "for {} days, whoever first comes from {} with the address of one of these accounts is that person, with their \
             role{more}; `--withdraw` takes it back",
            relink.days, relink.to
        ));
    }
    Ok(())
}

fn object(line: &RelinkLine) -> Value {
    json!({
        "line": line.line,
        "user": line.user,
        "email": line.called,
        "old_subject": line.old_subject,
        "new_subject": line.new_subject,
        "fate": line.fate.as_str(),
        "why": line.fate.why(),
    })
}

fn list_of(file: &Path) -> Result<Vec<(usize, String, String)>, CommandError> {
    let said = |why: &dyn Display| CommandError::Said(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| said(&error))?;
    directory::read_relink_list(&text).map_err(|error| said(&error))
}
