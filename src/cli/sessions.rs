//! `vestibule sessions`: who is signed in, and ending that.

use clap::{ArgGroup, Subcommand};
use serde_json::{Value, json};

use super::CommandError;
use super::output::{show, time};
use crate::clock::UnixTime;
use crate::directory::{self, Actor, ChangeError};
use crate::person::UserId;
use crate::session::{self, Listed};
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Live sessions, newest first
    List {
        /// Of one person only: e-mail address or id
        #[arg(long, value_name = "WHO")]
        user: Option<String>,
    },
    /// End a session, all of a person's, or everybody's
    #[command(group(ArgGroup::new("which").required(true).args(["sid", "user", "all"])))]
    Revoke {
        /// The session's id, as `sessions list` shows it
        sid: Option<String>,
        /// All sessions of a person: e-mail address or id
        #[arg(long, value_name = "WHO")]
        user: Option<String>,
        /// All sessions of everybody, as after a backup was put back
        #[arg(long)]
        all: bool,
    },
}

pub(super) async fn run(command: Command, store: &Store, json: bool) -> Result<(), CommandError> {
    let now = UnixTime::now();
    let shell = Actor::shell();
    match command {
        Command::List { user } => {
            let of = match user {
                Some(who) => Some(directory::find(store, &who).await?.id),
                None => None,
            };
            let sessions = session::list(store, of.as_ref(), now).await?;
            show_sessions(&sessions, json);
        }
        Command::Revoke { all: true, .. } => {
            let mut ended = Vec::new();
            for user in session::people(store, now).await? {
                ended.extend(end_all_of(store, &shell, &user, now).await?);
            }
            show_sessions(&ended, json);
        }
        Command::Revoke { sid, user, .. } => {
            let all = match user {
                Some(who) => {
                    let of = directory::find(store, &who).await?.id;
                    end_all_of(store, &shell, &of, now).await?
                }
                None => Vec::new(),
            };
            let one = match sid {
                Some(sid) => {
                    let session = session::one(store, &sid, now).await?;
                    match directory::end_session(store, &shell, &sid, now).await {
                        Err(ChangeError::Gone) => {
                            return Err(CommandError::Said(format!("there is no session {sid:?}")));
                        }
                        outcome => outcome?,
                    }
                    session.into_iter().collect()
                }
                None => Vec::new(),
            };
            show_sessions(&[all, one].concat(), json);
        }
    }
    Ok(())
}

/// Says which they were.
async fn end_all_of(store: &Store, shell: &Actor, user: &UserId, now: UnixTime) -> Result<Vec<Listed>, CommandError> {
    let sessions = session::list(store, Some(user), now).await?;
    directory::end_sessions(store, shell, user.as_str(), now).await?;
    Ok(sessions)
}

fn show_sessions(sessions: &[Listed], json: bool) {
    let objects: Vec<Value> = sessions.iter().map(object).collect();
    show(
        objects,
        &["sid", "email", "user", "method", "created", "last_seen", "expires"],
        json,
    );
}

fn object(session: &Listed) -> Value {
    json!({
        "sid": session.sid,
        "user": session.user,
        "email": session.email,
        "method": session.method,
        "created": time(session.created),
        "last_seen": time(session.last_seen),
        "expires": time(session.expires),
    })
}
