//! The keys that sign assertions.

use askama::Template;
use http::StatusCode;

use super::form::Form;
use super::frame::{Part, Said};
use super::moment::Moment;
use super::refusal::Refusal;
use super::{Answer, Console, Visit, done};
use crate::clock::UnixTime;
use crate::directory::{self, Action};
use crate::identity::{self, KeyRingError, KeyState};
use crate::pages::console::{Frame, finished};

struct KeyLine {
    kid: String,
    does: &'static str,
    created: Moment,
    from: Option<Moment>,
    until: Option<Moment>,
}

#[derive(Template)]
#[template(path = "console/keys.html")]
struct KeysPage {
    frame: Frame,
    keys: Vec<KeyLine>,
    every: i64,
}

pub(super) async fn show(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    directory::check(&console.store, &visit.actor(), Action::SeeKeys, None).await?;
    let keys = identity::list(&console.store, now).await?;
    let page = KeysPage {
        frame: console.frame(visit, Part::Keys, "Keys", now),
        keys: keys
            .into_iter()
            .map(|key| KeyLine {
                kid: key.kid,
                does: match key.state {
                    KeyState::Next => "next: published, does not sign yet",
                    KeyState::Signing => "signs",
                    KeyState::Old => "old: still published",
                },
                created: Moment(key.created),
                from: key.signs_from.map(Moment),
                until: key.signs_until.map(Moment),
            })
            .collect(),
        every: identity::ROTATED_EVERY / 86_400,
    };
    Ok(finished(StatusCode::OK, &page))
}

#[derive(Template)]
#[template(path = "console/keys_rotate.html")]
struct RotatePage {
    frame: Frame,
}

pub(super) async fn confirm(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    directory::check(&console.store, &visit.actor(), Action::RotateKeys, None).await?;
    let frame = console.frame(visit, Part::Keys, "Another key?", now);
    Ok(finished(StatusCode::OK, &RotatePage { frame }))
}

pub(super) async fn rotate(console: &Console, visit: &Visit, form: &Form, now: UnixTime) -> Answer {
    let actor = visit.actor();
    directory::attempt(&console.store, &actor, Action::RotateKeys, now).await?;
    let immediately = match form.text("when") {
        "planned" => false,
        "now" => true,
        _ => return Err(Refusal::Malformed),
    };
    match identity::rotate(&console.store, &console.sealer, immediately, &actor, now).await {
        Ok(rotated) if rotated.at <= now => Ok(done("/keys", Said::KeyRotated)),
        Ok(_) => Ok(done("/keys", Said::KeyPlanned)),
        Err(KeyRingError::Store(error)) => Err(error.into()),
        Err(error) => {
            tracing::error!(request_id = %visit.request_id, "the keys were not changed: {error}");
            Err(Refusal::Keys)
        }
    }
}
