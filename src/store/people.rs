//! People by the page: searched, filtered, sorted, from wherever somebody stands. Stays fast however many there are.
//!
//! What is sorted by stands folded in columns of its own (`sort_…`), each with an index that ends in the id, and a page
//! begins behind a key, not after a number of rows. Searched is by the beginnings of words (`words.rs`). The page is
//! found on one of three ways. Where few match one of the conditions, those few are read and sorted. Where many match all
//! of them, the order's index is followed, but not far: many of a tenth may all stand at the other end. If that does not
//! fill the page, those who match one condition are gone through for the first in order, by the word's rows alone, which
//! hold what is sorted and filtered by.
//!
//! They are counted only as far as the page's own way counts them.

use super::link::Question;
use super::words::{MOST_WORDS, sort_email, sort_name, sort_seen};
use super::{Reading, StoreError, UserRow};
use crate::person::Role;

/// So many may be sorted for a page, and are counted.
const FEW: i64 = 1_000;
/// So many in the order are looked at, where a condition stands in the row itself, and where it stands elsewhere.
const NEAR: (i64, i64) = (4_000, 1_000);
/// Words of one person that begin alike, as a rule.
const ALIKE: i64 = 4;

/// Whom to find, in which order.
#[derive(Clone, Debug)]
pub(crate) struct PeopleSearch<'a> {
    /// Beginnings of words, folded: each must be there.
    pub(crate) words: Vec<String>,
    pub(crate) role: Option<Role>,
    pub(crate) status: Option<&'static str>,
    /// Members of this team.
    pub(crate) team: Option<&'a str>,
    pub(crate) sort: SortBy,
    pub(crate) descending: bool,
    /// The page before begins or ends here.
    pub(crate) from: Option<&'a Position>,
    pub(crate) limit: i64,
}

/// What is sorted by; the id follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortBy {
    Email,
    Name,
    Created,
    SignedIn,
}

/// The place of a row in its order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Position {
    pub(crate) key: SortKey,
    pub(crate) id: String,
    /// The page ends before it.
    pub(crate) backwards: bool,
}

/// What a row is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub(crate) enum SortKey {
    Number(i64),
    Text(String),
}

impl Position {
    /// Whether it holds what PostgreSQL takes in no text.
    pub(crate) fn has_nul(&self) -> bool {
        self.id.contains('\0') || matches!(&self.key, SortKey::Text(text) if text.contains('\0'))
    }
}

impl SortBy {
    /// The key of a row, as it is stored.
    pub(crate) fn key(self, user: &UserRow) -> SortKey {
        match self {
            Self::Email => SortKey::Text(sort_email(user).to_owned()),
            Self::Name => SortKey::Text(sort_name(user)),
            Self::Created => SortKey::Number(user.created.0),
            Self::SignedIn => SortKey::Number(sort_seen(user)),
        }
    }

    /// What is compared with a place in the order, the key alone, and the order, in this direction.
    const fn pieces(self, downwards: bool) -> (&'static str, &'static str, &'static str) {
        match (self, downwards) {
            (Self::Email, false) => (
                "(users.sort_email, users.id)",
                "users.sort_email",
                " ORDER BY users.sort_email, users.id LIMIT ",
            ),
            (Self::Email, true) => (
                "(users.sort_email, users.id)",
                "users.sort_email",
                " ORDER BY users.sort_email DESC, users.id DESC LIMIT ",
            ),
            (Self::Name, false) => (
                "(users.sort_name, users.id)",
                "users.sort_name",
                " ORDER BY users.sort_name, users.id LIMIT ",
            ),
            (Self::Name, true) => (
                "(users.sort_name, users.id)",
                "users.sort_name",
                " ORDER BY users.sort_name DESC, users.id DESC LIMIT ",
            ),
            (Self::Created, false) => (
                "(users.created, users.id)",
                "users.created",
                " ORDER BY users.created, users.id LIMIT ",
            ),
            (Self::Created, true) => (
                "(users.created, users.id)",
                "users.created",
                " ORDER BY users.created DESC, users.id DESC LIMIT ",
            ),
            (Self::SignedIn, false) => (
                "(users.sort_seen, users.id)",
                "users.sort_seen",
                " ORDER BY users.sort_seen, users.id LIMIT ",
            ),
            (Self::SignedIn, true) => (
                "(users.sort_seen, users.id)",
                "users.sort_seen",
                " ORDER BY users.sort_seen DESC, users.id DESC LIMIT ",
            ),
        }
    }

    /// Whether a key is of this order.
    pub(crate) fn fits(self, key: &SortKey) -> bool {
        matches!(
            (self, key),
            (Self::Email | Self::Name, SortKey::Text(_)) | (Self::Created | Self::SignedIn, SortKey::Number(_))
        )
    }
}

/// One condition that can lead to the people.
#[derive(Clone, Copy)]
enum Lead<'a> {
    Team(&'a str),
    Word(&'a str, &'a str),
    Role(Role, Option<&'static str>),
    Status(&'static str),
}

impl<'a> Lead<'a> {
    /// The ids of those who meet it, by an index of its own.
    fn ids(self, question: &mut Question<'a>) {
        match self {
            Self::Team(team) => question
                .say("SELECT DISTINCT user_id FROM team_members WHERE team_id = ")
                .value(team),
            Self::Word(first, last) => question
                .say("SELECT DISTINCT user_id FROM user_words WHERE word >= ")
                .value(first)
                .say(" AND word < ")
                .value(last),
            Self::Role(role, None) => question
                .say("SELECT id AS user_id FROM users WHERE role = ")
                .value(role.as_str()),
            Self::Role(role, Some(status)) => question
                .say("SELECT id AS user_id FROM users WHERE role = ")
                .value(role.as_str())
                .say(" AND status = ")
                .value(status),
            Self::Status(status) => question
                .say("SELECT id AS user_id FROM users WHERE status = ")
                .value(status),
        };
    }

    /// The same as a condition on a row of `users` that was found otherwise. `|| ''` keeps SQLite, which goes without
    /// statistics, from taking the filter's index and sorting everybody; PostgreSQL knows better by its own.
    fn holds(self, question: &mut Question<'a>, plain: bool) {
        let (role_is, status_is) = if plain {
            (" AND users.role = ", " AND users.status = ")
        } else {
            (" AND users.role || '' = ", " AND users.status || '' = ")
        };
        match self {
            Self::Team(team) => question
                .say(" AND EXISTS (SELECT 1 FROM team_members WHERE user_id = users.id AND team_id = ")
                .value(team)
                .say(")"),
            Self::Word(first, last) => question
                .say(" AND EXISTS (SELECT 1 FROM user_words WHERE user_id = users.id AND word >= ")
                .value(first)
                .say(" AND word < ")
                .value(last)
                .say(")"),
            Self::Role(role, None) => question.say(role_is).value(role.as_str()),
            Self::Role(role, Some(status)) => question.say(role_is).value(role.as_str()).say(status_is).value(status),
            Self::Status(status) => question.say(status_is).value(status),
        };
    }
}

/// The conditions of a search.
struct Way<'a> {
    leads: Vec<Lead<'a>>,
    /// The condition that fewest meet and how many do, where those are few.
    fewest: Option<(usize, i64)>,
    postgres: bool,
}

impl<'a> Way<'a> {
    /// The condition by which people are read and sorted.
    fn narrow(&self) -> Option<usize> {
        let (at, _) = self.fewest?;
        // A condition on the row itself PostgreSQL weighs against the order by its statistics.
        let in_row = matches!(self.leads.get(at), Some(Lead::Role(..) | Lead::Status(_)));
        (!(self.postgres && in_row)).then_some(at)
    }

    /// Whether the order has an index of its own for this condition.
    fn in_order(&self, sort: SortBy) -> bool {
        matches!(self.leads.as_slice(), [Lead::Status(_)]) && matches!(sort, SortBy::Created | SortBy::SignedIn)
    }

    /// `FROM … WHERE …` of all who meet the conditions, led by one of them or by none.
    fn of(&self, question: &mut Question<'a>, led_by: Option<usize>, in_order: bool) {
        match led_by.and_then(|at| self.leads.get(at)) {
            Some(lead) => {
                // A cross join is read from the left in SQLite: the few first.
                question.say(" FROM (");
                lead.ids(question);
                question.say(") AS hit CROSS JOIN users WHERE users.id = hit.user_id");
            }
            None => {
                question.say(" FROM users WHERE 1 = 1");
            }
        }
        self.rest(question, led_by, self.postgres || in_order);
    }

    /// The other conditions.
    fn rest(&self, question: &mut Question<'a>, led_by: Option<usize>, plain: bool) {
        for (at, lead) in self.leads.iter().enumerate() {
            if Some(at) != led_by {
                lead.holds(question, plain);
            }
        }
    }
}

/// Some people in their order.
#[derive(Debug)]
pub(crate) struct PeopleRows {
    pub(crate) rows: Vec<UserRow>,
    /// How many there are in all; None for more than are counted.
    pub(crate) total: Option<u64>,
}

impl Reading {
    /// One page, in the order asked for.
    pub(crate) async fn people(&mut self, search: &PeopleSearch<'_>) -> Result<PeopleRows, StoreError> {
        let lasts = lasts(&search.words);
        let way = self.way(search, &lasts).await?;
        let mut rows = self.rows_of(search, &way).await?;
        let total = self.total(search, &way, rows.len()).await?;
        if search.from.is_some_and(|from| from.backwards) {
            rows.reverse();
        }
        Ok(PeopleRows { rows, total })
    }

    async fn rows_of(&mut self, search: &PeopleSearch<'_>, way: &Way<'_>) -> Result<Vec<UserRow>, StoreError> {
        if way.leads.is_empty() || way.narrow().is_some() || way.in_order(search.sort) {
            return self.users_of(page(search, way, way.narrow(), None)).await;
        }
        let edge = self.edge(search, way).await?;
        let near = self.users_of(page(search, way, None, edge.as_ref())).await?;
        if edge.is_none() || is_full(&near, search) {
            return Ok(near);
        }
        let at = self.rarest(way).await?;
        let Some(Lead::Word(..)) = way.leads.get(at) else {
            return self.users_of(page(search, way, Some(at), None)).await;
        };
        let best = self.users_of(best_of_word(search, way, at, ALIKE)).await?;
        if is_full(&best, search) {
            return Ok(best);
        }
        // So many words of one person may begin alike.
        let all = i64::try_from(MOST_WORDS).unwrap_or(i64::MAX);
        self.users_of(best_of_word(search, way, at, all)).await
    }

    /// The condition by which many are gone through: the word that fewest have, if there is a word.
    async fn rarest(&mut self, way: &Way<'_>) -> Result<usize, StoreError> {
        let words = way.leads.iter().enumerate();
        let words: Vec<_> = words.filter(|(_, lead)| matches!(lead, Lead::Word(..))).collect();
        if let [] | [_] = words.as_slice() {
            return Ok(words.first().map_or(0, |(at, _)| *at));
        }
        let mut rarest = (i64::MAX, 0);
        for (at, lead) in words {
            rarest = rarest.min((self.count(many(*lead)).await?, at));
        }
        Ok(rarest.1)
    }

    async fn users_of(&mut self, question: Question<'_>) -> Result<Vec<UserRow>, StoreError> {
        let rows = self.link.answer(question).await?;
        rows.iter().map(UserRow::read).collect()
    }

    /// How many there are in all, where that is known without going through many.
    async fn total(
        &mut self,
        search: &PeopleSearch<'_>,
        way: &Way<'_>,
        rows: usize,
    ) -> Result<Option<u64>, StoreError> {
        let counted = |n: i64| u64::try_from(n).ok();
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        if search.from.is_none() && rows < search.limit {
            return Ok(counted(rows));
        }
        Ok(match way.fewest {
            _ if way.leads.is_empty() => counted(self.count(count(way, None)).await?),
            Some((_, n)) if way.leads.len() == 1 => counted(n),
            Some((at, _)) => counted(self.count(count(way, Some(at))).await?),
            None => None,
        })
    }

    async fn count(&mut self, question: Question<'_>) -> Result<i64, StoreError> {
        match self.link.answer(question).await?.first() {
            Some(row) => row.get("n"),
            None => Ok(0),
        }
    }

    /// Up to where the order is followed; None for its end.
    async fn edge(&mut self, search: &PeopleSearch<'_>, way: &Way<'_>) -> Result<Option<Position>, StoreError> {
        let Some(row) = self.link.answer(edge(search, way)).await?.into_iter().next() else {
            return Ok(None);
        };
        let key = match search.sort {
            SortBy::Email | SortBy::Name => SortKey::Text(row.get("key")?),
            SortBy::Created | SortBy::SignedIn => SortKey::Number(row.get("key")?),
        };
        Ok(Some(Position {
            key,
            id: row.get("id")?,
            backwards: false,
        }))
    }

    async fn way<'a>(&mut self, search: &'a PeopleSearch<'_>, lasts: &'a [String]) -> Result<Way<'a>, StoreError> {
        let mut leads: Vec<Lead<'a>> = Vec::new();
        leads.extend(search.team.map(Lead::Team));
        leads.extend(
            search
                .words
                .iter()
                .zip(lasts)
                .map(|(first, last)| Lead::Word(first, last)),
        );
        match (search.role, search.status) {
            (Some(role), status) => leads.push(Lead::Role(role, status)),
            (None, Some(status)) => leads.push(Lead::Status(status)),
            (None, None) => {}
        }
        let mut fewest: Option<(usize, i64)> = None;
        for (at, lead) in leads.iter().enumerate() {
            let n = self.count(few(*lead)).await?;
            if n <= FEW && fewest.is_none_or(|(_, least)| n < least) {
                fewest = Some((at, n));
            }
        }
        Ok(Way {
            leads,
            fewest,
            postgres: self.link.is_postgres(),
        })
    }
}

fn is_full(rows: &[UserRow], search: &PeopleSearch<'_>) -> bool {
    i64::try_from(rows.len()).is_ok_and(|rows| rows >= search.limit)
}

/// How many meet a condition, as far as they are few.
fn few(lead: Lead<'_>) -> Question<'_> {
    let mut question = Question::default();
    question.say("SELECT COUNT(*) AS n FROM (");
    lead.ids(&mut question);
    // As the index has them: PostgreSQL would rather look through the people for so many of a third.
    match lead {
        Lead::Role(..) => question.say(" ORDER BY role, status, id"),
        Lead::Status(_) => question.say(" ORDER BY status, created, id"),
        Lead::Team(_) | Lead::Word(..) => &mut question,
    };
    question.say(" LIMIT ").value(FEW + 1).say(") AS few");
    question
}

/// How many rows of words fit, as far as it is worth to know.
fn many(lead: Lead<'_>) -> Question<'_> {
    let mut question = Question::default();
    question.say("SELECT COUNT(*) AS n FROM (SELECT word FROM user_words");
    if let Lead::Word(first, last) = lead {
        question
            .say(" WHERE word >= ")
            .value(first)
            .say(" AND word < ")
            .value(last);
    }
    question
        .say(" ORDER BY word, user_id LIMIT ")
        .value(20 * FEW)
        .say(") AS many");
    question
}

/// How many meet all conditions.
fn count<'a>(way: &Way<'a>, led_by: Option<usize>) -> Question<'a> {
    let mut question = Question::default();
    question.say("SELECT COUNT(*) AS n");
    way.of(&mut question, led_by, false);
    question
}

/// Whether the order is gone through downwards, and from where.
fn direction<'a>(search: &PeopleSearch<'a>) -> (bool, Option<&'a Position>) {
    let from = search.from.filter(|from| search.sort.fits(&from.key));
    (search.descending != from.is_some_and(|from| from.backwards), from)
}

/// Only those who stand behind a place in the order, or before it.
fn beside<'a>(question: &mut Question<'a>, columns: &'static str, sign: &'static str, place: &'a Position) {
    question.say(" AND ").say(columns).say(sign);
    match &place.key {
        SortKey::Number(number) => question.value(*number),
        SortKey::Text(text) => question.value(text.as_str()),
    };
    question.say(", ").value(place.id.as_str()).say(")");
}

const fn behind(downwards: bool) -> &'static str {
    if downwards { " < (" } else { " > (" }
}

/// The row in the order up to which it is followed.
fn edge<'a>(search: &PeopleSearch<'a>, way: &Way<'_>) -> Question<'a> {
    let (downwards, from) = direction(search);
    let (columns, key, order) = search.sort.pieces(downwards);
    let in_row = |lead: &Lead<'_>| matches!(lead, Lead::Role(..) | Lead::Status(_));
    let near = if way.leads.iter().all(in_row) { NEAR.0 } else { NEAR.1 };
    let mut question = Question::default();
    question
        .say("SELECT ")
        .say(key)
        .say(" AS key, users.id FROM users WHERE 1 = 1");
    if let Some(from) = from {
        beside(&mut question, columns, behind(downwards), from);
    }
    question.say(order).value(1).say(" OFFSET ").value(near);
    question
}

/// A page of those who meet the conditions, up to an edge of the order.
fn page<'a>(
    search: &PeopleSearch<'a>,
    way: &Way<'a>,
    led_by: Option<usize>,
    edge: Option<&'a Position>,
) -> Question<'a> {
    let (downwards, from) = direction(search);
    let (columns, _, order) = search.sort.pieces(downwards);
    let mut question = Question::default();
    question.say("SELECT users.*");
    way.of(&mut question, led_by, way.in_order(search.sort));
    if let Some(from) = from {
        beside(&mut question, columns, behind(downwards), from);
    }
    if let Some(edge) = edge {
        beside(&mut question, columns, if downwards { " >= (" } else { " <= (" }, edge);
    }
    question.say(order).value(search.limit);
    question
}

/// A page of those who have a word and meet the other conditions, found among the word's rows. Nobody stands there more often
/// than `alike` times, or the page may come out short.
fn best_of_word<'a>(search: &PeopleSearch<'a>, way: &Way<'a>, at: usize, alike: i64) -> Question<'a> {
    let (downwards, from) = direction(search);
    let (columns, _, order) = search.sort.pieces(downwards);
    let mut question = Question::default();
    // Under the same names as the people themselves. To sort out who stands there twice among all is dear; among the first
    // it is not.
    question.say(
        "SELECT users.* FROM (SELECT DISTINCT user_id FROM (SELECT users.id AS user_id FROM (SELECT user_id AS id, word, \
         role, status, sort_email, sort_name, created, sort_seen FROM user_words) AS users WHERE 1 = 1",
    );
    if let Some(Lead::Word(first, last)) = way.leads.get(at) {
        question
            .say(" AND users.word >= ")
            .value(*first)
            .say(" AND users.word < ")
            .value(*last);
    }
    way.rest(&mut question, Some(at), true);
    if let Some(from) = from {
        beside(&mut question, columns, behind(downwards), from);
    }
    question
        .say(order)
        .value(search.limit.saturating_mul(alike))
        .say(") AS best) AS hit CROSS JOIN users WHERE users.id = hit.user_id")
        .say(order)
        .value(search.limit);
    question
}

/// Behind every word that begins with each of these: no character sorts after the last one.
fn lasts(words: &[String]) -> Vec<String> {
    words.iter().map(|word| format!("{word}{}", char::MAX)).collect()
}

#[cfg(test)]
#[path = "people/tests.rs"]
mod tests;
