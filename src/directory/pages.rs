//! A list by the page: a page begins behind a row, not after a number of rows, so that it is as fast at the end as at the
//! beginning and nobody is skipped or seen twice when others come and go.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::store::Position;

/// The most rows of a page.
pub const MOST: usize = 500;

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// In order.
    pub rows: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
    /// Where the page before ends, if there is one.
    pub previous: Option<Cursor>,
    /// How many there are in all; None for more than is counted.
    pub total: Option<u64>,
}

/// Where a page begins or ends: a text for links, of no meaning to anybody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// A cursor as it came back. One that is none leads to the first page.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn of(position: &Position) -> Self {
        // A number and texts always make JSON; an empty cursor would lead to the first page.
        Self(URL_SAFE_NO_PAD.encode(serde_json::to_vec(position).unwrap_or_default()))
    }

    pub(super) fn position(&self) -> Option<Position> {
        let json = URL_SAFE_NO_PAD.decode(&self.0).ok()?;
        let position: Position = serde_json::from_slice(&json).ok()?;
        // PostgreSQL takes no NUL in a text.
        (!self.0.is_empty() && !json.contains(&0) && !position.has_nul()).then_some(position)
    }
}

/// How many rows to ask for: one more than are shown tells whether there are more.
pub(super) fn asked(limit: usize) -> i64 {
    i64::try_from(limit.clamp(1, MOST)).unwrap_or(1) + 1
}

/// The page of rows that were asked for so, in order.
pub(super) fn page<T>(
    mut rows: Vec<T>,
    limit: usize,
    from: Option<&Position>,
    place: impl Fn(&T, bool) -> Position,
) -> Page<T> {
    let limit = limit.clamp(1, MOST);
    let backwards = from.is_some_and(|from| from.backwards);
    let more = rows.len() > limit;
    if more && backwards {
        rows.remove(0);
    } else {
        rows.truncate(limit);
    }
    let after = rows.last().filter(|_| backwards || more);
    let before = rows.first().filter(|_| if backwards { more } else { from.is_some() });
    Page {
        next: after.map(|row| Cursor::of(&place(row, false))),
        previous: before.map(|row| Cursor::of(&place(row, true))),
        total: None,
        rows,
    }
}

impl<T> Page<T> {
    /// A page of nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            rows: Vec::new(),
            next: None,
            previous: None,
            total: Some(0),
        }
    }

    pub(super) fn map<U>(self, each: impl FnMut(T) -> U) -> Page<U> {
        Page {
            rows: self.rows.into_iter().map(each).collect(),
            next: self.next,
            previous: self.previous,
            total: self.total,
        }
    }
}
