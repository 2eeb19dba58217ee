//! How commands speak: tables for people, one JSON array for programs, and nothing that plays tricks on a terminal.

use std::fmt::{Display, Write as _};
use std::io::Write as _;

use serde_json::Value;

use crate::clock::UnixTime;

/// Writes `vestibule: …` to standard error.
pub(super) fn to_stderr(text: impl Display) {
    // A reader that went away is no reason to fail.
    let _ = writeln!(std::io::stderr(), "vestibule: {text}");
}

/// Writes text to standard output.
pub(super) fn to_stdout(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Shows objects that have the same fields: one JSON array, or a table of their values.
pub(super) fn show(objects: Vec<Value>, columns: &[&str], json: bool) {
    if json {
        return to_stdout(format_args!("{:#}", Value::Array(objects)));
    }
    if objects.is_empty() {
        return to_stdout("none");
    }
    let mut rows = vec![columns.iter().map(|column| column.to_uppercase()).collect::<Vec<_>>()];
    rows.extend(
        objects
            .iter()
            .map(|object| columns.iter().map(|column| cell(&object[*column])).collect()),
    );
    to_stdout(table(&rows));
}

/// Rows with their columns under each other.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..count)
        .map(|at| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        })
        .collect();
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    }
}

/// Text from outside for a terminal: what would not be seen, or would move what is seen, is escaped.
pub(super) fn visible(text: &str) -> String {
    let mut seen = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' => seen.push(c),
            // Escapes control, format and other unprintable characters, and no others.
            c => seen.extend(c.escape_debug()),
        }
    }
    seen
}

/// A time as somebody types it: RFC 3339, or a day, which begins at midnight UTC.
pub(super) fn moment(text: &str) -> Result<UnixTime, String> {
    let wrong = || "it is no time; write 2026-01-31 or 2026-01-31T12:00:00Z".to_owned();
    let whole = if text.len() == 10 {
        format!("{text}T00:00:00Z")
    } else {
        text.to_owned()
    };
    let time: jiff::Timestamp = whole.parse().map_err(|_| wrong())?;
    Ok(UnixTime(time.as_second()))
}

/// A time as commands show it: RFC 3339, UTC.
pub(super) fn time(at: UnixTime) -> Value {
    Value::from(at.rfc3339())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{moment, time, visible};
    use crate::clock::UnixTime;

    #[test]
    fn a_name_from_outside_does_nothing_to_a_terminal() {
        assert_eq!(visible("Ada \"the\" \\ Łovelace 🦀"), "Ada \"the\" \\ Łovelace 🦀");
        for odd in ["\u{1b}[2J", "a\nb", "\u{202e}txt", "\u{9b}1m", "\u{200b}"] {
            let seen = visible(odd);
            assert!(
                !seen
                    .chars()
                    .any(|c| c.is_control() || ('\u{2000}'..'\u{2070}').contains(&c)),
                "{seen:?}"
            );
        }
    }

    #[test]
    fn a_time_is_a_day_or_a_moment() {
        assert_eq!(moment("1970-01-02"), Ok(UnixTime(86_400)));
        assert_eq!(moment("1970-01-01T02:00:00+01:00"), Ok(UnixTime(3_600)));
        for text in ["yesterday", "2026-13-01", "2026-01-31T12:00", ""] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(time(UnixTime(1_700_000_000)), json!("2023-11-14T22:13:20Z"));
    }
}
