//! `vestibule users`: people from a shell, also while the gateway runs.

use clap::Subcommand;
use serde_json::{Value, json};

use super::CommandError;
use super::arrivals::{self, Import};
use super::output::{show, time, to_stdout};
use super::relink::{self, Relink};
use super::teams::groups_of;
use crate::clock::UnixTime;
use crate::config::StoreSettings;
use crate::directory::{self, Actor, Invitation, Person, User};
use crate::person::{EmailAddress, Role, TeamId};
use crate::store::Store;

const COLUMNS: [&str; 7] = ["id", "email", "username", "name", "role", "status", "last_sign_in"];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Everybody, with role and status
    List,
    /// Add a person before their first sign-in
    Add {
        /// Their e-mail address
        email: String,
        /// admin, member or viewer
        #[arg(long, default_value = "member")]
        role: Role,
        /// Team to be in from the first sign-in on, by name or id; `TEAM=ROLE` for another role than member. Several times for several
        #[arg(long = "team", value_name = "TEAM")]
        teams: Vec<String>,
        /// Days after which it admits nobody any more
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..=3650))]
        days: Option<i64>,
    },
    /// Add everybody of a list before their first sign-in, or nobody
    Import(Import),
    /// Who was refused because nobody had added them, newest first
    Refused,
    /// Let one of those who were refused in, at their next sign-in
    Approve {
        /// As `refused` shows it
        id: String,
        /// admin, member or viewer
        #[arg(long, default_value = "member")]
        role: Role,
    },
    /// Take one of those who were refused off the list; who knocks again is on it again
    Dismiss {
        /// As `refused` shows it
        id: String,
    },
    /// One person, with identities and teams
    Show {
        /// E-mail address or id
        who: String,
    },
    /// Change a person's role, at once
    SetRole {
        /// E-mail address or id
        who: String,
        /// admin, member or viewer
        role: Role,
    },
    /// Keep a person out and end their sessions, at once
    Deactivate {
        /// E-mail address or id
        who: String,
    },
    /// Let a deactivated person sign in again
    Activate {
        /// E-mail address or id
        who: String,
    },
    /// Remove a person's account and end their sessions
    Remove {
        /// E-mail address or id
        who: String,
    },
    /// Let a person come by another identity, too: whoever comes by it is this person
    Link {
        /// E-mail address or id
        who: String,
        /// The provider's issuer, or the word ldap
        issuer: String,
        /// The stable id there
        subject: String,
    },
    /// Take an identity from a person, and end the sessions that began by it
    Unlink {
        /// E-mail address or id
        who: String,
        /// The provider's issuer, or the word ldap
        issuer: String,
        /// The stable id there
        subject: String,
    },
    /// Move everybody from one issuer to another, all or nobody
    Relink(Relink),
}

pub(super) async fn run(
    command: Command,
    settings: &StoreSettings,
    store: &Store,
    json: bool,
) -> Result<(), CommandError> {
    let now = UnixTime::now();
    let shell = Actor::shell();
    let users = match command {
        Command::List => directory::list(store).await?,
        Command::Add {
            email,
            role,
            teams,
            days,
        } => {
            let address =
                EmailAddress::parse(&email).map_err(|error| CommandError::Said(format!("{email:?} is {error}")))?;
            let invitation = Invitation {
                email: address,
                role,
                teams: named(store, &shell, &teams).await?,
                expires: days.map(|days| now.plus(days * 86_400)),
            };
            directory::invite(store, &shell, &[invitation], settings.email_needed, now).await?
        }
        Command::Import(import) => return arrivals::import(import, settings, store, json, now).await,
        Command::Refused => return arrivals::refused(store, json).await,
        Command::Approve { id, role } => vec![arrivals::approve(store, &id, role, now).await?],
        Command::Dismiss { id } => return arrivals::dismiss(store, &id, json, now).await,
        Command::Show { who } => {
            let person = directory::person(store, &shell, &who).await?;
            show_person(&person, json);
            return Ok(());
        }
        Command::Link { who, issuer, subject } => {
            let person = directory::link(store, &shell, &who, &issuer, &subject, now).await?;
            show_person(&person, json);
            return Ok(());
        }
        Command::Unlink { who, issuer, subject } => {
            let person = directory::unlink(store, &shell, &who, &issuer, &subject, now).await?;
            show_person(&person, json);
            return Ok(());
        }
        Command::Relink(relink) => return relink::run(relink, store, json, now).await,
        Command::SetRole { who, role } => vec![directory::set_role(store, &shell, &who, role, None, now).await?],
        Command::Deactivate { who } => vec![directory::deactivate(store, &shell, &who, None, now).await?],
        Command::Activate { who } => vec![directory::activate(store, &shell, &who, None, now).await?],
        Command::Remove { who } => {
            vec![directory::remove(store, &shell, &who, None, now).await?]
        }
    };
    let objects = users.iter().map(object).collect();
    show(objects, &COLUMNS, json);
    Ok(())
}

/// Teams as they are named on the command line, with roles.
async fn named(store: &Store, shell: &Actor, teams: &[String]) -> Result<Vec<(TeamId, Role)>, CommandError> {
    let mut found = Vec::new();
    for text in teams {
        // A name may hold the sign, too; then what is behind it is no role.
        let (team, role) = match text.rsplit_once('=').map(|(team, role)| (team, role.parse::<Role>())) {
            Some((team, Ok(role))) => (team, role),
            _ => (text.as_str(), Role::Member),
        };
        found.push((directory::team(store, shell, team, None, 1).await?.team.id, role));
    }
    Ok(found)
}

fn show_person(person: &Person, json: bool) {
    let identities = person.identities.iter().map(|identity| {
        json!({
            "issuer": identity.issuer,
            "subject": identity.subject,
            "linked": time(identity.linked),
        })
    });
    let teams = person.teams.iter().map(|place| {
        json!({
            "id": place.team,
            "team": place.name,
            "role": place.role,
            "by_hand": place.by_hand,
            "groups": groups_of(&place.by_group),
        })
    });
    let (identities, teams): (Vec<Value>, Vec<Value>) = (identities.collect(), teams.collect());
    let mut user = object(&person.user);
    if json {
        user["identities"] = identities.into();
        user["teams"] = teams.into();
        return show(vec![user], &[], true);
    }
    show(vec![user], &COLUMNS, false);
    to_stdout("\nIdentities");
    show(identities, &["issuer", "subject", "linked"], false);
    to_stdout("\nTeams");
    show(teams, &["team", "role", "by_hand", "groups"], false);
}

fn object(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "username": user.username,
        "name": user.name,
        "role": user.role,
        "status": user.status.as_str(),
        "created": time(user.created),
        "last_sign_in": user.last_sign_in.map(time),
    })
}
