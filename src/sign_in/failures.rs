//! Wrong passwords, counted: guessing is slowed and stopped before the directory's own locking starts, so that a stranger
//! can't lock people out of the whole company.
//!
//! A try takes its place before the password is looked at, so that many at once are not more than are allowed. Names that
//! nobody has are counted like people, in a room of their own that made-up names can fill without harm.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::clock::UnixTime;
use crate::seal;

/// How long a wrong password counts, in seconds.
pub(super) const WINDOW: i64 = 15 * 60;
/// Places for people, for made-up names, and for addresses. A place is some hundred bytes.
const MOST_PEOPLE: usize = 100_000;
const MOST_NAMES: usize = 10_000;
const MOST_ADDRESSES: usize = 50_000;

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

/// Counts wrong passwords.
#[derive(Debug)]
pub(super) struct Failures {
    per_person: usize,
    per_address: usize,
    people: Mutex<Room>,
    names: Mutex<Room>,
    addresses: Mutex<Room>,
}

/// Too many; seconds until it is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany(pub(super) i64);

impl Failures {
    pub(super) fn new(per_person: usize, per_address: usize) -> Self {
        Self {
            per_person,
            per_address,
            people: Mutex::new(Room::new(MOST_PEOPLE)),
            names: Mutex::new(Room::new(MOST_NAMES)),
            addresses: Mutex::new(Room::new(MOST_ADDRESSES)),
        }
    }

    /// Takes a place for a try from an address.
    pub(super) fn at_address(&self, client: IpAddr, now: UnixTime) -> Result<Place<'_>, TooMany> {
        take(&self.addresses, address(client), self.per_address, now)
    }

    /// Takes a place for a try at somebody.
    pub(super) fn at(&self, whose: Whose<'_>, now: UnixTime) -> Result<Place<'_>, TooMany> {
        let (room, key) = match whose {
            Whose::Person(subject) => (&self.people, key(&["person", subject])),
            Whose::Device(subject, device) => (&self.people, key(&["device", subject, device])),
            Whose::Name(name) => (&self.names, key(&["name", name])),
        };
        take(room, key, self.per_person, now)
    }
}

/// A try's place. It counts as a wrong password only if it is kept: a try that ended otherwise, or was broken off because
/// the directory took too long, was none.
#[derive(Debug)]
#[must_use = "a place that is not kept does not count"]
pub(super) struct Place<'a> {
    room: &'a Mutex<Room>,
    key: Key,
    at: UnixTime,
    settled: bool,
}

impl Place<'_> {
    /// It was a wrong password.
    pub(super) fn keep(mut self) {
        self.settled = true;
    }

    /// It was the right one: those before are forgotten.
    pub(super) fn forget(mut self) {
        self.settled = true;
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        room.places.remove(&self.key);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = room.places.get_mut(&self.key) {
            if let Some(place) = times.iter().rposition(|time| *time == self.at) {
                times.remove(place);
            }
            if times.is_empty() {
                room.places.remove(&self.key);
            }
        }
    }
}

type Key = [u8; 32];

#[derive(Debug)]
struct Room {
    most: usize,
    /// When, the oldest first.
    places: HashMap<Key, Vec<UnixTime>>,
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
        let counts = |times: &Vec<UnixTime>| times.last().copied().filter(|last| now.since(*last) < WINDOW);
        self.places.retain(|_, times| counts(times).is_some());
        if self.places.len() < self.most {
            return;
        }
        // A tenth at once, so that a flood does not sort for each of its names.
        let mut ages: Vec<UnixTime> = self.places.values().filter_map(|times| times.last().copied()).collect();
        ages.sort();
        let Some(limit) = ages.get(self.most / 10).copied() else {
            return;
        };
        self.places
            .retain(|_, times| times.last().is_some_and(|last| *last > limit));
        if self.places.len() >= self.most {
            self.places.clear();
        }
    }
}

fn take(room: &Mutex<Room>, key: Key, limit: usize, now: UnixTime) -> Result<Place<'_>, TooMany> {
    let mut locked = room.lock().unwrap_or_else(PoisonError::into_inner);
    if !locked.places.contains_key(&key) {
        locked.make_room(now);
    }
    let times = match locked.places.entry(key) {
        Entry::Occupied(times) => times.into_mut(),
        Entry::Vacant(place) => place.insert(Vec::new()),
    };
    times.retain(|time| now.since(*time) < WINDOW);
    if times.len() >= limit {
        // The oldest goes first.
        let oldest = times.iter().min().copied().unwrap_or(now);
        return Err(TooMany((WINDOW - now.since(oldest)).clamp(1, WINDOW)));
    }
    times.push(now);
    drop(locked);
    Ok(Place {
        room,
        key,
        at: now,
        settled: false,
    })
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
    use super::{Failures, MOST_NAMES, Place, TooMany, WINDOW, Whose};
    use crate::clock::UnixTime;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn wrong(failures: &Failures, whose: Whose<'_>, now: UnixTime) -> Result<(), TooMany> {
        failures.at(whose, now).map(Place::keep)
    }

    #[test]
    fn after_so_many_wrong_passwords_nobody_tries_until_the_oldest_is_over() {
        let failures = Failures::new(3, 100);
        let bob = Whose::Person("entryUUID:b");
        for second in 0..3 {
            assert_eq!(wrong(&failures, bob, NOW.plus(second)), Ok(()));
        }
        assert_eq!(wrong(&failures, bob, NOW.plus(10)), Err(TooMany(WINDOW - 10)));
        assert_eq!(wrong(&failures, Whose::Person("entryUUID:c"), NOW.plus(10)), Ok(()));
        assert_eq!(wrong(&failures, bob, NOW.plus(WINDOW)), Ok(()));
        assert!(wrong(&failures, bob, NOW.plus(WINDOW)).is_err());
    }

    #[test]
    fn tries_under_way_count_and_what_was_no_wrong_password_does_not() {
        let failures = Failures::new(2, 100);
        let bob = Whose::Person("b");
        let (first, second) = (failures.at(bob, NOW).unwrap(), failures.at(bob, NOW).unwrap());
        assert!(failures.at(bob, NOW).is_err());
        drop(first);
        let third = failures.at(bob, NOW).unwrap();
        assert!(failures.at(bob, NOW).is_err());
        third.forget();
        second.keep();
        assert!(failures.at(bob, NOW).is_ok());
    }

    #[test]
    fn a_known_browser_has_a_count_of_its_own() {
        let failures = Failures::new(1, 100);
        assert_eq!(wrong(&failures, Whose::Person("b"), NOW), Ok(()));
        assert!(wrong(&failures, Whose::Person("b"), NOW).is_err());
        assert_eq!(wrong(&failures, Whose::Device("b", "1"), NOW), Ok(()));
        assert!(wrong(&failures, Whose::Device("b", "1"), NOW).is_err());
    }

    #[test]
    fn addresses_are_counted_and_ipv6_by_its_network() {
        let failures = Failures::new(100, 1);
        let from = |text: &str| failures.at_address(text.parse().unwrap(), NOW).map(Place::keep);
        assert_eq!(from("192.0.2.1"), Ok(()));
        assert!(from("::ffff:192.0.2.1").is_err());
        assert_eq!(from("192.0.2.2"), Ok(()));
        assert_eq!(from("2001:db8:0:1::1"), Ok(()));
        assert!(from("2001:db8:0:1:ffff::2").is_err());
        assert_eq!(from("2001:db8:0:2::1"), Ok(()));
    }

    #[test]
    fn made_up_names_fill_no_memory_and_forget_no_person() {
        let failures = Failures::new(1, 100);
        assert_eq!(wrong(&failures, Whose::Person("b"), NOW), Ok(()));
        for count in 0..(MOST_NAMES + 500) {
            let _ = wrong(&failures, Whose::Name(&count.to_string()), NOW);
        }
        assert!(failures.names.lock().unwrap().places.len() <= MOST_NAMES);
        assert!(wrong(&failures, Whose::Person("b"), NOW).is_err());
    }
}
