//! By what people are found and in which order they stand: a row for each of their words, which holds what they are sorted and
//! filtered by, too, so that a search that many meet reads nothing else.

use std::collections::BTreeSet;

use super::link::{Question, Row};
use super::{StoreError, UserRow, Writing};
use crate::person;

/// Words by which one person is found.
pub(super) const MOST_WORDS: usize = 24;
const LONGEST_WORD: usize = 64;

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
        let (words, name) = (words(user), sort_name(user));
        self.link
            .execute("DELETE FROM user_words WHERE user_id = $1", &[user.id.as_str().into()])
            .await?;
        if words.is_empty() {
            return Ok(());
        }
        let mut question = Question::default();
        question.say(
            "INSERT INTO user_words (word, user_id, role, status, sort_email, sort_name, created, sort_seen) VALUES ",
        );
        for (at, word) in words.iter().enumerate() {
            question
                .say(if at == 0 { "(" } else { ", (" })
                .value(word.as_str())
                .say(", ")
                .value(user.id.as_str())
                .say(", ")
                .value(user.role.as_str())
                .say(", ")
                .value(user.status())
                .say(", ")
                .value(sort_email(user))
                .say(", ")
                .value(name.as_str())
                .say(", ")
                .value(user.created.0)
                .say(", ")
                .value(sort_seen(user))
                .say(")");
        }
        self.link.answer(question).await.map(drop)
    }

    /// Somebody's words stay, and what they are sorted and filtered by has changed.
    pub(super) async fn sort_words(&mut self, user: &UserRow) -> Result<(), StoreError> {
        let sql = "UPDATE user_words SET role = $2, status = $3, sort_seen = $4 WHERE user_id = $1";
        let values = [
            user.id.as_str().into(),
            user.role.as_str().into(),
            user.status().into(),
            sort_seen(user).into(),
        ];
        self.link.execute(sql, &values).await.map(drop)
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
