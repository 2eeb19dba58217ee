//! `vestibule users`: people from a shell, also while the gateway runs.

use clap::Subcommand;
use serde_json::{Value, json};

use super::CommandError;
use super::output::{show, time};
use crate::clock::UnixTime;
use crate::directory::{self, Actor, Invitation, User};
use crate::person::{EmailAddress, Role};
use crate::store::Store;

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
}

pub(super) async fn run(command: Command, store: &Store, json: bool) -> Result<(), CommandError> {
    let now = UnixTime::now();
    let shell = Actor::shell();
    let users = match command {
        Command::List => directory::list(store).await?,
        Command::Add { email, role } => {
            let address =
                EmailAddress::parse(&email).map_err(|error| CommandError::Said(format!("{email:?} is {error}")))?;
            let invitation = Invitation {
                email: address,
                role,
                teams: Vec::new(),
                expires: None,
            };
            directory::invite(store, &shell, &[invitation], now).await?
        }
        Command::SetRole { who, role } => vec![directory::set_role(store, &shell, &who, role, None, now).await?],
        Command::Deactivate { who } => vec![directory::deactivate(store, &shell, &who, None, now).await?],
        Command::Activate { who } => vec![directory::activate(store, &shell, &who, None, now).await?],
        Command::Remove { who } => {
            vec![directory::remove(store, &shell, &who, None, now).await?]
        }
    };
    let objects = users.iter().map(object).collect();
    show(
        objects,
        &["id", "email", "username", "name", "role", "status", "last_sign_in"],
        json,
    );
    Ok(())
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
