//! `vestibule users import|refused|approve|dismiss`: people who are to come, and who came without being added.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::CommandError;
use super::output::{show, time, to_stderr};
use crate::clock::UnixTime;
use crate::config::StoreSettings;
use crate::directory::{self, Actor, Fate, Invitation, PlannedLine, RefusedArrival, User};
use crate::person::Role;
use crate::store::Store;

/// More than are kept.
const ALL: usize = 10_000;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// A list: an address a line, or CSV of address, role and teams with `;` between them; `-` is standard input
    file: PathBuf,
    /// Of those whose line names no role: admin, member or viewer
    #[arg(long, default_value = "member")]
    role: Role,
    /// Days after which the invitations admit nobody any more
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=3650))]
    days: Option<i64>,
    /// Say what would become of each line, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Adds everybody of a list, or nobody.
pub(super) async fn import(
    import: Import,
    settings: &StoreSettings,
    store: &Store,
    json: bool,
    now: UnixTime,
) -> Result<(), CommandError> {
    let shell = Actor::shell();
    let text = text_of(&import.file)?;
    let expires = import.days.map(|days| now.plus(days * 86_400));
    let needed = settings.email_needed;
    let lines = directory::plan_invitations(store, &shell, &text, import.role, expires, needed, now).await?;
    if lines.is_empty() {
        return Err(CommandError::Said(format!(
            "{}: there is nobody in it",
            import.file.display()
        )));
    }
    let good: Vec<Invitation> = lines
        .iter()
        .filter_map(|line| match &line.fate {
            Fate::Invite(invitation) => Some(invitation.clone()),
            _ => None,
        })
        .collect();
    let all_good = good.len() == lines.len();
    let added = all_good && !import.dry_run;
    if added {
        directory::invite(store, &shell, &good, needed, now).await?;
    }
    show(
        lines.iter().map(|line| object(line, added)).collect(),
        &["line", "email", "role", "teams", "fate", "why"],
        json,
    );
    if !all_good {
        return Err(CommandError::Said(format!(
            "nobody was added: {} of {} are a problem",
            lines.len() - good.len(),
            lines.len()
        )));
    }
    if import.dry_run {
        to_stderr("a dry run: nothing was changed");
    }
    Ok(())
}

fn text_of(file: &Path) -> Result<String, CommandError> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|error| CommandError::Said(format!("{}: {error}", file.display())))?;
    Ok(text)
}

fn object(line: &PlannedLine, added: bool) -> Value {
    let good = matches!(line.fate, Fate::Invite(_));
    let word = if added { "added" } else { "good" };
    json!({
        "line": line.line,
        "email": line.email,
        "role": line.role,
        "teams": line.teams,
        "fate": if good { word } else { "problem" },
        "why": (!good).then(|| line.fate.to_string()),
    })
}

/// Who was refused because nobody had added them.
pub(super) async fn refused(store: &Store, json: bool) -> Result<(), CommandError> {
    let refused = directory::refused(store, &Actor::shell(), ALL).await?;
    show(
        refused.rows.iter().map(arrival).collect(),
        &["id", "email", "username", "name", "issuer", "subject", "at", "times"],
        json,
    );
    Ok(())
}

/// Lets one of them in, at their next sign-in.
pub(super) async fn approve(store: &Store, id: &str, role: Role, now: UnixTime) -> Result<User, CommandError> {
    let shell = Actor::shell();
    Ok(directory::approve(store, &shell, id, role, now).await?)
}

/// Takes one of them off the list.
pub(super) async fn dismiss(store: &Store, id: &str, json: bool, now: UnixTime) -> Result<(), CommandError> {
    let shell = Actor::shell();
    let listed = directory::refused(store, &shell, ALL).await?;
    directory::dismiss(store, &shell, id, now).await?;
    let gone = listed.rows.iter().filter(|row| row.id == id).map(arrival);
    show(gone.collect(), &["id", "email", "issuer", "subject"], json);
    Ok(())
}

fn arrival(row: &RefusedArrival) -> Value {
    json!({
        "id": row.id,
        "email": row.email,
        "username": row.username,
        "name": row.name,
        "issuer": row.issuer,
        "subject": row.subject,
        "at": time(row.at),
        "times": row.times,
    })
}
