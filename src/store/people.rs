//! People by the page: searched, filtered, sorted, from wherever somebody stands. Stays fast however many there are.
//!
//! What is sorted by stands folded in columns of its own (`sort_…`), each with an index that ends in the id, and a page
//! begins behind a key, not after a number of rows. Searched is by the beginnings of words (`user_words`). The page is
//! found on one of two ways: where few match one of the conditions, those few are read and sorted; where many do, the
//! order's index is followed until the page is full.

use std::collections::BTreeSet;

use super::link::{Question, Row};
use super::{Reading, StoreError, UserRow, Writing};
use crate::person::{self, Role};

/// So many may be sorted for a page.
const FEW: i64 = 1_000;
/// Words by which one person is found.
const MOST_WORDS: usize = 24;
const LONGEST_WORD: usize = 64;

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

    /// The column, as it is compared with a key, and both directions of the order.
    const fn pieces(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Email => (
                "(users.sort_email, users.id)",
                " ORDER BY users.sort_email, users.id LIMIT ",
                " ORDER BY users.sort_email DESC, users.id DESC LIMIT ",
            ),
            Self::Name => (
                "(users.sort_name, users.id)",
                " ORDER BY users.sort_name, users.id LIMIT ",
                " ORDER BY users.sort_name DESC, users.id DESC LIMIT ",
            ),
            Self::Created => (
                "(users.created, users.id)",
                " ORDER BY users.created, users.id LIMIT ",
                " ORDER BY users.created DESC, users.id DESC LIMIT ",
            ),
            Self::SignedIn => (
                "(users.sort_seen, users.id)",
                " ORDER BY users.sort_seen, users.id LIMIT ",
                " ORDER BY users.sort_seen DESC, users.id DESC LIMIT ",
            ),
        }
    }

    fn fits(self, key: &SortKey) -> bool {
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
    fn holds(self, question: &mut Question<'a>, postgres: bool) {
        let (role_is, status_is) = if postgres {
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

/// The conditions of a search, and the one that fewest meet, where those are few.
struct Way<'a> {
    leads: Vec<Lead<'a>>,
    narrow: Option<usize>,
    postgres: bool,
}

impl<'a> Way<'a> {
    /// `FROM … WHERE …` of all who meet the conditions.
    fn of(&self, question: &mut Question<'a>) {
        match self.narrow.and_then(|at| self.leads.get(at)) {
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
        for (at, lead) in self.leads.iter().enumerate() {
            if Some(at) != self.narrow {
                lead.holds(question, self.postgres);
            }
        }
    }
}

impl Reading {
    /// One page, in the order asked for.
    pub(crate) async fn people(&mut self, search: &PeopleSearch<'_>) -> Result<Vec<UserRow>, StoreError> {
        let lasts = lasts(&search.words);
        let way = self.way(search, &lasts).await?;
        let question = page(search, &way);
        let rows = self.link.answer(question).await?;
        let mut people: Vec<UserRow> = rows.iter().map(UserRow::read).collect::<Result<_, _>>()?;
        if search.from.is_some_and(|from| from.backwards) {
            people.reverse();
        }
        Ok(people)
    }

    /// How many there are in all; None for more than anybody wants counted.
    pub(crate) async fn count_people(&mut self, search: &PeopleSearch<'_>) -> Result<Option<u64>, StoreError> {
        let lasts = lasts(&search.words);
        let way = self.way(search, &lasts).await?;
        if way.leads.is_empty() {
            let n: i64 = self.link.one("SELECT COUNT(*) AS n FROM users", &[]).await?.get("n")?;
            return Ok(u64::try_from(n).ok());
        }
        let mut question = Question::default();
        question.say("SELECT COUNT(*) AS n FROM (SELECT users.id");
        way.of(&mut question);
        question.say(" LIMIT ").value(FEW + 1).say(") AS counted");
        let n: i64 = match self.link.answer(question).await?.first() {
            Some(row) => row.get("n")?,
            None => 0,
        };
        Ok(u64::try_from(n).ok().filter(|_| n <= FEW))
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
        let mut fewest: Option<(i64, usize)> = None;
        for (at, lead) in leads.iter().enumerate() {
            let mut question = Question::default();
            question.say("SELECT COUNT(*) AS n FROM (");
            lead.ids(&mut question);
            question.say(" LIMIT ").value(FEW + 1).say(") AS few");
            let n: i64 = match self.link.answer(question).await?.first() {
                Some(row) => row.get("n")?,
                None => 0,
            };
            if n <= FEW && fewest.is_none_or(|(least, _)| n < least) {
                fewest = Some((n, at));
            }
        }
        let postgres = self.link.is_postgres();
        // A condition on the row itself PostgreSQL weighs against the order by its statistics.
        let led = |at: &usize| !postgres || !matches!(leads.get(*at), Some(Lead::Role(..) | Lead::Status(_)));
        let narrow = fewest.map(|(_, at)| at).filter(led);
        Ok(Way {
            leads,
            narrow,
            postgres,
        })
    }
}

fn page<'a>(search: &'a PeopleSearch<'_>, way: &Way<'a>) -> Question<'a> {
    let (columns, ascending, descending) = search.sort.pieces();
    let from = search.from.filter(|from| search.sort.fits(&from.key));
    let downwards = search.descending != from.is_some_and(|from| from.backwards);
    let mut question = Question::default();
    question.say("SELECT users.*");
    way.of(&mut question);
    if let Some(from) = from {
        question
            .say(" AND ")
            .say(columns)
            .say(if downwards { " < (" } else { " > (" });
        match &from.key {
            SortKey::Number(number) => question.value(*number),
            SortKey::Text(text) => question.value(text.as_str()),
        };
        question.say(", ").value(from.id.as_str()).say(")");
    }
    question
        .say(if downwards { descending } else { ascending })
        .value(search.limit);
    question
}

/// Behind every word that begins with each of these: no character sorts after the last one.
fn lasts(words: &[String]) -> Vec<String> {
    words.iter().map(|word| format!("{word}{}", char::MAX)).collect()
}

pub(super) fn sort_email(user: &UserRow) -> &str {
    user.email.as_ref().map_or("", |(_, folded)| folded)
}

pub(super) fn sort_name(user: &UserRow) -> String {
    let shown = user.name.as_deref();
    let shown = shown.or(user.username.as_ref().map(|(shown, _)| shown.as_str()));
    person::folded(shown.unwrap_or_else(|| sort_email(user)))
}

pub(super) fn sort_seen(user: &UserRow) -> i64 {
    user.signed_in.map_or(0, |time| time.0)
}

/// By what somebody is found: address, user name and names, and each from any of its parts on (`john.smith@example.com`,
/// `smith@example.com`, `example.com`).
fn words(user: &UserRow) -> BTreeSet<String> {
    let name = person::folded(user.name.as_deref().unwrap_or_default());
    let username = user.username.as_ref().map_or("", |(_, folded)| folded);
    let texts = name.split_whitespace().chain(username.split_whitespace());
    let mut words = BTreeSet::new();
    for text in [sort_email(user)].into_iter().chain(texts) {
        let mut inside = false;
        for (at, c) in text.char_indices() {
            // The whole, too, whatever it begins with.
            if (c.is_alphanumeric() && !inside || at == 0) && words.len() < MOST_WORDS {
                words.insert(
                    text.chars()
                        .skip(text[..at].chars().count())
                        .take(LONGEST_WORD)
                        .collect(),
                );
            }
            inside = c.is_alphanumeric();
        }
    }
    words
}

/// The beginnings of words that a text asks for, folded; at most four.
pub(crate) fn asked_words(text: &str) -> Vec<String> {
    let folded: String = person::folded(text).chars().filter(|c| *c != '\0').collect();
    let cut = |word: &str| word.chars().take(LONGEST_WORD).collect();
    folded.split_whitespace().take(4).map(cut).collect()
}

impl Writing {
    /// Makes somebody findable by their words.
    pub(super) async fn write_words(&mut self, user: &UserRow) -> Result<(), StoreError> {
        let words = words(user);
        self.link
            .execute("DELETE FROM user_words WHERE user_id = $1", &[user.id.as_str().into()])
            .await?;
        if words.is_empty() {
            return Ok(());
        }
        let mut question = Question::default();
        question.say("INSERT INTO user_words (word, user_id) VALUES ");
        for (at, word) in words.iter().enumerate() {
            question
                .say(if at == 0 { "(" } else { ", (" })
                .value(word.as_str())
                .say(", ")
                .value(user.id.as_str())
                .say(")");
        }
        self.link.answer(question).await.map(drop)
    }

    /// Writes what people are sorted and found by, of all that were there before it was.
    pub(super) async fn index_people(&mut self) -> Result<(), StoreError> {
        let rows: Vec<Row> = self.link.rows("SELECT * FROM users", &[]).await?;
        for row in &rows {
            let user = UserRow::read(row)?;
            let sql = "UPDATE users SET status = $2, sort_email = $3, sort_name = $4, sort_seen = $5 WHERE id = $1";
            let name = sort_name(&user);
            let values = [
                user.id.as_str().into(),
                user.status().into(),
                sort_email(&user).into(),
                name.as_str().into(),
                sort_seen(&user).into(),
            ];
            self.link.execute(sql, &values).await?;
            self.write_words(&user).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "people/tests.rs"]
mod tests;

#[cfg(test)]
impl Reading {
    /// How the database would find this page, in its own words.
    pub(crate) async fn plan_of(&mut self, search: &PeopleSearch<'_>) -> Result<String, StoreError> {
        let lasts = lasts(&search.words);
        let way = self.way(search, &lasts).await?;
        let mut explain = Question::default();
        explain.say(if self.link.is_postgres() {
            "EXPLAIN "
        } else {
            "EXPLAIN QUERY PLAN "
        });
        explain.append(page(search, &way));
        let column = if self.link.is_postgres() {
            "QUERY PLAN"
        } else {
            "detail"
        };
        let rows = self.link.answer(explain).await?;
        let lines: Result<Vec<String>, _> = rows.iter().map(|row| row.get(column)).collect();
        Ok(lines?.join("\n"))
    }
}
