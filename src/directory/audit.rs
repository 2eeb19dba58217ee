//! Reading the audit log. Nothing here or anywhere writes to a row that is there.

use serde_json::Value;

use super::access::Acting;
use super::pages::{Cursor, Page, asked, page};
use super::people::plain;
use super::rules::Action;
use super::{Actor, ChangeError};
use crate::clock::UnixTime;
use crate::person::EmailAddress;
use crate::store::{AuditRow, AuditSearch, Position, Reading, SortKey, Store, StoreError};
use crate::telemetry::audit::Kind;

/// What to show, newest first.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// What this person did or what was done to them: an id, or an address, also of somebody who is gone.
    pub person: Option<String>,
    /// Only this.
    pub event: Option<Kind>,
    /// Not before this time.
    pub from: Option<UnixTime>,
    /// Before this time.
    pub until: Option<UnixTime>,
    /// Which page; None for the first.
    pub after: Option<Cursor>,
    /// Rows of a page.
    pub limit: usize,
}

/// One row.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Its number, in the order of what happened.
    pub id: i64,
    /// When.
    pub at: UnixTime,
    /// What: a word of [`Kind`], or a newer program's.
    pub event: String,
    /// `person`, `shell`, `provider`, `stranger`, `system`.
    pub actor_kind: String,
    /// The account of a person.
    pub actor_id: Option<String>,
    /// What they were called then.
    pub actor_name: Option<String>,
    /// From which address.
    pub address: Option<String>,
    /// `user`, `team`, `key`.
    pub target_kind: Option<String>,
    /// Its id.
    pub target_id: Option<String>,
    /// What it was called then.
    pub target_name: Option<String>,
    /// What was before.
    pub before: Option<Value>,
    /// What was after.
    pub after: Option<Value>,
    /// More about it: an object of texts.
    pub detail: Option<Value>,
    /// The id of the request that brought it.
    pub request_id: Option<String>,
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        // What is no JSON was not written by us; shown as the text that it is.
        let json = |text: Option<String>| text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
        Self {
            id: row.id,
            at: row.at,
            event: row.event,
            actor_kind: row.actor_kind,
            actor_id: row.actor_id,
            actor_name: row.actor_name,
            address: row.address,
            target_kind: row.target_kind,
            target_id: row.target_id,
            target_name: row.target_name,
            before: json(row.before),
            after: json(row.after),
            detail: json(row.detail),
            request_id: row.request_id,
        }
    }
}

/// One page of the audit log, newest first.
///
/// # Errors
/// If whoever acts may not see it.
pub async fn audit(store: &Store, actor: &Actor, query: &AuditQuery) -> Result<Page<AuditEntry>, ChangeError> {
    let mut reading = store.reading().await?;
    Acting::read(&mut reading, actor).await?.must_here(Action::SeeAudit)?;
    let id = match query.person.as_deref() {
        Some(person) => Some(id_of(&mut reading, person).await?),
        None => None,
    };
    let from = query.after.as_ref().and_then(Cursor::position);
    let number = from.as_ref().and_then(|from| match from.key {
        SortKey::Number(number) => Some(number),
        SortKey::Text(_) => None,
    });
    let backwards = from.as_ref().is_some_and(|from| from.backwards);
    let search = AuditSearch {
        id: id.as_deref(),
        event: query.event.map(Kind::as_str),
        from: query.from,
        until: query.until,
        below: number.filter(|_| !backwards),
        above: number.filter(|_| backwards),
        limit: asked(query.limit),
    };
    let mut rows = reading.audit(&search).await?;
    if search.above.is_some() {
        rows.reverse();
    }
    let place = |row: &AuditRow, backwards| Position {
        key: SortKey::Number(row.id),
        id: String::new(),
        backwards,
    };
    Ok(page(rows, query.limit, from.as_ref(), place).map(AuditEntry::from))
}

/// The id of somebody who is here, or was.
async fn id_of(reading: &mut Reading, person: &str) -> Result<String, StoreError> {
    let person = plain(person);
    if let Ok(email) = EmailAddress::parse(&person) {
        if let Some(user) = reading.user_by_email(email.folded()).await? {
            return Ok(user.id.to_string());
        }
        if let Some(id) = reading.audited_as(email.as_str()).await? {
            return Ok(id);
        }
    }
    Ok(person)
}
