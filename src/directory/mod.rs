//! People, their roles and invitations: the rules, as functions that a test calls without a socket.
//!
//! Public face: [`admit`] decides who gets in and as whom, [`look_again`] whether they would now; the rest is what console and command line do. Every change is
//! one transaction: whether whoever acts may ([`rules`]), the change itself, its entry in the feed, its row in the audit
//! log.

mod access;
mod admit;
mod again;
mod arrivals;
mod audit;
mod audit_file;
mod csv;
mod groups;
mod guesses;
mod identities;
mod invitation_list;
mod invitations;
mod links;
mod members;
mod names;
mod pages;
mod people;
mod relink;
mod relink_list;
mod restore;
pub mod rules;
mod teams;
#[cfg(test)]
mod tests;

pub use self::access::{attempt, check};
pub use self::admit::{admit, foresee, judge, turn_away};
pub use self::again::look_again;
pub use self::arrivals::{RefusedArrival, approve, dismiss, refused};
pub use self::audit::{AuditEntry, AuditQuery, audit};
pub use self::guesses::{Guess, forget_guesses, give_guess_back, guesses, take_guess};
pub use self::identities::{address_of, link, unlink};
pub use self::invitation_list::{Fate, PlannedLine, plan_invitations};
pub use self::invitations::{Invitation, invite, withdraw};
pub use self::links::{LinkedGroup, follow_group, only_by_group, unfollow_group};
pub use self::members::{member_by_hand, remove_member, set_member};
pub use self::pages::{Cursor, Page};
pub use self::people::{
    PeopleQuery, Sort, activate, deactivate, end_session, end_sessions, find, first_admin_open, is_empty, list,
    one_admin_only, people, person, remove, set_role,
};
pub use self::relink::{RelinkBy, RelinkFate, RelinkLine, forget_relinks, relink};
pub use self::relink_list::{RelinkListError, read_relink_list};
pub use self::restore::{Link, no_restore_link, opens, restore, restore_link};
pub use self::rules::{Action, Relation, may};
pub use self::teams::{Member, Team, TeamView, create_team, delete_team, rename_team, team, teams};
use crate::clock::UnixTime;
use crate::person::{EmailAddress, Role, TeamId, UserId};
use crate::store::{Store, StoreError, UserRow};
pub use crate::telemetry::audit::{Actor, Who};
use crate::telemetry::audit::{Event, Kind};

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
    /// Well formed, and counts as verified because nobody denies it: good for all that an address is good for, but for
    /// taking over an admin's account.
    Presumed(EmailAddress),
    /// Well formed, does not count as verified.
    Unverified(EmailAddress),
    /// There, but no address.
    Malformed,
    /// Not there.
    Missing,
}

impl ClaimedEmail {
    /// The address, whether or not it counts.
    #[must_use]
    pub const fn address(&self) -> Option<&EmailAddress> {
        match self {
            Self::Verified(email) | Self::Presumed(email) | Self::Unverified(email) => Some(email),
            Self::Malformed | Self::Missing => None,
        }
    }

    /// The address, if it counts as verified.
    #[must_use]
    pub const fn counted(&self) -> Option<&EmailAddress> {
        match self {
            Self::Verified(email) | Self::Presumed(email) => Some(email),
            Self::Unverified(_) | Self::Malformed | Self::Missing => None,
        }
    }
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

impl How {
    /// The word in the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Invited => "invited",
            Self::Provisioned => "provisioned",
            Self::InitialAdmin => "initial_admin",
            Self::FirstAdmin => "first_admin",
        }
    }
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
    /// `VESTIBULE_ALLOWED_GROUPS`, or `LOCAL_LDAP_GROUP_ALLOW_LIST`.
    #[error("in none of the allowed groups")]
    GroupNotAllowed,
    /// One of the two is set, and the groups are not known.
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
    /// Raised by every change that an admin makes, and by the first sign-in; not by who comes again.
    pub version: Version,
    /// Of an invitation: from when on it admits nobody.
    pub expires: Option<UnixTime>,
    /// Of an invitation: who made it, by name.
    pub invited_by: Option<String>,
}

/// The state of something that can be changed: a form carries the one that it was drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Version(pub i64);

/// Fails if somebody else has changed it since it was looked at.
fn unchanged(expected: Option<Version>, version: i64) -> Result<(), ChangeError> {
    match expected {
        Some(expected) if expected.0 != version => Err(ChangeError::ChangedMeanwhile),
        _ => Ok(()),
    }
}

/// One person, whole.
#[derive(Clone, Debug)]
pub struct Person {
    /// The account.
    pub user: User,
    /// By which they come, oldest first.
    pub identities: Vec<Identity>,
    /// Where they are, by name.
    pub teams: Vec<Membership>,
}

/// An identity at a provider or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The issuer, or the word `ldap`.
    pub issuer: String,
    /// The stable id there.
    pub subject: String,
    /// When it was linked.
    pub linked: UnixTime,
}

/// Somebody's place in a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The team.
    pub team: TeamId,
    /// Its name.
    pub name: String,
    /// The strongest of the roles below.
    pub role: Role,
    /// The role given by hand.
    pub by_hand: Option<Role>,
    /// What comes from groups: not edited by hand.
    pub by_group: Vec<GroupRole>,
}

/// A place in a team that comes from a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRole {
    /// Whose group it is: an issuer, or the word `ldap`.
    pub issuer: String,
    /// The group.
    pub group: String,
    /// The role that the team gives it.
    pub role: Role,
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
            version: Version(row.version),
            expires: row.expires,
            invited_by: row.invited_by,
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
    /// The rules say no.
    #[error("that is not allowed")]
    NotAllowed,
    /// Somebody else changed it after it was looked at.
    #[error("somebody else has changed this meanwhile: look at it again")]
    ChangedMeanwhile,
    /// The text names no team.
    #[error("there is no team with the name or id {0:?}")]
    NoSuchTeam(String),
    /// The name is taken.
    #[error("there is a team {0:?} already")]
    TeamExists(String),
    /// It cannot be a name.
    #[error("{0:?} cannot be a name: {1}")]
    NotAName(String, &'static str),
    /// A place in a team that comes from a group.
    #[error("this place in the team comes from the group {0:?} and is not changed by hand")]
    FromGroup(String),
    /// The person is not in the team.
    #[error("{0} is not in this team")]
    NotInTeam(String),
    /// Put in as somebody new, and there with another role.
    #[error("{0} is in this team already, with another role: change it on the team's page")]
    InTeamAlready(String),
    /// There is no such link, identity, refused arrival, session.
    #[error("that is not there (any more)")]
    Gone,
    /// It was an invitation, and is an account by now, or the other way round.
    #[error("{0} has signed in: this is no invitation any more")]
    NotAnInvitation(String),
    /// The identity is another account's.
    #[error("this identity belongs to another account, {0}")]
    IdentityTaken(String),
    /// Without it nobody could come by this account again.
    #[error("this is the only identity of {0}: link another one first, or remove the account")]
    LastIdentity(String),
    /// The issuer or subject is no usable id.
    #[error("an issuer and a subject are texts of 1 to 512 bytes without control characters")]
    NoIdentity,
    /// Invitations are met by e-mail addresses, and `OIDC_EMAIL_CLAIM=none` says that people have none.
    #[error(
        "nobody can be added before they come: an invitation is met by its e-mail address, and OIDC_EMAIL_CLAIM=none says \
         that people here have none. Let them sign in first, and approve those who are refused (the console's Pending, or \
         `vestibule users approve`); or name the claim of the address in OIDC_EMAIL_CLAIM"
    )]
    NoAddresses,
    /// More at a time than this.
    #[error("at most {0} at a time")]
    TooMany(usize),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An event about an account.
fn event_about(kind: Kind, actor: &Actor, user: &UserRow) -> Event {
    Event::new(kind, actor)
        .about("user", user.id.as_str(), user.called())
        .detail("role", user.role.as_str())
}

/// Writes down an event that goes with no change: a refusal. Whoever was refused stays so if the store does not take it;
/// the log has it then, and says that the store has not.
pub async fn note(store: &Store, event: Event, now: UnixTime) {
    if let Err(error) = store.note(event.clone(), None, now).await {
        event.tell();
        tracing::warn!(%error, "an audit event stands in the log only");
    }
}
