//! Moving people from one provider or directory to another, or to another subject claim of the same.
//!
//! People are known by (issuer, subject) alone, so a move needs the new subjects. Where they are the old ones, or stand in a
//! list, identities are replaced at once, all or none.
//!
//! Where only addresses are known, nobody is linked blindly: an account is marked to be linked at the next sign-in from the new
//! issuer with its address. What that trusts, and what holds it in:
//!
//! - Whoever can get an address of somebody here at the new issuer, and have it count as verified there, becomes that
//!   person. So it is an admin's decision for this one issuer; the address counts by the same rules by which it finds an
//!   invitation; and it must be the account's address at the sign-in as well as at the decision.
//! - The first who comes is it: the mark goes with that. It also ends after some days, so that people who have left do not
//!   leave doors open for whoever gets their address next.
//! - An admin's account is linked only where somebody says that the address was verified: not where nobody denied it, nor by a
//!   directory, where people may be able to write it themselves. Then an admin links it by hand.
//! - A deactivated account gets no mark and takes none up, and neither does one that has an identity at the new issuer by now.
//! - The old identity goes in the same moment, with the sessions that began by it: an account is never reached by both.

use std::collections::BTreeMap;

use serde_json::json;

use super::access::{Acting, watched};
use super::admit::usable_id;
use super::people::about_person;
use super::rules::Action;
use super::{Actor, Arrival, ChangeError, ClaimedEmail, Refused};
use crate::clock::UnixTime;
use crate::person::{EmailAddress, LDAP, Role, UserId};
use crate::store::{Change, ChangeKind, RelinkRow, Store, StoreError, UserRow};
use crate::telemetry::audit::Kind;

/// Accounts that are marked in one transaction.
const MARKED_AT_ONCE: usize = 200;

/// How the new identity of somebody is known.
#[derive(Clone, Debug)]
pub enum RelinkBy {
    /// By their address at the next sign-in, until this time.
    Email {
        /// From then on nobody is linked any more.
        until: UnixTime,
    },
    /// The subject is the same there.
    Subject,
    /// By a list: of each the line, the old subject or the address, and the new subject.
    List(Vec<(usize, String, String)>),
}

/// What happens, or would happen, to one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelinkLine {
    /// The line of the list, if there is one.
    pub line: Option<usize>,
    /// The account; None if there is none.
    pub user: Option<UserId>,
    /// What the account is called, else what stands in the list.
    pub called: String,
    /// The subject that goes.
    pub old_subject: Option<String>,
    /// The subject that comes, where it is known.
    pub new_subject: Option<String>,
    /// What becomes of it.
    pub fate: RelinkFate,
}

/// What becomes of one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelinkFate {
    /// It is replaced.
    Moves,
    /// It is replaced when its owner next signs in from the new issuer; of some more is asked than of others.
    Waits(Option<&'static str>),
    /// Nothing, for this reason.
    Stays(&'static str),
    /// Because of this nobody is moved.
    Problem(&'static str),
}

impl RelinkFate {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Moves => "moves",
            Self::Waits(_) => "waits",
            Self::Stays(_) => "stays",
            Self::Problem(_) => "problem",
        }
    }

    /// Why it stays, or is a problem, or what more it takes.
    #[must_use]
    pub const fn why(self) -> Option<&'static str> {
        match self {
            Self::Moves => None,
            Self::Waits(more) => more,
            Self::Stays(why) | Self::Problem(why) => Some(why),
        }
    }
}

/// Everybody at `from` and what becomes of them, and whether it was done. It is not in a dry run, nor if anything is a
/// problem: then nobody is moved.
///
/// # Errors
/// If an issuer is unusable, or whoever acts may not.
pub async fn relink(
    store: &Store,
    actor: &Actor,
    [from, to]: [&str; 2],
    by: &RelinkBy,
    dry_run: bool,
    now: UnixTime,
) -> Result<(Vec<RelinkLine>, bool), ChangeError> {
    let action = Action::LinkIdentity;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        Acting::read(&mut change, actor).await?.must_here(action)?;
        if !usable_id(from) || !usable_id(to) {
            return Err(ChangeError::NoIdentity);
        }
        let lines = plan(&mut change, from, to, by).await?;
        let problem = lines.iter().any(|line| matches!(line.fate, RelinkFate::Problem(_)));
        if dry_run || problem {
            return Ok((lines, false));
        }
        if let RelinkBy::Email { until } = by {
            drop(change);
            mark_all(store, actor, [from, to], *until, &lines, now).await?;
        } else {
            for line in &lines {
                move_over(&mut change, actor, [from, to], line, now).await?;
            }
            change.commit().await?;
        }
        Ok((lines, true))
    });
    watched(store, actor, action, from, now, doing).await
}

/// Takes the marks of a move away; says how many there were.
///
/// # Errors
/// If whoever acts may not.
pub async fn forget_relinks(
    store: &Store,
    actor: &Actor,
    [from, to]: [&str; 2],
    now: UnixTime,
) -> Result<usize, ChangeError> {
    let action = Action::LinkIdentity;
    let doing = Box::pin(async {
        let mut change = store.change(now).await?;
        Acting::read(&mut change, actor).await?.must_here(action)?;
        let gone = change.forget_relinks(from, to).await?;
        for id in &gone {
            if let Some(user) = change.user(id.as_str()).await? {
                let event = about_person(Kind::IdentityChange, actor, &user, "no longer to be linked")
                    .before(json!({ "issuer": to }))
                    .after(json!({ "issuer": from }));
                change.record(event, now).await?;
            }
        }
        change.commit().await?;
        Ok(gone.len())
    });
    watched(store, actor, action, from, now, doing).await
}

async fn plan(change: &mut Change, from: &str, to: &str, by: &RelinkBy) -> Result<Vec<RelinkLine>, StoreError> {
    let there = change.identities_at(from).await?;
    let elsewhere = if from == to {
        None
    } else {
        Some(change.identities_at(to).await?)
    };
    let others = elsewhere.as_ref().unwrap_or(&there);
    let taken: BTreeMap<&str, &UserId> = others
        .iter()
        .map(|(subject, user)| (subject.as_str(), &user.id))
        .collect();
    let mut count: BTreeMap<&UserId, usize> = BTreeMap::new();
    for (_, user) in others {
        *count.entry(&user.id).or_default() += 1;
    }
    let moves = |new: &str, user: &UserId| match taken.get(new) {
        Some(other) if *other != user => RelinkFate::Problem("the new identity belongs to another account"),
        _ if !usable_id(new) => RelinkFate::Problem("the new subject is no usable id"),
        _ => RelinkFate::Moves,
    };
    let line = |subject: &str, user: &UserRow, new: Option<&str>, fate| RelinkLine {
        line: None,
        user: Some(user.id.clone()),
        called: user.called().to_owned(),
        old_subject: Some(subject.to_owned()),
        new_subject: new.map(str::to_owned),
        fate,
    };
    Ok(match by {
        RelinkBy::Subject if from == to => there
            .iter()
            .map(|(subject, user)| {
                line(
                    subject,
                    user,
                    None,
                    RelinkFate::Problem("it is the same issuer and subject"),
                )
            })
            .collect(),
        RelinkBy::Subject => there
            .iter()
            .map(|(subject, user)| line(subject, user, Some(subject), moves(subject, &user.id)))
            .collect(),
        RelinkBy::Email { .. } => there
            .iter()
            .map(|(subject, user)| {
                let fate = fate_by_email(user, count.get(&user.id).copied().unwrap_or_default(), [from, to]);
                line(subject, user, None, fate)
            })
            .collect(),
        RelinkBy::List(list) => by_list(&there, list, &moves),
    })
}

/// Of somebody who has so many identities at the new issuer.
fn fate_by_email(user: &UserRow, there: usize, [from, to]: [&str; 2]) -> RelinkFate {
    if user.deactivated {
        RelinkFate::Stays("deactivated")
    } else if user.email.is_none() {
        RelinkFate::Stays("no e-mail address")
    } else if from != to && there > 0 {
        RelinkFate::Stays("has an identity there already")
    } else if from == to && there > 1 {
        // The new one was linked by hand.
        RelinkFate::Stays("has several identities there already")
    } else if user.role != Role::Admin {
        RelinkFate::Waits(None)
    } else if to == LDAP {
        RelinkFate::Stays("an admin: a directory's address is not enough, link by hand")
    } else {
        RelinkFate::Waits(Some("an admin: only if the provider says that the address is verified"))
    }
}

fn by_list(
    there: &[(String, UserRow)],
    list: &[(usize, String, String)],
    moves: &dyn Fn(&str, &UserId) -> RelinkFate,
) -> Vec<RelinkLine> {
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    let mut given: BTreeMap<&str, usize> = BTreeMap::new();
    let found: Vec<Vec<&(String, UserRow)>> = list.iter().map(|(_, old, _)| named_so(there, old)).collect();
    for ((_, _, new), found) in list.iter().zip(&found) {
        *given.entry(new).or_default() += 1;
        if let [(subject, _)] = found.as_slice() {
            *named.entry(subject).or_default() += 1;
        }
    }
    let mut lines: Vec<RelinkLine> = list
        .iter()
        .zip(&found)
        .map(|((line, old, new), found)| {
            let (subject, user, fate) = match found.as_slice() {
                [] => (
                    None,
                    None,
                    RelinkFate::Problem("nobody comes from the old issuer by this"),
                ),
                [(subject, user)] => {
                    let fate = if named.get(subject.as_str()).is_some_and(|count| *count > 1) {
                        RelinkFate::Problem("the person is in the list twice")
                    } else if given.get(new.as_str()).is_some_and(|count| *count > 1) {
                        RelinkFate::Problem("the new subject is in the list twice")
                    } else {
                        moves(new, &user.id)
                    };
                    (Some(subject.clone()), Some(user), fate)
                }
                _ => (
                    None,
                    None,
                    RelinkFate::Problem("this account has several identities there: name the subject"),
                ),
            };
            RelinkLine {
                line: Some(*line),
                user: user.map(|user| user.id.clone()),
                called: user.map_or_else(|| old.clone(), |user| user.called().to_owned()),
                old_subject: subject,
                new_subject: Some(new.clone()),
                fate,
            }
        })
        .collect();
    let rest = there
        .iter()
        .filter(|(subject, _)| !named.contains_key(subject.as_str()));
    lines.extend(rest.map(|(subject, user)| RelinkLine {
        line: None,
        user: Some(user.id.clone()),
        called: user.called().to_owned(),
        old_subject: Some(subject.clone()),
        new_subject: None,
        fate: RelinkFate::Stays("not in the list"),
    }));
    lines
}

/// Identities at the old issuer by a subject, else by their account's address.
fn named_so<'a>(there: &'a [(String, UserRow)], old: &str) -> Vec<&'a (String, UserRow)> {
    if let Some(found) = there.iter().find(|(subject, _)| subject == old) {
        return vec![found];
    }
    let Ok(email) = EmailAddress::parse(old) else {
        return Vec::new();
    };
    let is_theirs = |user: &UserRow| user.email.as_ref().is_some_and(|(_, folded)| folded == email.folded());
    there.iter().filter(|(_, user)| is_theirs(user)).collect()
}

async fn move_over(
    change: &mut Change,
    actor: &Actor,
    [from, to]: [&str; 2],
    line: &RelinkLine,
    now: UnixTime,
) -> Result<(), StoreError> {
    let (RelinkFate::Moves, Some(user), Some(old), Some(new)) =
        (line.fate, &line.user, &line.old_subject, &line.new_subject)
    else {
        return Ok(());
    };
    match change.user(user.as_str()).await? {
        Some(user) => replace(change, actor, &user, [from, old], [to, new], now).await,
        None => Ok(()),
    }
}

/// Marks whoever waits, some at a time: people sign in meanwhile. Each mark stands by itself; should this break off, the same
/// command makes those that are missing, and the others once more.
async fn mark_all(
    store: &Store,
    actor: &Actor,
    issuers: [&str; 2],
    until: UnixTime,
    lines: &[RelinkLine],
    now: UnixTime,
) -> Result<(), ChangeError> {
    let waiting = lines.iter().filter(|line| matches!(line.fate, RelinkFate::Waits(_)));
    let waiting: Vec<&UserId> = waiting.filter_map(|line| line.user.as_ref()).collect();
    for piece in waiting.chunks(MARKED_AT_ONCE) {
        let mut change = store.change(now).await?;
        Acting::read(&mut change, actor)
            .await?
            .must_here(Action::LinkIdentity)?;
        for user in piece {
            mark(&mut change, actor, issuers, until, user, now).await?;
        }
        change.commit().await?;
    }
    Ok(())
}

async fn mark(
    change: &mut Change,
    actor: &Actor,
    [from, to]: [&str; 2],
    until: UnixTime,
    user: &UserId,
    now: UnixTime,
) -> Result<(), StoreError> {
    let Some(user) = change.user(user.as_str()).await? else {
        return Ok(());
    };
    let identities = change.identities(&user.id).await?;
    let at = |issuer: &str| identities.iter().filter(|identity| identity.issuer == issuer).count();
    // It may have become otherwise since it was planned.
    let waits = at(from) > 0 && matches!(fate_by_email(&user, at(to), [from, to]), RelinkFate::Waits(_));
    let Some((_, folded)) = user.email.as_ref().filter(|_| waits) else {
        return Ok(());
    };
    let row = RelinkRow {
        issuer: to.to_owned(),
        email_folded: folded.clone(),
        user: user.id.clone(),
        from_issuer: from.to_owned(),
        until,
    };
    change.await_relink(&row).await?;
    let event = about_person(Kind::IdentityChange, actor, &user, "to be linked")
        .before(json!({ "issuer": from }))
        .after(json!({ "issuer": to, "until": until.0 }));
    change.record(event, now).await
}

/// One identity in the place of another.
async fn replace(
    change: &mut Change,
    actor: &Actor,
    before: &UserRow,
    [from, old]: [&str; 2],
    [to, new]: [&str; 2],
    now: UnixTime,
) -> Result<(), StoreError> {
    if [from, old] == [to, new] {
        return Ok(());
    }
    let mut user = before.clone();
    user.version += 1;
    change.update_user(before, &user).await?;
    if change.user_by_identity(to, new).await?.is_none() {
        change.link_identity(to, new, &user.id).await?;
    }
    change.unlink_identity(from, old).await?;
    change.forget_relinks_of(&user.id).await?;
    change.forget_refused_person(Some((to, new)), None).await?;
    // What came from the old issuer's groups ends with it; the new one's come at the next sign-in.
    if !change
        .identities(&user.id)
        .await?
        .iter()
        .any(|identity| identity.issuer == from)
    {
        change.delete_members_from(&user.id, from).await?;
        change.publish(ChangeKind::User, user.id.as_str()).await?;
    }
    for sid in change.delete_sessions_by(from, old).await? {
        change.publish(ChangeKind::Session, &sid).await?;
    }
    let event = about_person(Kind::IdentityChange, actor, &user, "relinked")
        .before(json!({ "issuer": from, "subject": old }))
        .after(json!({ "issuer": to, "subject": new }));
    change.record(event, now).await
}

/// The account that waits for this arrival, now linked to it; None if none does. `receive` would otherwise say that the
/// address belongs to another account.
pub(super) async fn take_up(
    change: &mut Change,
    arrival: &Arrival,
    actor: &Actor,
    now: UnixTime,
) -> Result<Option<UserRow>, Refused> {
    let (email, said) = match &arrival.email {
        ClaimedEmail::Verified(email) => (email, true),
        ClaimedEmail::Presumed(email) => (email, false),
        ClaimedEmail::Unverified(_) | ClaimedEmail::Malformed | ClaimedEmail::Missing => return Ok(None),
    };
    let Some(mark) = change.relink(&arrival.issuer, email.folded()).await? else {
        return Ok(None);
    };
    // The address may have become somebody else's since.
    let user = change.user_by_email(email.folded()).await?;
    let Some(user) = user.filter(|user| user.id == mark.user && mark.until > now) else {
        return Ok(None);
    };
    if user.deactivated {
        return Err(Refused::Deactivated);
    }
    let identities = change.identities(&user.id).await?;
    // One that was linked by hand since.
    let there = identities
        .iter()
        .filter(|identity| identity.issuer == arrival.issuer)
        .count();
    if there > usize::from(mark.from_issuer == arrival.issuer) {
        return Ok(None);
    }
    if user.role == Role::Admin && !said {
        return Ok(None);
    }
    let old = identities.iter().filter(|identity| identity.issuer == mark.from_issuer);
    let old: Vec<&str> = old.map(|identity| identity.subject.as_str()).collect();
    if old.is_empty() {
        return Ok(None);
    }
    let mut linked = user;
    for subject in old {
        let from = [mark.from_issuer.as_str(), subject];
        replace(change, actor, &linked, from, [&arrival.issuer, &arrival.subject], now).await?;
        linked.version += 1;
    }
    Ok(Some(linked))
}
