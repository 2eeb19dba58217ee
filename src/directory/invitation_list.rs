//! A pasted list or CSV of people to add: what would become of each line. Nothing is changed here.

use std::collections::HashMap;

use super::access::attempt;
use super::csv::Line;
use super::invitations::{Invitation, MOST, has_expired};
use super::people::plain;
use super::rules::Action;
use super::teams::find_team;
use super::{Actor, ChangeError};
use crate::clock::UnixTime;
use crate::person::{EmailAddress, Role};
use crate::store::{Reading, Store};

/// An address of the list.
#[derive(Clone, Debug)]
pub struct PlannedLine {
    /// The line's number, from 1.
    pub line: usize,
    /// The address as it was written.
    pub email: String,
    /// Role in the instance; None if the line names something else.
    pub role: Option<Role>,
    /// Teams as they were written.
    pub teams: Vec<String>,
    /// What would become of it.
    pub fate: Fate,
}

/// What would become of a line.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fate {
    /// They would be expected.
    #[error("is added")]
    Invite(Invitation),
    /// The first cell is no address.
    #[error("not an e-mail address")]
    NoAddress,
    /// The second cell is no role.
    #[error("{0:?} is no role: admin, member or viewer")]
    NoRole(String),
    /// There is no such team.
    #[error("there is no team {0:?}")]
    NoTeam(String),
    /// The address stands in a line before.
    #[error("the same as line {0}")]
    Twice(usize),
    /// There is an account of this address.
    #[error("has an account already")]
    HasAccount,
    /// There is an invitation of this address.
    #[error("is expected already")]
    IsInvited,
}

/// Says what would become of each line of `text`. A line is an address, or several with commas between them, or as CSV an
/// address, a role and teams with semicolons between them. Lines that say no role get `role`.
///
/// # Errors
/// If there are more than may be added at a time, people have no addresses, or whoever acts may not.
pub async fn plan_invitations(
    store: &Store,
    actor: &Actor,
    text: &str,
    role: Role,
    expires: Option<UnixTime>,
    email_needed: bool,
    now: UnixTime,
) -> Result<Vec<PlannedLine>, ChangeError> {
    attempt(store, actor, Action::Invite, now).await?;
    let mut reading = store.reading().await?;
    if !email_needed {
        return Err(ChangeError::NoAddresses);
    }
    let rows = read(&plain(text));
    if rows.len() > MOST {
        return Err(ChangeError::TooMany(MOST));
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut planned = Vec::with_capacity(rows.len());
    for row in rows {
        let named = if row.role.is_empty() {
            Some(role)
        } else {
            row.role.to_ascii_lowercase().parse().ok()
        };
        let fate = fate(&mut reading, &row, named, expires, &mut seen, now).await?;
        planned.push(PlannedLine {
            line: row.line,
            email: row.email,
            role: named,
            teams: row.teams,
            fate,
        });
    }
    Ok(planned)
}

async fn fate(
    reading: &mut Reading,
    row: &Row,
    role: Option<Role>,
    expires: Option<UnixTime>,
    seen: &mut HashMap<String, usize>,
    now: UnixTime,
) -> Result<Fate, ChangeError> {
    let Ok(email) = EmailAddress::parse(&row.email) else {
        return Ok(Fate::NoAddress);
    };
    if let Some(before) = seen.get(email.folded()) {
        return Ok(Fate::Twice(*before));
    }
    seen.insert(email.folded().to_owned(), row.line);
    let Some(role) = role else {
        return Ok(Fate::NoRole(row.role.clone()));
    };
    match reading.user_by_email(email.folded()).await? {
        Some(user) if has_expired(&user, now) => {}
        Some(user) if user.status() == "invited" => return Ok(Fate::IsInvited),
        Some(_) => return Ok(Fate::HasAccount),
        None => {}
    }
    let mut teams = Vec::with_capacity(row.teams.len());
    for name in &row.teams {
        match find_team(reading, name).await {
            Ok(team) => teams.push((crate::person::TeamId::new(&team.id), Role::Member)),
            Err(ChangeError::NoSuchTeam(_)) => return Ok(Fate::NoTeam(name.clone())),
            Err(error) => return Err(error),
        }
    }
    Ok(Fate::Invite(Invitation {
        email,
        role,
        teams,
        expires,
    }))
}

/// What a line says, nothing of it judged.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    email: String,
    role: String,
    teams: Vec<String>,
}

fn read(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    // What spreadsheets put before a file of theirs.
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        // Tabs divide, too, as spreadsheets paste them.
        let Line { cells, .. } = Line::read(line, |letter| matches!(letter, ',' | '\t'));
        let cells: Vec<&str> = cells.iter().map(|cell| cell.trim()).collect();
        let first = cells.first().copied().unwrap_or_default();
        let is_head = index == 0 && ["email", "e-mail", "address"].contains(&first.to_ascii_lowercase().as_str());
        if is_head || cells.iter().all(|cell| cell.is_empty()) {
            continue;
        }
        let row = |email: &str, role: &str, teams: Vec<String>| Row {
            line: index + 1,
            email: bare(email).to_owned(),
            role: role.to_owned(),
            teams,
        };
        let role = cells.get(1).copied().unwrap_or_default();
        // Addresses with commas between them, as mail programs write them.
        if role.contains('@') {
            let addresses = cells.iter().filter(|cell| !cell.is_empty());
            rows.extend(addresses.map(|address| row(address, "", Vec::new())));
            continue;
        }
        let teams = cells.get(2).copied().unwrap_or_default().split(';').map(str::trim);
        let teams = teams.filter(|team| !team.is_empty()).map(str::to_owned).collect();
        rows.push(row(first, role, teams));
    }
    rows
}

/// `ada@example.com` of `Ada Lovelace <ada@example.com>`.
fn bare(address: &str) -> &str {
    let inside = address.strip_suffix('>').and_then(|rest| rest.rsplit_once('<'));
    inside.map_or(address, |(_, inside)| inside).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<(usize, String, String, String)> {
        let rows = read(text).into_iter();
        rows.map(|row| (row.line, row.email, row.role, row.teams.join("|")))
            .collect()
    }

    #[test]
    fn lists_are_read_as_people_paste_them() {
        let text = "email,role,teams\r\n\r\nada@example.com\r\n Bob <bob@example.com> , viewer\r\n\
                    \"c@example.com\",\"admin\",\"A, \"\"B\"\"; C\"\r\nd@example.com\tmember\tD\r\n\
                    e@example.com, F <f@example.com>,g@example.com,\r\nnonsense\r\n,,\r\n";
        let told: Vec<(usize, &str, &str, &str)> = vec![
            (3, "ada@example.com", "", ""),
            (4, "bob@example.com", "viewer", ""),
            (5, "c@example.com", "admin", "A, \"B\"|C"),
            (6, "d@example.com", "member", "D"),
            (7, "e@example.com", "", ""),
            (7, "f@example.com", "", ""),
            (7, "g@example.com", "", ""),
            (8, "nonsense", "", ""),
        ];
        let read = rows(text);
        let read: Vec<_> = read
            .iter()
            .map(|(line, email, role, teams)| (*line, email.as_str(), role.as_str(), teams.as_str()))
            .collect();
        assert_eq!(read, told);
        assert!(rows("").is_empty() && rows("\n \n").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*|.*") {
            for row in read(&text) {
                proptest::prop_assert!(row.line >= 1);
            }
        }
    }
}
