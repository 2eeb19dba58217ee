//! Settings in two layers: text with the source it came from (`table`, `source`), then meaning (`parse`, `settings`):
//! types that cannot be wrong. The environment is read in this room only.
//!
//! The table in [`table`] is the one source of parsing, `--help`, docs/configuration.md and "did you mean".
//!
//! Public face: [`load`] for a gateway that serves, and [`load_store`] for commands that need the database alone.

pub mod papers;
mod parse;
mod postgres;
mod problem;
mod secret_file;
mod settings;
mod shown;
mod source;
pub mod table;
mod words;

use std::path::Path;

pub use problem::{Problem, Problems, Source, Warning};
pub use secret_file::KeyFileError;
pub use settings::*;
pub use shown::{Shown, ShownSettings};

use parse::Reader;
use source::{Found, Values};

/// A configuration that was read and is right.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it means.
    pub settings: Settings,
    /// What an operator should know of at each start.
    pub warnings: Vec<Warning>,
}

/// The environment of this process. A value that is not UTF-8 is marked, and refused if it is one of ours.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, text)| {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        (lossy(name), lossy(text))
    })
}

/// Reads the configuration of a gateway: built-in defaults < the TOML `file` < the environment `env`.
///
/// # Errors
/// All that is wrong, at once.
pub fn load(env: impl IntoIterator<Item = (String, String)>, file: Option<&Path>) -> Result<Loaded, Problems> {
    let mut found = Vec::new();
    let values = source::read(env, file, &mut found);
    understand(&values, found)
}

/// Reads what a command needs that looks into the database. What is wrong with other settings is not its matter, but
/// for names that are none of ours: behind one could be the very setting it needs.
///
/// # Errors
/// All that is wrong, at once.
pub fn load_store(
    env: impl IntoIterator<Item = (String, String)>,
    file: Option<&Path>,
) -> Result<StoreSettings, Problems> {
    let mut found = Vec::new();
    let values = source::read(env, file, &mut found);
    let mut reader = Reader::new(&values, found);
    let settings = parse::store_settings(&mut reader);
    let mut found = reader.found;
    found.retain(|(about, _)| about.is_none_or(|name| parse::STORE_SETTINGS.contains(&name)));
    outcome(settings, found)
}

/// Reads what is needed to move an instance: two databases, each an address or `configured`, and the key of the first.
///
/// # Errors
/// All that is wrong, at once.
pub fn load_moving(
    env: impl IntoIterator<Item = (String, String)>,
    file: Option<&Path>,
    from: &str,
    to: &str,
) -> Result<Moving, Problems> {
    let mut found = Vec::new();
    let values = source::read(env, file, &mut found);
    let mut reader = Reader::new(&values, found);
    let moving = parse::moving(&mut reader, from, to);
    let mut found = reader.found;
    found.retain(|(about, _)| about.is_none_or(|name| parse::STORE_SETTINGS.contains(&name)));
    outcome(moving, found)
}

fn understand(values: &Values, found: Vec<Found>) -> Result<Loaded, Problems> {
    let mut reader = Reader::new(values, found);
    let settings = parse::settings(&mut reader);
    let Reader {
        found,
        warnings,
        derived,
        ..
    } = reader;
    outcome(settings, found).map(|mut settings| {
        settings.shown = ShownSettings::new(values, &derived);
        Loaded { settings, warnings }
    })
}

fn outcome<T>(settings: Option<T>, found: Vec<Found>) -> Result<T, Problems> {
    let mut problems: Vec<Problem> = found.into_iter().map(|(_, problem)| problem).collect();
    // A value that could not even be taken up is missing to those who need it: the first word on it is enough.
    let told: Vec<String> = problems
        .iter()
        .filter(|problem| problem.source.is_some())
        .map(|problem| problem.setting.clone())
        .collect();
    problems.retain(|problem| problem.source.is_some() || !told.contains(&problem.setting));
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ if problems.is_empty() => Err(Problems(vec![Problem {
            setting: "the configuration".to_owned(),
            source: None,
            read: None,
            wrong: "it could not be understood".to_owned(),
            write: "a report of this with `vestibule check` and the settings, without secrets".to_owned(),
        }])),
        _ => Err(Problems(problems)),
    }
}

#[cfg(test)]
mod tests;
