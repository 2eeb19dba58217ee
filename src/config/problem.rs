//! What is wrong with a configuration, told so that it can be put right: the setting, where it came from, what was read,
//! what is wrong, what to write. Secrets are never part of it.

use std::fmt;
use std::path::PathBuf;

use super::table::{Kind, Secret, Setting};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built in, or made from other settings.
    Default,
    /// The TOML file, under this key.
    File {
        /// The file.
        path: PathBuf,
        /// The key in it.
        key: String,
    },
    /// The environment, under this name.
    Environment(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, key } => write!(f, "{key} in {}", path.display()),
            Self::Environment(name) => write!(f, "{name} in the environment"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name of the setting, or what stood where a name belongs.
    pub setting: String,
    /// Where it came from; None if it is missing.
    pub source: Option<Source>,
    /// What was read, secrets masked; None if nothing was, or it may not be shown.
    pub read: Option<String>,
    /// What is wrong.
    pub wrong: String,
    /// What to write instead.
    pub write: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.wrong)?;
        match (&self.source, &self.read) {
            (Some(source), Some(read)) => write!(f, "\n  read:  {read} ({source})")?,
            (Some(source), None) => write!(f, "\n  read:  {source}")?,
            (None, _) => {}
        }
        write!(f, "\n  write: {}", self.write)
    }
}

/// All that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        for problem in &self.0 {
            write!(f, "\n\n{problem}")?;
        }
        Ok(())
    }
}

impl Problems {
    /// All of them, for a log.
    #[must_use]
    pub fn on_one_line(&self) -> String {
        let each = self.0.iter().map(|problem| {
            let read = problem
                .read
                .as_ref()
                .map(|read| format!(" (read {read})"))
                .unwrap_or_default();
            format!("{}: {}{read}; write {}", problem.setting, problem.wrong, problem.write)
        });
        each.collect::<Vec<_>>().join(" | ")
    }
}

impl std::error::Error for Problems {}

/// Something that works, but that an operator should know of at each start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The setting it is about.
    pub setting: &'static str,
    /// What to know.
    pub sentence: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.sentence)
    }
}

/// A setting's text, or a piece of it, as it may be shown: quoted, shortened, without what is or may be secret.
#[must_use]
pub fn shown(setting: &Setting, text: &str) -> String {
    const HIDDEN: &str = "(secret, not shown)";
    match setting.secret {
        Secret::Whole => HIDDEN.to_owned(),
        Secret::Partly => {
            let harmless = text.starts_with("sqlite:") || (text.starts_with("http") && !text.contains(['@', '?']));
            match super::postgres::place(text) {
                _ if harmless => quoted(text),
                Some(place) => quoted(&format!("postgres://…@{place}")),
                None => HIDDEN.to_owned(),
            }
        }
        // A URL's user part may hold a password, and a password may hold anything: all up to the last `@` is hidden.
        Secret::No if matches!(setting.kind, Kind::Url | Kind::Urls) => text
            .rsplit_once('@')
            .map_or_else(|| quoted(text), |(_, rest)| quoted(&format!("…@{rest}"))),
        Secret::No => quoted(text),
    }
}

/// Text from outside on one line: control characters escaped, at most 200 characters.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    // Debug escapes control and other invisible characters, so that nothing can be drawn over the message.
    format!("{short:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::shown;
    use crate::config::table::by_name;

    #[test]
    fn what_may_hold_a_secret_is_not_shown() {
        let shows = |name: &str, text: &str| shown(by_name(name).unwrap(), text);
        for text in [
            "postgres://user:canary@host/db",
            "canary",
            "user:canary@host",
            "postgres:/canary",
        ] {
            assert!(!shows("VESTIBULE_DATABASE_URL", text).contains("canary"), "{text}");
        }
        assert!(!shows("OIDC_CLIENT_SECRET", "canary").contains("canary"));
        assert!(!shows("HTTPS_PROXY", "http://u:canary@p:1").contains("canary"));
        assert!(!shows("VESTIBULE_UPSTREAM", "http://u:canary@/canary@h:1").contains("canary"));
        assert!(!shows("OIDC_ISSUER", "u:canary@h").contains("canary"));
        assert_eq!(shows("VESTIBULE_DATABASE_URL", "sqlite:/x.db"), "\"sqlite:/x.db\"");
        assert_eq!(shows("HTTPS_PROXY", "http://p:1"), "\"http://p:1\"");
        assert_eq!(
            shows(
                "VESTIBULE_DATABASE_URL",
                "postgres://u:canary@db:5433/v?password=canary"
            ),
            "\"postgres://…@db:5433/v\""
        );
    }

    #[test]
    fn what_is_shown_stays_on_one_line() {
        let shown = shown(by_name("VESTIBULE_LOG").unwrap(), "a\nb\u{1b}[31m\u{202e}");
        assert_eq!(shown, "\"a\\nb\\u{1b}[31m\\u{202e}\"");
    }
}
