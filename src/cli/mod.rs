//! The command line: one file a command. Builds things and starts them; no logic.
//!
//! Exit codes: 0 done, 1 not done (said why), 64 wrong use or wrong configuration (`EX_USAGE`), 69 the database does not
//! answer (`EX_UNAVAILABLE`): then the same command may work later.

mod arrivals;
mod audit;
mod check;
mod db;
mod keys;
mod output;
mod relink;
pub mod serve;
mod sessions;
mod teams;
mod users;

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::{self, Database, LogFormat, StoreSettings};
use crate::store::{Store, StoreError};
use crate::telemetry;

const WRONG_USE: u8 = 64;
const UNAVAILABLE: u8 = 69;

/// A reverse-proxy authentication gateway.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, disable_help_subcommand = true)]
struct Arguments {
    /// TOML file with settings; the environment goes before it
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print one array of objects
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT (the default)
    Serve,
    /// Print the configuration and try provider, directory, database and upstream
    Check {
        /// Show step by step what this person's sign-in with the directory would do; asks for the password
        #[arg(long, value_name = "NAME")]
        ldap_user: Option<String>,
    },
    /// Manage people, also while the gateway runs
    #[command(subcommand)]
    Users(users::Command),
    /// Manage teams, also while the gateway runs
    #[command(subcommand)]
    Teams(teams::Command),
    /// Read who did what
    #[command(subcommand)]
    Audit(audit::Command),
    /// Manage the keys that sign assertions
    #[command(subcommand)]
    Keys(keys::Command),
    /// Look at sessions and end them
    #[command(subcommand)]
    Sessions(sessions::Command),
    /// Back the database up, or move it
    #[command(subcommand)]
    Db(db::Command),
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let command = Arguments::command().after_long_help(config::papers::help());
    let arguments = match command
        .try_get_matches()
        .and_then(|matches| Arguments::from_arg_matches(&matches))
    {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for; the rest is wrong use. What cannot be printed has nobody to read it.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(WRONG_USE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let file = arguments.config.as_deref();
    match arguments.command {
        None | Some(Command::Serve) => start(arguments.config),
        Some(Command::Check { ldap_user }) => check::run(file, arguments.json, ldap_user.as_deref()),
        Some(Command::Users(command)) => with_store(file, async |settings, store| {
            users::run(command, settings, store, arguments.json).await
        }),
        Some(Command::Teams(command)) => {
            with_store(file, async |_, store| teams::run(command, store, arguments.json).await)
        }
        Some(Command::Audit(command)) => {
            with_store(file, async |_, store| audit::run(command, store, arguments.json).await)
        }
        Some(Command::Keys(command)) => with_store(file, async |settings, store| {
            keys::run(command, settings, store, arguments.json).await
        }),
        Some(Command::Sessions(command)) => with_store(file, async |_, store| {
            sessions::run(command, store, arguments.json).await
        }),
        Some(Command::Db(command)) => {
            if let Err(failed) = log_warnings() {
                return failed;
            }
            db::run(&command, file, arguments.json)
        }
    }
}

fn start(file: Option<PathBuf>) -> ExitCode {
    let loaded = match config::load(config::process_environment(), file.as_deref()) {
        Ok(loaded) => loaded,
        Err(problems) => return wrong_configuration(&problems),
    };
    let log = match telemetry::log::init(&loaded.settings.log, loaded.settings.log_format) {
        Ok(log) => log,
        Err(error) => return failed(error),
    };
    for warning in &loaded.warnings {
        tracing::warn!(setting = warning.setting, "{}", warning.sentence);
    }
    serve::run(loaded.settings, log, move || {
        config::load(config::process_environment(), file.as_deref())
            .map(|loaded| loaded.settings)
            .map_err(|problems| problems.on_one_line())
    })
}

/// Runs a command that needs the database alone, beside a gateway that may be running.
fn with_store(
    file: Option<&Path>,
    command: impl AsyncFnOnce(&StoreSettings, &Store) -> Result<(), CommandError>,
) -> ExitCode {
    let settings = match config::load_store(config::process_environment(), file) {
        Ok(settings) => settings,
        Err(problems) => return wrong_configuration(&problems),
    };
    if let Err(failed) = log_warnings() {
        return failed;
    }
    let done = on_a_runtime(async {
        let store = Store::open(&settings.database).await?.patient();
        if let (true, Database::Sqlite(file)) = (store.newly_made(), &settings.database) {
            // Whoever is in another folder than the gateway's should not take an empty database for the gateway's.
            output::to_stderr(format_args!("there was no database: {} was made", file.display()));
        }
        let done = command(&settings, &store).await;
        store.close().await;
        done
    });
    finished(done)
}

/// To standard error, where who changed what goes from here, too.
fn log_warnings() -> Result<(), ExitCode> {
    let format = if std::io::stderr().is_terminal() {
        LogFormat::Text
    } else {
        LogFormat::Json
    };
    telemetry::log::init("warn", format).map(drop).map_err(failed)
}

fn finished(done: Result<(), CommandError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::to_stderr(&error);
            if error.is_of_the_store() {
                ExitCode::from(UNAVAILABLE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Change(#[from] crate::directory::ChangeError),
    #[error(transparent)]
    Sessions(#[from] crate::session::Unavailable),
    #[error(transparent)]
    KeyRing(#[from] crate::identity::KeyRingError),
    #[error(transparent)]
    KeyFile(#[from] config::KeyFileError),
    #[error(transparent)]
    NoKey(#[from] crate::seal::NoKey),
    #[error(transparent)]
    Backup(#[from] crate::store::BackupError),
    #[error(transparent)]
    Copy(#[from] crate::store::CopyError),
    #[error("{0}")]
    Said(String),
    #[error("the system gives no runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

impl CommandError {
    /// Whether the same may work later, when the database answers.
    fn is_of_the_store(&self) -> bool {
        let (Self::Store(error)
        | Self::Change(crate::directory::ChangeError::Store(error))
        | Self::Sessions(crate::session::Unavailable(error))
        | Self::KeyRing(crate::identity::KeyRingError::Store(error))
        | Self::Backup(crate::store::BackupError::Store(error))
        | Self::Copy(crate::store::CopyError::Store(error))) = self
        else {
            return false;
        };
        !matches!(
            error,
            StoreError::NoFolder(_) | StoreError::Newer { .. } | StoreError::Unreadable(_)
        )
    }
}

fn on_a_runtime<T>(task: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(task)
}

fn wrong_configuration(problems: &config::Problems) -> ExitCode {
    output::to_stderr(problems);
    ExitCode::from(WRONG_USE)
}

fn failed(error: impl Display) -> ExitCode {
    output::to_stderr(error);
    ExitCode::FAILURE
}
