//! Security events, for whoever has to answer "who got in, and who changed what".
//!
//! An [`Event`] goes into the store in the same transaction as what it tells of (`store/audit.rs`), and after the commit to
//! the log target `audit`, one JSON object each, whatever the log's format is.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::person::UserId;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody signed in.
    SignIn,
    /// Somebody was not let in.
    Refusal,
    /// An account was made, or changed at a sign-in.
    Provisioning,
    /// An invitation was made, withdrawn or put away.
    Invitation,
    /// A role changed.
    RoleChange,
    /// An account was deactivated, activated or removed.
    StatusChange,
    /// An identity was linked to an account or unlinked.
    IdentityChange,
    /// A team was made, renamed or deleted, or follows other groups.
    TeamChange,
    /// Somebody's place in a team changed.
    MembershipChange,
    /// The groups of somebody who signed in could not be followed.
    GroupSync,
    /// Somebody with an account tried what they may not.
    Denied,
    /// Somebody signed out.
    Logout,
    /// A session was ended from outside.
    Revocation,
    /// Another key signs.
    KeyRotation,
    /// The audit log was read out whole.
    AuditExport,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 15] = [
        Self::SignIn,
        Self::Refusal,
        Self::Provisioning,
        Self::Invitation,
        Self::RoleChange,
        Self::StatusChange,
        Self::IdentityChange,
        Self::TeamChange,
        Self::MembershipChange,
        Self::GroupSync,
        Self::Denied,
        Self::Logout,
        Self::Revocation,
        Self::KeyRotation,
        Self::AuditExport,
    ];

    /// The word under `event`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Refusal => "refusal",
            Self::Provisioning => "provisioning",
            Self::Invitation => "invitation",
            Self::RoleChange => "role_change",
            Self::StatusChange => "status_change",
            Self::IdentityChange => "identity_change",
            Self::TeamChange => "team_change",
            Self::MembershipChange => "membership_change",
            Self::GroupSync => "group_sync",
            Self::Denied => "denied",
            Self::Logout => "logout",
            Self::Revocation => "revocation",
            Self::KeyRotation => "key_rotation",
            Self::AuditExport => "audit_export",
        }
    }

    /// The kind of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Who does it, for the audit log and the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub who: Who,
    /// From which address, forwarding headers from trusted proxies considered.
    pub address: Option<IpAddr>,
    /// The id of the request that brought it.
    pub request_id: Option<String>,
}

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Somebody with an account.
    Person {
        /// The account.
        user: UserId,
        /// As the audit log calls them, also when the account is long gone.
        name: String,
    },
    /// Whoever may read the database: may do all.
    Shell,
    /// A claim of the provider or directory, followed at a sign-in.
    Provider,
    /// Somebody at the door without an account.
    Stranger,
    /// The gateway by itself.
    System,
}

impl Who {
    /// The word in the audit log.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Person { .. } => "person",
            Self::Shell => "shell",
            Self::Provider => "provider",
            Self::Stranger => "stranger",
            Self::System => "system",
        }
    }
}

impl Actor {
    /// Somebody in a shell.
    #[must_use]
    pub const fn shell() -> Self {
        Self::of(Who::Shell)
    }

    /// The gateway by itself.
    #[must_use]
    pub const fn system() -> Self {
        Self::of(Who::System)
    }

    /// Somebody who is not known yet.
    #[must_use]
    pub const fn at_the_door(address: Option<IpAddr>, request_id: Option<String>) -> Self {
        Self {
            who: Who::Stranger,
            address,
            request_id,
        }
    }

    const fn of(who: Who) -> Self {
        Self {
            who,
            address: None,
            request_id: None,
        }
    }

    /// The same request, done by another.
    #[must_use]
    pub fn with(&self, who: Who) -> Self {
        Self { who, ..self.clone() }
    }

    /// The account of a person.
    #[must_use]
    pub const fn user(&self) -> Option<&UserId> {
        match &self.who {
            Who::Person { user, .. } => Some(user),
            _ => None,
        }
    }

    /// What the audit log and the people see: a person's name, or the word.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.who {
            Who::Person { name, .. } => name,
            other => other.as_str(),
        }
    }
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `user`, `team`, `session`, `key`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// What people call it: an address, a name.
    pub name: String,
}

/// One security event.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// Who did it.
    pub actor: Actor,
    /// To whom or what.
    pub target: Option<Target>,
    /// What was before, of what changed.
    pub before: Option<Value>,
    /// What is now, of what changed.
    pub after: Option<Value>,
    /// More about it.
    pub detail: Vec<(&'static str, String)>,
}

/// Longer is nothing that an event tells.
const LONGEST: usize = 600;

impl Event {
    /// Something that this actor did.
    #[must_use]
    pub fn new(kind: Kind, actor: &Actor) -> Self {
        Self {
            kind,
            actor: actor.clone(),
            target: None,
            before: None,
            after: None,
            detail: Vec::new(),
        }
    }

    /// To whom or what: `user`, `team`, `session` or `key`, its id and what people call it.
    #[must_use]
    pub fn about(mut self, kind: &'static str, id: &str, name: &str) -> Self {
        self.target = Some(Target {
            kind,
            id: cut(id),
            name: cut(name),
        });
        self
    }

    /// What was before.
    #[must_use]
    pub fn before(mut self, value: Value) -> Self {
        self.before = Some(value);
        self
    }

    /// What is now.
    #[must_use]
    pub fn after(mut self, value: Value) -> Self {
        self.after = Some(value);
        self
    }

    /// More about it. The same words everywhere: `how`, `reason`, `issuer`, `subject`, `email`, `role`, `sid`, `kid`,
    /// `team`, `group`. Anything but secrets; empty says nothing.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: &str) -> Self {
        if !value.is_empty() {
            self.detail.push((name, cut(value)));
        }
        self
    }

    /// Writes it to the log target.
    pub fn tell(&self) {
        let object = self.object();
        tracing::info!(target: TARGET, object = object.as_str());
    }

    /// A JSON object in one line. The target stands under what it is (`user`, `team`, …), a user's address under `email`.
    fn object(&self) -> String {
        let mut words = Map::new();
        if let Some(target) = &self.target {
            words.insert(target.kind.to_owned(), target.id.as_str().into());
            if !target.name.is_empty() {
                let name = if target.kind == "user" && target.name.contains('@') {
                    "email"
                } else {
                    "name"
                };
                words.insert(name.to_owned(), target.name.as_str().into());
            }
        }
        for (name, value) in &self.detail {
            words.entry(*name).or_insert_with(|| value.as_str().into());
        }
        for (name, value) in [("before", &self.before), ("after", &self.after)] {
            if let Some(value) = value {
                words.insert(name.to_owned(), value.clone());
            }
        }
        words.insert("by".to_owned(), self.actor.name().into());
        if let Some(user) = self.actor.user() {
            words.insert("actor".to_owned(), user.as_str().into());
        }
        if let Some(address) = self.actor.address {
            words.insert("client".to_owned(), address.to_string().into());
        }
        if let Some(id) = &self.actor.request_id {
            words.insert("request_id".to_owned(), id.as_str().into());
        }
        let mut object = format!("{{\"event\":\"{}\"", self.kind.as_str());
        for (name, value) in words {
            // Writing to a String does not fail. A JSON string has no line break in it.
            let _ = write!(object, ",\"{name}\":{value}");
        }
        object.push('}');
        object
    }
}

/// The log target.
pub const TARGET: &str = "audit";

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_stay_values() {
        let hostile = "a\"},{\"event\":\"sign_in\"\n@b";
        let actor = Actor::system().with(Who::Stranger);
        let event = Event::new(Kind::Refusal, &actor)
            .detail("email", hostile)
            .detail("reason", "");
        let text = event.object();
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"event": "refusal", "email": hostile, "by": "stranger"})
        );
    }

    #[test]
    fn every_kind_is_read_back_from_its_word() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("sign"), None);
    }

    #[test]
    fn no_value_is_longer_than_a_row_should_be() {
        let long = "x".repeat(10_000);
        let event = Event::new(Kind::Refusal, &Actor::system())
            .about("user", &long, &long)
            .detail("reason", &long);
        assert!(event.object().len() < 3 * LONGEST + 200);
    }
}
