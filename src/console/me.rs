//! Everybody's own page: who they are here, where they are signed in, and signing out.

use askama::Template;
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Response, StatusCode};

use super::form::Form;
use super::frame::{Part, Said};
use super::moment::Moment;
use super::people::ROWS;
use super::refusal::Refusal;
use super::{Answer, Console, Visit, device, done};
use crate::clock::UnixTime;
use crate::directory;
use crate::pages::Message;
use crate::pages::console::{Frame, finished};
use crate::person::LDAP;
use crate::session::{self, Listed};
use crate::sign_in::return_to::LOGIN_PATH;

/// A session as a page shows it.
#[derive(Debug)]
pub(super) struct SessionLine {
    pub(super) sid: String,
    pub(super) device: String,
    pub(super) user_agent: String,
    pub(super) address: String,
    pub(super) method: &'static str,
    pub(super) began: Moment,
    pub(super) last_seen: Moment,
    pub(super) ends: Moment,
    /// Whether it is the one that looks.
    pub(super) this: bool,
}

impl SessionLine {
    pub(super) fn of(listed: Listed, own_sid: &str) -> Self {
        Self {
            this: listed.sid == own_sid,
            sid: listed.sid,
            device: device::name(listed.user_agent.as_deref()),
            user_agent: listed.user_agent.unwrap_or_default(),
            address: listed.address.unwrap_or_default(),
            method: match listed.method {
                "oidc" => "single sign-on",
                LDAP => "directory",
                other => other,
            },
            began: Moment(listed.created),
            last_seen: Moment(listed.last_seen),
            ends: Moment(listed.expires),
        }
    }
}

#[derive(Template)]
#[template(path = "console/me.html")]
struct MePage<'a> {
    frame: Frame,
    name: &'a str,
    email: &'a str,
    username: &'a str,
    role: &'static str,
    id: &'a str,
    /// Id, name and role.
    teams: Vec<(String, String, &'static str)>,
    sessions: Vec<SessionLine>,
    more_sessions: bool,
}

pub(super) async fn show(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    let claims = visit.session.claims();
    let person = directory::person(&console.store, &visit.actor(), claims.sub.as_str()).await?;
    let (sessions, more_sessions) = session::newest(&console.store, &claims.sub, ROWS, now).await?;
    let page = MePage {
        frame: console.frame(visit, Part::Me, "Your account", now),
        name: claims.name.as_deref().unwrap_or_default(),
        email: claims.email.as_deref().unwrap_or_default(),
        username: &claims.username,
        role: person.user.role.as_str(),
        teams: person
            .teams
            .into_iter()
            .map(|membership| (membership.team.to_string(), membership.name, membership.role.as_str()))
            .collect(),
        id: claims.sub.as_str(),
        more_sessions,
        sessions: sessions
            .into_iter()
            .map(|listed| SessionLine::of(listed, &claims.sid))
            .collect(),
    };
    Ok(finished(StatusCode::OK, &page))
}

/// Ends one of the person's own sessions.
pub(super) async fn end_session(console: &Console, visit: &Visit, form: &Form, now: UnixTime) -> Answer {
    let claims = visit.session.claims();
    let sid = form.text("sid");
    let listed = session::one(&console.store, &sid.replace('\0', ""), now).await?;
    if listed.is_none_or(|listed| listed.user != claims.sub) {
        return Err(Refusal::Gone("This session"));
    }
    directory::end_session(&console.store, &visit.actor(), sid, now).await?;
    if sid == claims.sid {
        return Ok(signed_out(console));
    }
    Ok(done("/me", Said::SessionEnded))
}

#[derive(Template)]
#[template(path = "console/sign_out.html")]
struct SignOutPage {
    frame: Frame,
}

pub(super) fn confirm_sign_out(console: &Console, visit: &Visit, now: UnixTime) -> Response<Bytes> {
    let frame = console.frame(visit, Part::Me, "Sign out everywhere?", now);
    finished(StatusCode::OK, &SignOutPage { frame })
}

/// Ends all of the person's own sessions, this one too.
pub(super) async fn sign_out_everywhere(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    let own = visit.session.claims().sub.as_str();
    directory::end_sessions(&console.store, &visit.actor(), own, now).await?;
    Ok(signed_out(console))
}

/// Nobody's page: the session is over. The cookie that is left opens nothing.
fn signed_out(console: &Console) -> Response<Bytes> {
    let mut response = console.pages.message(&Message {
        status: StatusCode::OK,
        title: "You are signed out",
        text: &["Your sessions have ended."],
        links: &[("Sign in", LOGIN_PATH)],
        request_id: None,
    });
    let headers = response.headers_mut();
    headers.insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    response
}
