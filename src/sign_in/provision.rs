//! Who gets in, as whom: from whom the provider vouches for to a session. The rules are the directory's.

use bytes::Bytes;
use http::{Response, StatusCode};
use secrecy::SecretString;

use super::answers::{redirect, with_cookies};
use super::{SignIn, Visit, cookies};
use crate::clock::UnixTime;
use crate::config::EntryRules;
use crate::directory::{self, Admitted, Arrival, ClaimedEmail, How, Refused};
use crate::session::{CannotBegin, Device, NewSession};
use crate::telemetry::{SignInOutcome, audit, metrics};

/// By which way somebody comes, and what the session keeps of it.
#[derive(Debug)]
pub(super) enum Way {
    /// From the OpenID provider.
    Provider(Kept),
    /// From the LDAP directory.
    Directory,
}

/// What the session keeps of a provider's answer.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) amr: Option<serde_json::Value>,
    pub(super) auth_time: Option<serde_json::Value>,
    pub(super) sid: Option<String>,
    pub(super) id_token: SecretString,
    pub(super) refresh_token: Option<SecretString>,
}

/// Lets somebody in and on to their page, or says why not.
pub(super) async fn admit(
    sign_in: &SignIn,
    arrival: Arrival,
    way: Way,
    rules: &EntryRules,
    return_to: &str,
    visit: &Visit,
    now: UnixTime,
) -> Response<Bytes> {
    let admitted = match directory::admit(&sign_in.store, &arrival, rules, now).await {
        Ok(admitted) => admitted,
        Err(Refused::Unavailable(error)) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            return sign_in.answers.store_away(&error, visit);
        }
        Err(refused) => return turn_away(sign_in, &refused, &arrival, return_to, visit),
    };
    let method = match way {
        Way::Provider(_) => "oidc",
        Way::Directory => "ldap",
    };
    let kept = match way {
        Way::Provider(kept) => Some(kept),
        Way::Directory => None,
    };
    let (amr, auth_time, provider_sid, id_token, refresh_token) = match kept {
        Some(kept) => (
            kept.amr,
            kept.auth_time,
            kept.sid,
            Some(kept.id_token),
            kept.refresh_token,
        ),
        None => (None, None, None, None, None),
    };
    let new = NewSession {
        user: admitted.user.clone(),
        issuer: arrival.issuer.clone(),
        subject: arrival.subject.clone(),
        method,
        groups: arrival.groups.clone().unwrap_or_default(),
        amr,
        auth_time,
        provider_sid,
        id_token,
        refresh_token,
        from: Device {
            user_agent: visit.user_agent.clone(),
            address: Some(visit.client),
        },
    };
    let replaces = visit.session_cookie.as_deref().map(str::as_bytes);
    match sign_in.sessions.begin(new, replaces, now).await {
        Ok((token, session)) => {
            metrics().sign_in(SignInOutcome::SignedIn);
            tell(&admitted, &arrival, &session.claims().sid, visit);
            let cookie = cookies::keep(
                &sign_in.public.cookie_name(),
                token.cookie_value(),
                session.expires_at().since(now),
                sign_in.public.https,
            );
            with_cookies(redirect(StatusCode::SEE_OTHER, return_to, []), cookie)
        }
        Err(CannotBegin::NotActive) => turn_away(sign_in, &Refused::Deactivated, &arrival, return_to, visit),
        Err(CannotBegin::Unavailable(unavailable)) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            sign_in.answers.store_away(&unavailable, visit)
        }
    }
}

fn turn_away(
    sign_in: &SignIn,
    refused: &Refused,
    arrival: &Arrival,
    return_to: &str,
    visit: &Visit,
) -> Response<Bytes> {
    metrics().sign_in(SignInOutcome::Refused);
    let reason = refused.to_string();
    audit::event(
        audit::Kind::Refusal,
        &[
            ("reason", &reason),
            ("issuer", &arrival.issuer),
            ("subject", &arrival.subject),
            ("email", address(arrival)),
            ("client", &visit.client.to_string()),
            ("request_id", &visit.request_id),
        ],
    );
    sign_in.answers.refused(refused, arrival, return_to, visit)
}

fn tell(admitted: &Admitted, arrival: &Arrival, sid: &str, visit: &Visit) {
    let client = visit.client.to_string();
    let details = [
        ("user", admitted.user.as_str()),
        ("email", address(arrival)),
        ("role", admitted.role.as_str()),
        ("how", how(admitted.how)),
        ("issuer", &arrival.issuer),
        ("subject", &arrival.subject),
        ("sid", sid),
        ("client", &client),
        ("request_id", &visit.request_id),
    ];
    if admitted.how != How::Known {
        audit::event(audit::Kind::Provisioning, &details);
    }
    audit::event(audit::Kind::SignIn, &details);
}

const fn how(how: How) -> &'static str {
    match how {
        How::Known => "known",
        How::Invited => "invited",
        How::Provisioned => "provisioned",
        How::InitialAdmin => "initial_admin",
        How::FirstAdmin => "first_admin",
    }
}

pub(super) fn address(arrival: &Arrival) -> &str {
    match &arrival.email {
        ClaimedEmail::Verified(email) | ClaimedEmail::Unverified(email) => email.as_str(),
        ClaimedEmail::Malformed | ClaimedEmail::Missing => "",
    }
}
