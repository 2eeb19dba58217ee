//! How people sign in here: what is configured, secrets never shown, and a button that tries it.

use askama::Template;
use http::StatusCode;

use super::frame::Part;
use super::{Answer, Checked, Console, Visit};
use crate::clock::UnixTime;
use crate::config::Shown;
use crate::config::table::Group;
use crate::directory::{self, Action};
use crate::pages::console::{Frame, finished};
use crate::sign_in::ProviderState;

/// A setting, its value as it may be shown, and where that comes from.
struct Line {
    name: &'static str,
    value: Option<String>,
    source: String,
}

struct Section {
    title: &'static str,
    id: &'static str,
    lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "console/set_up.html")]
struct SetUpPage {
    frame: Frame,
    provider: Option<(&'static str, String)>,
    /// What it is for, and the address to register at the provider.
    addresses: Vec<(&'static str, String)>,
    sections: Vec<Section>,
    checked: Option<Checked>,
}

pub(super) async fn show(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    directory::check(&console.store, &visit.actor(), Action::SeeSetUp, None).await?;
    Ok(finished(StatusCode::OK, &page(console, visit, None, now)))
}

/// Tries what is set up. It changes nothing, so the answer to the form is the page itself.
pub(super) async fn check(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    directory::attempt(&console.store, &visit.actor(), Action::SeeSetUp, now).await?;
    let checked = (console.check)().await;
    Ok(finished(StatusCode::OK, &page(console, visit, Some(checked), now)))
}

fn page(console: &Console, visit: &Visit, checked: Option<Checked>, now: UnixTime) -> SetUpPage {
    let settings = &console.settings;
    let groups = [
        (Group::Provider, "provider", settings.oidc.is_some()),
        (Group::Directory, "directory", settings.ldap.is_some()),
        (Group::People, "entry", true),
        (Group::Sessions, "sessions", true),
        (Group::Browsers, "browsers", true),
    ];
    let shown = settings.shown.list();
    SetUpPage {
        frame: console.frame(visit, Part::SetUp, "Sign-in set-up", now),
        provider: match console.sign_in.provider_state() {
            ProviderState::None => None,
            ProviderState::Known => Some(("answers", String::new())),
            ProviderState::Unknown(why) => Some(("does not answer: nobody can sign in with it", why)),
            ProviderState::Stale(why) => Some(("did not answer the last time; what was known before is used", why)),
        },
        addresses: if settings.oidc.is_some() {
            vec![
                ("Redirect URI", settings.redirect_uri()),
                ("Address after sign-out", settings.post_logout_redirect_uri()),
            ]
        } else {
            Vec::new()
        },
        sections: groups
            .into_iter()
            .filter(|(.., there)| *there)
            .map(|(group, id, _)| Section {
                title: group.title(),
                id,
                lines: shown
                    .iter()
                    .filter(|shown| shown.setting.group == group)
                    .map(line)
                    .collect(),
            })
            .collect(),
        checked,
    }
}

fn line(shown: &Shown) -> Line {
    Line {
        name: shown.setting.name,
        value: shown.value.clone(),
        source: shown.source.to_string(),
    }
}
