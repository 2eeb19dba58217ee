//! What `vestibule check` tells about the directory: each step of a sign-in, tried for show.

use std::collections::BTreeSet;

use ldap3::Scope;
use secrecy::SecretString;

use super::connection::Connection;
use super::search::NO_ID;
use super::{Allowed, Directory, Found, Password, Unusable, search};
use crate::clock::UnixTime;
use crate::config::{Ldap, Settings};
use crate::directory::{self, Arrival, ClaimedEmail, Refused};

/// Entries of which a sample is taken.
const SAMPLE: usize = 100;

/// One line: what was found, or what to do.
pub type Step = Result<String, String>;

/// What was tried.
#[derive(Debug, Default)]
pub struct Probed {
    /// A line each.
    pub steps: Vec<Step>,
    /// Who the person is to the rules of entry, if nothing stands against them so far.
    pub arrival: Option<Arrival>,
}

/// Tries the directory; with `person`, what their sign-in would do.
pub async fn probe(ldap: &Ldap, settings: &Settings, person: Option<(&str, &SecretString)>, now: UnixTime) -> Probed {
    let mut probed = Probed::default();
    let directory = match Directory::new(ldap, settings) {
        Ok(directory) => directory,
        Err(error) => {
            probed.steps.push(Err(format!("VESTIBULE_CA_FILE: {error}")));
            return probed;
        }
    };
    for at in 0..ldap.servers.len() {
        look_at(&directory, at, &mut probed.steps).await;
    }
    if let Some((login, password)) = person {
        let mut steps = Vec::new();
        let arrival = try_person(&directory, login, password, settings, &mut steps, now).await;
        probed.arrival = arrival.filter(|_| steps.iter().all(Result::is_ok));
        probed.steps.extend(steps);
    }
    probed
}

async fn look_at(directory: &Directory, at: usize, steps: &mut Vec<Step>) {
    let ldap = directory.settings();
    let Some(server) = directory.pool.server(at) else {
        return;
    };
    let connection = directory.pool.open(at).await;
    let Ok(_) = connection.inspect_err(|error| steps.push(Err(advised(error)))) else {
        return;
    };
    let secured = if server.is_tls() {
        "reached, its certificate verified"
    } else if server.is_local_socket() {
        "reached, on this machine's own socket"
    } else if ldap.start_tls {
        "reached, StartTLS done, its certificate verified"
    } else {
        "reached, in clear: passwords can be read on the way"
    };
    steps.push(Ok(format!("{server} {secured}")));
    let mut connection = match directory.pool.service(at).await {
        Ok(connection) => connection,
        Err(error) => return steps.push(Err(advised(&error))),
    };
    steps.push(Ok(match &ldap.bind {
        Some((name, _)) => format!("the service account {name} is let in"),
        None => "searches are anonymous (LOCAL_LDAP_BIND_DN is empty)".to_owned(),
    }));
    let base = is_there(&mut connection, "the base", &ldap.base_dn, "LOCAL_LDAP_BASE_DN").await;
    let well = base.is_ok();
    steps.push(base);
    if let Some(place) = &ldap.group_base_dn {
        steps.push(is_there(&mut connection, "the groups' base", place, "LOCAL_LDAP_GROUP_BASE_DN").await);
    }
    if !well {
        return;
    }
    look_at_people(&mut connection, ldap, steps).await;
    if let Some(filter) = &ldap.group_filter {
        steps.extend(look_at_groups(&mut connection, ldap, filter).await);
    }
}

/// A sample of people, what is seen of them, and the groups that stand on them.
async fn look_at_people(connection: &mut Connection, ldap: &Ldap, steps: &mut Vec<Step>) {
    let Some(filter) = of_anybody(&ldap.user_filter) else {
        return;
    };
    let wanted = search::attributes(ldap);
    let answer = match connection
        .search(&ldap.base_dn, Scope::Subtree, &filter, &wanted, SAMPLE)
        .await
    {
        Ok(answer) => answer,
        Err(error) => return steps.push(Err(advised(&error))),
    };
    let found = counted(answer.entries.len(), answer.cut);
    let names: BTreeSet<&str> = answer.entries.iter().flat_map(super::Entry::names).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    steps.push(Ok(if names.is_empty() {
        format!("{found} people are found (LOCAL_LDAP_USER_FILTER, LOCAL_LDAP_BASE_DN)")
    } else {
        format!("{found} people are found, with {names}")
    }));
    let without = answer
        .entries
        .iter()
        .filter(|entry| search::stable_id(entry, ldap).is_none())
        .count();
    if without > 0 {
        steps.push(Err(format!(
            "{without} of them show no stable id and can't sign in: {NO_ID}"
        )));
    }
    let attribute = ldap.attributes.group.as_str();
    let groups: BTreeSet<&str> = answer.entries.iter().flat_map(|entry| entry.texts(attribute)).collect();
    let some = groups.iter().take(5).copied().collect::<Vec<_>>().join("; ");
    steps.push(Ok(if groups.is_empty() {
        format!("no {attribute} is seen on them (LOCAL_LDAP_ATTRIBUTES group=…, LOCAL_LDAP_GROUP_FILTER)")
    } else {
        format!("{} groups are seen in {attribute}: {some}", groups.len())
    }));
}

/// A sample of the groups that the filter finds for anybody; None where it takes no wildcard.
async fn look_at_groups(connection: &mut Connection, ldap: &Ldap, filter: &str) -> Option<Step> {
    let filter = of_anybody(filter)?;
    let base = ldap.group_base_dn.as_deref().unwrap_or(&ldap.base_dn);
    let nothing = ["1.1".to_owned()];
    let answer = connection.search(base, Scope::Subtree, &filter, &nothing, SAMPLE).await;
    Some(match answer {
        Ok(answer) => {
            if answer.entries.is_empty() {
                let where_to_look = "LOCAL_LDAP_GROUP_FILTER, LOCAL_LDAP_GROUP_BASE_DN";
                return Some(Ok(format!("no group is found below {base} ({where_to_look})")));
            }
            let found = counted(answer.entries.len(), answer.cut);
            let some: Vec<&str> = answer.entries.iter().take(5).map(|entry| entry.dn.as_str()).collect();
            Ok(format!(
                "{found} groups are found by LOCAL_LDAP_GROUP_FILTER: {}",
                some.join("; ")
            ))
        }
        Err(error) => Err(advised(&error)),
    })
}

/// The filter for whatever name, if that is one.
fn of_anybody(filter: &str) -> Option<String> {
    let filter = ["{login}", "{dn}", "{username}"]
        .iter()
        .fold(filter.to_owned(), |filter, name| filter.replace(name, "*"));
    ldap3::parse_filter(&filter).is_ok().then_some(filter)
}

fn counted(seen: usize, cut: bool) -> String {
    let more = if cut { " or more" } else { "" };
    format!("{seen}{more}")
}

/// Whether an entry is there to be seen.
async fn is_there(connection: &mut Connection, what: &str, dn: &str, setting: &str) -> Step {
    let nothing = ["1.1".to_owned()];
    match connection.search(dn, Scope::Base, "(objectClass=*)", &nothing, 1).await {
        Ok(answer) if !answer.entries.is_empty() => Ok(format!("{what} {dn} is there")),
        // noSuchObject (RFC 4511, appendix A.2), which servers also say of what one may not see.
        Ok(_) | Err(Unusable::Search { code: 32, .. }) => Err(format!(
            "{what} {dn} is not there, or the service account may not see it ({setting})"
        )),
        Err(error) => Err(advised(&error)),
    }
}

async fn try_person(
    directory: &std::sync::Arc<Directory>,
    login: &str,
    password: &SecretString,
    settings: &Settings,
    steps: &mut Vec<Step>,
    now: UnixTime,
) -> Option<Arrival> {
    let person = match directory.find(login).await {
        Ok(Found::One(person)) => person,
        Ok(Found::Nobody) => {
            steps.push(Err(format!(
                "{login}: nobody is found (LOCAL_LDAP_USER_FILTER, LOCAL_LDAP_BASE_DN)"
            )));
            return None;
        }
        Ok(Found::Several) => {
            steps.push(Err(format!("{login}: several entries match (LOCAL_LDAP_USER_FILTER)")));
            return None;
        }
        Err(error) => {
            steps.push(Err(advised(&error)));
            return None;
        }
    };
    let dn = person.dn();
    steps.push(match &person.subject {
        Some(subject) => Ok(format!("{login} is {dn}, known as {subject}")),
        None => Err(format!("{login} is {dn}, which shows no stable id: {NO_ID}")),
    });
    let subject = person.subject.as_deref().unwrap_or_default();
    match directory.verify(&person, password, now).await {
        Ok(Password::Right) => steps.push(Ok(format!("{login}: the password is right"))),
        Ok(Password::Wrong(reason)) => steps.push(Err(format!("{login}: {reason}"))),
        Ok(Password::But(obstacle)) => steps.push(Err(format!("{login}: {obstacle}"))),
        Err(Unusable::EmptyBind) => steps.push(Err(format!("{login}: an empty password is not sent"))),
        Err(error) => steps.push(Err(advised(&error))),
    }
    let groups = match directory.groups(&person).await {
        Ok(groups) => groups,
        Err(error) => {
            steps.push(Err(advised(&error)));
            return None;
        }
    };
    let arrival = directory.arrival(&person, subject, &groups, None);
    let names = arrival.groups.as_deref().unwrap_or_default().join("; ");
    match groups.allowed {
        Allowed::Yes => steps.push(Ok(format!("{login} is in: {names}"))),
        Allowed::No => steps.push(Err(format!(
            "{login} is in none of LOCAL_LDAP_GROUP_ALLOW_LIST; in: {names}"
        ))),
        Allowed::Unknown => steps.push(Err(format!(
            "{login}: the groups could not be read whole, so LOCAL_LDAP_GROUP_ALLOW_LIST lets nobody in"
        ))),
    }
    let attribute = &directory.settings().attributes.email;
    match &arrival.email {
        ClaimedEmail::Verified(email) | ClaimedEmail::Presumed(email) => {
            steps.push(Ok(format!("{login}: e-mail {email}")));
        }
        ClaimedEmail::Unverified(email) => steps.push(Err(format!(
            "{login}: e-mail {email} does not count as verified (VESTIBULE_LDAP_TRUST_EMAIL=false)"
        ))),
        ClaimedEmail::Malformed => steps.push(Err(format!("{login}: what stands in {attribute} is no e-mail address"))),
        ClaimedEmail::Missing if settings.entry.email_needed => steps.push(Err(format!(
            "{login}: there is no {attribute} (LOCAL_LDAP_ATTRIBUTES email=…), and people need an e-mail address"
        ))),
        ClaimedEmail::Missing => {}
    }
    steps.extend(by_rules(login, &arrival, settings));
    Some(arrival)
}

/// What the gateway's own rules say, besides what was told of the address.
fn by_rules(login: &str, arrival: &Arrival, settings: &Settings) -> Option<Step> {
    let told = |refused: Refused, setting: &str| Some(Err(format!("{login}: {refused} ({setting})")));
    match directory::judge(arrival, &settings.entry) {
        Err(refused @ (Refused::GroupNotAllowed | Refused::GroupsUnreadable(_))) => {
            told(refused, "VESTIBULE_ALLOWED_GROUPS")
        }
        Err(refused @ Refused::DomainNotAllowed) => told(refused, "VESTIBULE_ALLOWED_EMAIL_DOMAINS"),
        _ => None,
    }
}

/// The reason, with what to do where it does not say so itself.
fn advised(error: &Unusable) -> String {
    let advice = match error {
        Unusable::NotReached { why, .. } if why.contains("certificate") => {
            "the certificate must be for the name in LOCAL_LDAP_ADDRESS and from an authority of the system's or \
             VESTIBULE_CA_FILE"
        }
        Unusable::NotReached { .. } => {
            "look at LOCAL_LDAP_ADDRESS, LOCAL_LDAP_TLS_ENABLE, and whether the server is well"
        }
        Unusable::ServiceAccount { .. } => "look at LOCAL_LDAP_BIND_DN and LOCAL_LDAP_BIND_PW",
        Unusable::Search { .. } => "look at LOCAL_LDAP_BASE_DN and what the service account may read",
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}
