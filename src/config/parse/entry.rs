//! Who gets in, and as whom.

use unicode_normalization::UnicodeNormalization as _;
use url::Host;

use super::{Reader, oidc};
use crate::config::settings::EntryRules;
use crate::person::{EmailAddress, Role};

pub(super) fn rules(reader: &mut Reader<'_>) -> Option<EntryRules> {
    let email_needed = email_needed(reader);
    let provisioning = reader.flag("DISABLE_SSO_PROVISIONING").map(|off| !off);
    let initial_admins = initial_admins(reader, email_needed);
    let default_role = reader.choice("VESTIBULE_DEFAULT_ROLE").map(|word| match word {
        "viewer" => Role::Viewer,
        _ => Role::Member,
    });
    let domains = allowed_domains(reader, email_needed);
    let allowed_groups = allowed_groups(reader);
    let names_follow = reader.flag("USE_IDENTIFIER_CLAIMS");
    let follow_group_claims = reader.flag("ENABLE_SSO_GROUP_CLAIMS");
    let follow_ldap_groups = reader.flag("LDAP_GROUP_SYNC");

    if follow_group_claims == Some(true)
        && follow_ldap_groups == Some(true)
        && reader.set("OIDC_ISSUER").is_some()
        && reader.is_on("LOCAL_LDAP_LOGIN")
    {
        reader.warn(
            "LDAP_GROUP_SYNC",
            "teams follow the groups of the provider and of the directory (ENABLE_SSO_GROUP_CLAIMS is on, too): a team that \
             follows a group takes people of either group of this name, so whoever can make a group on one side can put \
             people into teams that were meant for the other's",
        );
    }

    let restricted = !matches!(domains, Some(Domains::Unset))
        || reader.set("VESTIBULE_ALLOWED_GROUPS").is_some()
        || provisioning != Some(true);
    let issuer = reader.set("OIDC_ISSUER");
    if !restricted && issuer.is_some_and(|value| oidc::open_to_everybody(&value.text)) {
        reader.wrong(
            "OIDC_ISSUER",
            "anybody can get an account there, so anybody could sign in here",
            "VESTIBULE_ALLOWED_EMAIL_DOMAINS (your domain; `*` if everybody is meant), VESTIBULE_ALLOWED_GROUPS, or \
             DISABLE_SSO_PROVISIONING=true, besides",
        );
        return None;
    }
    Some(EntryRules {
        provisioning: provisioning?,
        initial_admins: initial_admins?,
        default_role: default_role?,
        allowed_groups: allowed_groups?,
        names_follow: names_follow?,
        follow_group_claims: follow_group_claims?,
        follow_ldap_groups: follow_ldap_groups?,
        email_needed,
        allowed_domains: match domains? {
            Domains::These(domains) => Some(domains),
            Domains::Unset | Domains::Everybody => None,
        },
    })
}

/// Whether people are known by e-mail addresses.
pub(super) fn email_needed(reader: &Reader<'_>) -> bool {
    reader.text("OIDC_EMAIL_CLAIM") != Some("none")
}

fn initial_admins(reader: &mut Reader<'_>, email_needed: bool) -> Option<Vec<EmailAddress>> {
    const NAME: &str = "VESTIBULE_INITIAL_ADMINS";
    let mut admins = Vec::new();
    let mut well = true;
    for item in reader.items(NAME) {
        if let Ok(address) = EmailAddress::parse(&item) {
            admins.push(address);
        } else {
            reader.wrong_item(
                NAME,
                &item,
                "it is no e-mail address",
                "addresses such as ada@example.com",
            );
            well = false;
        }
    }
    if !admins.is_empty() && !email_needed {
        reader.wrong(
            NAME,
            "it goes by e-mail, and OIDC_EMAIL_CLAIM is none",
            "the name of the e-mail claim into OIDC_EMAIL_CLAIM, or take this out and use `vestibule users set-role`",
        );
        well = false;
    }
    well.then_some(admins)
}

/// What `VESTIBULE_ALLOWED_EMAIL_DOMAINS` says.
enum Domains {
    /// Nothing.
    Unset,
    /// That everybody is meant.
    Everybody,
    /// These alone.
    These(Vec<String>),
}

fn allowed_domains(reader: &mut Reader<'_>, email_needed: bool) -> Option<Domains> {
    const NAME: &str = "VESTIBULE_ALLOWED_EMAIL_DOMAINS";
    const WRITE: &str = "domains in full, such as example.com (subdomains each on their own), or * alone for everybody";
    if reader.set(NAME).is_none() {
        return Some(Domains::Unset);
    }
    let items = reader.items(NAME);
    if items.iter().any(|item| item == "*") {
        if items.len() > 1 {
            reader.wrong(NAME, "it names everybody (*) and some", WRITE);
            return None;
        }
        return Some(Domains::Everybody);
    }
    let mut domains = Vec::new();
    let mut well = true;
    for item in &items {
        if let Some(spellings) = domain(item) {
            domains.extend(spellings);
        } else {
            reader.wrong_item(NAME, item, "it is no domain", WRITE);
            well = false;
        }
    }
    if well && domains.is_empty() {
        reader.wrong(NAME, "it names no domain", WRITE);
        return None;
    }
    if !email_needed {
        reader.wrong(
            NAME,
            "it goes by e-mail, and OIDC_EMAIL_CLAIM is none",
            "the name of the e-mail claim into OIDC_EMAIL_CLAIM, or VESTIBULE_ALLOWED_GROUPS instead of this",
        );
        return None;
    }
    well.then_some(Domains::These(domains))
}

/// A domain as addresses are compared: folded; one outside ASCII also in punycode, as providers may write either.
fn domain(item: &str) -> Option<Vec<String>> {
    let item = item.strip_prefix('@').unwrap_or(item);
    let written: String = item.nfc().collect();
    let folded = EmailAddress::parse(&format!("a@{written}")).ok()?.domain().to_owned();
    if folded.is_ascii() {
        return Some(vec![folded]);
    }
    match Host::parse(&folded).ok()? {
        Host::Domain(punycode) => Some(vec![folded, punycode]),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

/// None inside: not restricted.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
fn allowed_groups(reader: &mut Reader<'_>) -> Option<Option<Vec<String>>> {
    const NAME: &str = "VESTIBULE_ALLOWED_GROUPS";
    if reader.set(NAME).is_none() {
        return Some(None);
    }
    let mut groups = Vec::new();
    let mut well = true;
    for item in reader.items(NAME) {
        match item.strip_prefix('/').unwrap_or(&item) {
            "" => {
                reader.wrong_item(NAME, &item, "it is no group", GROUPS_WRITE);
                well = false;
            }
            // Names are matched exactly; who writes a star means something else than a group of that name.
            group if group.contains('*') => {
                reader.wrong_item(NAME, &item, "there are no patterns", GROUPS_WRITE);
                well = false;
            }
            group => groups.push(group.to_owned()),
        }
    }
    if well && groups.is_empty() {
        reader.wrong(NAME, "it names no group", GROUPS_WRITE);
        return None;
    }
    well.then_some(Some(groups))
}

const GROUPS_WRITE: &str = "names of groups in full, as the provider sends them";
