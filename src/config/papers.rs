//! What people read about the settings: `--help`, docs/configuration.md and the annotated example, made from the table.

use std::fmt::Write as _;

use super::table::{Group, Kind, Preset, SETTINGS, Setting};

/// Every setting with its default, for the end of `--help`.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "Settings, from the environment or (in lower case, without VESTIBULE_) from the TOML file; secrets also from a file \
         named in NAME_FILE. docs/configuration.md says more.\n",
    );
    for group in Group::ALL {
        let _ = write!(text, "\n{}:\n", group.title());
        for setting in of(group) {
            let _ = writeln!(text, "  {}  [{}]", setting.name, plain(&default_in_words(setting)));
            let _ = writeln!(text, "      {}", plain(&meaning(setting)));
        }
    }
    text
}

/// docs/configuration.md.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(HEAD);
    for group in Group::ALL {
        let _ = write!(
            text,
            "\n## {}\n\n| setting | default | meaning |\n|---|---|---|\n",
            group.title()
        );
        for setting in of(group) {
            let mut name = format!("`{}`", setting.name);
            for alias in setting.aliases {
                let _ = write!(name, "<br>also `{alias}`");
            }
            if setting.can_come_from_a_file() {
                let _ = write!(name, "<br>or `{}_FILE`", setting.name);
            }
            let default = default_in_words(setting).replace('|', "\\|");
            let mut meaning = meaning(setting).replace('|', "\\|");
            if setting.live {
                meaning.push_str(" Taken up on SIGHUP.");
            }
            let _ = writeln!(text, "| {name} | {default} | {meaning} |");
        }
    }
    text
}

/// config/vestibule.example.toml.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(EXAMPLE_HEAD);
    for group in Group::ALL {
        let mut settings = of(group).peekable();
        if settings.peek().is_none() {
            continue;
        }
        let _ = write!(
            text,
            "\n\n# {} {}\n",
            group.title(),
            "-".repeat(76_usize.saturating_sub(group.title().len()))
        );
        for setting in settings {
            text.push('\n');
            for line in wrapped(&plain(&meaning(setting)), 110) {
                let _ = writeln!(text, "# {line}");
            }
            let _ = writeln!(text, "# Default: {}.", plain(&default_in_words(setting)));
            // What a gateway cannot start without stands there ready to be filled in.
            let needed = matches!(
                setting.name,
                "VESTIBULE_UPSTREAM" | "VESTIBULE_PUBLIC_URL" | "VESTIBULE_DATABASE_URL"
            ) || matches!(setting.name, "OIDC_ISSUER" | "OIDC_CLIENT_ID");
            let mark = if needed { "" } else { "# " };
            let _ = writeln!(text, "{mark}{}", example_line(setting));
        }
    }
    text
}

const HEAD: &str = "\
# Settings

<!-- Made from src/config/table.rs. After a change there: UPDATE_DOCS=1 cargo test --lib config::papers -->

Built-in default < TOML file (`--config FILE`) < environment. `vestibule check` prints what holds and where it came from.

- **TOML keys** are the names below in lower case, without `vestibule_`: `VESTIBULE_LISTEN` is `listen`, `OIDC_ISSUER` is
  `oidc_issuer`. Lists may be TOML lists. config/vestibule.example.toml has every key.
- **Secrets** can come from a file named in `NAME_FILE`; one line break at its end does not count.
- **Empty is unset**, but for `VESTIBULE_LOGOUT_PATH`.
- **Booleans**: true, false, 1, 0, yes, no, in any case. **Lists**: commas. **Lengths of time**: a number in the unit that is
  named, or with units: `90s`, `15m`, `720h`, `30d`.
- **Other spellings**: a name in the `GORILLA_` spelling means the plain one (`GORILLA_OIDC_ISSUER`;
  `GORILLA_AUTH_METHOD` is `OIDC_AUTH_METHOD`); other `GORILLA_*` are ignored. Spellings that disagree are an error.
- **Unknown names** that begin with `VESTIBULE_` or `OIDC_`, or are nearly one of ours, are an error, and so are unknown
  TOML keys. Names that Kubernetes makes for Services are passed over.
- A wrong configuration ends with exit code 64 and tells **all problems at once**.
- On **SIGHUP** the TOML file and the files named in `NAME_FILE` are read again. Settings marked so are taken up; the others
  are named in the log and wait for the next start. A wrong new configuration is refused, the old one stays.
";

const EXAMPLE_HEAD: &str = "\
# Vestibule's settings, every one of them: the four or five that are needed are set, the others stand as comments.
# Made from src/config/table.rs. After a change there: UPDATE_DOCS=1 cargo test --lib config::papers
#
# Read with `vestibule --config vestibule.toml`; the environment goes before it. Secrets belong in files of their own:
# oidc_client_secret_file = \"/run/secrets/oidc-client-secret\"
";

fn of(group: Group) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.group == group)
}

fn default_in_words(setting: &Setting) -> String {
    match setting.default {
        Preset::Text(text) => format!("`{text}`"),
        Preset::Words(words) => words.to_owned(),
    }
}

fn meaning(setting: &Setting) -> String {
    match setting.kind {
        Kind::Choice(choices) if !choices.iter().all(|choice| setting.help.contains(choice)) => {
            format!("{} One of `{}`.", setting.help, choices.join("`, `"))
        }
        _ => setting.help.to_owned(),
    }
}

/// Without marks.
fn plain(text: &str) -> String {
    text.replace(['`'], "").replace("**", "")
}

fn example_line(setting: &Setting) -> String {
    let text = match (setting.example, setting.default) {
        ("", Preset::Text(text)) => text,
        (example, _) => example,
    };
    let literal = match setting.kind {
        Kind::Flag | Kind::Seconds | Kind::Minutes | Kind::Hours | Kind::Count => text.to_owned(),
        Kind::List | Kind::Urls if text.contains(',') => {
            format!("{:?}", text.split(',').collect::<Vec<_>>())
        }
        _ => format!("{text:?}"),
    };
    if setting.secret == super::table::Secret::Whole {
        return format!(
            "{}_file = \"/run/secrets/{}\"",
            setting.key(),
            setting.key().replace('_', "-")
        );
    }
    format!("{} = {literal}", setting.key())
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
                continue;
            }
            if line.chars().count() + 1 + word.chars().count() <= width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
        }
        lines.push(word.to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::{example, help, reference};
    use crate::config::table::SETTINGS;

    /// Holds a file to what the table makes. `UPDATE_DOCS=1` writes it anew.
    #[expect(clippy::disallowed_methods, reason = "a test's own switch")]
    fn hold(path: &str, made: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var("UPDATE_DOCS").is_ok() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, made).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == made,
            "{} is not what src/config/table.rs says: run UPDATE_DOCS=1 cargo test --lib config::papers",
            path.display()
        );
    }

    #[test]
    fn the_reference_is_what_the_table_says() {
        hold("docs/configuration.md", &reference());
    }

    #[test]
    fn the_example_is_what_the_table_says() {
        hold("config/vestibule.example.toml", &example());
    }

    #[test]
    fn every_setting_stands_in_the_help_the_reference_and_the_example() {
        let (help, reference, example) = (help(), reference(), example());
        for setting in SETTINGS {
            assert!(help.contains(&format!("  {}  [", setting.name)), "{}", setting.name);
            assert!(reference.contains(&format!("| `{}`", setting.name)), "{}", setting.name);
            let line = |key: &str| {
                example
                    .lines()
                    .any(|line| line.trim_start_matches("# ").starts_with(key))
            };
            let there = line(&format!("{} = ", setting.key())) || line(&format!("{}_file = ", setting.key()));
            assert!(there, "{}", setting.name);
        }
    }

    #[test]
    fn the_example_is_a_configuration_as_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vestibule.toml");
        fs::write(&file, example()).unwrap();
        crate::config::load([], Some(&file)).unwrap();
    }

    #[test]
    fn the_example_is_a_configuration_with_every_line_switched_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vestibule.toml");
        let keys: BTreeSet<String> = SETTINGS.iter().map(crate::config::table::Setting::key).collect();
        let example = example();
        let on: Vec<&str> = example
            .lines()
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .filter(|line| line.split_once(" = ").is_some_and(|(key, _)| keys.contains(key)))
            // The files they name are not on this machine.
            .filter(|line| {
                !["ca_file", "tls_cert", "tls_key"]
                    .iter()
                    .any(|key| line.starts_with(key))
            })
            .collect();
        assert!(on.len() > 40, "{on:?}");
        fs::write(&file, on.join("\n")).unwrap();
        // Secrets are not in the example; an account without one is refused.
        let password = [("LOCAL_LDAP_BIND_PW".to_owned(), "secret".to_owned())];
        crate::config::load(password, Some(&file)).unwrap();
    }
}
