//! The TOML file.

use std::fs;
use std::path::Path;

use super::names::{Spelling, spelling_of_key, suggestion_for_key};
use super::{Entry, Found};
use crate::config::problem::{Problem, Source, quoted};
use crate::config::table::Kind;

/// Its keys and values.
pub(super) fn from_file(path: &Path, found: &mut Vec<Found>) -> Vec<Entry> {
    let whole_file = |wrong: String, write: &str| Problem {
        setting: "--config".to_owned(),
        source: None,
        read: None,
        wrong,
        write: write.to_owned(),
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let problem = whole_file(
                format!("the file {} cannot be read: {error}", path.display()),
                "the path of a file that can be read",
            );
            found.push((None, problem));
            return Vec::new();
        }
    };
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            // The error's own text quotes the line, which may hold a secret.
            let error: toml::de::Error = error;
            let line = error.span().map_or(1, |span| {
                text.as_bytes()
                    .iter()
                    .take(span.start)
                    .filter(|byte| **byte == b'\n')
                    .count()
                    + 1
            });
            let problem = whole_file(
                format!("line {line} of {} is not TOML: {}", path.display(), error.message()),
                "key = \"text\", key = true, key = 5 or key = [\"a\", \"b\"]",
            );
            found.push((None, problem));
            return Vec::new();
        }
    };
    table
        .into_iter()
        .filter_map(|(key, value)| match entry_of(path, &key, &value) {
            Ok(entry) => Some(entry),
            Err(problem) => {
                found.push(*problem);
                None
            }
        })
        .collect()
}

fn entry_of(path: &Path, key: &str, value: &toml::Value) -> Result<Entry, Box<Found>> {
    let source = Source::File {
        path: path.to_owned(),
        key: key.to_owned(),
    };
    let Some(Spelling { setting, names_file }) = spelling_of_key(key) else {
        let problem = Problem {
            setting: quoted(key),
            source: Some(source),
            read: None,
            wrong: "there is no setting of this name".to_owned(),
            write: suggestion_for_key(key),
        };
        return Err(Box::new((None, problem)));
    };
    let written = match value {
        toml::Value::Array(items) => items.iter().map(plain_text).collect::<Option<Vec<_>>>().map(Err),
        plain => plain_text(plain).map(Ok),
    };
    let is_list = !names_file && matches!(setting.kind, Kind::List | Kind::Urls);
    let (text, items) = match written {
        Some(Ok(text)) => (text, None),
        Some(Err(items)) if is_list => (items.join(","), Some(items)),
        _ => {
            let problem = Problem {
                setting: setting.name.to_owned(),
                source: Some(source),
                read: None,
                wrong: format!("a TOML {} does not fit here", value.type_str()),
                write: if is_list {
                    format!("{key} = [\"…\", \"…\"]")
                } else {
                    format!("{key} = \"…\"")
                },
            };
            return Err(Box::new((Some(setting.name), problem)));
        }
    };
    Ok(Entry {
        setting,
        names_file,
        text,
        items,
        source,
    })
}

fn plain_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}
