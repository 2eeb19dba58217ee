//! The audit log at rest. Written with what it tells of, in one transaction; no verb changes a row.

use serde_json::{Map, Value as Json};

use super::link::{Question, Row};
use super::{Reading, RefusedRow, Store, StoreError, Writing};
use crate::clock::UnixTime;
use crate::telemetry::audit::{Event, Kind};

/// Rows of refusals in an hour: strangers decide how often they knock. The log target has them all.
const REFUSALS_AN_HOUR: i64 = 500;
/// Rows of refusals that are kept at all.
const REFUSALS: i64 = 20_000;

/// A row of `audit`.
#[derive(Clone, Debug)]
pub(crate) struct AuditRow {
    pub(crate) id: i64,
    pub(crate) at: UnixTime,
    pub(crate) event: String,
    pub(crate) actor_kind: String,
    pub(crate) actor_id: Option<String>,
    pub(crate) actor_name: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) target_kind: Option<String>,
    pub(crate) target_id: Option<String>,
    pub(crate) target_name: Option<String>,
    /// JSON.
    pub(crate) before: Option<String>,
    /// JSON.
    pub(crate) after: Option<String>,
    /// JSON: an object of texts.
    pub(crate) detail: Option<String>,
    pub(crate) request_id: Option<String>,
}

/// What is looked for; newest first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AuditSearch<'a> {
    /// Actor or target.
    pub(crate) id: Option<&'a str>,
    pub(crate) event: Option<&'a str>,
    pub(crate) from: Option<UnixTime>,
    pub(crate) until: Option<UnixTime>,
    /// Older than this row.
    pub(crate) below: Option<i64>,
    /// Newer than this row: then oldest first.
    pub(crate) above: Option<i64>,
    pub(crate) limit: i64,
}

impl AuditRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            at: UnixTime(row.get("at")?),
            event: row.get("event")?,
            actor_kind: row.get("actor_kind")?,
            actor_id: row.get("actor_id")?,
            actor_name: row.get("actor_name")?,
            address: row.get("address")?,
            target_kind: row.get("target_kind")?,
            target_id: row.get("target_id")?,
            target_name: row.get("target_name")?,
            before: row.get("before")?,
            after: row.get("after")?,
            detail: row.get("detail")?,
            request_id: row.get("request_id")?,
        })
    }
}

impl Writing {
    /// Writes an event down, with everything else in this transaction or not at all; the log is told after the commit.
    pub(crate) async fn record(&mut self, event: Event, now: UnixTime) -> Result<(), StoreError> {
        // The lock row numbers them, so that they stand in the order in which they were committed.
        let sql = "UPDATE instance SET audited = audited + 1 WHERE one = 1 RETURNING audited";
        let id: i64 = self.link.one(sql, &[]).await?.get("audited")?;
        let json = |value: &Option<Json>| value.as_ref().map(Json::to_string);
        let (before, after) = (json(&event.before), json(&event.after));
        let detail: Map<String, Json> = event
            .detail
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
            .collect();
        let detail = (!detail.is_empty()).then(|| Json::Object(detail).to_string());
        let address = event.actor.address.map(|address| address.to_string());
        let target = event.target.as_ref();
        let values = [
            id.into(),
            now.0.into(),
            event.kind.as_str().into(),
            event.actor.who.as_str().into(),
            event.actor.user().map(crate::person::UserId::as_str).into(),
            Some(event.actor.name()).into(),
            address.as_deref().into(),
            target.map(|target| target.kind).into(),
            target.map(|target| target.id.as_str()).into(),
            target.map(|target| target.name.as_str()).into(),
            before.as_deref().into(),
            after.as_deref().into(),
            detail.as_deref().into(),
            event.actor.request_id.as_deref().into(),
        ];
        let sql = "INSERT INTO audit (id, at, event, actor_kind, actor_id, actor_name, address, target_kind, target_id, \
                   target_name, before, after, detail, request_id) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        self.link.execute(sql, &values).await?;
        self.recorded.push(event);
        Ok(())
    }

    /// Takes away what is older than `before`, and the oldest refusals beyond their number, at most so many of each. Says how
    /// many it were where they were most.
    pub(crate) async fn sweep_audit(&mut self, before: UnixTime, most: i64) -> Result<u64, StoreError> {
        let sql = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)";
        let mut swept = self.link.execute(sql, &[before.0.into(), most.into()]).await?;
        let sql = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE event = $1 AND id <= \
                   (SELECT id FROM audit WHERE event = $1 ORDER BY id DESC LIMIT 1 OFFSET $2) ORDER BY id LIMIT $3)";
        for kind in [Kind::Refusal, Kind::Denied] {
            let values = [kind.as_str().into(), REFUSALS.into(), most.into()];
            swept = swept.max(self.link.execute(sql, &values).await?);
        }
        Ok(swept)
    }
}

impl Store {
    /// Writes down an event that goes with no change, and whom admins may approve for it. Of refusals so many in an hour; what goes beyond is in the log only,
    /// and the last row that fits says so.
    pub(crate) async fn note(
        &self,
        event: Event,
        refused: Option<&RefusedRow>,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let mut writing = self.writing().await?;
        // The lock row first, as everybody does who takes it: whoever holds it may want a row that we had.
        writing
            .link
            .execute("UPDATE instance SET audited = audited WHERE one = 1", &[])
            .await?;
        let (mut event, mut in_the_log_only) = (event, false);
        if matches!(event.kind, Kind::Refusal | Kind::Denied) {
            let sql = "SELECT COUNT(*) AS n FROM \
                       (SELECT at FROM audit WHERE event = $1 ORDER BY id DESC LIMIT $3) AS newest WHERE at > $2";
            let since = now.plus(-3600).0;
            let values = [event.kind.as_str().into(), since.into(), REFUSALS_AN_HOUR.into()];
            match writing.link.one(sql, &values).await?.get::<i64>("n")? {
                n if n >= REFUSALS_AN_HOUR => in_the_log_only = true,
                n if n == REFUSALS_AN_HOUR - 1 => {
                    event = event.detail("more", "further refusals of this hour are in the log only");
                }
                _ => {}
            }
        }
        if in_the_log_only {
            writing.recorded.push(event);
        } else {
            writing.record(event, now).await?;
        }
        if let Some(row) = refused {
            writing.remember_refused(row).await?;
        }
        writing.commit().await
    }
}

const SELECT: &str = "SELECT id, at, event, actor_kind, actor_id, actor_name, address, target_kind, target_id, \
                       target_name, before, after, detail, request_id FROM audit WHERE ";

impl Reading {
    /// Rows of the audit log, by number.
    pub(crate) async fn audit(&mut self, search: &AuditSearch<'_>) -> Result<Vec<AuditRow>, StoreError> {
        let question = ask(search);
        self.link.answer(question).await?.iter().map(AuditRow::read).collect()
    }

    /// Whom the audit log called this last: people who are gone have no row of their own any more.
    pub(crate) async fn audited_as(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        let sql =
            "SELECT target_id FROM audit WHERE target_name = $1 AND target_kind = 'user' ORDER BY id DESC LIMIT 1";
        let row = self.link.row(sql, &[name.into()]).await?;
        row.map(|row| row.get("target_id")).transpose()
    }
}

/// One statement by one index: of a person what they did and what was done to them, each by its own.
fn ask<'a>(search: &AuditSearch<'a>) -> Question<'a> {
    let mut question = Question::default();
    let order = if search.above.is_some() {
        " ORDER BY id ASC LIMIT "
    } else {
        " ORDER BY id DESC LIMIT "
    };
    if let Some(id) = search.id {
        for (column, before) in [
            ("actor_id = ", "SELECT * FROM ("),
            ("target_id = ", ") AS done UNION SELECT * FROM ("),
        ] {
            question.say(before).say(SELECT).say(column).value(id);
            narrow(&mut question, search);
            question.say(order).value(search.limit);
        }
        question.say(") AS suffered");
    } else {
        question.say(SELECT).say("1 = 1");
        narrow(&mut question, search);
    }
    question.say(order).value(search.limit);
    question
}

fn narrow<'a>(question: &mut Question<'a>, search: &AuditSearch<'a>) {
    if let Some(event) = search.event {
        question.say(" AND event = ").value(event);
    }
    if let Some(from) = search.from {
        question.say(" AND at >= ").value(from.0);
    }
    if let Some(until) = search.until {
        question.say(" AND at < ").value(until.0);
    }
    if let Some(below) = search.below {
        question.say(" AND id < ").value(below);
    }
    if let Some(above) = search.above {
        question.say(" AND id > ").value(above);
    }
}
