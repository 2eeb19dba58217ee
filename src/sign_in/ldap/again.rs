//! People who are signed in already, looked up again by their stable ids: many in one search.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ldap3::Scope;

use super::connection::Connection;
use super::entry::Entry;
use super::groups::Memory;
use super::{Directory, Obstacle, Person, PersonGroups, Unusable, on_its_own, search, standing};
use crate::clock::UnixTime;

/// Somebody's entry now, and what else was read for it.
#[derive(Clone, Debug)]
pub(in crate::sign_in) struct Seen {
    pub(in crate::sign_in) person: Person,
    /// How old a password may become by the entry's policy, in seconds.
    oldest: Option<i64>,
}

impl Seen {
    /// What stands against somebody who signed in at `since`.
    pub(in crate::sign_in) fn obstacle(&self, since: UnixTime, now: UnixTime) -> Option<Obstacle> {
        standing::obstacle(&self.person.entry, self.oldest, since, now)
    }
}

/// What one round of looking has found out about policies and groups, so that it asks once.
#[derive(Clone, Debug, Default)]
pub(in crate::sign_in) struct Round {
    groups: Arc<Mutex<Memory>>,
    policies: Arc<Mutex<HashMap<String, Option<i64>>>>,
}

impl Directory {
    /// Looks entries up by their stable ids. Of those asked for, None is for one that is not there any more, or is not found
    /// by the user filter; one that is missing could not be looked up, as the server cut the answer short.
    pub(in crate::sign_in) async fn look_again(
        self: &Arc<Self>,
        subjects: Vec<String>,
        round: &Round,
    ) -> Result<HashMap<String, Option<Seen>>, Unusable> {
        let (directory, subjects, round) = (Arc::clone(self), Arc::new(subjects), round.clone());
        on_its_own(async move {
            let asked = Arc::clone(&directory);
            let search = directory.pool.search(move |connection| {
                let (directory, subjects, round) = (Arc::clone(&asked), Arc::clone(&subjects), round.clone());
                Box::pin(async move { directory.look_again_by(connection, &subjects, &round).await })
            });
            search.await
        })
        .await
    }

    /// The groups of somebody seen.
    pub(in crate::sign_in) async fn groups_again(
        self: &Arc<Self>,
        seen: &Seen,
        round: &Round,
    ) -> Result<PersonGroups, Unusable> {
        self.groups_with(&seen.person, Some(Arc::clone(&round.groups))).await
    }

    async fn look_again_by(
        &self,
        connection: &mut Connection,
        subjects: &[String],
        round: &Round,
    ) -> Result<HashMap<String, Option<Seen>>, Unusable> {
        let mut found = HashMap::new();
        // Halved where a limit of the server's cuts the answer short.
        let mut waiting = vec![subjects];
        while let Some(some) = waiting.pop() {
            let (entries, cut) = self.look_for(connection, some).await?;
            if cut && some.len() > 1 {
                let (left, right) = some.split_at(some.len() / 2);
                waiting.extend([left, right]);
            } else if !cut {
                for subject in some {
                    let entry = entries.get(subject).cloned().flatten();
                    let seen = match entry {
                        Some(entry) => Some(self.seen(connection, entry, subject, round).await?),
                        None => None,
                    };
                    found.insert(subject.clone(), seen);
                }
            }
        }
        // Nobody at all: is it they, or a service account that sees nothing any more?
        if !found.is_empty() && found.values().all(Option::is_none) {
            let base = &self.settings.base_dn;
            let answer = connection
                .search(base, Scope::Base, "(objectClass=*)", &["1.1".to_owned()], 1)
                .await?;
            if answer.entries.is_empty() {
                return Err(Unusable::Search {
                    server: Arc::clone(connection.server()),
                    base: base.clone(),
                    code: 32,
                    text: "the base is not seen any more".to_owned(),
                });
            }
        }
        Ok(found)
    }

    /// The entries of these ids, None for an id that two have; and whether there may be more.
    async fn look_for(
        &self,
        connection: &mut Connection,
        subjects: &[String],
    ) -> Result<(HashMap<String, Option<Entry>>, bool), Unusable> {
        let Some(filter) = search::ids_filter(&self.settings, subjects) else {
            return Ok((HashMap::new(), false));
        };
        let wanted = search::attributes(&self.settings);
        let answer = connection
            .search(
                &self.settings.base_dn,
                Scope::Subtree,
                &filter,
                &wanted,
                subjects.len() * 2,
            )
            .await?;
        let mut entries: HashMap<String, Option<Entry>> = HashMap::new();
        for entry in answer.entries {
            let subject = subjects.iter().find(|subject| search::has_id(&entry, subject));
            if let Some(subject) = subject {
                // Two with one id: nobody knows who is meant.
                let known = entries.contains_key(subject);
                entries.insert(subject.clone(), (!known).then_some(entry));
            }
        }
        Ok((entries, answer.cut))
    }

    async fn seen(
        &self,
        connection: &mut Connection,
        entry: Entry,
        subject: &str,
        round: &Round,
    ) -> Result<Seen, Unusable> {
        let policy = entry.texts(standing::POLICY).next().map(str::to_owned);
        let oldest = match policy {
            Some(policy) => oldest_password(connection, policy, round).await?,
            None => None,
        };
        let person = Person {
            entry,
            subject: Some(subject.to_owned()),
        };
        Ok(Seen { person, oldest })
    }
}

/// What a policy's entry says, if it can be read.
async fn oldest_password(connection: &mut Connection, policy: String, round: &Round) -> Result<Option<i64>, Unusable> {
    let known = |round: &Round| {
        let policies = round.policies.lock().unwrap_or_else(PoisonError::into_inner);
        policies.get(&policy).copied()
    };
    if let Some(known) = known(round) {
        return Ok(known);
    }
    let wanted = [standing::POLICY_AGE.to_owned()];
    let oldest = match connection
        .search(&policy, Scope::Base, "(objectClass=*)", &wanted, 1)
        .await
    {
        Ok(answer) => answer
            .entries
            .first()
            .and_then(|entry| entry.texts(standing::POLICY_AGE).next())
            .and_then(|age| age.trim().parse().ok()),
        // It may not be for the service account to read.
        Err(Unusable::Search { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut policies = round.policies.lock().unwrap_or_else(PoisonError::into_inner);
    policies.insert(policy.clone(), oldest);
    Ok(oldest)
}
