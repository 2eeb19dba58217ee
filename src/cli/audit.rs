//! `vestibule audit`: who did what.

use std::io::{self, BufWriter, Write};

use clap::{Args, Subcommand};

use super::CommandError;
use super::output::{moment, show};
use crate::clock::UnixTime;
use crate::directory::{self, Actor, AuditEntry, AuditQuery};
use crate::store::Store;
use crate::telemetry::audit::{Event, Kind};

/// Events of a page.
const PIECE: usize = 500;
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
    let shell = Actor::shell();
    match command {
        Command::List { chosen, limit } => {
            let mut pages = Pages::of(chosen, limit);
            let mut entries = Vec::new();
            while entries.len() < limit
                && let Some(page) = pages.next(store, &shell).await?
            {
                entries.extend(page);
            }
            entries.truncate(limit);
            let columns = ["id", "at", "event", "actor_kind", "actor_name", "target_name", "detail"];
            show(entries.iter().map(AuditEntry::object).collect(), &columns, json);
        }
        Command::Export { chosen, csv } => {
            let mut file = File::to(std::io::stdout(), csv, json);
            let outcome = export(store, &shell, Pages::of(chosen, PIECE), &mut file).await;
            // That somebody took them is an event, too, also when they did not get all.
            let event = Event::new(Kind::AuditExport, &shell).detail("rows", &file.rows.to_string());
            directory::note(store, event, UnixTime::now()).await;
            outcome?;
        }
    }
    Ok(())
}

/// A page after the other, however many there are: nothing but a page is ever in memory.
async fn export(
    store: &Store,
    shell: &Actor,
    mut pages: Pages,
    file: &mut File<impl Write>,
) -> Result<(), CommandError> {
    let mut written = file.begin();
    while written.is_ok()
        && let Some(page) = pages.next(store, shell).await?
    {
        written = page.iter().try_for_each(|entry| file.write(entry));
    }
    match written.and_then(|()| file.end()) {
        // A reader that went away is no reason to fail.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(|error| CommandError::Said(format!("the events can't be written: {error}"))),
    }
}

/// The pages of what is chosen.
struct Pages {
    query: AuditQuery,
    over: bool,
}

impl Pages {
    fn of(chosen: Chosen, limit: usize) -> Self {
        let query = AuditQuery {
            person: chosen.user,
            event: chosen.event,
            from: chosen.since,
            until: chosen.until,
            after: None,
            limit: limit.clamp(1, PIECE),
        };
        Self { query, over: false }
    }

    async fn next(&mut self, store: &Store, shell: &Actor) -> Result<Option<Vec<AuditEntry>>, CommandError> {
        if self.over {
            return Ok(None);
        }
        let page = directory::audit(store, shell, &self.query).await?;
        self.over = page.next.is_none();
        self.query.after = page.next;
        Ok(Some(page.rows))
    }
}

/// An export under way.
struct File<W: Write> {
    out: BufWriter<W>,
    shape: Shape,
    rows: usize,
}

#[derive(Clone, Copy)]
enum Shape {
    Lines,
    Array,
    Csv,
}

impl<W: Write> File<W> {
    fn to(out: W, csv: bool, json: bool) -> Self {
        let shape = match (csv, json) {
            (true, _) => Shape::Csv,
            (_, true) => Shape::Array,
            _ => Shape::Lines,
        };
        let out = BufWriter::new(out);
        Self { out, shape, rows: 0 }
    }

    fn begin(&mut self) -> io::Result<()> {
        match self.shape {
            Shape::Lines => Ok(()),
            Shape::Array => write!(self.out, "["),
            Shape::Csv => write!(self.out, "{}", AuditEntry::csv_head()),
        }
    }

    fn write(&mut self, entry: &AuditEntry) -> io::Result<()> {
        match self.shape {
            Shape::Lines => writeln!(self.out, "{}", entry.object()),
            Shape::Array => {
                let between = if self.rows == 0 { "\n" } else { ",\n" };
                write!(self.out, "{between}{}", entry.object())
            }
            Shape::Csv => write!(self.out, "{}", entry.csv()),
        }?;
        self.rows += 1;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if matches!(self.shape, Shape::Array) {
            writeln!(self.out, "\n]")?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::store::testing::places;

    fn all() -> Chosen {
        Chosen {
            user: None,
            event: None,
            since: None,
            until: None,
        }
    }

    async fn exported(store: &Store, csv: bool, json: bool) -> String {
        let mut file = File::to(Vec::new(), csv, json);
        let pages = Pages::of(all(), PIECE);
        export(store, &Actor::shell(), pages, &mut file).await.unwrap();
        String::from_utf8(file.out.into_inner().unwrap()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_export_has_every_event_once_however_many_there_are() {
        for place in places().await {
            let store = place.open().await;
            assert_eq!(exported(&store, false, true).await, "[\n]\n");
            let mut writing = store.writing().await.unwrap();
            for n in 0..=2 * PIECE {
                let event = Event::new(Kind::AuditExport, &Actor::shell()).detail("rows", &n.to_string());
                writing.record(event, UnixTime(1_800_000_000)).await.unwrap();
            }
            writing.commit().await.unwrap();

            let array: Vec<Value> = serde_json::from_str(&exported(&store, false, true).await).unwrap();
            let rows: Vec<&str> = array
                .iter()
                .filter_map(|event| event["detail"]["rows"].as_str())
                .collect();
            let expected: Vec<String> = (0..=2 * PIECE).rev().map(|n| n.to_string()).collect();
            assert_eq!(rows, expected);
            let lines = exported(&store, false, false).await;
            let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines, array);
            let csv = exported(&store, true, false).await;
            assert_eq!(csv.lines().count(), 2 * PIECE + 2);
            assert_eq!(csv.lines().next(), Some(AuditEntry::csv_head().trim_end()));
        }
    }

    struct Full(io::ErrorKind);

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_is_said_and_a_reader_that_has_enough_is_no_failure() {
        let place = crate::store::testing::Place::sqlite();
        let store = place.open().await;
        for (kind, is_failure) in [(io::ErrorKind::StorageFull, true), (io::ErrorKind::BrokenPipe, false)] {
            let mut file = File::to(Full(kind), true, false);
            let outcome = export(&store, &Actor::shell(), Pages::of(all(), PIECE), &mut file).await;
            assert_eq!(outcome.is_err(), is_failure, "{kind}");
        }
    }
}
