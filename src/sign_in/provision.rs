//! Who gets in, as whom: from whom the provider vouches for to a session. The rules are the directory's.

use bytes::Bytes;
use http::{Response, StatusCode};
use secrecy::SecretString;

use super::answers::{redirect, with_cookies};
use super::{SignIn, Visit, cookies};
use crate::clock::UnixTime;
use crate::config::EntryRules;
use crate::directory::{self, Arrival, ClaimedEmail, Refused};
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
        Err(refused) => {
            metrics().sign_in(SignInOutcome::Refused);
            return sign_in.answers.refused(&refused, &arrival, return_to, visit);
        }
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
        how: admitted.how.as_str(),
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
    match sign_in.sessions.begin(new, replaces, &door, now).await {
        Ok((token, session)) => {
            metrics().sign_in(SignInOutcome::SignedIn);
            let cookie = cookies::keep(
                &sign_in.public.cookie_name(),
                token.cookie_value(),
                session.expires_at().since(now),
                sign_in.public.https,
            );
            with_cookies(redirect(StatusCode::SEE_OTHER, return_to, []), cookie)
        }
        Err(CannotBegin::NotActive) => {
            let refused = Refused::Deactivated;
            directory::turn_away(&sign_in.store, &refused, &arrival, &door, now).await;
            metrics().sign_in(SignInOutcome::Refused);
            sign_in.answers.refused(&refused, &arrival, return_to, visit)
        }
        Err(CannotBegin::Unavailable(unavailable)) => {
            metrics().sign_in(SignInOutcome::StoreFailed);
            sign_in.answers.store_away(&unavailable, visit)
        }
    }
}

pub(super) fn address(arrival: &Arrival) -> &str {
    match &arrival.email {
        ClaimedEmail::Verified(email) | ClaimedEmail::Presumed(email) | ClaimedEmail::Unverified(email) => {
            email.as_str()
        }
        ClaimedEmail::Malformed | ClaimedEmail::Missing => "",
    }
}
