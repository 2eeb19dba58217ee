//! `vestibule db`: the database as a whole: a backup of it, or its move to another.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::output::{show, to_stderr};
use super::{CommandError, finished, on_a_runtime, wrong_configuration};
use crate::config::{self, Database, Moving, SecretKeys};
use crate::identity;
use crate::seal::Sealer;
use crate::store::{self, Found, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Copy the SQLite database into a new file, also while the gateway runs
    Backup {
        /// The file to make; it must not be there yet
        file: PathBuf,
    },
    /// Copy everything into another database, which must be empty; stop the gateways first
    Copy {
        /// sqlite:/path or postgres://…, or `configured` for what VESTIBULE_DATABASE_URL says
        from: String,
        /// Likewise; `configured` keeps a password out of the command line
        to: String,
    },
}

pub(super) fn run(command: &Command, settings: Option<&Path>, json: bool) -> ExitCode {
    match command {
        Command::Backup { file } => {
            let settings = match config::load_store(config::process_environment(), settings) {
                Ok(settings) => settings,
                Err(problems) => return wrong_configuration(&problems),
            };
            finished(on_a_runtime(backup(
                &settings.database,
                &settings.secret_keys,
                file,
                json,
            )))
        }
        Command::Copy { from, to } => {
            let moving = match config::load_moving(config::process_environment(), settings, from, to) {
                Ok(moving) => moving,
                Err(problems) => return wrong_configuration(&problems),
            };
            finished(on_a_runtime(copy(&moving, json)))
        }
    }
}

async fn backup(database: &Database, keys: &SecretKeys, file: &Path, json: bool) -> Result<(), CommandError> {
    let Database::Sqlite(source) = database else {
        return Err(CommandError::Said(
            "the database is on PostgreSQL: back it up with pg_dump or what your provider offers (docs/postgresql.md)"
                .to_owned(),
        ));
    };
    let bytes = store::backup(source, file).await?;
    show(
        vec![json!({ "file": file.display().to_string(), "bytes": bytes })],
        &["file", "bytes"],
        json,
    );
    to_stderr(match keys {
        SecretKeys::File(key) => format!(
            "what is sealed in it opens only with the key in {}: keep a copy of that, too, at another place",
            key.display()
        ),
        SecretKeys::Given(_) => {
            "what is sealed in it opens only with VESTIBULE_SECRET_KEY: keep that, too, at another place".to_owned()
        }
    });
    Ok(())
}

async fn copy(moving: &Moving, json: bool) -> Result<(), CommandError> {
    if let Database::Sqlite(file) = &moving.from
        && !file.is_file()
    {
        return Err(CommandError::Said(format!("there is no database {}", file.display())));
    }
    let from = match Store::look(&moving.from).await? {
        Found::Current(store) => store,
        Found::Empty => return Err(CommandError::Said("there is nothing in the source".to_owned())),
        Found::Older { found, known } => {
            return Err(CommandError::Said(format!(
                "the source is of version {found}, and this program works on {known}: start this version's gateway on it \
                 once, or run `vestibule users list` with it"
            )));
        }
    };
    // Before anything is written: without the key the copy would be worth nothing.
    if let SecretKeys::File(key) = &moving.secret_keys
        && !key.is_file()
    {
        return Err(CommandError::Said(format!(
            "the source's key {} is not there; give it in VESTIBULE_SECRET_KEY",
            key.display()
        )));
    }
    let sealer = Sealer::new(&moving.secret_keys.load()?)?;
    let sealed = identity::that_do_not_open(&from, &sealer).await?;
    if !sealed.is_empty() {
        return Err(CommandError::Said(format!(
            "nothing was copied: VESTIBULE_SECRET_KEY does not open what is sealed in the source ({})",
            sealed.join(", ")
        )));
    }
    let to = Store::open(&moving.to).await?.patient();
    let copied = from.copy_to(&to).await;
    from.close().await;
    to.close().await;
    let objects = copied?
        .into_iter()
        .map(|table| json!({ "table": table.name, "rows": table.rows, "checksum": table.checksum }))
        .collect();
    show(objects, &["table", "rows", "checksum"], json);
    to_stderr(match &moving.secret_keys {
        SecretKeys::File(key) => format!(
            "copied and compared; gateways on it need the same key: VESTIBULE_SECRET_KEY_FILE={}, or what is in that file \
             as VESTIBULE_SECRET_KEY",
            key.display()
        ),
        SecretKeys::Given(_) => {
            "copied and compared; gateways on it need the same VESTIBULE_SECRET_KEY as before".to_owned()
        }
    });
    Ok(())
}
