//! Are they still there? Every so often the entry of each live LDAP session is looked up again: gone, disabled, expired or
//! out of the allow list ends it, changed groups are taken over. A directory that can't be used leaves sessions for a while.
//!
//! Sessions come due each at its own time, and are taken in small pieces, one after the other, on one connection of the
//! pool's: ten thousand of them are some ten searches a second. A piece belongs to one process for a minute.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::SignIn;
use super::ldap::{Allowed, Round, Seen, Unusable};
use super::password::Ldap;
use crate::clock::UnixTime;
use crate::config::EntryRules;
use crate::directory::{self, GroupsUnreadable, Refused};
use crate::person::LDAP;
use crate::session::{Due, Sessions, Unavailable};
use crate::telemetry::{Recheck, metrics};

/// Sessions of one piece.
const PIECE: u32 = 50;
/// Between two pieces while there is something to do, and when there is nothing.
const BREATH: Duration = Duration::from_millis(500);
const REST: Duration = Duration::from_secs(5);
/// Seconds for which sessions go on after sign-in with the directory was switched off: another process may still look.
const LEFT_OVER: i64 = 75 * 60;
/// People of one piece whose groups may take too long before the rest is not asked about: then it is the directory.
const PATIENCE: usize = 2;
/// People whose groups took too long that are remembered.
const MOST_SLOW: usize = 1_000;

/// Looks until `stop` fires.
pub(super) async fn run(sign_in: &SignIn, stop: &CancellationToken) {
    let Some((ldap, interval)) = sign_in.ldap.as_ref().and_then(|ldap| {
        let interval = ldap.directory.settings().recheck?;
        Some((ldap, interval))
    }) else {
        if sign_in.ldap.is_none() {
            end_the_left_over(sign_in, stop).await;
        }
        return;
    };
    let grace = ldap.directory.settings().recheck_grace;
    // A short interval is kept, too.
    let rest = REST.min(interval / 4).max(BREATH);
    let mut pause = rest;
    let mut slow = HashSet::new();
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let look = Look {
            sign_in,
            ldap,
            interval,
            grace,
            now: UnixTime::now(),
        };
        pause = match stop.run_until_cancelled(Box::pin(look.piece(&mut slow))).await {
            Some(Ok(count)) if count == PIECE as usize => BREATH,
            Some(Ok(_)) => rest,
            Some(Err(_)) => REST,
            None => return,
        };
    }
}

/// Without a directory nobody vouches for those who came by it: each ends when their time without is over.
async fn end_the_left_over(sign_in: &SignIn, stop: &CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(REST)).await.is_some() {
        let now = UnixTime::now();
        let before = now.plus(-LEFT_OVER);
        let Ok(over) = sign_in.sessions.unvouched(LDAP, before, now).await else {
            continue;
        };
        for due in &over {
            let reason = "nobody signs in with a directory any more (LOCAL_LDAP_LOGIN)";
            if sign_in
                .sessions
                .end_due(due, reason, now)
                .await
                .is_ok_and(|ended| ended)
            {
                metrics().recheck(Recheck::Ended);
            }
        }
    }
}

/// One piece of work.
struct Look<'a> {
    sign_in: &'a SignIn,
    ldap: &'a Ldap,
    interval: Duration,
    grace: Duration,
    now: UnixTime,
}

/// What a look says of one session.
enum Verdict {
    GoesOn,
    /// Why it ends.
    Ends(String),
    /// Nobody could say: it goes on for now, and is looked at again soon.
    Unknown,
    /// The same, as the question took too long or broke off: theirs alone, perhaps.
    Slow,
    /// The same, and the others need not be asked about.
    Away,
}

impl Look<'_> {
    /// Says how many were looked at. Those in `slow` are asked about last: they keep nobody else waiting.
    async fn piece(&self, slow: &mut HashSet<String>) -> Result<usize, Unavailable> {
        let sessions = &self.sign_in.sessions;
        let mut due = sessions.take_due(LDAP, self.interval, PIECE, self.now).await?;
        due.sort_by_key(|due| slow.contains(&due.subject));
        if due.is_empty() {
            return Ok(0);
        }
        let round = Round::default();
        let subjects: BTreeSet<&str> = due.iter().map(|due| due.subject.as_str()).collect();
        let subjects = subjects.into_iter().map(str::to_owned).collect();
        let seen = match self.ldap.directory.look_again(subjects, &round).await {
            Ok(seen) => seen,
            Err(error) => {
                self.unusable(&error, due.len()).await?;
                return Ok(due.len());
            }
        };
        let rules = self.sign_in.entry.load_full();
        let (mut go_on, mut unknown) = (Vec::new(), 0);
        // What entries say alone comes first: it waits for nobody's groups, and holds where those can't be read.
        let mut asked_about = Vec::new();
        for due in &due {
            match self.by_entry(due, &seen) {
                Ok(person) => asked_about.push((due, person)),
                Err(Verdict::Ends(reason)) => self.end(due, &reason).await?,
                Err(_) => unknown += 1,
            }
        }
        let (mut broken, mut away) = (0, false);
        for (due, person) in asked_about {
            if away {
                unknown += 1;
                continue;
            }
            let verdict = self.judge(due, person, &round, &rules).await?;
            if !matches!(verdict, Verdict::Slow | Verdict::Away) {
                slow.remove(&due.subject);
            }
            match verdict {
                Verdict::GoesOn => go_on.push(due),
                Verdict::Ends(reason) => self.end(due, &reason).await?,
                Verdict::Unknown => unknown += 1,
                Verdict::Slow => {
                    if slow.len() >= MOST_SLOW {
                        slow.clear();
                    }
                    slow.insert(due.subject.clone());
                    broken += 1;
                    away = broken >= PATIENCE;
                    unknown += 1;
                }
                Verdict::Away => {
                    away = true;
                    unknown += 1;
                }
            }
        }
        sessions.vouch_for(&go_on, self.interval, self.now).await?;
        for _ in &go_on {
            metrics().recheck(Recheck::Vouched);
        }
        if unknown > 0 {
            let cut = "the directory's answers were cut short or broke off";
            self.after_grace(cut, unknown).await?;
        }
        Ok(due.len())
    }

    /// What the entry says alone; the entry, where nothing in it stands against them.
    fn by_entry<'a>(&self, due: &Due, seen: &'a HashMap<String, Option<Seen>>) -> Result<&'a Seen, Verdict> {
        let person = match seen.get(&due.subject) {
            None => return Err(Verdict::Unknown),
            Some(None) => return Err(Verdict::Ends("the entry is not there any more".to_owned())),
            Some(Some(person)) => person,
        };
        match person.obstacle(due.signed_in, self.now) {
            Some(obstacle) => Err(Verdict::Ends(obstacle.to_string())),
            None => Ok(person),
        }
    }

    async fn judge(&self, due: &Due, person: &Seen, round: &Round, rules: &EntryRules) -> Result<Verdict, Unavailable> {
        let groups = match self.ldap.directory.groups_again(person, round).await {
            Ok(groups) => groups,
            // Perhaps only of theirs: whoever nests groups without end must not keep the others from being looked at.
            Err(Unusable::Search { .. }) => return Ok(Verdict::Unknown),
            Err(Unusable::Broken { .. } | Unusable::Nonsense) => return Ok(Verdict::Slow),
            Err(_) => return Ok(Verdict::Away),
        };
        match groups.allowed {
            Allowed::Yes => {}
            Allowed::No => {
                let reason = "in no group of LOCAL_LDAP_GROUP_ALLOW_LIST any more";
                return Ok(Verdict::Ends(reason.to_owned()));
            }
            Allowed::Unknown => return Ok(Verdict::Unknown),
        }
        let stored = directory::address_of(&self.sign_in.store, LDAP, &due.subject).await?;
        let arrival = self
            .ldap
            .directory
            .arrival(&person.person, &due.subject, &groups, stored.as_ref());
        let regrouped = arrival
            .groups
            .as_ref()
            .is_ok_and(|groups| Sessions::regroups(due, groups));
        match directory::look_again(&self.sign_in.store, &due.user, &arrival, regrouped, rules, self.now).await {
            Ok(()) => {}
            Err(Refused::Unavailable(error)) => return Err(error.into()),
            Err(Refused::GroupsUnreadable(GroupsUnreadable::CutShort)) => return Ok(Verdict::Unknown),
            Err(refused) => return Ok(Verdict::Ends(refused.to_string())),
        }
        // Nobody is vouched for with groups that were not read whole: they may be those of yesterday.
        let Ok(groups) = arrival.groups else {
            return Ok(Verdict::Unknown);
        };
        self.sign_in.sessions.take_groups(due, groups, self.now).await?;
        Ok(Verdict::GoesOn)
    }

    async fn unusable(&self, error: &Unusable, count: usize) -> Result<(), Unavailable> {
        tracing::warn!("live sessions could not be looked at again: {error}");
        self.after_grace("the directory can't be used", count).await
    }

    /// Ends those that nobody has vouched for too long.
    async fn after_grace(&self, why: &str, count: usize) -> Result<(), Unavailable> {
        for _ in 0..count {
            metrics().recheck(Recheck::Failed);
        }
        let patience = self.interval.saturating_add(self.grace).as_secs();
        let before = self.now.plus(-i64::try_from(patience).unwrap_or(i64::MAX));
        let reason = format!(
            "nobody could say for {} minutes that they may be here: {why}",
            patience / 60
        );
        let over = self.sign_in.sessions.unvouched(LDAP, before, self.now).await?;
        for due in &over {
            self.end(due, &reason).await?;
        }
        Ok(())
    }

    async fn end(&self, due: &Due, reason: &str) -> Result<(), Unavailable> {
        if self.sign_in.sessions.end_due(due, reason, self.now).await? {
            metrics().recheck(Recheck::Ended);
        }
        Ok(())
    }
}
