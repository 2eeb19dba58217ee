//! The company's LDAP directory, one file a step: `connection` (sockets, TLS, limits) with `wire` (what may come), `search`
//! (from what was typed to one entry, and who that is) with `entry`, `bind` (whose password it was), `groups` with `dn`
//! (names and how they are compared), `probe` (for `check`).
//!
//! Public face: [`Directory`]. A sign-in is [`Directory::find`], then [`Directory::verify`], then [`Directory::groups`]; in
//! between the caller counts failures, which are the person's, not the name's that was typed. Each step runs in a task of
//! its own: the LDAP library panics at odd answers, and then that step has failed and nothing else has.

mod bind;
mod connection;
mod dn;
mod entry;
mod groups;
mod probe;
mod search;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ldap3::Scope;
use rustls::ClientConfig;
use secrecy::SecretString;
use tokio::time::Instant;

use self::bind::Verdict;
use self::connection::Connection;
use self::dn::Dn;
use self::entry::Entry;
use self::groups::Groups;
use crate::config::{Ldap, LdapServer, Settings};
use crate::directory::{Arrival, GroupsUnreadable};
use crate::person::EmailAddress;
use crate::telemetry::metrics;
use crate::trust::{self, CannotTrust};

pub use self::bind::Obstacle;
pub use self::probe::{Step, probe};
pub(super) use self::search::ISSUER;

/// How long a server that could not be used is asked after the others.
const REST: Duration = Duration::from_secs(30);
/// Longer is nobody's name.
const LONGEST_LOGIN: usize = 256;

/// Why the directory can't be used. Nobody's wrong password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unusable {
    /// No connection, or not a secure one.
    #[error("{server}: {why}")]
    NotReached {
        /// Which.
        server: Arc<str>,
        /// Why.
        why: String,
    },
    /// The service account is not let in.
    #[error("{server}: the service account (LOCAL_LDAP_BIND_DN) is not let in: result {code} {text}")]
    ServiceAccount {
        /// Which.
        server: Arc<str>,
        /// The result code (RFC 4511, appendix A).
        code: u32,
        /// What the server says.
        text: String,
    },
    /// A search fails.
    #[error("{server}: a search under {base:?} fails: result {code} {text}")]
    Search {
        /// Which.
        server: Arc<str>,
        /// Where.
        base: String,
        /// The result code.
        code: u32,
        /// What the server says.
        text: String,
    },
    /// The search for one person was cut short, so that nobody knows whether there is one.
    #[error("{server}: the search for a person was cut short by a limit of the server's")]
    CutShort {
        /// Which.
        server: Arc<str>,
    },
    /// The entry has no id by which it is known again.
    #[error(
        "{dn:?} shows none of entryUUID, objectGUID, nsUniqueId, ipaUniqueID (VESTIBULE_LDAP_ID_ATTRIBUTE): make one of \
         them readable for the service account"
    )]
    NoStableId {
        /// Which.
        dn: String,
    },
    /// A connection ended, hung, or brought nonsense.
    #[error("{server}: {why}")]
    Broken {
        /// Which.
        server: Arc<str>,
        /// Why.
        why: String,
    },
    /// A bind that a server would take for nobody's.
    #[error("a bind without a name or password is not sent")]
    EmptyBind,
    /// What came made the LDAP library panic.
    #[error("a directory server's answer could not be read")]
    Nonsense,
    /// All of it took too long.
    #[error("no server of the directory answered within {0} s")]
    Late(u64),
    /// No address is set.
    #[error("there is no server (LOCAL_LDAP_ADDRESS)")]
    NoServer,
}

/// Somebody who was found.
#[derive(Clone, Debug)]
pub(super) struct Person {
    entry: Entry,
    /// The stable id, with its attribute's name.
    pub(super) subject: String,
}

impl Person {
    /// Where the entry stands.
    pub(super) fn dn(&self) -> &str {
        &self.entry.dn
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
    tls: Arc<ClientConfig>,
    /// Until when each server is asked last.
    resting: Mutex<Vec<Option<Instant>>>,
    /// Under which bare names of groups count.
    base: Option<Dn>,
}

impl Directory {
    /// Takes the settings; nothing is connected yet.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn new(ldap: &Ldap, settings: &Settings) -> Result<Arc<Self>, CannotTrust> {
        Ok(Arc::new(Self {
            tls: Arc::new(trust::client(settings.ca_file.as_deref(), &[])?),
            resting: Mutex::new(vec![None; ldap.servers.len()]),
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
        let login = login.trim().to_owned();
        if login.is_empty() || login.len() > LONGEST_LOGIN {
            return Ok(Found::Nobody);
        }
        let directory = Arc::clone(self);
        on_its_own(async move {
            let mut last = Unusable::NoServer;
            for at in directory.order() {
                let found = directory.find_at(at, &login).await;
                match directory.noted(at, found) {
                    // The entry's own lack; another server has the same.
                    Err(error @ Unusable::NoStableId { .. }) => return Err(error),
                    Err(error) => last = error,
                    found => return found,
                }
            }
            Err(last)
        })
        .await
    }

    /// Whether `password` is the person's, by a bind on a connection of its own.
    pub(super) async fn verify(
        self: &Arc<Self>,
        person: &Person,
        password: &SecretString,
    ) -> Result<Password, Unusable> {
        let (directory, dn, password) = (Arc::clone(self), person.entry.dn.clone(), password.clone());
        on_its_own(async move {
            let mut last = Unusable::NoServer;
            for at in directory.order() {
                let judged = directory.verify_at(at, &dn, &password).await;
                match directory.noted(at, judged) {
                    Err(error @ Unusable::EmptyBind) => return Err(error),
                    Err(error) => last = error,
                    judged => return judged,
                }
            }
            Err(last)
        })
        .await
    }

    /// The person's groups, under the service account.
    pub(super) async fn groups(self: &Arc<Self>, person: &Person) -> Result<PersonGroups, Unusable> {
        let (directory, person) = (Arc::clone(self), person.clone());
        on_its_own(async move {
            let mut last = Unusable::NoServer;
            for at in directory.order() {
                let groups = directory.groups_at(at, &person.entry).await;
                match directory.noted(at, groups) {
                    Ok(groups) => {
                        let list = directory.settings.allow_list.as_deref();
                        let allowed = match list {
                            None => Allowed::Yes,
                            Some(list) if groups.are_allowed(list, directory.base.as_ref()) => Allowed::Yes,
                            Some(_) if groups.cut => Allowed::Unknown,
                            Some(_) => Allowed::No,
                        };
                        return Ok(PersonGroups { groups, allowed });
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
        .await
    }

    /// Who the person is to the rules of entry.
    pub(super) fn arrival(&self, person: &Person, groups: &PersonGroups, stored: Option<&EmailAddress>) -> Arrival {
        let names = if groups.groups.cut {
            Err(GroupsUnreadable::CutShort)
        } else {
            Ok(groups.groups.names())
        };
        search::arrival(&person.entry, &person.subject, names, &self.settings, stored)
    }

    /// The servers in the order in which they are asked: as set, those that failed a moment ago last.
    fn order(&self) -> Vec<usize> {
        let now = Instant::now();
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = |at: &usize| resting.get(*at).copied().flatten().is_some_and(|until| until > now);
        let mut order: Vec<usize> = (0..resting.len()).collect();
        order.sort_by_key(rests);
        order
    }

    /// Remembers how a server did.
    fn noted<T>(&self, at: usize, outcome: Result<T, Unusable>) -> Result<T, Unusable> {
        let failed = outcome.is_err();
        if let Some(place) = self.resting.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
            *place = failed.then(|| Instant::now() + REST);
        }
        if let Err(error) = &outcome {
            metrics().directory_failures.inc();
            tracing::warn!("a directory server can't be used: {error}");
        }
        outcome
    }

    fn server(&self, at: usize) -> Result<&LdapServer, Unusable> {
        self.settings.servers.get(at).ok_or(Unusable::NoServer)
    }

    async fn open(&self, at: usize) -> Result<Connection, Unusable> {
        Connection::open(self.server(at)?, &self.tls, self.settings.start_tls).await
    }

    /// A connection under the service account.
    async fn service(&self, at: usize) -> Result<Connection, Unusable> {
        let mut connection = self.open(at).await?;
        if let Some((name, password)) = &self.settings.bind {
            let result = connection.bind(name, password).await?;
            if result.rc != 0 {
                return Err(Unusable::ServiceAccount {
                    server: Arc::clone(connection.server()),
                    code: result.rc,
                    text: result.text,
                });
            }
        }
        Ok(connection)
    }

    async fn find_at(&self, at: usize, login: &str) -> Result<Found, Unusable> {
        let mut connection = self.service(at).await?;
        let found = self.search(&mut connection, login).await?;
        match (found, search::without_domain(login)) {
            (Found::Nobody, Some(user)) => self.search(&mut connection, user).await,
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
            (Some(entry), ..) => {
                let subject = search::stable_id(&entry, &self.settings)
                    .ok_or_else(|| Unusable::NoStableId { dn: entry.dn.clone() })?;
                Ok(Found::One(Box::new(Person { entry, subject })))
            }
        }
    }

    async fn verify_at(&self, at: usize, dn: &str, password: &SecretString) -> Result<Password, Unusable> {
        let mut connection = self.open(at).await?;
        let result = connection.bind(dn, password).await?;
        match bind::verdict(&result) {
            Verdict::Right => Ok(Password::Right),
            Verdict::Wrong(reason) => Ok(Password::Wrong(reason)),
            Verdict::But(obstacle) => Ok(Password::But(obstacle)),
            Verdict::Unusable(why) => Err(Unusable::Broken {
                server: Arc::clone(connection.server()),
                why,
            }),
        }
    }

    async fn groups_at(&self, at: usize, person: &Entry) -> Result<Groups, Unusable> {
        let mut connection = self.service(at).await?;
        let username = person.texts(&self.settings.attributes.username).next();
        groups::of(&mut connection, person, username, &self.settings).await
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
        }
    }
}
