//! From claims to somebody at the door. Tolerant: a wrong type in a claim that is not needed is as if it were missing; in one
//! that is needed it is told as such, and refused by the directory's rules.

use serde_json::{Map, Value};

use super::id_token::NotTaken;
use crate::config::{EmailVerified, EntryRules, Oidc};
use crate::directory::{Arrival, ClaimedEmail, GroupsUnreadable};
use crate::person::EmailAddress;

type Claims = Map<String, Value>;

/// What of an ID token's lacks makes userinfo worth asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Nothing is missing.
    Nothing,
    /// A name: fine without.
    Wish,
    /// E-mail or groups: nobody gets in without.
    Must,
}

/// What of the ID token the session keeps.
#[derive(Debug)]
pub(super) struct ForSession {
    pub(super) amr: Option<Value>,
    pub(super) auth_time: Option<Value>,
    pub(super) sid: Option<String>,
}

/// Whether userinfo must be asked.
pub(super) fn need(claims: &Claims, settings: &Oidc, rules: &EntryRules) -> Need {
    let email_lacks = settings.email_claim.as_deref().is_some_and(|claim| {
        find(claims, claim).is_none()
            || settings.email_verified == EmailVerified::Required && find(claims, "email_verified").is_none()
    });
    let groups_lack = rules.allowed_groups.is_some()
        && find(claims, &settings.groups_claim).is_none()
        && !overage(claims, &settings.groups_claim);
    if email_lacks || groups_lack {
        Need::Must
    } else if text(claims, "name").is_none() {
        Need::Wish
    } else {
        Need::Nothing
    }
}

/// Who arrives, by a checked ID token and userinfo of the same `sub`.
pub(super) fn arrival(id_token: &Claims, userinfo: Option<&Claims>, settings: &Oidc) -> Result<Arrival, NotTaken> {
    let either = |name: &str| text(id_token, name).or_else(|| text(userinfo?, name));
    Ok(Arrival {
        issuer: settings.issuer.clone(),
        // Never from userinfo: who somebody is, the signature says.
        subject: subject(id_token, settings).ok_or(NotTaken::Subject)?,
        email: email(id_token, userinfo, settings),
        username: either(&settings.username_claim),
        name: either("name"),
        groups: groups(id_token, userinfo, &settings.groups_claim),
        hosted_domain: text(id_token, "hd"),
    })
}

/// What the session keeps of a checked ID token; too long to be kept is missing.
pub(super) fn for_session(id_token: &Claims) -> ForSession {
    let amr = id_token
        .get("amr")
        .filter(|amr| matches!(amr, Value::Array(_) | Value::String(_)) && amr.to_string().len() <= 512);
    ForSession {
        amr: amr.cloned(),
        auth_time: id_token.get("auth_time").filter(|time| time.is_number()).cloned(),
        sid: text(id_token, "sid").filter(|sid| sid.len() <= 255),
    }
}

/// A claim by its exact name, else by a dotted path; null is missing. A claim whose name has dots in it is found at every
/// depth (`resource_access.my.client.roles`).
fn find<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value).filter(|value| !value.is_null());
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (name, rest) = path.split_at_checked(dot)?;
        find(claims.get(name)?.as_object()?, rest.get(1..)?)
    })
}

/// One text: a string, or the first string of a list; nothing else, and not an empty one.
fn text(claims: &Claims, path: &str) -> Option<String> {
    let text = match find(claims, path)? {
        Value::String(text) => text,
        Value::Array(list) => list.iter().find_map(Value::as_str)?,
        _ => return None,
    };
    Some(text).filter(|text| !text.trim().is_empty()).map(ToOwned::to_owned)
}

fn subject(id_token: &Claims, settings: &Oidc) -> Option<String> {
    match find(id_token, &settings.subject_claim)? {
        Value::String(subject) if !subject.trim().is_empty() && !subject.contains(char::is_control) => {
            Some(subject.clone())
        }
        _ => None,
    }
}

/// The address and whether it counts as verified: both from the same document, so that nobody's word for one address is
/// taken for another.
fn email(id_token: &Claims, userinfo: Option<&Claims>, settings: &Oidc) -> ClaimedEmail {
    let Some(claim) = settings.email_claim.as_deref() else {
        return ClaimedEmail::Missing;
    };
    let in_token = email_in(id_token, claim, settings.email_verified);
    let undecided = matches!(in_token, ClaimedEmail::Missing)
        || matches!(in_token, ClaimedEmail::Unverified(_)) && find(id_token, "email_verified").is_none();
    match userinfo {
        Some(userinfo) if undecided => match email_in(userinfo, claim, settings.email_verified) {
            ClaimedEmail::Missing => in_token,
            found => found,
        },
        _ => in_token,
    }
}

fn email_in(document: &Claims, claim: &str, rule: EmailVerified) -> ClaimedEmail {
    let address = match find(document, claim) {
        None => return ClaimedEmail::Missing,
        Some(Value::String(address)) if address.is_empty() => return ClaimedEmail::Missing,
        Some(Value::Array(list)) if list.is_empty() => return ClaimedEmail::Missing,
        Some(_) => text(document, claim).and_then(|address| EmailAddress::parse(&address).ok()),
    };
    let Some(address) = address else {
        return ClaimedEmail::Malformed;
    };
    let said = find(document, "email_verified").map(|said| *said == true || said == "true");
    match (rule, said) {
        (EmailVerified::Ignored, _) | (_, Some(true)) => ClaimedEmail::Verified(address),
        (EmailVerified::UnlessDenied, None) => ClaimedEmail::Presumed(address),
        (_, Some(false)) | (EmailVerified::Required, None) => ClaimedEmail::Unverified(address),
    }
}

fn groups(id_token: &Claims, userinfo: Option<&Claims>, claim: &str) -> Result<Vec<String>, GroupsUnreadable> {
    let found = find(id_token, claim).or_else(|| find(userinfo?, claim));
    match found {
        None if overage(id_token, claim) || userinfo.is_some_and(|userinfo| overage(userinfo, claim)) => {
            Err(GroupsUnreadable::Overage)
        }
        None => Ok(Vec::new()),
        // ADFS sends the only group of a person as a string.
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(list)) => {
            let names: Vec<String> = list.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
            if names.is_empty() && !list.is_empty() {
                return Err(GroupsUnreadable::WrongType);
            }
            Ok(names)
        }
        Some(_) => Err(GroupsUnreadable::WrongType),
    }
}

/// Entra sends at most 200 groups; beyond, it says where to ask (`_claim_names`), or just that there are some.
fn overage(claims: &Claims, groups_claim: &str) -> bool {
    let elsewhere = claims
        .get("_claim_names")
        .and_then(Value::as_object)
        .is_some_and(|names| names.contains_key(groups_claim));
    let has_some = claims
        .get("hasgroups")
        .is_some_and(|has| !has.is_null() && *has != false && has != "false");
    elsewhere || has_some
}

#[cfg(test)]
mod tests;
