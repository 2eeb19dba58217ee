//! People, their roles and invitations: the rules, as functions that a test calls without a socket.
//!
//! Public face: [`admit`] decides who gets in and as whom; the rest is what `vestibule users` does.

mod admit;
mod names;
mod people;
#[cfg(test)]
mod tests;

pub use self::admit::admit;
pub use self::people::{
    activate, add, address_of, deactivate, find, first_admin_open, is_empty, list, remove, set_role,
};
use crate::clock::UnixTime;
use crate::person::{EmailAddress, Role, UserId};
use crate::store::{StoreError, UserRow};
use crate::telemetry::audit;

/// Somebody whom a provider or directory vouches for, at the door.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The issuer, or the word `ldap`.
    pub issuer: String,
    /// The stable id there.
    pub subject: String,
    /// The address, judged by `OIDC_EMAIL_VERIFIED`.
    pub email: ClaimedEmail,
    /// The user name as claimed, any text.
    pub username: Option<String>,
    /// The full name as claimed, any text.
    pub name: Option<String>,
    /// Groups, or why they cannot be read whole. An absent claim is an empty list.
    pub groups: Result<Vec<String>, GroupsUnreadable>,
    /// Google's `hd` claim.
    pub hosted_domain: Option<String>,
}

/// What came as e-mail address.
#[derive(Clone, Debug)]
pub enum ClaimedEmail {
    /// Well formed, and counts as verified by the settings.
    Verified(EmailAddress),
    /// Well formed, does not count as verified.
    Unverified(EmailAddress),
    /// There, but no address.
    Malformed,
    /// Not there.
    Missing,
}

/// Why the groups are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupsUnreadable {
    /// Entra's overage: `_claim_names` or `hasgroups` instead of the list.
    #[error("the provider sends too many groups to be listed in the token (groups overage)")]
    Overage,
    /// The claim is no list of strings.
    #[error("the groups claim is no list of names")]
    WrongType,
    /// A limit of the LDAP server's.
    #[error("the directory's search of groups was cut short")]
    CutShort,
}

/// Who was let in.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The account.
    pub user: UserId,
    /// Its role.
    pub role: Role,
    /// How it was found.
    pub how: How,
}

/// How an account was found for an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The identity was known.
    Known,
    /// An admin had added the address before.
    Invited,
    /// A new account.
    Provisioned,
    /// A new account, admin by `VESTIBULE_INITIAL_ADMINS`.
    InitialAdmin,
    /// A new account, admin because it is the first ever.
    FirstAdmin,
}

/// Why somebody is not let in. No account was made, no link, no change.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// People need an e-mail address here.
    #[error("no e-mail address was sent")]
    EmailMissing,
    /// The address is no address.
    #[error("the e-mail address is malformed")]
    EmailMalformed,
    /// The address does not count as verified.
    #[error("the e-mail address is not verified")]
    EmailUnverified,
    /// The address belongs to another account.
    #[error("the e-mail address belongs to another account")]
    EmailTaken,
    /// `VESTIBULE_ALLOWED_EMAIL_DOMAINS`.
    #[error("the e-mail address's domain is not allowed")]
    DomainNotAllowed,
    /// Google's `hd` is not one of `VESTIBULE_ALLOWED_EMAIL_DOMAINS`.
    #[error("the Google account's hosted domain is not allowed")]
    HostedDomainNotAllowed,
    /// `VESTIBULE_ALLOWED_GROUPS`.
    #[error("in none of the allowed groups")]
    GroupNotAllowed,
    /// `VESTIBULE_ALLOWED_GROUPS` is set, and the groups are not known.
    #[error("groups are needed: {0}")]
    GroupsUnreadable(GroupsUnreadable),
    /// `DISABLE_SSO_PROVISIONING`, and nobody added them.
    #[error("nobody added this person")]
    NotInvited,
    /// An admin deactivated the account.
    #[error("the account is deactivated")]
    Deactivated,
    /// The issuer or subject is empty or longer than an id may be.
    #[error("the subject is no usable id")]
    SubjectUnusable,
    /// The store does not answer: 503.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// One account or invitation.
#[derive(Clone, Debug)]
pub struct User {
    /// The stable id.
    pub id: UserId,
    /// As written.
    pub email: Option<String>,
    /// None until the first sign-in.
    pub username: Option<String>,
    /// Full name.
    pub name: Option<String>,
    /// Role.
    pub role: Role,
    /// Where the account stands.
    pub status: Status,
    /// When it was made.
    pub created: UnixTime,
    /// The last sign-in.
    pub last_sign_in: Option<UnixTime>,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        let status = match (row.deactivated, row.signed_in) {
            (true, _) => Status::Deactivated,
            (false, None) => Status::Invited,
            (false, Some(_)) => Status::Active,
        };
        Self {
            id: row.id,
            email: row.email.map(|(shown, _)| shown),
            username: row.username.map(|(shown, _)| shown),
            name: row.name,
            role: row.role,
            status,
            created: row.created,
            last_sign_in: row.signed_in,
        }
    }
}

/// Where an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Added, never signed in.
    Invited,
    /// May sign in.
    Active,
    /// May not.
    Deactivated,
}

impl Status {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
        }
    }
}

/// Why a change to the directory was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The text names nobody.
    #[error("there is nobody with the e-mail address or id {0:?}")]
    NoSuchPerson(String),
    /// The address is taken.
    #[error("{0} is there already")]
    AlreadyThere(EmailAddress),
    /// It would leave the instance without an active admin.
    #[error("{0} is the last active admin: make somebody else admin first")]
    LastAdmin(String),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tells who was changed, and how.
fn tell(kind: audit::Kind, how: &str, user: &UserRow) {
    let email = user.email.as_ref().map_or("", |(shown, _)| shown);
    let details = [
        ("how", how),
        ("user", user.id.as_str()),
        ("email", email),
        ("role", user.role.as_str()),
    ];
    audit::event(kind, &details);
}
