//! Wrong passwords, counted: guessing is slowed and stopped before the directory's own locking starts, so that a stranger
//! can't lock people out of the whole company.
//!
//! A try takes its place before the password is looked at, so that many at once are not more than are allowed. People's
//! places are the store's, which several processes share: a row for each wrong password, at most as many as are allowed, so
//! that who goes on guessing writes nothing more. An address has a piece of ten places for each row: guesses at made-up names
//! write one in ten times, one at a time. Names that nobody has are counted in memory only, in a room of their own that
//! made-up names can fill without harm. In front of all of it stands this process's memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::clock::UnixTime;
use crate::directory::{self, Guess};
use crate::seal;
use crate::store::{Store, StoreError};

/// How long a wrong password counts, in seconds.
pub(super) const WINDOW: i64 = 15 * 60;
/// Places for people, for made-up names, and for addresses. A place is some hundred bytes.
const MOST_PEOPLE: usize = 100_000;
const MOST_NAMES: usize = 10_000;
const MOST_ADDRESSES: usize = 50_000;
/// Rows of one address.
const PIECES: usize = 5;

/// Whose wrong passwords are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    /// A person's, by the entry's stable id, from any browser that they have not signed in with before.
    Person(&'a str),
    /// The same person's, from one browser that they have: a stranger can't use it up.
    Device(&'a str, &'a str),
    /// A name that nobody has.
    Name(&'a str),
}

/// Where somebody knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door<'a> {
    /// An address, which may be many people's.
    Address(IpAddr),
    /// A browser that somebody has signed in with before, by its newest name: a count of its own, for when the others at its
    /// address have used up theirs.
    Browser(&'a str),
}

/// Counts wrong passwords.
#[derive(Debug)]
pub(super) struct Failures {
    /// None: nobody else counts.
    store: Option<Store>,
    per_person: usize,
    per_address: usize,
    people: Mutex<Room>,
    names: Mutex<Room>,
    addresses: Mutex<Room>,
    /// One address is written down at a time.
    writing: Arc<Semaphore>,
}

/// Too many; seconds until it is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany(pub(super) i64);

/// A place, or why there is none.
pub(super) type Try<'a> = Result<Place<'a>, TooMany>;

impl Failures {
    pub(super) fn new(store: Option<Store>, per_person: usize, per_address: usize) -> Self {
        Self {
            store,
            per_person,
            per_address,
            people: Mutex::new(Room::new(MOST_PEOPLE)),
            names: Mutex::new(Room::new(MOST_NAMES)),
            addresses: Mutex::new(Room::new(MOST_ADDRESSES)),
            writing: Arc::new(Semaphore::new(1)),
        }
    }

    /// Takes a place for a try, whoever it is about.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn at_door(&self, door: Door<'_>, now: UnixTime) -> Result<Try<'_>, StoreError> {
        let key = match door {
            Door::Address(client) => address(client),
            Door::Browser(device) => key(&["browser", device]),
        };
        let place = match self.take(&self.addresses, key, self.per_address, now) {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(store) = &self.store {
            let since = directory::guesses(store, &key, WINDOW, now).await?;
            if since.len() >= self.pieces() {
                let all = since.iter().flat_map(|at| vec![*at; self.piece()]).collect();
                return Ok(Err(full(&self.addresses, key, all, now)));
            }
        }
        Ok(Ok(place))
    }

    /// Takes a place for a try at somebody.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn at(&self, whose: Whose<'_>, now: UnixTime) -> Result<Try<'_>, StoreError> {
        let (room, key) = match whose {
            Whose::Person(subject) => (&self.people, key(&["person", subject])),
            Whose::Device(subject, device) => (&self.people, key(&["device", subject, device])),
            Whose::Name(name) => (&self.names, key(&["name", name])),
        };
        let mut place = match self.take(room, key, self.per_person, now) {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        if let (Some(store), Whose::Person(_) | Whose::Device(..)) = (&self.store, whose) {
            match directory::take_guess(store, &key, self.per_person, WINDOW, now).await? {
                Guess::Place(number) => place.stored = Some(number),
                // Other processes, or this one before it was started anew.
                Guess::TooMany(since) => return Ok(Err(full(room, key, since, now))),
            }
        }
        Ok(Ok(place))
    }

    /// How many wrong passwords of an address are one row, and how many rows are too many.
    fn piece(&self) -> usize {
        (self.per_address / PIECES).max(1)
    }

    fn pieces(&self) -> usize {
        self.per_address.div_ceil(self.piece())
    }

    fn take<'a>(&'a self, room: &'a Mutex<Room>, key: Key, limit: usize, now: UnixTime) -> Try<'a> {
        let mut locked = lock(room);
        if !locked.places.contains_key(&key) {
            locked.make_room(now);
        }
        let tries = locked.places.entry(key).or_default();
        tries.times.retain(|time| now.since(*time) < WINDOW);
        if tries.times.len() >= limit {
            return Err(wait(&tries.times, now));
        }
        tries.times.push(now);
        drop(locked);
        Ok(Place {
            failures: self,
            room,
            key,
            at: now,
            settled: false,
            stored: None,
        })
    }

    /// An address was wrong once more: every so often all processes are told.
    fn wrong_from_address(&self, key: Key, now: UnixTime) {
        let due = {
            let mut locked = lock(&self.addresses);
            locked.places.get_mut(&key).is_some_and(|tries| {
                tries.kept += 1;
                tries.kept.is_multiple_of(self.piece())
            })
        };
        let (true, Some(store), Ok(turn)) = (due, self.store.clone(), Arc::clone(&self.writing).try_acquire_owned())
        else {
            return;
        };
        let most = self.pieces();
        tokio::spawn(async move {
            if let Err(error) = directory::take_guess(&store, &key, most, WINDOW, now).await {
                tracing::debug!(%error, "wrong passwords from an address were not written down");
            }
            drop(turn);
        });
    }
}

/// A try's place. It counts as a wrong password only if it is kept: a try that ended otherwise, or was broken off because
/// the directory took too long, was none.
#[derive(Debug)]
#[must_use = "a place that is not kept does not count"]
pub(super) struct Place<'a> {
    failures: &'a Failures,
    room: &'a Mutex<Room>,
    key: Key,
    at: UnixTime,
    settled: bool,
    /// Its number in the store.
    stored: Option<i64>,
}

impl Place<'_> {
    /// It was a wrong password.
    pub(super) fn keep(mut self) {
        self.settled = true;
        if std::ptr::eq(self.room, &raw const self.failures.addresses) {
            self.failures.wrong_from_address(self.key, self.at);
        }
    }

    /// It was the right one: those before are forgotten.
    pub(super) async fn forget(mut self) {
        self.settled = true;
        lock(self.room).places.remove(&self.key);
        if let (Some(store), Some(_)) = (&self.failures.store, self.stored)
            && let Err(error) = directory::forget_guesses(store, &self.key).await
        {
            tracing::debug!(%error, "wrong passwords were not forgotten");
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        {
            let mut room = lock(self.room);
            if let Some(tries) = room.places.get_mut(&self.key) {
                if let Some(place) = tries.times.iter().rposition(|time| *time == self.at) {
                    tries.times.remove(place);
                }
                if tries.times.is_empty() {
                    room.places.remove(&self.key);
                }
            }
        }
        let runtime = tokio::runtime::Handle::try_current();
        if let (Some(store), Some(number), Ok(runtime)) = (self.failures.store.clone(), self.stored, runtime) {
            let (key, at) = (self.key, self.at);
            runtime.spawn(async move {
                if let Err(error) = directory::give_guess_back(&store, &key, number, at).await {
                    tracing::debug!(%error, "a try that was no wrong password counts for a while");
                }
            });
        }
    }
}

type Key = [u8; 32];

#[derive(Debug)]
struct Room {
    most: usize,
    places: HashMap<Key, Tries>,
}

#[derive(Debug, Default)]
struct Tries {
    /// When, the oldest first.
    times: Vec<UnixTime>,
    /// How many were kept.
    kept: usize,
}

impl Room {
    fn new(most: usize) -> Self {
        Self {
            most,
            places: HashMap::new(),
        }
    }

    /// Makes room for one more: what is over goes, and where nothing is, the longest untouched.
    fn make_room(&mut self, now: UnixTime) {
        if self.places.len() < self.most {
            return;
        }
        let counts = |tries: &Tries| tries.times.last().is_some_and(|last| now.since(*last) < WINDOW);
        self.places.retain(|_, tries| counts(tries));
        if self.places.len() < self.most {
            return;
        }
        // A tenth at once, so that a flood does not sort for each of its names.
        let mut ages: Vec<UnixTime> = self
            .places
            .values()
            .filter_map(|tries| tries.times.last().copied())
            .collect();
        ages.sort();
        let Some(limit) = ages.get(self.most / 10).copied() else {
            return;
        };
        self.places
            .retain(|_, tries| tries.times.last().is_some_and(|last| *last > limit));
        if self.places.len() >= self.most {
            self.places.clear();
        }
    }
}

/// The store says that there are too many: memory knows it from now on, and the store is not asked again.
fn full(room: &Mutex<Room>, key: Key, since: Vec<UnixTime>, now: UnixTime) -> TooMany {
    let error = wait(&since, now);
    let mut locked = lock(room);
    let tries = locked.places.entry(key).or_default();
    if tries.times.len() < since.len() {
        tries.times = since;
        tries.times.sort();
    }
    error
}

/// The oldest goes first.
fn wait(times: &[UnixTime], now: UnixTime) -> TooMany {
    let oldest = times.iter().min().copied().unwrap_or(now);
    TooMany((WINDOW - now.since(oldest)).clamp(1, WINDOW))
}

/// Nothing here is left half done when a holder panics.
fn lock(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(parts: &[&str]) -> Key {
    let text: Vec<u8> = parts
        .iter()
        .flat_map(|part| [&part.len().to_be_bytes()[..], part.as_bytes()].concat())
        .collect();
    seal::sha256(&text)
}

/// An IPv6 customer has a whole /64 to come from.
fn address(client: IpAddr) -> Key {
    match client.to_canonical() {
        IpAddr::V4(address) => key(&["v4", &address.to_string()]),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            key(&["v6", &format!("{a:x}:{b:x}:{c:x}:{d:x}")])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Door, Failures, MOST_NAMES, Place, TooMany, WINDOW, Whose};
    use crate::clock::UnixTime;
    use crate::store::testing::places;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    async fn wrong(failures: &Failures, whose: Whose<'_>, now: UnixTime) -> Result<(), TooMany> {
        failures.at(whose, now).await.unwrap().map(Place::keep)
    }

    #[tokio::test]
    async fn after_so_many_wrong_passwords_nobody_tries_until_the_oldest_is_over() {
        let failures = Failures::new(None, 3, 100);
        let bob = Whose::Person("entryUUID:b");
        for second in 0..3 {
            assert_eq!(wrong(&failures, bob, NOW.plus(second)).await, Ok(()));
        }
        assert_eq!(wrong(&failures, bob, NOW.plus(10)).await, Err(TooMany(WINDOW - 10)));
        assert_eq!(
            wrong(&failures, Whose::Person("entryUUID:c"), NOW.plus(10)).await,
            Ok(())
        );
        assert_eq!(wrong(&failures, bob, NOW.plus(WINDOW)).await, Ok(()));
        assert!(wrong(&failures, bob, NOW.plus(WINDOW)).await.is_err());
    }

    #[tokio::test]
    async fn tries_under_way_count_and_what_was_no_wrong_password_does_not() {
        let failures = Failures::new(None, 2, 100);
        let bob = Whose::Person("b");
        let (first, second) = (
            failures.at(bob, NOW).await.unwrap().unwrap(),
            failures.at(bob, NOW).await.unwrap().unwrap(),
        );
        assert!(failures.at(bob, NOW).await.unwrap().is_err());
        drop(first);
        let third = failures.at(bob, NOW).await.unwrap().unwrap();
        assert!(failures.at(bob, NOW).await.unwrap().is_err());
        third.forget().await;
        second.keep();
        assert!(failures.at(bob, NOW).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_known_browser_has_a_count_of_its_own() {
        let failures = Failures::new(None, 1, 100);
        assert_eq!(wrong(&failures, Whose::Person("b"), NOW).await, Ok(()));
        assert!(wrong(&failures, Whose::Person("b"), NOW).await.is_err());
        assert_eq!(wrong(&failures, Whose::Device("b", "1"), NOW).await, Ok(()));
        assert!(wrong(&failures, Whose::Device("b", "1"), NOW).await.is_err());
    }

    #[tokio::test]
    async fn addresses_are_counted_and_ipv6_by_its_network() {
        let failures = Failures::new(None, 100, 1);
        let from = async |text: &str| {
            let tried = failures
                .at_door(Door::Address(text.parse().unwrap()), NOW)
                .await
                .unwrap();
            tried.map(Place::keep)
        };
        assert_eq!(from("192.0.2.1").await, Ok(()));
        assert!(from("::ffff:192.0.2.1").await.is_err());
        assert_eq!(from("192.0.2.2").await, Ok(()));
        assert_eq!(from("2001:db8:0:1::1").await, Ok(()));
        assert!(from("2001:db8:0:1:ffff::2").await.is_err());
        assert_eq!(from("2001:db8:0:2::1").await, Ok(()));
    }

    #[tokio::test]
    async fn made_up_names_fill_no_memory_and_forget_no_person() {
        let failures = Failures::new(None, 1, 100);
        assert_eq!(wrong(&failures, Whose::Person("b"), NOW).await, Ok(()));
        for count in 0..(MOST_NAMES + 500) {
            let _ = wrong(&failures, Whose::Name(&count.to_string()), NOW).await;
        }
        assert!(failures.names.lock().unwrap().places.len() <= MOST_NAMES);
        assert!(wrong(&failures, Whose::Person("b"), NOW).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_counted_is_kept_across_restarts_and_shared_by_all_processes() {
        for place in places().await {
            let of = async |person, address| Failures::new(Some(place.open().await), person, address);
            let (one, other) = (of(3, 100).await, of(3, 100).await);
            let bob = Whose::Person("b");
            assert_eq!(wrong(&one, bob, NOW).await, Ok(()));
            assert_eq!(wrong(&other, bob, NOW).await, Ok(()));
            assert_eq!(wrong(&one, bob, NOW.plus(5)).await, Ok(()));
            for failures in [&other, &of(3, 100).await, &one] {
                assert_eq!(wrong(failures, bob, NOW.plus(10)).await, Err(TooMany(WINDOW - 10)));
                assert_eq!(wrong(failures, Whose::Person("c"), NOW.plus(10)).await, Ok(()));
            }
            // By and by their time is over; then the right password forgets the rest for everybody.
            let later = NOW.plus(WINDOW);
            other.at(bob, later).await.unwrap().unwrap().forget().await;
            let anew = of(3, 100).await;
            for _ in 0..3 {
                assert_eq!(wrong(&anew, bob, later).await, Ok(()));
            }
            assert!(wrong(&anew, bob, later).await.is_err());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_at_once_in_several_processes_are_not_more_than_are_allowed() {
        for place in places().await {
            let mut processes = Vec::new();
            for _ in 0..4 {
                processes.push(Failures::new(Some(place.open().await), 5, 100));
            }
            let tries = processes
                .iter()
                .flat_map(|failures| (0..5).map(move |_| wrong(failures, Whose::Person("b"), NOW)));
            let tries = futures_util::future::join_all(tries).await;
            assert_eq!(tries.iter().filter(|tried| tried.is_ok()).count(), 5);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_address_is_known_to_other_processes_and_made_up_names_are_not_written_down() {
        for place in places().await {
            let of = async || Failures::new(Some(place.open().await), 5, 10);
            let (one, other) = (of().await, of().await);
            let client = "192.0.2.1".parse().unwrap();
            for count in 0..10 {
                one.at_door(Door::Address(client), NOW).await.unwrap().unwrap().keep();
                wrong(&one, Whose::Name(&count.to_string()), NOW).await.unwrap();
                // One is written at a time.
                while one.writing.available_permits() == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            assert_eq!(
                other
                    .at_door(Door::Address(client), NOW.plus(1))
                    .await
                    .unwrap()
                    .map(drop),
                Err(TooMany(WINDOW - 1))
            );
            let elsewhere = "192.0.2.2".parse().unwrap();
            assert!(other.at_door(Door::Address(elsewhere), NOW).await.unwrap().is_ok());
            let key = super::address(client);
            let store = place.open().await;
            let rows = crate::directory::guesses(&store, &key, WINDOW, NOW).await.unwrap();
            assert_eq!(rows.len(), 5, "two wrong passwords a row");
            let name = super::key(&["name", "1"]);
            assert!(
                crate::directory::guesses(&store, &name, WINDOW, NOW)
                    .await
                    .unwrap()
                    .is_empty()
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_try_that_was_broken_off_is_given_back_in_the_store_too() {
        let place = crate::store::testing::Place::sqlite();
        let failures = Failures::new(Some(place.open().await), 1, 100);
        drop(failures.at(Whose::Person("b"), NOW).await.unwrap().unwrap());
        let anew = Failures::new(Some(place.open().await), 1, 100);
        let mut tried = wrong(&anew, Whose::Person("b"), NOW.plus(1)).await;
        for _ in 0..100 {
            if tried.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let another = Failures::new(Some(place.open().await), 1, 100);
            tried = wrong(&another, Whose::Person("b"), NOW.plus(1)).await;
        }
        panic!("it counts");
    }
}
