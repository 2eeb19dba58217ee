//! Wrong passwords, counted for all processes together and across restarts: what is counted, and what too many is, the
//! sign-in knows.

use crate::clock::UnixTime;
use crate::store::{Store, StoreError, Taken};

/// What came of taking a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guess {
    /// The place's number.
    Place(i64),
    /// All are taken; since when each.
    TooMany(Vec<UnixTime>),
}

/// Takes one of `most` places of `whose`; each is free again after `window` seconds.
///
/// # Errors
/// If the store does not answer.
pub async fn take_guess(
    store: &Store,
    whose: &[u8; 32],
    most: usize,
    window: i64,
    now: UnixTime,
) -> Result<Guess, StoreError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut writing = store.writing().await?;
    let taken = writing
        .take_failure(whose, most, now.plus(-window), now.plus(window), now)
        .await?;
    writing.commit().await?;
    Ok(match taken {
        Taken::Place(slot) => Guess::Place(slot),
        Taken::Full(since) => Guess::TooMany(since),
    })
}

/// When the places that are taken were.
///
/// # Errors
/// If the store does not answer.
pub async fn guesses(store: &Store, whose: &[u8; 32], window: i64, now: UnixTime) -> Result<Vec<UnixTime>, StoreError> {
    let taken = store
        .reading()
        .await?
        .failures(whose, now.plus(-window), now.plus(window))
        .await?;
    Ok(taken.into_iter().map(|(_, at)| at).collect())
}

/// Gives a place back: it was no wrong password.
///
/// # Errors
/// If the store does not answer.
pub async fn give_guess_back(store: &Store, whose: &[u8; 32], place: i64, at: UnixTime) -> Result<(), StoreError> {
    let mut writing = store.writing().await?;
    writing.give_failure_back(whose, place, at).await?;
    writing.commit().await
}

/// Forgets all of somebody's: the right password came.
///
/// # Errors
/// If the store does not answer.
pub async fn forget_guesses(store: &Store, whose: &[u8; 32]) -> Result<(), StoreError> {
    let mut writing = store.writing().await?;
    writing.forget_failures(whose).await?;
    writing.commit().await
}
