//! The arrows between the rooms (docs/architecture.md), read from the code itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every room may use these; among themselves only as `ARROWS` says.
const LEAVES: &[&str] = &["clock", "config", "jose", "person", "seal", "telemetry", "trust"];

/// What a room may use besides the leaves. A room that is not here does not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("person", &[]),
    ("seal", &[]),
    ("telemetry", &["clock", "config", "person"]),
    ("trust", &[]),
    ("config", &["clock", "person", "seal"]),
    ("jose", &["clock"]),
    ("pages", &[]),
    ("store", &[]),
    ("identity", &["store"]),
    ("session", &["identity", "store"]),
    ("directory", &["store"]),
    ("sign_in", &["directory", "identity", "pages", "session", "store"]),
    (
        "console",
        &["directory", "identity", "pages", "session", "sign_in", "store"],
    ),
    // The way of a request: no SQL, so no arrow to the store.
    ("gateway", &["console", "identity", "pages", "session", "sign_in"]),
    (
        "ops",
        &["directory", "gateway", "identity", "session", "sign_in", "store"],
    ),
    (
        "cli",
        &[
            "console",
            "directory",
            "gateway",
            "identity",
            "ops",
            "pages",
            "session",
            "sign_in",
            "store",
        ],
    ),
];

#[test]
fn rooms_use_each_other_only_along_the_arrows() {
    let mut wrong = Vec::new();
    for (file, code) in sources() {
        let room = room_of(&file);
        let Some((_, arrows)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: the room {room} is not in the table", file.display()));
            continue;
        };
        let leaves: &[&str] = if LEAVES.contains(&room.as_str()) { &[] } else { LEAVES };
        for used in rooms_used(&code) {
            if used != room && !arrows.contains(&used.as_str()) && !leaves.contains(&used.as_str()) {
                wrong.push(format!("{}: {room} may not use {used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_arrows_has_no_way_round() {
    // Rooms are taken away as soon as all that they may use is away; a circle would be left over.
    let mut left: BTreeMap<&str, BTreeSet<&str>> = ARROWS
        .iter()
        .map(|(room, arrows)| {
            let leaves: &[&str] = if LEAVES.contains(room) { &[] } else { LEAVES };
            (*room, arrows.iter().chain(leaves).copied().collect())
        })
        .collect();
    loop {
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, uses)| uses.iter().all(|used| !left.contains_key(used)))
            .map(|(room, _)| *room)
            .collect();
        if free.is_empty() {
            break;
        }
        for room in free {
            left.remove(room);
        }
    }
    assert!(left.is_empty(), "these rooms use each other in a circle: {left:?}");
}

#[test]
fn every_room_of_the_library_is_in_the_table() {
    let lib = fs::read_to_string(source_root().join("lib.rs")).unwrap();
    let rooms: BTreeSet<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(rooms, ARROWS.iter().map(|(room, _)| *room).collect());
}

#[test]
fn only_the_clock_asks_what_time_it_is() {
    assert_only_in("clock", &["SystemTime::now", "Timestamp::now", "Zoned::now"]);
}

#[test]
fn only_the_config_room_reads_the_environment() {
    assert_only_in("config", &["env::var", "env::vars"]);
}

#[test]
fn only_the_store_speaks_sql() {
    assert_only_in("store", &["sqlx::", "SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM"]);
}

#[test]
fn only_jose_chooses_algorithms() {
    // Two lists of algorithms in one house would one day differ.
    for (file, code) in sources() {
        // The identity room signs, with one algorithm, and says which.
        if ["jose", "identity"].contains(&room_of(&file).as_str()) {
            continue;
        }
        assert!(!code.contains("jsonwebtoken::"), "{} uses jsonwebtoken", file.display());
    }
}

fn assert_only_in(room: &str, words: &[&str]) {
    for (file, code) in sources() {
        for word in words {
            assert!(
                room_of(&file) == room || !code.contains(word),
                "{} says `{word}`: that is for the room {room}",
                file.display()
            );
        }
    }
}

/// Every source file but `lib.rs` and `main.rs`, without its comments and its tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&source_root(), &mut files);
    let sources: Vec<_> = files
        .into_iter()
        .map(|file| {
            let code = fs::read_to_string(&file).unwrap();
            let short = file.strip_prefix(source_root()).unwrap().to_owned();
            (short, without_comments_and_tests(&code))
        })
        .collect();
    assert!(sources.len() >= ARROWS.len(), "the sources were not found");
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("tests") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|end| end == "rs")
            && !["lib.rs", "main.rs", "tests.rs", "testing.rs"]
                .iter()
                .any(|other| path.ends_with(other))
        {
            files.push(path);
        }
    }
}

/// Tests stand last in a file (CONTRIBUTING.md); what they use is their own matter.
fn without_comments_and_tests(code: &str) -> String {
    code.lines()
        .take_while(|line| *line != "mod tests {")
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// `gateway` for `gateway/route.rs` and for `gateway.rs`.
fn room_of(file: &Path) -> String {
    let first = file.iter().next().unwrap().to_string_lossy();
    first.strip_suffix(".rs").unwrap_or(&first).to_owned()
}

/// Every `x` of a `crate::x`, and of `crate::{x, y::Z}`.
fn rooms_used(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(list) => rooms.extend(first_words(list)),
            None => rooms.extend(word(after)),
        }
    }
    rooms
}

/// The first word of each item of a use list, lists inside it passed over.
fn first_words(list: &str) -> Vec<String> {
    let (mut depth, mut begins, mut words) = (0_usize, true, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !character.is_whitespace() => {
                words.extend(word(&list[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    words
}

/// The module name that `text` begins with; types and macros at the crate's root are none.
fn word(text: &str) -> Option<String> {
    let end = text
        .find(|character: char| !character.is_ascii_lowercase() && character != '_')
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[test]
fn uses_are_found_in_every_spelling() {
    let code =
        "use crate::clock::UnixTime;\nuse crate::{person::{Role, UserId}, store};\nlet x = crate::seal::random();";
    let found = rooms_used(code);
    assert_eq!(found, ["clock", "person", "seal", "store"].map(str::to_owned).into());
}
