//! What the assertion says (RFC 7519), cut to its size.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::key::SigningKey;
use super::{AssertionSettings, CannotSign, Claims};
use crate::clock::UnixTime;
use crate::person::Role;

/// An app with a clock that is behind ours still takes what was signed now.
const BACKDATED: i64 = 30;
/// From `iat` to `exp`.
const LIFETIME: i64 = 300;
/// Proxies and servers commonly take 8 kB for one header line.
const LONGEST: usize = 6000;
/// Provider values that we pass on whole or not at all.
const LONGEST_AMR: usize = 512;

/// `iat` and `nbf` of what is signed at `now`.
pub(super) const fn not_before(now: UnixTime) -> UnixTime {
    now.plus(-BACKDATED)
}

/// `exp` of what is signed at `now`.
pub(super) const fn expires(now: UnixTime) -> UnixTime {
    not_before(now).plus(LIFETIME)
}

#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    preferred_username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    role: &'a str,
    #[serde(serialize_with = "as_object")]
    teams: &'a [(String, Role)],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    teams_truncated: bool,
    groups: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    groups_truncated: bool,
    sid: &'a str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<&'a Value>,
    iat: UnixTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<UnixTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<UnixTime>,
}

impl<'a> Payload<'a> {
    fn new(claims: &'a Claims, settings: &'a AssertionSettings, now: UnixTime) -> Self {
        Self {
            iss: &settings.issuer,
            aud: Some(&settings.audience),
            sub: claims.sub.as_str(),
            email: claims.email.as_deref(),
            preferred_username: &claims.username,
            name: claims.name.as_deref(),
            role: claims.role.as_str(),
            teams: &claims.teams,
            teams_truncated: false,
            groups: &claims.groups,
            groups_truncated: claims.groups_truncated,
            sid: &claims.sid,
            method: claims.method,
            amr: claims.amr.as_ref().filter(|amr| is_amr(amr)),
            auth_time: claims.auth_time.as_ref().filter(|time| time.is_number()),
            iat: not_before(now),
            nbf: Some(not_before(now)),
            exp: Some(expires(now)),
        }
    }

    /// Leaves out groups, and then teams, from the end on until the whole is at most `longest` bytes of JSON.
    fn cut_to(&mut self, longest: usize) -> Result<(), serde_json::Error> {
        let groups = std::mem::take(&mut self.groups);
        let teams = std::mem::take(&mut self.teams);
        let was_truncated = std::mem::replace(&mut self.groups_truncated, true);
        self.teams_truncated = true;
        let mut length = serde_json::to_vec(&self)?.len();
        let mut fitting = 0;
        for (name, role) in teams {
            // A colon, a comma, the role in quotes.
            length += serde_json::to_vec(name)?.len() + role.as_str().len() + 4;
            if length > longest {
                break;
            }
            fitting += 1;
        }
        // Counted from the slice itself.
        self.teams = &teams[..fitting];
        self.teams_truncated = fitting < teams.len();
        if self.teams_truncated {
            self.groups_truncated = was_truncated || !groups.is_empty();
            return Ok(());
        }
        let mut fitting = 0;
        for group in groups {
            length += serde_json::to_vec(group)?.len() + 1;
            if length > longest {
                break;
            }
            fitting += 1;
        }
        // Counted from the slice itself.
        self.groups = &groups[..fitting];
        self.groups_truncated = was_truncated || fitting < groups.len();
        Ok(())
    }
}

/// Names to roles.
fn as_object<S: Serializer>(teams: &[(String, Role)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(teams.iter().map(|(name, role)| (name, role)))
}

/// The signed assertion.
pub(super) fn sign(
    key: &SigningKey,
    claims: &Claims,
    settings: &AssertionSettings,
    now: UnixTime,
) -> Result<String, CannotSign> {
    let mut payload = Payload::new(claims, settings, now);
    let longest = key.longest_payload(LONGEST);
    payload.cut_to(longest).map_err(|_| CannotSign)?;
    let payload = serde_json::to_vec(&payload).map_err(|_| CannotSign)?;
    // Everything but groups and teams is bounded where it comes in; were it not, an app's server would answer for us.
    if payload.len() > longest {
        return Err(CannotSign);
    }
    key.sign(&payload)
}

/// The same claims, as `whoami` tells them.
pub(super) fn whoami(claims: &Claims, settings: &AssertionSettings, now: UnixTime) -> Value {
    let mut payload = Payload::new(claims, settings, now);
    payload.aud = None;
    payload.nbf = None;
    payload.exp = None;
    // Text, numbers and lists of them always make JSON; nothing is told where they should not.
    serde_json::to_value(payload).unwrap_or_default()
}

/// A list of words (OpenID Connect Core 1.0, section 2), or the one word that some send; not longer than it needs to be.
fn is_amr(amr: &Value) -> bool {
    let words = amr.is_string() || amr.is_array();
    words && serde_json::to_vec(amr).is_ok_and(|json| json.len() <= LONGEST_AMR)
}
