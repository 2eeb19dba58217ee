//! Who gets in, and as whom.

use serde_json::json;

use super::invitations::has_expired;
use super::people::{delete, new_id};
use super::{Actor, Admitted, Arrival, ClaimedEmail, How, Refused, event_about, groups, names, relink};
use crate::clock::UnixTime;
use crate::config::EntryRules;
use crate::person::{EmailAddress, LDAP, Role, UserId};
use crate::seal;
use crate::store::{Change, ChangeKind, RefusedRow, Store, UserRow};
use crate::telemetry::audit::{Event, Kind};

/// Whose `hd` claim says for which organisation an account was made; an address alone does not say so there.
const GOOGLE: &str = "https://accounts.google.com";
/// Longer than any provider's ids (OpenID Connect Core 1.0, section 2, allows 255).
const LONGEST_ID: usize = 512;

/// Decides whether somebody gets in, and as whom; makes the account where the rules say so.
///
/// People are known by (issuer, subject) alone. An e-mail address finds an invitation, never an existing account, unless an
/// admin has said that this one moves to this issuer ([`relink`]).
///
/// `door` says from where they come, for the audit log.
///
/// # Errors
/// [`Refused`] says why not; then no account was made, no link, no change.
pub async fn admit(
    store: &Store,
    arrival: &Arrival,
    rules: &EntryRules,
    door: &Actor,
    now: UnixTime,
) -> Result<Admitted, Refused> {
    let outcome = decide(store, arrival, rules, door, now).await;
    match &outcome {
        Ok(_) | Err(Refused::Unavailable(_)) => {}
        Err(refused) => turn_away(store, refused, arrival, door, now).await,
    }
    outcome
}

/// As one word of a POSIX shell: an operator copies it, and it came from a stranger.
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Writes a refusal down; where nobody added them, admins may approve them. Whoever is refused stays so if the store does
/// not take it; the log has it then, and says that the store has not.
pub async fn turn_away(store: &Store, refused: &Refused, arrival: &Arrival, door: &Actor, now: UnixTime) {
    let email = arrival.email.address().map_or("", EmailAddress::as_str);
    let mut event = Event::new(Kind::Refusal, door)
        .detail("reason", &refused.to_string())
        .detail("issuer", &arrival.issuer)
        .detail("subject", &arrival.subject)
        .detail("email", email);
    if let Refused::EmailTaken = refused {
        // Whether they are the same person, only an admin can know.
        let remedy = format!(
            "if it is the same person: vestibule users link {} {} {}; if everybody moves to this issuer: vestibule users \
             relink --from OLD-ISSUER --to {} --by email",
            word(email),
            word(&arrival.issuer),
            word(&arrival.subject),
            word(&arrival.issuer)
        );
        event = event.detail("remedy", &remedy);
    }
    let row = match refused {
        Refused::NotInvited => Some(RefusedRow {
            id: seal::random_name(),
            issuer: arrival.issuer.clone(),
            subject: arrival.subject.clone(),
            email: arrival
                .email
                .counted()
                .map(|email| (email.as_str().to_owned(), email.folded().to_owned())),
            username: names::username(arrival.username.as_deref()),
            name: names::full_name(arrival.name.as_deref()),
            at: now,
            times: 1,
        }),
        _ => None,
    };
    if let Err(error) = store.note(event.clone(), row.as_ref(), now).await {
        event.tell();
        tracing::warn!(%error, "a refusal stands in the log only");
    }
}

async fn decide(
    store: &Store,
    arrival: &Arrival,
    rules: &EntryRules,
    door: &Actor,
    now: UnixTime,
) -> Result<Admitted, Refused> {
    judge(arrival, rules)?;
    // Under the lock row: two first sign-ins cannot both be the first, and nobody is deactivated meanwhile.
    let mut change = store.change(now).await?;
    let (known, user, how) = account_of(&mut change, arrival, rules, door, now).await?;
    let email = |user: &UserRow| user.email.as_ref().map(|(shown, _)| shown.clone());
    let by_provider = door.with(super::Who::Provider);
    if how != How::Known {
        let event = event_about(Kind::Provisioning, &door.with(user.as_actor()), &user)
            .detail("how", how.as_str())
            .detail("issuer", &arrival.issuer)
            .detail("subject", &arrival.subject)
            .after(json!({ "role": user.role, "email": email(&user), "username": user.username.as_ref().map(|(shown, _)| shown) }));
        change.record(event, now).await?;
    }
    if let Some(before) = known.as_ref().filter(|before| before.email != user.email) {
        let event = event_about(Kind::Provisioning, &by_provider, &user)
            .detail("how", "new address from the provider")
            .before(json!({ "email": email(before) }))
            .after(json!({ "email": email(&user) }));
        change.record(event, now).await?;
    }
    let followed = if arrival.issuer == LDAP {
        rules.follow_ldap_groups
    } else {
        rules.follow_group_claims
    };
    groups::follow(&mut change, &user, arrival, followed, &by_provider, now).await?;
    change.commit().await?;
    Ok(Admitted {
        role: user.role,
        user: user.id,
        how,
    })
}

/// What [`admit`] would say now. Nothing is changed, and nobody is told.
///
/// # Errors
/// [`Refused`] says why they would not be let in.
pub async fn foresee(store: &Store, arrival: &Arrival, rules: &EntryRules, now: UnixTime) -> Result<Admitted, Refused> {
    judge(arrival, rules)?;
    // Never committed.
    let mut change = store.change(now).await?;
    let (_, user, how) = account_of(&mut change, arrival, rules, &Actor::system(), now).await?;
    Ok(Admitted {
        role: user.role,
        user: user.id,
        how,
    })
}

/// The account as it was, where there was one, and as it is now.
async fn account_of(
    change: &mut Change,
    arrival: &Arrival,
    rules: &EntryRules,
    door: &Actor,
    now: UnixTime,
) -> Result<(Option<UserRow>, UserRow, How), Refused> {
    let mut known = change.user_by_identity(&arrival.issuer, &arrival.subject).await?;
    if known.is_none() && rules.email_needed {
        known = relink::take_up(change, arrival, &door.with(super::Who::Provider), now).await?;
    }
    let (user, how) = match &known {
        Some(user) => welcome_back(change, user, arrival, rules, now).await?,
        None => receive(change, arrival, rules, now).await?,
    };
    Ok((known, user, how))
}

/// What the settings say of somebody, before anybody looks for their account.
///
/// # Errors
/// [`Refused`] says why they would not be let in, whatever account is theirs.
pub fn judge(arrival: &Arrival, rules: &EntryRules) -> Result<(), Refused> {
    check_identity(arrival)?;
    check_groups(arrival, rules)?;
    check_domain(arrival, rules)
}

fn check_identity(arrival: &Arrival) -> Result<(), Refused> {
    if usable_id(&arrival.issuer) && usable_id(&arrival.subject) {
        Ok(())
    } else {
        Err(Refused::SubjectUnusable)
    }
}

pub(super) fn usable_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= LONGEST_ID && !id.chars().any(char::is_control)
}

/// Exactly, but for one leading slash (Keycloak's paths).
pub(super) fn check_groups(arrival: &Arrival, rules: &EntryRules) -> Result<(), Refused> {
    let Some(allowed) = &rules.allowed_groups else {
        return Ok(());
    };
    let groups = arrival
        .groups
        .as_ref()
        .map_err(|why| Refused::GroupsUnreadable(why.clone()))?;
    let in_one = groups
        .iter()
        .map(|group| names::group(group))
        .any(|group| allowed.iter().any(|allowed| allowed == group));
    if in_one { Ok(()) } else { Err(Refused::GroupNotAllowed) }
}

/// Judges the address that came now, not the one that is kept: whoever left the domain is out, known or not.
pub(super) fn check_domain(arrival: &Arrival, rules: &EntryRules) -> Result<(), Refused> {
    let Some(domains) = &rules.allowed_domains else {
        return Ok(());
    };
    let email = usable_email(arrival)?;
    if !domains.iter().any(|domain| domain == email.domain()) {
        return Err(Refused::DomainNotAllowed);
    }
    if arrival.issuer == GOOGLE {
        let hosted = arrival
            .hosted_domain
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if !domains.contains(&hosted) {
            return Err(Refused::HostedDomainNotAllowed);
        }
    }
    Ok(())
}

const fn usable_email(arrival: &Arrival) -> Result<&EmailAddress, Refused> {
    match &arrival.email {
        ClaimedEmail::Verified(email) | ClaimedEmail::Presumed(email) => Ok(email),
        ClaimedEmail::Unverified(_) => Err(Refused::EmailUnverified),
        ClaimedEmail::Malformed => Err(Refused::EmailMalformed),
        ClaimedEmail::Missing => Err(Refused::EmailMissing),
    }
}

/// A known identity: signs in whatever its e-mail says.
async fn welcome_back(
    change: &mut Change,
    before: &UserRow,
    arrival: &Arrival,
    rules: &EntryRules,
    now: UnixTime,
) -> Result<(UserRow, How), Refused> {
    if before.deactivated {
        return Err(Refused::Deactivated);
    }
    if has_expired(before, now) {
        return Err(Refused::NotInvited);
    }
    let mut user = before.clone();
    if let Some(email) = arrival.email.counted().filter(|_| rules.email_needed) {
        // Somebody else's, or an invitation's, is not taken: then the old one stays.
        if change.user_by_email(email.folded()).await?.is_none() {
            user.set_email(email);
        }
    }
    if rules.names_follow {
        names::follow(change, &mut user, arrival).await?;
    }
    if user.username.is_none() {
        user.username = Some(username_for(change, &user.id, arrival).await?);
    }
    // An identity that an admin approved, for the first time.
    let first = before.signed_in.is_none();
    if first {
        // An admin sees an account now where there was an invitation. That somebody comes again changes no form.
        user.version += 1;
        user.expires = None;
        user.name = user.name.or_else(|| names::full_name(arrival.name.as_deref()));
    }
    if user != *before {
        change.publish(ChangeKind::User, user.id.as_str()).await?;
    }
    user.signed_in = Some(now);
    change.update_user(before, &user).await?;
    if first {
        change.settle_admin().await?;
    }
    Ok((user, if first { How::Invited } else { How::Known }))
}

/// An unknown identity: an invitation's, or a new account's if the rules make one.
async fn receive(
    change: &mut Change,
    arrival: &Arrival,
    rules: &EntryRules,
    now: UnixTime,
) -> Result<(UserRow, How), Refused> {
    let email = if rules.email_needed {
        Some(usable_email(arrival)?)
    } else {
        None
    };
    let initial_admin = email.is_some_and(|email| rules.initial_admins.contains(email));
    let mut of_address = match email {
        Some(email) => change.user_by_email(email.folded()).await?,
        None => None,
    };
    // One that has expired is as if it were not there: it admits nobody, and keeps nobody out.
    let expired = of_address.take_if(|user| has_expired(user, now) && !user.deactivated);
    let before = of_address.clone();
    let (mut user, how) = if let Some(user) = of_address {
        if user.signed_in.is_some() || change.has_identity(&user.id).await? {
            return Err(Refused::EmailTaken);
        }
        if user.deactivated {
            return Err(Refused::Deactivated);
        }
        (user, How::Invited)
    } else {
        let how = if initial_admin {
            How::InitialAdmin
        } else if !rules.provisioning {
            return Err(Refused::NotInvited);
        } else if rules.initial_admins.is_empty() && !change.admin_settled().await? {
            How::FirstAdmin
        } else {
            How::Provisioned
        };
        if let Some(expired) = &expired {
            delete(change, expired).await?;
        }
        (UserRow::new(new_id(), email, rules.default_role, now), how)
    };
    if initial_admin || how == How::FirstAdmin {
        user.role = Role::Admin;
    }
    user.username = Some(username_for(change, &user.id, arrival).await?);
    user.name = names::full_name(arrival.name.as_deref());
    user.signed_in = Some(now);
    user.expires = None;
    match &before {
        Some(before) => {
            user.version += 1;
            change.update_user(before, &user).await?;
        }
        None => change.insert_user(&user).await?,
    }
    change
        .forget_refused_person(
            Some((&arrival.issuer, &arrival.subject)),
            email.map(EmailAddress::folded),
        )
        .await?;
    change
        .link_identity(&arrival.issuer, &arrival.subject, &user.id)
        .await?;
    // Whoever it was, there has been a first user now: a later stranger is not the first ever.
    change.settle_admin().await?;
    Ok((user, how))
}

async fn username_for(change: &mut Change, user: &UserId, arrival: &Arrival) -> Result<(String, String), Refused> {
    // A user name is not proof of anything: the local part of an address serves, verified or not.
    let email = arrival.email.address();
    let identity = (arrival.issuer.as_str(), arrival.subject.as_str());
    Ok(names::choose_username(change, user, arrival.username.as_deref(), email, identity).await?)
}
