//! `vestibule users relink`: moving people to another issuer, or to another subject claim of the same.

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
    let said = |why: String| CommandError::Said(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| said(error.to_string()))?;
    let mut list = Vec::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let number = at + 1;
        if line.trim().is_empty() {
            continue;
        }
        let cells = cells(line).ok_or_else(|| said(format!("line {number}: a quotation mark is not closed")))?;
        let [old, new] = cells.as_slice() else {
            return Err(said(format!(
                "line {number}: two columns are expected, {} are there",
                cells.len()
            )));
        };
        let heads = |cell: &str| ["old", "new", "subject", "email", "old_subject", "new_subject"].contains(&cell);
        if number == 1 && heads(&old.to_ascii_lowercase()) && heads(&new.to_ascii_lowercase()) {
            continue;
        }
        list.push((number, old.clone(), new.clone()));
    }
    if list.is_empty() {
        return Err(said("there is no line in it".to_owned()));
    }
    Ok(list)
}

/// The cells of a line of CSV (RFC 4180, without line breaks inside); None if a quotation mark is not closed.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut cells = Vec::new();
    let (mut cell, mut quoted, mut was_quoted) = (String::new(), false, false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' if quoted || cell.trim().is_empty() => {
                quoted = !quoted;
                if quoted {
                    cell.clear();
                    was_quoted = true;
                }
            }
            ',' if !quoted => {
                cells.push(finished(&cell, was_quoted));
                cell.clear();
                was_quoted = false;
            }
            // What stands behind a closed quotation is only space.
            letter if was_quoted && !quoted && letter.is_whitespace() => {}
            letter => cell.push(letter),
        }
    }
    cells.push(finished(&cell, was_quoted));
    (!quoted).then_some(cells)
}

fn finished(cell: &str, was_quoted: bool) -> String {
    if was_quoted {
        cell.to_owned()
    } else {
        cell.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::cells;

    #[test]
    fn a_line_of_csv_is_read_as_spreadsheets_write_it() {
        for (line, expected) in [
            ("a,b", vec!["a", "b"]),
            (" a , b ", vec!["a", "b"]),
            ("\"a,b\",\"say \"\"no\"\"\" ", vec!["a,b", "say \"no\""]),
            ("a,", vec!["a", ""]),
            ("a,b,c", vec!["a", "b", "c"]),
            ("\" a \",b", vec![" a ", "b"]),
        ] {
            assert_eq!(cells(line).unwrap(), expected, "{line}");
        }
        assert_eq!(cells("\"a,b"), None);
    }
}
