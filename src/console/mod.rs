//! The console at `/.vestibule/console/`: what people see of their account, and from where admins run the instance. No rules
//! in here: what somebody may do, `directory` decides, each time anew.
//!
//! Public face: the gateway turns a request with a live session into a [`Visit`] and gets back a finished response. A GET
//! changes nothing; a POST brings a [`token`] of the same session that was not used before, and ends in a redirect to a page
//! that says what was done, or in one that asks once more. Inside, one file a page; `frame` (the way around, what was done), `form` (reading what was
//! typed), `refusal` (why not), `moment` and `device` (how times and browsers are shown).

mod add;
mod audit;
mod confirm;
mod device;
mod form;
mod frame;
mod keys;
mod me;
mod moment;
mod people;
mod person;
mod refusal;
mod set_up;
mod team;
mod teams;
mod token;
mod waiting;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{HeaderValue, LOCATION};
use http::{Method, Response, StatusCode};

use self::form::Form;
use self::refusal::Refusal;
use crate::clock::UnixTime;
use crate::config::{EntryRules, Settings};
use crate::directory::{self, Action, Actor, Relation, Who};
use crate::identity::KeyRing;
use crate::pages::Pages;
use crate::seal::Sealer;
use crate::session::{Session, Sessions};
use crate::sign_in::SignIn;
use crate::sign_in::return_to::CONSOLE_PATH;
use crate::store::Store;

/// A request on one of the console's paths, with a live session, not begun by another site.
#[derive(Debug)]
pub struct Visit {
    /// GET, HEAD or POST; HEAD is answered as GET, the body is dropped by the gateway.
    pub method: Method,
    /// The path, checked.
    pub path: String,
    /// The raw query.
    pub query: Option<String>,
    /// What came with a POST.
    pub body: Body,
    /// Whose request it is.
    pub session: Arc<Session>,
    /// The browser's address, forwarding headers from trusted proxies considered.
    pub client: IpAddr,
    /// Whether a program asks: refusals are then problem+json.
    pub program: bool,
    /// The request's id, for logs and pages.
    pub request_id: Arc<str>,
}

/// What came with a POST.
#[derive(Debug)]
pub enum Body {
    /// It was none.
    None,
    /// `application/x-www-form-urlencoded`.
    Form(Bytes),
    /// Something that no form of ours sends; it was not read.
    Other,
}

/// What a look at the set-up found: name and outcome of each trial, and sentences.
#[derive(Debug, Default)]
pub struct Checked {
    /// What was tried, and what was found or what to do.
    pub trials: Vec<(String, Result<String, String>)>,
    /// What an operator should know of.
    pub warnings: Vec<String>,
}

/// Tries what is set up. It reaches rooms that the console does not know.
pub type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Checked> + Send>> + Send + Sync>;

/// What the console works with.
pub struct Console {
    store: Store,
    sessions: Arc<Sessions>,
    keys: Arc<KeyRing>,
    sealer: Arc<Sealer>,
    sign_in: Arc<SignIn>,
    pages: Arc<Pages>,
    entry: Arc<ArcSwap<EntryRules>>,
    settings: Settings,
    check: Check,
}

/// What the console is lent.
pub struct Lent {
    /// People, teams, sessions, keys.
    pub store: Store,
    /// Live sessions.
    pub sessions: Arc<Sessions>,
    /// The key ring.
    pub keys: Arc<KeyRing>,
    /// Makes tokens of forms, and opens keys.
    pub sealer: Arc<Sealer>,
    /// Says how the provider stands.
    pub sign_in: Arc<SignIn>,
    /// Pages.
    pub pages: Arc<Pages>,
    /// Who gets in; a reload swaps it.
    pub entry: Arc<ArcSwap<EntryRules>>,
    /// Tries what is set up.
    pub check: Check,
}

type Answer = Result<Response<Bytes>, Refusal>;

impl Console {
    /// A console for these settings.
    #[must_use]
    pub fn new(settings: &Settings, lent: Lent) -> Self {
        Self {
            store: lent.store,
            sessions: lent.sessions,
            keys: lent.keys,
            sealer: lent.sealer,
            sign_in: lent.sign_in,
            pages: lent.pages,
            entry: lent.entry,
            settings: settings.clone(),
            check: lent.check,
        }
    }

    /// Answers a request.
    pub async fn answer(&self, visit: Visit, now: UnixTime) -> Response<Bytes> {
        // Whoever was signed out a moment ago, by whatever process, does nothing more here.
        self.sessions.catch_up(&self.keys, now).await;
        let answered = match visit.method {
            _ if visit.session.ended().is_cancelled() => Err(Refusal::SessionOver),
            Method::POST => {
                let acted = self.act(&visit, now).await;
                self.sessions.catch_up(&self.keys, now).await;
                acted
            }
            _ => self.show(&visit, now).await,
        };
        answered.unwrap_or_else(|refusal| refusal.response(self, &visit, now))
    }

    async fn show(&self, visit: &Visit, now: UnixTime) -> Answer {
        match visit.steps().as_slice() {
            [] => Ok(redirect(StatusCode::PERMANENT_REDIRECT, &format!("{CONSOLE_PATH}/"))),
            [""] if visit.may(Action::SeePeople) => people::show(self, visit, now).await,
            ["" | "me"] => me::show(self, visit, now).await,
            ["me", "sign-out"] => Ok(me::confirm_sign_out(self, visit, now)),
            ["people"] => people::show(self, visit, now).await,
            ["people", "add"] => add::show(self, visit, now).await,
            ["people", id] if is_id(id) => person::show(self, visit, id, now).await,
            ["people", id, action] if is_id(id) => person::confirm(self, visit, id, action, now).await,
            ["waiting"] => waiting::show(self, visit, now).await,
            ["teams"] => teams::show(self, visit, now).await,
            ["teams", id] if is_id(id) => team::show(self, visit, id, now).await,
            ["teams", id, "delete"] if is_id(id) => team::confirm_delete(self, visit, id, now).await,
            ["teams", id, "take-out"] if is_id(id) => team::confirm_take_out(self, visit, id, now).await,
            ["teams", id, "unfollow"] if is_id(id) => team::confirm_unfollow(self, visit, id, now).await,
            ["audit"] => audit::show(self, visit, now).await,
            ["audit", "events.jsonl"] => audit::file(self, visit, false, now).await,
            ["audit", "events.csv"] => audit::file(self, visit, true, now).await,
            ["keys"] => keys::show(self, visit, now).await,
            ["keys", "rotate"] => keys::confirm(self, visit, now).await,
            ["set-up"] => set_up::show(self, visit, now).await,
            ["me", "end-session"] | ["set-up", "check"] | ["waiting", "approve" | "dismiss"] => {
                Err(Refusal::Method("POST"))
            }
            ["teams", _, "members" | "follow" | "rename"] => Err(Refusal::Method("POST")),
            _ => Err(Refusal::NoSuchPage),
        }
    }

    async fn act(&self, visit: &Visit, now: UnixTime) -> Answer {
        let form = self.form(visit, now).await?;
        match visit.steps().as_slice() {
            ["me", "end-session"] => me::end_session(self, visit, &form, now).await,
            ["me", "sign-out"] => me::sign_out_everywhere(self, visit, now).await,
            ["people", "add"] => add::act(self, visit, &form, now).await,
            ["people", id, action] if is_id(id) => person::act(self, visit, id, action, &form, now).await,
            ["waiting", "approve"] => waiting::approve(self, visit, &form, now).await,
            ["waiting", "dismiss"] => waiting::dismiss(self, visit, &form, now).await,
            ["teams"] => teams::create(self, visit, &form, now).await,
            ["teams", id, action] if is_id(id) => team::act(self, visit, id, action, &form, now).await,
            ["keys", "rotate"] => keys::rotate(self, visit, &form, now).await,
            ["set-up", "check"] => set_up::check(self, visit, now).await,
            []
            | ["" | "me" | "people" | "waiting" | "audit" | "keys" | "set-up"]
            | ["people" | "teams", _]
            | ["audit", "events.jsonl" | "events.csv"] => Err(Refusal::Method("GET, HEAD")),
            _ => Err(Refusal::NoSuchPage),
        }
    }

    /// What is sent to people who were added.
    fn mail(&self) -> String {
        format!(
            "You have been added to {}. Sign in with your work account at {}/",
            self.settings.instance_name,
            self.settings.public.origin()
        )
    }

    /// Whether any places in teams follow groups.
    fn follows_groups(&self) -> bool {
        let rules = self.entry.load();
        rules.follow_group_claims || rules.follow_ldap_groups
    }

    /// The form of a POST, its token used up.
    async fn form(&self, visit: &Visit, now: UnixTime) -> Result<Form, Refusal> {
        let body = match &visit.body {
            Body::Form(body) => body,
            Body::Other => return Err(Refusal::NotAForm),
            Body::None => return Err(Refusal::Malformed),
        };
        let form = Form::read(body).ok_or(Refusal::Malformed)?;
        let sid = &visit.session.claims().sid;
        let sent = form.text("token");
        let token = token::read(&self.sealer, sid, sent, now).ok_or(Refusal::Token)?;
        if !self.sessions.use_attempt(&token.id, token.until).await? {
            return Err(Refusal::SentBefore);
        }
        Ok(form)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Visit {
    /// Who does it, for the rules and the audit log.
    fn actor(&self) -> Actor {
        let claims = self.session.claims();
        Actor {
            who: Who::Person {
                user: claims.sub.clone(),
                name: claims.email.clone().unwrap_or_else(|| claims.username.clone()),
            },
            address: Some(self.client),
            request_id: Some(self.request_id.as_ref().to_owned()),
        }
    }

    /// Whether to show the way to something of the instance. Whether it is done, `directory` decides by what the store says.
    fn may(&self, action: Action) -> bool {
        directory::may(self.session.claims().role, Relation::Instance, action)
    }

    /// What stands between the slashes behind the console's own path.
    fn steps(&self) -> Vec<&str> {
        let path = self.path.strip_prefix(CONSOLE_PATH).unwrap_or_default();
        path.split('/').skip(1).collect()
    }
}

/// Whether it can be the id of a person or team.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// The address of a page of ours; fields without a value are left out.
fn link(page: &str, fields: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(fields.iter().filter(|(_, value)| !value.is_empty()));
    let query = query.finish();
    let sign = if query.is_empty() { "" } else { "?" };
    format!("{CONSOLE_PATH}{page}{sign}{query}")
}

/// After something was done: to a page that says so, which can be loaded again.
fn done(page: &str, said: frame::Said) -> Response<Bytes> {
    let sign = if page.contains('?') { '&' } else { '?' };
    redirect(
        StatusCode::SEE_OTHER,
        &format!("{CONSOLE_PATH}{page}{sign}said={}", said.word()),
    )
}

/// Paths of ours are plain ASCII.
fn redirect(status: StatusCode, to: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/.vestibule/console/"));
    response.headers_mut().insert(LOCATION, to);
    response
}
