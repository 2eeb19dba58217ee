//! Who gets in, as whom: from somebody whom provider or directory vouches for to a session. The rules are the directory's.

use bytes::Bytes;
use http::{Response, StatusCode};
use secrecy::SecretString;

use super::answers::{redirect, with_cookies};
use super::{SignIn, Visit, cookies};
use crate::clock::UnixTime;
use crate::config::EntryRules;
use crate::directory::{self, Arrival, Refused};
use crate::person::LDAP;
use crate::session::{CannotBegin, Device, NewSession};
use crate::telemetry::{SignInOutcome, metrics};

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
    let door = visit.actor();
    let admitted = match directory::admit(&sign_in.store, &arrival, rules, &door, now).await {
        Ok(admitted) => admitted,
        Err(Refused::Unavailable(error)) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            return sign_in.answers.store_away(&error, visit);
        }
        Err(refused) => return told(sign_in, &refused, &arrival, return_to, visit),
    };
    let (method, amr, auth_time, provider_sid, id_token, refresh_token) = match way {
        Way::Provider(kept) => (
            "oidc",
            kept.amr,
            kept.auth_time,
            kept.sid,
            Some(kept.id_token),
            kept.refresh_token,
        ),
        Way::Directory => (LDAP, None, None, None, None, None),
    };
    let new = NewSession {
        user: admitted.user.clone(),
        issuer: arrival.issuer.clone(),
        subject: arrival.subject.clone(),
        method,
        how: admitted.how.as_str(),
        groups: arrival.groups.clone().unwrap_or_default(),
        amr,
        auth_time,
        provider_sid,
        id_token,
        refresh_token,
        from: device(visit),
    };
    match begin(sign_in, new, return_to, visit, now).await {
        Ok(response) => response,
        Err(NotActive) => turn_away(sign_in, &Refused::Deactivated, &arrival, return_to, visit, now).await,
    }
}

/// Writes down that somebody is not let in, and tells them.
pub(super) async fn turn_away(
    sign_in: &SignIn,
    refused: &Refused,
    arrival: &Arrival,
    return_to: &str,
    visit: &Visit,
    now: UnixTime,
) -> Response<Bytes> {
    directory::turn_away(&sign_in.store, refused, arrival, &visit.actor(), now).await;
    told(sign_in, refused, arrival, return_to, visit)
}

fn told(sign_in: &SignIn, refused: &Refused, arrival: &Arrival, return_to: &str, visit: &Visit) -> Response<Bytes> {
    metrics().sign_in(SignInOutcome::Refused);
    sign_in.answers.refused(refused, arrival, return_to, visit)
}

/// The account was deactivated meanwhile.
pub(super) struct NotActive;

/// From a session to be to the browser that has it, on its way to `to`.
pub(super) async fn begin(
    sign_in: &SignIn,
    new: NewSession,
    to: &str,
    visit: &Visit,
    now: UnixTime,
) -> Result<Response<Bytes>, NotActive> {
    let replaces = visit.session_cookie.as_deref().map(str::as_bytes);
    match sign_in.sessions.begin(new, replaces, &visit.actor(), now).await {
        Ok((token, session)) => {
            metrics().sign_in(SignInOutcome::SignedIn);
            let cookie = cookies::keep(
                &sign_in.public.cookie_name(),
                token.cookie_value(),
                session.expires_at().since(now),
                sign_in.public.https,
            );
            Ok(with_cookies(redirect(StatusCode::SEE_OTHER, to, []), cookie))
        }
        Err(CannotBegin::NotActive) => Err(NotActive),
        Err(CannotBegin::Unavailable(unavailable)) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            Ok(sign_in.answers.store_away(&unavailable, visit))
        }
    }
}

/// What the session keeps of the browser.
pub(super) fn device(visit: &Visit) -> Device {
    Device {
        user_agent: visit.user_agent.clone(),
        address: Some(visit.client),
    }
}
