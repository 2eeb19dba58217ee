//! The text of every setting and where it came from: built-in default < TOML file < environment.
//!
//! Finds what needs no understanding of a value: unknown names, names that disagree, files that cannot be read.

mod file;
mod names;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::problem::{Problem, Source, quoted, shown};
use super::table::{Preset, Setting};
use file::from_file;
use names::{Spelling, complaint, spelling};

/// A value as text.
#[derive(Clone)]
pub struct Value {
    /// The text; a TOML list's items are joined with commas.
    pub text: String,
    /// A TOML list's items, which may hold commas.
    pub items: Option<Vec<String>>,
    /// Where it came from.
    pub source: Source,
    setting: &'static Setting,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", shown(self.setting, &self.text), self.source)
    }
}

/// What was set, by the setting's name.
pub(super) type Values = BTreeMap<&'static str, Value>;

/// A problem, and the setting it is about if that is one of ours.
pub(super) type Found = (Option<&'static str>, Problem);

/// Reads both layers. What is wrong is added to `found`; the rest of the values are returned all the same.
pub(super) fn read(
    env: impl IntoIterator<Item = (String, String)>,
    file: Option<&Path>,
    found: &mut Vec<Found>,
) -> Values {
    let mut values = file.map_or_else(Values::new, |path| settle(from_file(path, found), found));
    values.extend(settle(from_environment(env, found), found));
    values
}

/// One spelling of a setting in one layer.
struct Entry {
    setting: &'static Setting,
    /// Whether the text names a file that holds the value.
    names_file: bool,
    text: String,
    items: Option<Vec<String>>,
    source: Source,
}

fn from_environment(env: impl IntoIterator<Item = (String, String)>, found: &mut Vec<Found>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (name, text) in env {
        if let Some(Spelling { setting, names_file }) = spelling(&name) {
            // Shells and containers put a bare host name into HOST; only a URL is meant for us.
            let bare_host = name.trim_start_matches("GORILLA_") == "HOST" && !text.contains("://");
            if !bare_host {
                entries.push(Entry {
                    setting,
                    names_file,
                    text,
                    items: None,
                    source: Source::Environment(name),
                });
            }
        } else if let Some(write) = complaint(&name) {
            let problem = Problem {
                setting: name.clone(),
                source: Some(Source::Environment(name)),
                read: None,
                wrong: "there is no setting of this name".to_owned(),
                write,
            };
            found.push((None, problem));
        }
    }
    // The environment comes in no order; the same mistake should always give the same message.
    entries.sort_by(|a, b| a.source_name().cmp(b.source_name()));
    entries
}

impl Entry {
    fn source_name(&self) -> &str {
        match &self.source {
            Source::Environment(name) | Source::File { key: name, .. } => name,
            Source::Default => "",
        }
    }
}

/// Makes one value of all spellings of a setting in one layer.
fn settle(entries: Vec<Entry>, found: &mut Vec<Found>) -> Values {
    let mut values = Values::new();
    for entry in entries {
        let setting = entry.setting;
        match value_of(entry) {
            Ok(None) => {}
            Ok(Some(value)) => {
                if let Some(other) = values.get(setting.name) {
                    if other.text != value.text {
                        found.push((Some(setting.name), disagreement(setting, other, &value)));
                    }
                } else {
                    values.insert(setting.name, value);
                }
            }
            Err(problem) => found.push((Some(setting.name), *problem)),
        }
    }
    values
}

fn value_of(entry: Entry) -> Result<Option<Value>, Box<Problem>> {
    let Entry {
        setting,
        names_file,
        text,
        items,
        source,
    } = entry;
    if text.trim().is_empty() && (names_file || !setting.empty_counts) {
        return Ok(None);
    }
    let text = if names_file {
        match read_secret(Path::new(&text)) {
            Ok(text) => text,
            Err((wrong, write)) => {
                return Err(Box::new(Problem {
                    setting: setting.name.to_owned(),
                    source: Some(source),
                    // Who writes the secret itself where its file's name belongs should not find it in a log.
                    read: looks_like_a_path(&text).then(|| quoted(&text)),
                    wrong,
                    write,
                }));
            }
        }
    } else if matches!(setting.secret, super::table::Secret::Whole) {
        text
    } else {
        text.trim().to_owned()
    };
    let control = text.chars().any(char::is_control);
    if control || text.contains('\u{fffd}') {
        return Err(Box::new(Problem {
            setting: setting.name.to_owned(),
            read: Some(shown(setting, &text)),
            source: Some(source),
            wrong: if control {
                "it holds a line break or another control character".to_owned()
            } else {
                "it is not UTF-8".to_owned()
            },
            write: "one line of text".to_owned(),
        }));
    }
    Ok(Some(Value {
        text,
        items,
        source,
        setting,
    }))
}

/// Reads a file that holds one secret.
fn read_secret(path: &Path) -> Result<String, (String, String)> {
    let write = || "the path of a file that the gateway may read and that holds the secret alone".to_owned();
    let text =
        fs::read_to_string(path).map_err(|error| (format!("the file it names cannot be read: {error}"), write()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        // A mount that is not there yet must not turn a confidential client into a public one.
        return Err(("the file it names is empty".to_owned(), write()));
    }
    Ok(text.to_owned())
}

fn looks_like_a_path(text: &str) -> bool {
    let parent: PathBuf = Path::new(text).parent().map(Path::to_owned).unwrap_or_default();
    !parent.as_os_str().is_empty() && parent.is_dir()
}

fn disagreement(setting: &'static Setting, one: &Value, other: &Value) -> Problem {
    Problem {
        setting: setting.name.to_owned(),
        source: Some(other.source.clone()),
        read: Some(shown(setting, &other.text)),
        wrong: format!("{} says something else: {}", one.source, shown(setting, &one.text)),
        write: "one of them, and take the other out".to_owned(),
    }
}

/// The text that holds for a setting: what was set, or the built-in default.
pub(super) fn text_of<'a>(values: &'a Values, setting: &'static Setting) -> Option<&'a str> {
    values
        .get(setting.name)
        .map(|value| value.text.as_str())
        .or(match setting.default {
            Preset::Text(text) => Some(text),
            Preset::Words(_) => None,
        })
}

#[cfg(test)]
mod tests;
