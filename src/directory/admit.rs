//! Who gets in, and as whom.

use super::{Admitted, Arrival, ClaimedEmail, How, Refused, names, tell};
use crate::clock::UnixTime;
use crate::config::EntryRules;
use crate::person::{EmailAddress, Role, UserId};
use crate::seal;
use crate::store::{Change, ChangeKind, Store, UserRow};
use crate::telemetry::audit::Kind;

/// Whose `hd` claim says for which organisation an account was made; an address alone does not say so there.
const GOOGLE: &str = "https://accounts.google.com";
/// Longer than any provider's ids (OpenID Connect Core 1.0, section 2, allows 255).
const LONGEST_ID: usize = 512;

/// Decides whether somebody gets in, and as whom; makes the account where the rules say so.
///
/// People are known by (issuer, subject) alone. An e-mail address finds an invitation, never an existing account.
///
/// # Errors
/// [`Refused`] says why not; then nothing was changed.
pub async fn admit(store: &Store, arrival: &Arrival, rules: &EntryRules, now: UnixTime) -> Result<Admitted, Refused> {
    check_identity(arrival)?;
    check_groups(arrival, rules)?;
    check_domain(arrival, rules)?;
    // Under the lock row: two first sign-ins cannot both be the first, and nobody is deactivated meanwhile.
    let mut change = store.change(now).await?;
    let known = change.user_by_identity(&arrival.issuer, &arrival.subject).await?;
    let (user, how) = match &known {
        Some(user) => (
            welcome_back(&mut change, user.clone(), arrival, rules, now).await?,
            How::Known,
        ),
        None => receive(&mut change, arrival, rules, now).await?,
    };
    change.commit().await?;
    // A sign-in itself is told by the room that knows where it came from.
    if known.is_some_and(|before| before.email != user.email) {
        tell(Kind::Provisioning, "new address from the provider", &user);
    }
    Ok(Admitted {
        role: user.role,
        user: user.id,
        how,
    })
}

fn check_identity(arrival: &Arrival) -> Result<(), Refused> {
    let usable = |id: &str| !id.is_empty() && id.len() <= LONGEST_ID && !id.chars().any(char::is_control);
    if usable(&arrival.issuer) && usable(&arrival.subject) {
        Ok(())
    } else {
        Err(Refused::SubjectUnusable)
    }
}

/// Exactly, but for one leading slash (Keycloak's paths).
fn check_groups(arrival: &Arrival, rules: &EntryRules) -> Result<(), Refused> {
    let Some(allowed) = &rules.allowed_groups else {
        return Ok(());
    };
    let groups = arrival
        .groups
        .as_ref()
        .map_err(|why| Refused::GroupsUnreadable(why.clone()))?;
    let in_one = groups
        .iter()
        .map(|group| group.strip_prefix('/').unwrap_or(group))
        .any(|group| allowed.iter().any(|allowed| allowed == group));
    if in_one { Ok(()) } else { Err(Refused::GroupNotAllowed) }
}

/// Judges the address that came now, not the one that is kept: whoever left the domain is out, known or not.
fn check_domain(arrival: &Arrival, rules: &EntryRules) -> Result<(), Refused> {
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
        ClaimedEmail::Verified(email) => Ok(email),
        ClaimedEmail::Unverified(_) => Err(Refused::EmailUnverified),
        ClaimedEmail::Malformed => Err(Refused::EmailMalformed),
        ClaimedEmail::Missing => Err(Refused::EmailMissing),
    }
}

/// A known identity: signs in whatever its e-mail says.
async fn welcome_back(
    change: &mut Change,
    mut user: UserRow,
    arrival: &Arrival,
    rules: &EntryRules,
    now: UnixTime,
) -> Result<UserRow, Refused> {
    if user.deactivated {
        return Err(Refused::Deactivated);
    }
    let before = user.clone();
    if let (true, ClaimedEmail::Verified(email)) = (rules.email_needed, &arrival.email) {
        // Somebody else's, or an invitation's, is not taken: then the old one stays.
        if change.user_by_email(email.folded()).await?.is_none() {
            user.set_email(email);
        }
    }
    if rules.names_follow {
        if let Some(name) = names::full_name(arrival.name.as_deref()) {
            user.name = Some(name);
        }
        if let Some(username) = names::username(arrival.username.as_deref())
            && let Some(free) = names::free(change, &user.id, &username).await?
        {
            user.username = Some(free);
        }
    }
    if user.username.is_none() {
        user.username = Some(username_for(change, &user.id, arrival).await?);
    }
    if user != before {
        change.publish(ChangeKind::User, user.id.as_str()).await?;
    }
    user.signed_in = Some(now);
    change.update_user(&user).await?;
    Ok(user)
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
    let of_address = match email {
        Some(email) => change.user_by_email(email.folded()).await?,
        None => None,
    };
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
        (new_account(email, rules, now), how)
    };
    if initial_admin || how == How::FirstAdmin {
        user.role = Role::Admin;
    }
    user.username = Some(username_for(change, &user.id, arrival).await?);
    user.name = names::full_name(arrival.name.as_deref());
    user.signed_in = Some(now);
    if how == How::Invited {
        change.update_user(&user).await?;
    } else {
        change.insert_user(&user).await?;
    }
    change
        .link_identity(&arrival.issuer, &arrival.subject, &user.id)
        .await?;
    // Whoever it was, there has been a first user now: a later stranger is not the first ever.
    change.settle_admin().await?;
    Ok((user, how))
}

fn new_account(email: Option<&EmailAddress>, rules: &EntryRules, now: UnixTime) -> UserRow {
    UserRow {
        id: UserId::new(&format!("u_{}", seal::random_name())),
        email: email.map(|email| (email.as_str().to_owned(), email.folded().to_owned())),
        username: None,
        name: None,
        role: rules.default_role,
        deactivated: false,
        created: now,
        signed_in: None,
    }
}

async fn username_for(change: &mut Change, user: &UserId, arrival: &Arrival) -> Result<(String, String), Refused> {
    // A user name is not proof of anything: the local part of an address serves, verified or not.
    let email = match &arrival.email {
        ClaimedEmail::Verified(email) | ClaimedEmail::Unverified(email) => Some(email),
        ClaimedEmail::Malformed | ClaimedEmail::Missing => None,
    };
    let identity = (arrival.issuer.as_str(), arrival.subject.as_str());
    Ok(names::choose_username(change, user, arrival.username.as_deref(), email, identity).await?)
}
