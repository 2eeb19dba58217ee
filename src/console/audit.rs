//! The audit log: filters, pages, and files of it.

use std::fmt::Write as _;

use askama::Template;
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use serde_json::Value;

use super::form::Form;
use super::frame::Part;
use super::moment::{self, Moment};
use super::people::ROWS;
use super::refusal::Refusal;
use super::{Answer, Console, Visit, link};
use crate::clock::UnixTime;
use crate::directory::{self, Actor, AuditEntry, AuditQuery, Cursor};
use crate::pages::console::{Frame, finished};
use crate::telemetry::audit::{Event, Kind};

/// The most events of a file: all of them are in memory for a moment.
const MOST: usize = 10_000;
/// Rows that are read at once for a file.
const AT_ONCE: usize = 500;

/// An event as a page shows it.
pub(super) struct Entry {
    pub(super) at: Moment,
    pub(super) event: String,
    pub(super) actor: String,
    pub(super) address: String,
    pub(super) target: String,
    pub(super) target_href: Option<String>,
    /// Word and value.
    pub(super) more: Vec<(String, String)>,
}

impl Entry {
    pub(super) fn of(entry: AuditEntry) -> Self {
        let target = entry.target_name.filter(|name| !name.is_empty());
        let target_id = entry.target_id.unwrap_or_default();
        let target_href = match entry.target_kind.as_deref() {
            Some("user") => Some(link(&format!("/people/{target_id}"), &[])),
            Some("team") => Some(link(&format!("/teams/{target_id}"), &[])),
            _ => None,
        };
        let mut more = Vec::new();
        for (word, value) in [("before", entry.before), ("after", entry.after)] {
            if let Some(value) = value {
                more.push((word.to_owned(), shown(&value)));
            }
        }
        match entry.detail {
            Some(Value::Object(details)) => {
                more.extend(details.iter().map(|(word, value)| (word.clone(), shown(value))));
            }
            Some(other) => more.push(("detail".to_owned(), shown(&other))),
            None => {}
        }
        more.extend(entry.request_id.map(|id| ("request".to_owned(), id)));
        Self {
            at: Moment(entry.at),
            event: words(&entry.event),
            actor: entry.actor_name.unwrap_or(entry.actor_kind),
            address: entry.address.unwrap_or_default(),
            target: target.unwrap_or(target_id),
            target_href,
            more,
        }
    }
}

/// `role_change` as people read it.
fn words(event: &str) -> String {
    event.replace('_', " ")
}

/// An object of one level as `role: admin, status: active`.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}: {}", shown(value)))
                .collect();
            fields.join(", ")
        }
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditPage<'a> {
    frame: Frame,
    person: &'a str,
    event: &'a str,
    events: Vec<(&'static str, String)>,
    from: &'a str,
    until: &'a str,
    json_lines: String,
    csv: String,
    most: usize,
    days: u64,
    entries: Vec<Entry>,
    previous: Option<String>,
    next: Option<String>,
}

pub(super) async fn show(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    let asked = Form::of_filters(visit.query.as_deref())?;
    let page = directory::audit(&console.store, &visit.actor(), &query(&asked, ROWS)?).await?;
    let filters = filters(&asked);
    let to = |cursor: Option<Cursor>| {
        cursor.map(|cursor| {
            let mut fields = filters.to_vec();
            fields.push(("after", cursor.as_str()));
            link("/audit", &fields)
        })
    };
    let page = AuditPage {
        frame: console.frame(visit, Part::Audit, "Audit log", now),
        person: asked.text("person"),
        event: asked.text("event"),
        events: Kind::ALL
            .iter()
            .map(|kind| (kind.as_str(), words(kind.as_str())))
            .collect(),
        from: asked.text("from"),
        until: asked.text("until"),
        json_lines: link("/audit/events.jsonl", &filters),
        csv: link("/audit/events.csv", &filters),
        most: MOST,
        days: console.settings.audit_kept.as_secs() / 86_400,
        entries: page.rows.into_iter().map(Entry::of).collect(),
        previous: to(page.previous),
        next: to(page.next),
    };
    Ok(finished(StatusCode::OK, &page))
}

fn filters(asked: &Form) -> [(&'static str, &str); 4] {
    ["person", "event", "from", "until"].map(|name| (name, asked.text(name)))
}

fn query(asked: &Form, limit: usize) -> Result<AuditQuery, Refusal> {
    Ok(AuditQuery {
        person: asked.filter("person", |text| Some(text.to_owned()))?,
        event: asked.filter("event", Kind::parse)?,
        from: asked.filter("from", moment::read)?,
        until: asked.filter("until", moment::read)?,
        after: asked.cursor(),
        limit,
    })
}

/// A file of the newest events of what is chosen. That somebody took one is an event, too.
pub(super) async fn file(console: &Console, visit: &Visit, csv: bool, now: UnixTime) -> Answer {
    let asked = Form::of_filters(visit.query.as_deref())?;
    let actor = visit.actor();
    let (entries, cut) = read(console, &actor, &asked).await?;
    let (kind, ending, text) = if csv {
        ("text/csv; charset=utf-8", "csv", as_csv(&entries))
    } else {
        ("application/x-ndjson", "jsonl", as_json_lines(&entries))
    };
    let name = name_of(ending, cut);
    let chosen: Vec<String> = filters(&asked)
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let event = Event::new(Kind::AuditExport, &actor)
        .detail("rows", &entries.len().to_string())
        .detail("chosen", &chosen.join(" "));
    directory::note(&console.store, event, now).await;
    let mut response = Response::new(Bytes::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// A file that does not hold all of them says so by its name.
fn name_of(ending: &str, cut: bool) -> String {
    if cut {
        format!("audit-newest-{MOST}.{ending}")
    } else {
        format!("audit.{ending}")
    }
}

/// The newest events of what is chosen, and whether there are more than a file takes.
async fn read(console: &Console, actor: &Actor, asked: &Form) -> Result<(Vec<AuditEntry>, bool), Refusal> {
    let mut entries = Vec::new();
    let mut query = query(asked, AT_ONCE)?;
    query.after = None;
    loop {
        let page = directory::audit(&console.store, actor, &query).await?;
        entries.extend(page.rows);
        match page.next {
            Some(next) if entries.len() < MOST => query.after = Some(next),
            next => {
                let cut = next.is_some() || entries.len() > MOST;
                entries.truncate(MOST);
                return Ok((entries, cut));
            }
        }
    }
}

fn as_json_lines(entries: &[AuditEntry]) -> String {
    let mut text = String::new();
    for entry in entries {
        // Writing to a String does not fail, and a JSON string has no line break in it.
        let _ = writeln!(text, "{}", entry.object());
    }
    text
}

fn as_csv(entries: &[AuditEntry]) -> String {
    std::iter::once(AuditEntry::csv_head())
        .chain(entries.iter().map(AuditEntry::csv))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_line_for_every_event_and_says_when_there_are_more() {
        let entries = [AuditEntry::example("a"), AuditEntry::example("b")];
        assert_eq!(as_json_lines(&entries).lines().count(), 2);
        assert_eq!(as_csv(&entries).matches("\r\n").count(), 3);
        assert_eq!(name_of("csv", false), "audit.csv");
        assert_eq!(name_of("csv", true), "audit-newest-10000.csv");
    }

    #[test]
    fn what_changed_reads_as_words() {
        let shown = Entry::of(AuditEntry::example("Ada"));
        assert_eq!(shown.event, "role change");
        assert_eq!(shown.more[0], ("before".to_owned(), "role: member".to_owned()));
        assert_eq!(shown.target_href.as_deref(), Some("/.vestibule/console/people/u_2"));
    }
}
