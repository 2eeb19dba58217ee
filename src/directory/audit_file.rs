//! The audit log as files of it: objects of JSON and lines of CSV, the same from the console and from a shell.

use serde_json::{Value, json};

use super::AuditEntry;

/// The fields, in the order of the columns of CSV.
const FIELDS: [&str; 14] = [
    "id",
    "at",
    "event",
    "actor_kind",
    "actor_id",
    "actor_name",
    "address",
    "target_kind",
    "target_id",
    "target_name",
    "before",
    "after",
    "detail",
    "request_id",
];

impl AuditEntry {
    /// With stable field names, which docs/commands.md has.
    #[must_use]
    pub fn object(&self) -> Value {
        json!({
            "id": self.id,
            "at": self.at.rfc3339(),
            "event": self.event,
            "actor_kind": self.actor_kind,
            "actor_id": self.actor_id,
            "actor_name": self.actor_name,
            "address": self.address,
            "target_kind": self.target_kind,
            "target_id": self.target_id,
            "target_name": self.target_name,
            "before": self.before,
            "after": self.after,
            "detail": self.detail,
            "request_id": self.request_id,
        })
    }

    /// A line of CSV with its end (RFC 4180).
    #[must_use]
    pub fn csv(&self) -> String {
        let object = self.object();
        let cells = FIELDS.map(|field| match &object[field] {
            Value::Null => cell(""),
            Value::String(text) => cell(text),
            other => cell(&other.to_string()),
        });
        cells.join(",") + "\r\n"
    }

    /// The line above those of [`AuditEntry::csv`].
    #[must_use]
    pub fn csv_head() -> String {
        FIELDS.join(",") + "\r\n"
    }

    /// An event by somebody of this name.
    #[cfg(test)]
    pub(crate) fn example(name: &str) -> Self {
        Self {
            id: 7,
            at: crate::clock::UnixTime(1_700_000_000),
            event: "role_change".to_owned(),
            actor_kind: "person".to_owned(),
            actor_id: Some("u_1".to_owned()),
            actor_name: Some(name.to_owned()),
            address: None,
            target_kind: Some("user".to_owned()),
            target_id: Some("u_2".to_owned()),
            target_name: None,
            before: Some(json!({"role": "member"})),
            after: Some(json!({"role": "admin"})),
            detail: None,
            request_id: None,
        }
    }
}

/// A spreadsheet takes some beginnings for a formula, and a name may be anybody's: an apostrophe before them makes it text.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_formula_in_a_spreadsheet_and_no_second_cell() {
        for (name, cell) in [
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("a,\"b\"\r\nc", "\"a,\"\"b\"\"\r\nc\""),
        ] {
            let line = AuditEntry::example(name).csv();
            assert!(line.contains(cell), "{line}");
        }
    }

    #[test]
    fn a_line_of_csv_has_the_columns_of_its_head() {
        assert_eq!(AuditEntry::csv_head().split(',').count(), 14);
        assert_eq!(
            AuditEntry::example("Ada").csv(),
            "\"7\",\"2023-11-14T22:13:20Z\",\"role_change\",\"person\",\"u_1\",\"Ada\",\"\",\"user\",\"u_2\",\"\",\
             \"{\"\"role\"\":\"\"member\"\"}\",\"{\"\"role\"\":\"\"admin\"\"}\",\"\",\"\"\r\n"
        );
    }

    #[test]
    fn every_event_is_one_line_of_json() {
        let line = AuditEntry::example("a\n\"b\u{2028}").object().to_string();
        assert_eq!(line.lines().count(), 1);
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["actor_name"], "a\n\"b\u{2028}");
        assert_eq!(object["at"], "2023-11-14T22:13:20Z");
        assert_eq!(object["after"]["role"], "admin");
    }
}
