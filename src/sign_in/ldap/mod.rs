//! The company's LDAP directory, one file a step: `pool` (which server is asked, and connections that are kept), `connection`
//! (sockets, TLS, limits) with `wire` (what may come), `search` (from what was typed to one entry, and who that is) with
//! `entry`, `bind` (whose password it was), `standing` (whether the account is in force), `again` (people who are signed in
//! already), `groups` with `dn` (names and how they are compared), `probe` (for `check`).
//!
//! Public face: [`Directory`]. A sign-in is [`Directory::find`], then [`Directory::verify`], then [`Directory::groups`]; in
//! between the caller counts failures, which are the person's, not the name's that was typed. Each step runs in a task of
//! its own: whatever panics in it, that step has failed and nothing else has.

mod again;
mod bind;
mod connection;
mod dn;
mod entry;
mod groups;
mod pool;
mod probe;
mod search;
mod standing;
mod unusable;
mod wire;

use std::sync::Arc;

use ldap3::Scope;
use secrecy::SecretString;

use self::bind::Verdict;
use self::connection::Connection;
use self::dn::Dn;
use self::entry::Entry;
use self::groups::Groups;
use self::pool::Pool;
use crate::clock::UnixTime;
use crate::config::{Ldap, Settings};
use crate::directory::{Arrival, GroupsUnreadable};
use crate::person::EmailAddress;
use crate::telemetry::metrics;
use crate::trust::{self, CannotTrust};

pub(super) use self::again::{Round, Seen};
pub use self::bind::Obstacle;
pub(super) use self::connection::is_nothing;
pub(super) use self::dn::folded;
pub use self::probe::{Probed, Step, probe};
pub(super) use self::search::{NO_ID, without_domain};
pub use self::unusable::Unusable;

/// Longer is nobody's name.
const LONGEST_LOGIN: usize = 256;

/// Somebody who was found.
#[derive(Clone, Debug)]
pub(super) struct Person {
    entry: Entry,
    /// The stable id, with its attribute's name; None where the entry shows none.
    pub(super) subject: Option<String>,
}

impl Person {
    /// Where the entry stands.
    pub(super) fn dn(&self) -> &str {
        &self.entry.dn
    }

    /// By what their wrong passwords are counted.
    pub(super) fn counted_as(&self) -> String {
        self.subject
            .clone()
            .unwrap_or_else(|| format!("dn:{}", folded(&self.entry.dn)))
    }
}

/// Who a name that was typed belongs to.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// To one entry.
    One(Box<Person>),
    /// To none.
    Nobody,
    /// To several: nobody knows which is meant.
    Several,
}

/// What the directory says to a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Password {
    /// It is right.
    Right,
    /// It is wrong; the reason is for the audit event.
    Wrong(String),
    /// It is right, and they are not let in.
    But(Obstacle),
}

/// The directory and how it is used. Control plane.
#[derive(Debug)]
pub struct Directory {
    settings: Ldap,
    pool: Pool,
    /// Under which bare names of groups count.
    base: Option<Dn>,
}

impl Directory {
    /// Takes the settings; nothing is connected yet.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn new(ldap: &Ldap, settings: &Settings) -> Result<Arc<Self>, CannotTrust> {
        let tls = Arc::new(trust::client(settings.ca_file.as_deref(), &[])?);
        Ok(Arc::new(Self {
            pool: Pool::new(ldap, tls),
            base: Dn::parse(ldap.group_base_dn.as_deref().unwrap_or(&ldap.base_dn)),
            settings: ldap.clone(),
        }))
    }

    /// The settings.
    pub(super) fn settings(&self) -> &Ldap {
        &self.settings
    }

    /// Finds who `login` is, under the service account.
    pub(super) async fn find(self: &Arc<Self>, login: &str) -> Result<Found, Unusable> {
        let login: Arc<str> = login.trim().into();
        if login.is_empty() || login.len() > LONGEST_LOGIN {
            return Ok(Found::Nobody);
        }
        let directory = Arc::clone(self);
        on_its_own(async move {
            let asked = Arc::clone(&directory);
            let search = directory.pool.search(move |connection| {
                let (directory, login) = (Arc::clone(&asked), Arc::clone(&login));
                Box::pin(async move { directory.find_by(connection, &login).await })
            });
            search.await
        })
        .await
    }

    /// Whether `password` is the person's, by a bind on a connection of its own, and whether anything stands against them.
    /// Another server is asked only where no connection was made: one that was asked counts a wrong password, and each of
    /// them would count it.
    pub(super) async fn verify(
        self: &Arc<Self>,
        person: &Person,
        password: &SecretString,
        now: UnixTime,
    ) -> Result<Password, Unusable> {
        let (directory, entry, password) = (Arc::clone(self), person.entry.clone(), password.clone());
        on_its_own(async move {
            let pool = &directory.pool;
            let mut last = Unusable::NoServer;
            for at in pool.order() {
                match pool.noted(at, pool.open(at).await) {
                    Ok(connection) => return pool.noted(at, verify_on(connection, &entry, &password, now).await),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
        .await
    }

    /// The person's groups, under the service account.
    pub(super) async fn groups(self: &Arc<Self>, person: &Person) -> Result<PersonGroups, Unusable> {
        self.groups_with(person, None).await
    }

    async fn groups_with(
        self: &Arc<Self>,
        person: &Person,
        remembered: groups::Remembered,
    ) -> Result<PersonGroups, Unusable> {
        let (directory, entry) = (Arc::clone(self), Arc::new(person.entry.clone()));
        on_its_own(async move {
            let asked = Arc::clone(&directory);
            let search = directory.pool.search(move |connection| {
                let (directory, entry, remembered) = (Arc::clone(&asked), Arc::clone(&entry), remembered.clone());
                Box::pin(async move { directory.groups_of(connection, &entry, &remembered).await })
            });
            search.await
        })
        .await
    }

    /// Who the person is to the rules of entry.
    pub(super) fn arrival(
        &self,
        person: &Person,
        subject: &str,
        groups: &PersonGroups,
        stored: Option<&EmailAddress>,
    ) -> Arrival {
        let names = if groups.groups.cut {
            Err(GroupsUnreadable::CutShort)
        } else {
            // Where a place for groups is set, nobody is told of one elsewhere by its bare name.
            let base = self.settings.group_base_dn.as_ref().map(|_| self.base.as_ref());
            Ok(groups.groups.names(base))
        };
        search::arrival(&person.entry, subject, names, &self.settings, stored)
    }

    async fn find_by(&self, connection: &mut Connection, login: &str) -> Result<Found, Unusable> {
        let found = self.search(connection, login).await?;
        match (found, search::without_domain(login)) {
            (Found::Nobody, Some(user)) => self.search(connection, user).await,
            (found, _) => Ok(found),
        }
    }

    async fn search(&self, connection: &mut Connection, login: &str) -> Result<Found, Unusable> {
        let filter = search::user_filter(&self.settings, login);
        let wanted = search::attributes(&self.settings);
        let mut answer = connection
            .search(&self.settings.base_dn, Scope::Subtree, &filter, &wanted, 1)
            .await?;
        match (answer.entries.pop(), answer.entries.is_empty(), answer.cut) {
            (Some(_), false, _) => Ok(Found::Several),
            (_, _, true) => Err(Unusable::CutShort {
                server: Arc::clone(connection.server()),
            }),
            (None, _, false) => Ok(Found::Nobody),
            // A bind with an empty name would succeed for anybody.
            (Some(entry), ..) if entry.dn.trim().is_empty() => Ok(Found::Nobody),
            (Some(entry), ..) => Ok(Found::One(Box::new(Person {
                subject: search::stable_id(&entry, &self.settings),
                entry,
            }))),
        }
    }

    async fn groups_of(
        &self,
        connection: &mut Connection,
        person: &Entry,
        remembered: &groups::Remembered,
    ) -> Result<PersonGroups, Unusable> {
        let username = person.texts(&self.settings.attributes.username).next();
        let groups = groups::of(connection, person, username, &self.settings, remembered).await?;
        let allowed = match self.settings.allow_list.as_deref() {
            None => Allowed::Yes,
            Some(list) if groups.are_allowed(list, self.base.as_ref()) => Allowed::Yes,
            Some(_) if groups.cut => Allowed::Unknown,
            Some(_) => Allowed::No,
        };
        Ok(PersonGroups { groups, allowed })
    }
}

async fn verify_on(
    mut connection: Connection,
    entry: &Entry,
    password: &SecretString,
    now: UnixTime,
) -> Result<Password, Unusable> {
    let result = connection.bind(&entry.dn, password).await?;
    let verdict = bind::verdict(&result);
    match verdict {
        // Not every directory looks at it when somebody binds.
        Verdict::Right | Verdict::Grace => Ok(match standing::at_sign_in(entry, verdict == Verdict::Grace, now) {
            Some(obstacle) => Password::But(obstacle),
            None => Password::Right,
        }),
        Verdict::Wrong(reason) => Ok(Password::Wrong(reason)),
        Verdict::But(obstacle) => Ok(Password::But(obstacle)),
        Verdict::Unusable(why) => Err(Unusable::Broken {
            server: Arc::clone(connection.server()),
            why,
        }),
    }
}

/// Somebody's groups, judged by the allow list.
#[derive(Clone, Debug)]
pub(super) struct PersonGroups {
    groups: Groups,
    pub(super) allowed: Allowed,
}

/// What `LOCAL_LDAP_GROUP_ALLOW_LIST` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// In an allowed group, or there is no list.
    Yes,
    /// In none.
    No,
    /// In none of those that could be read, and not all could.
    Unknown,
}

/// Runs a step so that its panic is its own.
async fn on_its_own<T: Send + 'static>(
    step: impl Future<Output = Result<T, Unusable>> + Send + 'static,
) -> Result<T, Unusable> {
    tokio::spawn(step).await.unwrap_or_else(|error| {
        if error.is_panic() {
            metrics().directory_nonsense.inc();
        }
        Err(Unusable::Nonsense)
    })
}

#[cfg(test)]
mod testing {
    //! A directory's settings, for the unit tests of the steps.

    use crate::config::{Ldap, LdapAttributes, LdapScheme, LdapServer};

    pub(super) fn settings() -> Ldap {
        Ldap {
            login: true,
            servers: vec![LdapServer {
                scheme: LdapScheme::Ldaps {
                    host: "ldap.example.com".into(),
                    port: 636,
                },
            }],
            base_dn: "dc=example,dc=com".into(),
            bind: None,
            attributes: LdapAttributes {
                email: "mail".into(),
                group: "memberOf".into(),
                username: "uid".into(),
                name: "cn".into(),
            },
            user_filter: "(|(uid={login})(mail={login}))".into(),
            group_filter: None,
            group_base_dn: None,
            start_tls: false,
            allow_list: None,
            id_attribute: None,
            trust_email: true,
            failures: 5,
            failures_address: 50,
            recheck: Some(std::time::Duration::from_mins(15)),
            recheck_grace: std::time::Duration::from_hours(1),
        }
    }
}
