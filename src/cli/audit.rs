//! `vestibule audit`: who did what.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::CommandError;
use super::output::{csv_cell, moment, show, time, to_stdout};
use crate::clock::UnixTime;
use crate::directory::{self, Actor, AuditEntry, AuditQuery};
use crate::store::Store;
use crate::telemetry::audit::{Event, Kind};

const PIECE: usize = 500;
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

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The newest events
    List {
        #[command(flatten)]
        chosen: Chosen,
        /// How many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// All events, newest first: a JSON object a line, one array with --json
    Export {
        #[command(flatten)]
        chosen: Chosen,
        /// As CSV instead
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Chosen {
    /// Only what this person did, or what was done to them: e-mail address or id, also of somebody who is gone
    #[arg(long, value_name = "WHO")]
    user: Option<String>,
    /// Only this event: sign_in, refusal, role_change, …
    #[arg(long, value_parser = event)]
    event: Option<Kind>,
    /// Not before this time: 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, value_parser = moment)]
    since: Option<UnixTime>,
    /// Before this time
    #[arg(long, value_parser = moment)]
    until: Option<UnixTime>,
}

fn event(word: &str) -> Result<Kind, String> {
    Kind::parse(word).ok_or_else(|| {
        let all: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("there is no such event; there are {}", all.join(", "))
    })
}

pub(super) async fn run(command: Command, store: &Store, json: bool) -> Result<(), CommandError> {
    let (shell, now) = (Actor::shell(), UnixTime::now());
    match command {
        Command::List { chosen, limit } => {
            let entries = read(store, &shell, chosen, limit).await?;
            let columns = ["id", "at", "event", "actor_kind", "actor_name", "target_name", "detail"];
            show(entries.iter().map(object).collect(), &columns, json);
        }
        Command::Export { chosen, csv } => {
            let entries = read(store, &shell, chosen, usize::MAX).await?;
            if csv {
                to_stdout(FIELDS.join(","));
                for entry in &entries {
                    to_stdout(as_csv(&object(entry)));
                }
            } else if json {
                show(entries.iter().map(object).collect(), &[], true);
            } else {
                for entry in &entries {
                    to_stdout(object(entry));
                }
            }
            // That somebody took them is an event, too.
            let event = Event::new(Kind::AuditExport, &shell).detail("rows", &entries.len().to_string());
            directory::note(store, event, now).await;
        }
    }
    Ok(())
}

async fn read(store: &Store, shell: &Actor, chosen: Chosen, limit: usize) -> Result<Vec<AuditEntry>, CommandError> {
    let mut query = AuditQuery {
        person: chosen.user,
        event: chosen.event,
        from: chosen.since,
        until: chosen.until,
        after: None,
        limit: limit.clamp(1, PIECE),
    };
    let mut entries = Vec::new();
    while entries.len() < limit {
        let page = directory::audit(store, shell, &query).await?;
        entries.extend(page.rows);
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    entries.truncate(limit);
    Ok(entries)
}

fn object(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id,
        "at": time(entry.at),
        "event": entry.event,
        "actor_kind": entry.actor_kind,
        "actor_id": entry.actor_id,
        "actor_name": entry.actor_name,
        "address": entry.address,
        "target_kind": entry.target_kind,
        "target_id": entry.target_id,
        "target_name": entry.target_name,
        "before": entry.before,
        "after": entry.after,
        "detail": entry.detail,
        "request_id": entry.request_id,
    })
}

fn as_csv(object: &Value) -> String {
    let none = Map::new();
    let object = object.as_object().unwrap_or(&none);
    let cells = FIELDS.iter().map(|field| match object.get(*field) {
        None | Some(Value::Null) => csv_cell(""),
        Some(Value::String(text)) => csv_cell(text),
        Some(other) => csv_cell(&other.to_string()),
    });
    cells.collect::<Vec<_>>().join(",")
}
