//! The way out: ends the session here and, where the provider has a place for it, there.
//!
//! Who comes back from the provider brings our `state` and is only told; it ends nothing, whoever is signed in by then, and
//! nobody is sent on: a logout that redirects by itself would sign people in again without a word.
//!
//! A link on another site may sign somebody out (it is no more than they can undo, and portals do it). A post from another
//! site may not, nor a picture or frame on any page (whoever can put one on a page of the app would sign everybody out): they
//! are asked about.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode};

use super::answers::{redirect, with_cookies};
use super::{SignIn, Visit, cookies};
use crate::clock::UnixTime;
use crate::seal::{self, Sealer};

/// What always works, also where the app has `/logout` for itself.
const OWN_PATH: &str = "/.vestibule/logout";

pub(super) async fn answer(sign_in: &SignIn, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    match visit.method {
        Method::GET | Method::POST => {}
        // A HEAD must not end a session.
        _ => return sign_in.answers.method_not_allowed("GET, POST", visit),
    }
    if comes_back(visit.query.as_deref(), &sign_in.sealer) {
        return sign_in.answers.signed_out();
    }
    if visit.embedded || visit.cross_site && visit.method == Method::POST {
        return sign_in.answers.logout_from_elsewhere(OWN_PATH, visit);
    }
    let Some(session) = &visit.session else {
        // A cookie to which no session belongs is of no use to anybody.
        let stale = visit
            .session_cookie
            .as_ref()
            .and_then(|_| delete_session_cookie(sign_in));
        return with_cookies(sign_in.answers.signed_out(), stale);
    };

    let tokens = match sign_in.sessions.end(session, &visit.actor(), now).await {
        Ok(tokens) => tokens,
        Err(unavailable) => return sign_in.answers.store_away(&unavailable, visit),
    };
    let claims = session.claims();
    let there = sign_in
        .provider
        .as_ref()
        .filter(|_| claims.method == "oidc")
        .and_then(|provider| {
            provider.sign_out_address(tokens.id_token.as_ref(), &state(&sign_in.sealer), &sign_in.signed_out)
        });
    let mut response = match there {
        Some(address) => redirect(StatusCode::SEE_OTHER, address.as_str(), []),
        None => sign_in.answers.signed_out(),
    };
    response
        .headers_mut()
        .insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    with_cookies(response, delete_session_cookie(sign_in))
}

fn delete_session_cookie(sign_in: &SignIn) -> Option<HeaderValue> {
    cookies::delete(&sign_in.public.cookie_name(), sign_in.public.https)
}

/// A `state` by which we know who comes back from a logout: random, and checked by a key of ours.
fn state(sealer: &Sealer) -> String {
    let random = seal::random::<16>();
    let check = sealer.check_of(&checked(&random));
    URL_SAFE_NO_PAD.encode([random.as_slice(), &check].concat())
}

fn comes_back(query: Option<&str>, sealer: &Sealer) -> bool {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == "state")
        .any(|(_, state)| {
            URL_SAFE_NO_PAD.decode(state.as_bytes()).is_ok_and(|bytes| {
                bytes
                    .split_first_chunk::<16>()
                    .is_some_and(|(random, check)| check.len() == 32 && sealer.checks(&checked(random), check))
            })
        })
}

/// The purpose goes into the check: no other checked value of ours is a logout's state.
fn checked(random: &[u8; 16]) -> Vec<u8> {
    [b"logout state ".as_slice(), random].concat()
}

#[cfg(test)]
mod tests {
    use super::{comes_back, state};
    use crate::seal::{Sealer, SecretKey};

    #[test]
    fn only_our_own_state_comes_back() {
        let sealer = Sealer::new(&[SecretKey::generate()]).unwrap();
        let other = Sealer::new(&[SecretKey::generate()]).unwrap();
        let ours = state(&sealer);
        assert!(comes_back(Some(&format!("state={ours}")), &sealer));
        assert!(comes_back(Some(&format!("a=b&state={ours}")), &sealer));
        for query in [
            None,
            Some(String::new()),
            Some("state=".into()),
            Some("state=x".into()),
            Some(format!("state={}", state(&other))),
            Some(format!("state={}", &ours[..22])),
            Some(format!("state={}", &ours[..30])),
            Some(format!("State={ours}")),
        ] {
            assert!(!comes_back(query.as_deref(), &sealer), "{query:?}");
        }
    }
}
