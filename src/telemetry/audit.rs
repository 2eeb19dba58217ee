//! Security events, for whoever has to answer "who got in, and who changed what": one JSON object each, under the log
//! target `audit`, whatever the log's format is.

use std::fmt::Write as _;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody signed in.
    SignIn,
    /// Somebody was not let in.
    Refusal,
    /// An account was made or changed from the command line or at a sign-in.
    Provisioning,
    /// A role changed.
    RoleChange,
    /// An account was deactivated, activated or removed.
    StatusChange,
    /// Somebody signed out.
    Logout,
    /// A session was ended from outside.
    Revocation,
    /// Another key signs.
    KeyRotation,
}

impl Kind {
    /// The word under `event`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Refusal => "refusal",
            Self::Provisioning => "provisioning",
            Self::RoleChange => "role_change",
            Self::StatusChange => "status_change",
            Self::Logout => "logout",
            Self::Revocation => "revocation",
            Self::KeyRotation => "key_rotation",
        }
    }
}

/// The log target.
pub const TARGET: &str = "audit";

/// Writes one event. Names are plain words other than `event`, `timestamp`, `level` and `target`; values may be anything
/// but secrets. The same words everywhere: `user`, `email`, `role`, `issuer`, `subject`, `client`, `request_id`, `sid`,
/// `reason`, `how`, `by`, `kid`.
pub fn event(kind: Kind, details: &[(&'static str, &str)]) {
    let object = object(kind, details);
    tracing::info!(target: TARGET, object = object.as_str());
}

fn object(kind: Kind, details: &[(&'static str, &str)]) -> String {
    let mut object = format!("{{\"event\":\"{}\"", kind.as_str());
    for (name, value) in details {
        // Writing to a String does not fail. A JSON string has no line break in it.
        let _ = write!(object, ",\"{name}\":{}", serde_json::Value::from(*value));
    }
    object.push('}');
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_stay_values() {
        let text = object(
            Kind::Refusal,
            &[("email", "a\"},{\"event\":\"sign_in\"\n@b"), ("reason", "")],
        );
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"event": "refusal", "email": "a\"},{\"event\":\"sign_in\"\n@b", "reason": ""})
        );
    }
}
