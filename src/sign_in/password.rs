//! `POST /.vestibule/login`: a name and a password, and the session somebody gets for them.
//!
//! The form carries the state of an attempt whose sealed cookie only the browser that was shown it has: no other site can
//! send it on somebody's behalf (and so sign them in as someone else). Who that is and whether they may, the directory says;
//! how often they may be wrong, `failures`.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::answers::{Form, Notice, with_cookies};
use super::attempt::{Attempt, Found as Attempted};
use super::failures::{Door, Failures, Place, TooMany, Whose};
use super::ldap::{self, Allowed, Directory, Found, Obstacle, Password, Person, PersonGroups, Unusable};
use super::provision::{self, Way};
use super::{SignIn, Visit};
use crate::clock::UnixTime;
use crate::directory::{self, GroupsUnreadable, Refused};
use crate::person::LDAP;
use crate::store::StoreError;
use crate::telemetry::audit::{Event, Kind};
use crate::telemetry::{SignInOutcome, metrics};

/// Before this nobody hears that it was wrong: whether there is such a person does not show in the time it takes.
const FLOOR: Duration = Duration::from_secs(1);
/// Longer is nobody's password.
const LONGEST: usize = 4_096;
/// For all of it, whatever servers do.
const LIMIT: Duration = Duration::from_secs(25);

/// The directory, and how often people may be wrong.
#[derive(Debug)]
pub(super) struct Ldap {
    pub(super) directory: std::sync::Arc<Directory>,
    pub(super) failures: Failures,
}

/// Shows the form with a fresh attempt; `before` is the attempt that it follows.
pub(super) fn form(
    sign_in: &SignIn,
    return_to: String,
    login: &str,
    notice: Notice,
    before: Option<&Attempt>,
    visit: &Visit,
    now: UnixTime,
) -> Response<Bytes> {
    let gone = before.and_then(|before| sign_in.attempts.name(&before.id));
    let others: Vec<_> = visit
        .attempt_cookies
        .iter()
        .filter(|(name, _)| Some(name) != gone.as_ref())
        .cloned()
        .collect();
    let (attempt, mut cookies) = sign_in.attempts.begin(return_to, &others, now);
    cookies.extend(before.and_then(|before| sign_in.attempts.delete(&before.id)));
    let form = Form {
        login,
        state: &attempt.state(),
        return_to: &attempt.return_to,
        provider: sign_in.provider.is_some(),
    };
    with_cookies(sign_in.answers.form(&form, notice, visit), cookies)
}

pub(super) async fn answer(sign_in: &SignIn, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    debug_assert_eq!(visit.method, Method::POST);
    let Some(ldap) = &sign_in.ldap else {
        return sign_in.answers.no_way_in(visit);
    };
    if visit.cross_site || visit.embedded {
        metrics().sign_in(SignInOutcome::Invalid);
        return sign_in.answers.form_from_elsewhere(visit);
    }
    let Some(Sent { login, password, state }) = Sent::read(visit.form.as_deref()) else {
        let return_to = super::return_to::from_query(visit.query.as_deref(), &sign_in.paths);
        return form(sign_in, return_to, "", Notice::Incomplete, None, visit, now);
    };
    let attempt = match sign_in.attempts.find(&state, &visit.attempt_cookies, now) {
        Attempted::Open(attempt) => attempt,
        Attempted::Expired(attempt) => {
            let return_to = attempt.return_to.clone();
            return form(sign_in, return_to, &login, Notice::Expired, Some(&attempt), visit, now);
        }
        Attempted::None => {
            metrics().sign_in(SignInOutcome::Invalid);
            let return_to = super::return_to::from_query(visit.query.as_deref(), &sign_in.paths);
            return form(sign_in, return_to, &login, Notice::Expired, None, visit, now);
        }
    };
    let again = |notice| {
        form(
            sign_in,
            attempt.return_to.clone(),
            &login,
            notice,
            Some(&attempt),
            visit,
            now,
        )
    };
    // Nobody's password; many servers would say yes (RFC 4513, section 5.1.2).
    if login.trim().is_empty() || password.expose_secret().is_empty() {
        return again(Notice::Incomplete);
    }

    let begun = Instant::now();
    let knock = Knock { sign_in, visit, now };
    let tried = tokio::time::timeout(LIMIT, attempted(ldap, &login, &password, &knock)).await;
    let (person, subject, groups) = match tried {
        Ok(Ok(person)) => person,
        Ok(Err(Refusal::Wrong)) => {
            metrics().sign_in(SignInOutcome::WrongPassword);
            tokio::time::sleep_until(begun + FLOOR).await;
            return again(Notice::Wrong);
        }
        Ok(Err(Refusal::NotAsked(TooMany(seconds)))) => {
            metrics().sign_in(SignInOutcome::Slowed);
            return again(Notice::TooMany(seconds));
        }
        Ok(Err(Refusal::TooMany(TooMany(seconds)))) => {
            metrics().sign_in(SignInOutcome::Slowed);
            tokio::time::sleep_until(begun + FLOOR).await;
            return again(Notice::TooMany(seconds));
        }
        Ok(Err(Refusal::But(obstacle))) => {
            metrics().sign_in(SignInOutcome::Refused);
            tokio::time::sleep_until(begun + FLOOR).await;
            return again(Notice::But(obstacle));
        }
        Ok(Err(Refusal::StoreAway(error))) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            return sign_in.answers.store_away(&error, visit);
        }
        Ok(Err(Refusal::NoId)) => {
            metrics().sign_in(SignInOutcome::Refused);
            let response = sign_in.answers.without_id(&attempt.return_to, visit);
            return with_cookies(response, sign_in.attempts.delete(&attempt.id));
        }
        Ok(Err(Refusal::Unusable(error))) => return sign_in.answers.directory_away(&error, &attempt.return_to, visit),
        Err(_) => {
            let late = Unusable::Late(LIMIT.as_secs());
            return sign_in.answers.directory_away(&late, &attempt.return_to, visit);
        }
    };
    match sign_in.sessions.use_attempt(&attempt.id, attempt.expires()).await {
        Ok(true) => {}
        // Sent twice: the first has the session.
        Ok(false) => return again(Notice::Expired),
        Err(unavailable) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            return sign_in.answers.store_away(&unavailable, visit);
        }
    }
    let recognised = (person, subject, groups);
    enter(sign_in, ldap, &recognised, &attempt, visit, now).await
}

/// From somebody whose password it was to a session, if the rules let them in.
async fn enter(
    sign_in: &SignIn,
    ldap: &Ldap,
    (person, subject, groups): &Recognised,
    attempt: &Attempt,
    visit: &Visit,
    now: UnixTime,
) -> Response<Bytes> {
    let rules = sign_in.entry.load_full();
    let stored = match directory::address_of(&sign_in.store, LDAP, subject).await {
        Ok(stored) => stored,
        Err(error) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            return sign_in.answers.store_away(&error, visit);
        }
    };
    let arrival = ldap.directory.arrival(person, subject, groups, stored.as_ref());
    let return_to = &attempt.return_to;
    let refused = match groups.allowed {
        Allowed::Yes => None,
        Allowed::No => Some(Refused::GroupNotAllowed),
        Allowed::Unknown => Some(Refused::GroupsUnreadable(GroupsUnreadable::CutShort)),
    };
    let response = match refused {
        Some(refused) => provision::turn_away(sign_in, &refused, &arrival, return_to, visit, now).await,
        None => provision::admit(sign_in, arrival, Way::Directory, &rules, return_to, visit, now).await,
    };
    let signed_in = response.status().is_redirection();
    let device = signed_in
        .then(|| sign_in.devices.remember(visit.device_cookie.as_deref(), subject, now))
        .flatten();
    let response = with_cookies(response, device);
    with_cookies(response, sign_in.attempts.delete(&attempt.id))
}

/// Somebody at the door.
struct Knock<'a> {
    sign_in: &'a SignIn,
    visit: &'a Visit,
    now: UnixTime,
}

/// Why nobody was recognised.
enum Refusal {
    /// A wrong password or an unknown name.
    Wrong,
    /// Too many, as the directory's answer showed: whether it knows the name must not show in the time it took.
    TooMany(TooMany),
    /// Too many, whoever it is about.
    NotAsked(TooMany),
    But(Obstacle),
    /// Their password, but the entry shows nothing by which it would be known again.
    NoId,
    Unusable(Unusable),
    StoreAway(StoreError),
}

impl From<Unusable> for Refusal {
    fn from(error: Unusable) -> Self {
        Self::Unusable(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::StoreAway(error)
    }
}

/// Somebody, their stable id, and their groups.
type Recognised = (Box<Person>, String, PersonGroups);

/// Who somebody is, by name and password. Only a wrong password or an unknown name keeps the places taken, and what came
/// after too many of them: an address can't have the directory searched without end.
async fn attempted(
    ldap: &Ldap,
    login: &str,
    password: &SecretString,
    knock: &Knock<'_>,
) -> Result<Recognised, Refusal> {
    let Knock { sign_in, visit, now } = *knock;
    let (at_door, full) = at_the_door(ldap, knock).await?;
    let found = ldap.directory.find(login).await?;
    let whom = match &found {
        Found::One(person) => person.counted_as(),
        Found::Nobody | Found::Several => String::new(),
    };
    let device = sign_in.devices.known_as(visit.device_cookie.as_deref(), &whom, now);
    if let (Some(error), None) = (full, &device) {
        // The browser's places are for those whom it knows. Of anybody else it hears what it would hear without.
        at_door.keep();
        return Err(too_many(error, None, knock).await);
    }
    let Found::One(person) = found else {
        let reason = if matches!(found, Found::Several) {
            "several entries match the name"
        } else {
            "nobody has this name"
        };
        at_door.keep();
        match ldap.failures.at(Whose::Name(&one_spelling(login)), now).await? {
            Ok(place) => place.keep(),
            Err(error) => return Err(too_many(error, None, knock).await),
        }
        refusal(reason, None, knock).await;
        return Err(Refusal::Wrong);
    };
    let whose = device
        .as_deref()
        .map_or(Whose::Person(&whom), |device| Whose::Device(&whom, device));
    let at_person = match ldap.failures.at(whose, now).await? {
        Ok(place) => place,
        Err(error) => {
            at_door.keep();
            return Err(too_many(error, Some(&person), knock).await);
        }
    };
    judge(ldap, person, password, at_door, at_person, knock).await
}

/// A place at the address. Where others there have used them up, one of the browser's own, if somebody has signed in with it
/// before: then also what everybody but those whom it knows is told, who holds such a cookie or not.
async fn at_the_door<'a>(ldap: &'a Ldap, knock: &Knock<'_>) -> Result<(Place<'a>, Option<TooMany>), Refusal> {
    let Knock { sign_in, visit, now } = *knock;
    let full = match ldap.failures.at_door(Door::Address(visit.client), now).await? {
        Ok(place) => return Ok((place, None)),
        Err(full) => full,
    };
    if let Some(browser) = sign_in.devices.newest(visit.device_cookie.as_deref(), now)
        && let Ok(place) = ldap.failures.at_door(Door::Browser(&browser), now).await?
    {
        return Ok((place, Some(full)));
    }
    // To the log only: who goes on and on must not fill the store.
    refused_event("too many wrong passwords", None, knock).tell();
    Err(Refusal::NotAsked(full))
}

async fn too_many(error: TooMany, person: Option<&Person>, knock: &Knock<'_>) -> Refusal {
    refusal("too many wrong passwords", person, knock).await;
    Refusal::TooMany(error)
}

async fn judge(
    ldap: &Ldap,
    person: Box<Person>,
    password: &SecretString,
    at_door: Place<'_>,
    at_person: Place<'_>,
    knock: &Knock<'_>,
) -> Result<Recognised, Refusal> {
    let secret = password.expose_secret();
    let verdict = if secret.len() > LONGEST || secret.contains('\0') || ldap::is_nothing(secret) {
        Password::Wrong("no directory has such a password".to_owned())
    } else {
        ldap.directory.verify(&person, password, knock.now).await?
    };
    match verdict {
        Password::Right => at_person.forget().await,
        Password::Wrong(reason) => {
            at_door.keep();
            at_person.keep();
            refusal(&reason, Some(&person), knock).await;
            return Err(Refusal::Wrong);
        }
        Password::But(obstacle) => {
            refusal(&obstacle.to_string(), Some(&person), knock).await;
            return Err(Refusal::But(obstacle));
        }
    }
    let Some(subject) = person.subject.clone() else {
        refusal("the entry shows no stable id", Some(&person), knock).await;
        return Err(Refusal::NoId);
    };
    let groups = ldap.directory.groups(&person).await?;
    Ok((person, subject, groups))
}

async fn refusal(reason: &str, person: Option<&Person>, knock: &Knock<'_>) {
    directory::note(&knock.sign_in.store, refused_event(reason, person, knock), knock.now).await;
}

/// A name that was typed may be a password in the wrong field: it is not told.
fn refused_event(reason: &str, person: Option<&Person>, knock: &Knock<'_>) -> Event {
    let event = Event::new(Kind::Refusal, &knock.visit.actor())
        .detail("reason", reason)
        .detail("issuer", LDAP);
    match person {
        Some(person) => event
            .detail("subject", person.subject.as_deref().unwrap_or_default())
            .detail("dn", person.dn()),
        None => event,
    }
}

/// One for all spellings of a name that nobody has, as the directory would know one person by all of them.
fn one_spelling(login: &str) -> String {
    let login = login.trim();
    ldap::folded(ldap::without_domain(login).unwrap_or(login))
}

/// What the form brings.
struct Sent {
    login: String,
    password: SecretString,
    state: String,
}

impl Sent {
    /// None if something is missing or stands twice.
    fn read(form: Option<&[u8]>) -> Option<Self> {
        let (mut login, mut password, mut state) = (None, None, None);
        for (name, value) in url::form_urlencoded::parse(form?) {
            let place = match &*name {
                "username" => &mut login,
                "password" => &mut password,
                "state" => &mut state,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(Self {
            login: login?,
            password: SecretString::from(password?),
            state: state?,
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::{Sent, one_spelling};

    #[test]
    fn a_form_is_read_whole_or_not_at_all() {
        let read = |text: &str| Sent::read(Some(text.as_bytes()));
        let sent = read("username=bob&password=a+b%26c&state=s&more=1").unwrap();
        assert_eq!((sent.login.as_str(), sent.password.expose_secret()), ("bob", "a b&c"));
        for bad in [
            "",
            "username=bob&password=x",
            "username=a&username=b&password=x&state=s",
            "username=a&password=x&password=y&state=s",
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_one_in_every_spelling() {
        for bob in [" BOB ", "CORP\\bob", "corp\\ Bob", "ｂｏｂ"] {
            assert_eq!(one_spelling(bob), one_spelling("bob"), "{bob}");
        }
        assert_eq!(one_spelling("a  b"), one_spelling("A b"));
        for other in ["rob", "A\\B\\bob", "bob\\"] {
            assert_ne!(one_spelling(other), one_spelling("bob"), "{other}");
        }
    }
}
