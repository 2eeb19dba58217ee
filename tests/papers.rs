//! The papers against the code: what they name is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vestibule::config::table::{SETTINGS, Setting};
use vestibule::telemetry;

#[test]
fn every_link_between_papers_leads_to_a_file() {
    let mut wrong = Vec::new();
    for (paper, text) in papers() {
        let folder = paper.parent().unwrap();
        for target in links(&text) {
            let (path, place) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() {
                paper.clone()
            } else {
                folder.join(path)
            };
            if !file.exists() {
                wrong.push(format!("{}: {target}", paper.display()));
            } else if !place.is_empty() && !places(&fs::read_to_string(&file).unwrap()).contains(place) {
                wrong.push(format!("{}: {target}: there is no such heading", paper.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn every_source_file_that_a_paper_names_is_there() {
    let mut named = 0;
    for (paper, text) in papers() {
        for word in text.split(['`', '(', ')', ' ', '\n']) {
            let word = word.trim_end_matches(['.', ',', ';', ':']);
            let Some(path) = word.strip_prefix("src/").filter(|path| !path.is_empty()) else {
                continue;
            };
            named += 1;
            assert!(
                root().join("src").join(path).exists(),
                "{} names {word}",
                paper.display()
            );
        }
    }
    assert!(named > 20, "the names were not found");
}

/// A paper that tells of a setting which is not there, or not built, promises what the program does not do.
#[test]
fn every_setting_that_a_paper_or_a_deployment_names_is_built() {
    let mut named = 0;
    for (paper, text) in papers().into_iter().chain(deployments()) {
        for name in words(&text).filter(|word| is_a_settings_name(word)) {
            named += 1;
            let setting = setting_of(name);
            assert!(setting.is_some(), "{} names {name}", paper.display());
        }
    }
    assert!(named > 100, "the names were not found");
}

#[test]
fn operations_tell_of_every_metric_and_of_no_other() {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let told: BTreeSet<&str> = words(&text).filter(|word| word.starts_with("vestibule_")).collect();
    // A counter's lines end in _total, whatever its TYPE line says.
    let rendered = telemetry::metrics().render();
    let counted: BTreeSet<String> = rendered
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" if !name.ends_with("_total") => format!("{name}_total"),
            _ => name.to_owned(),
        })
        .collect();
    assert_eq!(told, counted.iter().map(String::as_str).collect());
}

#[test]
fn every_command_that_a_paper_names_is_there() {
    let mut named = BTreeSet::new();
    for (_, text) in papers() {
        for code in text.split('`').filter_map(|code| code.strip_prefix("vestibule ")) {
            let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            let mut words = code
                .split_whitespace()
                .take_while(is_word)
                .filter(|word| !word.starts_with('-'));
            let Some(first) = words.next() else { continue };
            let second = words
                .next()
                .filter(|_| ["users", "teams", "keys", "sessions", "audit", "db"].contains(&first));
            named.insert((first.to_owned(), second.map(str::to_owned)));
        }
    }
    assert!(named.len() > 5, "the names were not found");
    for (first, second) in named {
        let asked = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .arg(&first)
            .args(&second)
            .arg("--help")
            .output()
            .unwrap();
        assert!(
            asked.status.success(),
            "there is no `vestibule {first} {}`",
            second.unwrap_or_default()
        );
    }
}

#[test]
fn operations_tell_which_settings_a_reload_takes_up() {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, section) = text.split_once("\n## Reload\n").unwrap();
    let section = section.split("\n## ").next().unwrap_or_default();
    let told: BTreeSet<&str> = words(section).filter(|word| setting_of(word).is_some()).collect();
    let live = SETTINGS.iter().filter(|setting| setting.live);
    assert_eq!(told, live.map(|setting| setting.name).collect());
}

#[test]
fn the_changelog_knows_this_version() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(text.contains(env!("CARGO_PKG_VERSION")));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file of ours with its text.
fn papers() -> Vec<(PathBuf, String)> {
    let mut papers = Vec::new();
    collect(
        root(),
        &|path| path.extension().is_some_and(|end| end == "md"),
        &mut papers,
    );
    assert!(papers.len() >= 8, "the papers were not found");
    papers
}

/// Everything in deploy/ with its text.
fn deployments() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&root().join("deploy"), &|_| true, &mut files);
    assert!(files.len() >= 4, "the files of deploy/ were not found");
    files
}

fn collect(folder: &Path, wanted: &dyn Fn(&Path) -> bool, papers: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str()) {
                collect(&path, wanted, papers);
            }
        } else if wanted(&path) {
            let text = fs::read_to_string(&path).unwrap();
            papers.push((path, text));
        }
    }
}

/// Targets of `[…](…)` and `src="…"` that are no addresses of other places.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let all = text.split("](").skip(1).chain(text.split("src=\"").skip(1));
    all.filter_map(|rest| {
        let target = rest.split([')', '"', ' ', '\n']).next()?;
        (!target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")).then_some(target)
    })
}

/// What headings are called in links: lower case, spaces as `-`, nothing but letters, digits, `-` and `_`.
fn places(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let title = title.replace(' ', "-");
            title
                .chars()
                .filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_'))
                .collect()
        })
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}

/// `VESTIBULE_*` stands for all of them, and what begins with `VESTIBULE_TEST_` is for tests.
fn is_a_settings_name(word: &str) -> bool {
    (word.starts_with("VESTIBULE_") || word.starts_with("OIDC_"))
        && !word.ends_with('_')
        && !word.starts_with("VESTIBULE_TEST_")
}

fn setting_of(name: &str) -> Option<&'static Setting> {
    let named = |name: &str| {
        SETTINGS
            .iter()
            .find(|setting| setting.name == name || setting.aliases.contains(&name))
    };
    named(name).or_else(|| named(name.strip_suffix("_FILE")?).filter(|setting| setting.can_come_from_a_file()))
}

#[test]
fn the_readers_of_papers_find_what_they_look_for() {
    let text = "# A, b's\n[x](a.md#b) ![y](i.png) [z](https://e.org) <img src=\"j.png\"> `VESTIBULE_X`, OIDC_*";
    assert_eq!(links(text).collect::<Vec<_>>(), ["a.md#b", "i.png", "j.png"]);
    assert!(places(text).contains("a-bs"));
    assert_eq!(
        words(text).filter(|word| is_a_settings_name(word)).collect::<Vec<_>>(),
        ["VESTIBULE_X"]
    );
}
