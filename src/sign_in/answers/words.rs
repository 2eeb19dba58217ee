//! What is said of each refusal: to people, and with the setting's name to the log.

use crate::directory::{GroupsUnreadable, Refused};
use crate::sign_in::ldap::Obstacle;

/// What is said of a refusal.
pub(super) struct Words {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    pub(super) for_the_log: &'static str,
}

impl Words {
    /// The same by the directory's settings.
    pub(super) const fn of_directory(refused: &Refused) -> Self {
        let (title, text, for_the_log) = match refused {
            Refused::EmailMissing => (
                "No e-mail address",
                "The directory holds no e-mail address for you, and people need one here.",
                "the entry shows no e-mail attribute: LOCAL_LDAP_ATTRIBUTES email=mail names it, and the service account must \
                 be able to read it; OIDC_EMAIL_CLAIM=none lets people in without",
            ),
            Refused::EmailMalformed => (
                "Not an e-mail address",
                "What the directory holds as your e-mail address is none.",
                "LOCAL_LDAP_ATTRIBUTES email=mail names the attribute",
            ),
            Refused::EmailUnverified => (
                "Your e-mail address is not verified",
                "E-mail addresses from the directory do not count as verified here.",
                "VESTIBULE_LDAP_TRUST_EMAIL=false: only people who are known already get in",
            ),
            Refused::EmailTaken => (
                "This e-mail address is taken",
                "Another account here has your e-mail address. Nothing was linked or changed.",
                "an e-mail address never finds an account; see vestibule users list; the directory's entry may be a new one, \
                 or VESTIBULE_LDAP_ID_ATTRIBUTE may have changed",
            ),
            Refused::GroupNotAllowed => (
                "Not in an allowed group",
                "Only members of certain groups may sign in here, and the directory names none of them for you.",
                "VESTIBULE_ALLOWED_GROUPS, LOCAL_LDAP_GROUP_ALLOW_LIST; LOCAL_LDAP_ATTRIBUTES group=… or LOCAL_LDAP_GROUP_FILTER finds groups",
            ),
            Refused::GroupsUnreadable(_) => (
                "Groups cannot be read",
                "Only members of certain groups may sign in here, and yours cannot be read whole.",
                "VESTIBULE_ALLOWED_GROUPS or LOCAL_LDAP_GROUP_ALLOW_LIST is set, and a limit cut the search of groups short",
            ),
            _ => return Self::of(refused),
        };
        Self {
            title,
            text,
            for_the_log,
        }
    }

    pub(super) const fn of(refused: &Refused) -> Self {
        let (title, text, for_the_log) = match refused {
            Refused::EmailMissing => (
                "No e-mail address",
                "The sign-in service did not tell your e-mail address, and people need one here. Perhaps your account there \
                 has none, or the service does not pass it on.",
                "OIDC_EMAIL_CLAIM names the claim, OIDC_CUSTOM_SCOPES adds a scope that brings it, OIDC_EMAIL_CLAIM=none lets \
                 people in without",
            ),
            Refused::EmailMalformed => (
                "Not an e-mail address",
                "What the sign-in service told as your e-mail address is none.",
                "OIDC_EMAIL_CLAIM names the claim",
            ),
            Refused::EmailUnverified => (
                "Your e-mail address is not verified",
                "The sign-in service says that nobody has checked your e-mail address yet. Verify it there, then sign in again.",
                "OIDC_EMAIL_VERIFIED says whether that matters; with ignored, the provider's administrators vouch for addresses",
            ),
            Refused::EmailTaken => (
                "This e-mail address is taken",
                "Another account here has your e-mail address. Nothing was linked or changed.",
                "an e-mail address never finds an account; see vestibule users list; OIDC_SUBJECT_CLAIM or OIDC_ISSUER may \
                 have changed",
            ),
            Refused::DomainNotAllowed => (
                "Not for this e-mail address",
                "Only people with an e-mail address of certain domains may sign in here, and yours is not one of them.",
                "VESTIBULE_ALLOWED_EMAIL_DOMAINS",
            ),
            Refused::HostedDomainNotAllowed => (
                "Not for this Google account",
                "Only Google accounts of certain organizations may sign in here, and yours is not one of them.",
                "VESTIBULE_ALLOWED_EMAIL_DOMAINS must hold the account's hd claim",
            ),
            Refused::GroupNotAllowed => (
                "Not in an allowed group",
                "Only members of certain groups may sign in here, and the sign-in service names none of them for you.",
                "VESTIBULE_ALLOWED_GROUPS; OIDC_GROUPS_CLAIM names the claim",
            ),
            Refused::GroupsUnreadable(GroupsUnreadable::Overage) => (
                "Too many groups",
                "Only members of certain groups may sign in here, and you are in more groups than the sign-in service lists \
                 (a groups overage), so nobody can say whether you are in one of them.",
                "VESTIBULE_ALLOWED_GROUPS is set and the provider sent _claim_names or hasgroups instead of groups: let Entra \
                 send only groups assigned to the application, or use app roles with OIDC_GROUPS_CLAIM=roles",
            ),
            Refused::GroupsUnreadable(GroupsUnreadable::WrongType | GroupsUnreadable::CutShort) => (
                "Groups cannot be read",
                "Only members of certain groups may sign in here, and what the sign-in service says of yours cannot be read.",
                "VESTIBULE_ALLOWED_GROUPS is set; OIDC_GROUPS_CLAIM must name a list of names",
            ),
            Refused::NotInvited => (
                "You have not been added",
                "People can sign in here only after an administrator has added them by e-mail address.",
                "DISABLE_SSO_PROVISIONING=true; vestibule users add EMAIL lets them in",
            ),
            Refused::Deactivated => (
                "Your account is deactivated",
                "An administrator has deactivated your account here. Signing in does not change that.",
                "vestibule users activate EMAIL lets them in",
            ),
            Refused::SubjectUnusable => (
                "No usable id",
                "The sign-in service did not tell an id by which you could be known again.",
                "OIDC_SUBJECT_CLAIM names the claim",
            ),
            Refused::Unavailable(_) => (
                "Please try again in a moment",
                "The records of this place cannot be reached.",
                "the store does not answer",
            ),
        };
        Self {
            title,
            text,
            for_the_log,
        }
    }
}

/// What people read whose password is right.
pub(super) const fn of_obstacle(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Expired => {
            "Your password has expired. Change it where you change your company's password, then sign in."
        }
        Obstacle::MustChange => {
            "Your password must be changed first. Change it where you change your company's password, then sign in."
        }
        Obstacle::Disabled => "Your account is disabled in the company's directory.",
        Obstacle::NotNow => "The company's directory does not let you sign in at this time or from here.",
        Obstacle::AccountExpired => "Your account in the company's directory has expired.",
    }
}
