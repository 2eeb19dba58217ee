//! Who was refused because nobody had added them, and who was added and is not here yet.

use askama::Template;

use super::form::Form;
use super::frame::{Part, Said};
use super::moment::Moment;
use super::people::{PersonLine, ROWS, shown_name};
use super::refusal::Obstacle;
use super::{Answer, Console, Visit, done, link};
use crate::clock::UnixTime;
use crate::directory::{self, ChangeError, Cursor, PeopleQuery, RefusedArrival, Sort, Status};
use crate::pages::console::{Frame, finished};

struct ArrivalLine {
    id: String,
    called: String,
    email: String,
    issuer: String,
    subject: String,
    at: Moment,
    times: u64,
}

impl ArrivalLine {
    fn of(arrival: RefusedArrival) -> Self {
        Self {
            called: shown_name([&arrival.name, &arrival.username, &arrival.email], &arrival.subject),
            id: arrival.id,
            email: arrival.email.unwrap_or_default(),
            issuer: arrival.issuer,
            subject: arrival.subject,
            at: Moment(arrival.at),
            times: arrival.times,
        }
    }
}

#[derive(Template)]
#[template(path = "console/waiting.html")]
struct WaitingPage {
    frame: Frame,
    provisioning: bool,
    default_role: &'static str,
    refused: Vec<ArrivalLine>,
    /// How many there are, where that is more than are shown.
    more_refused: Option<u64>,
    pending: Vec<PersonLine>,
    mail: String,
    previous: Option<String>,
    next: Option<String>,
}

pub(super) async fn show(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    draw(console, visit, None, now).await
}

async fn draw(console: &Console, visit: &Visit, obstacle: Option<Obstacle>, now: UnixTime) -> Answer {
    let actor = visit.actor();
    let asked = Form::of_query(visit.query.as_deref());
    let refused = directory::refused(&console.store, &actor, ROWS).await?;
    let query = PeopleQuery {
        status: Some(Status::Invited),
        sort: Sort::Created,
        descending: true,
        after: asked.cursor(),
        limit: ROWS,
        ..PeopleQuery::default()
    };
    let pending = directory::people(&console.store, &actor, &query).await?;
    let to = |cursor: Option<Cursor>| cursor.map(|cursor| link("/waiting", &[("after", cursor.as_str())]));
    let (frame, status) = console.frame_with(visit, Part::Waiting, "Pending and refused", obstacle, now);
    let rules = console.entry.load();
    let page = WaitingPage {
        frame,
        provisioning: rules.provisioning,
        default_role: rules.default_role.as_str(),
        more_refused: refused.total.filter(|total| *total > ROWS as u64),
        refused: refused.rows.into_iter().map(ArrivalLine::of).collect(),
        pending: pending.rows.into_iter().map(|user| PersonLine::of(user, now)).collect(),
        mail: console.mail(),
        previous: to(pending.previous),
        next: to(pending.next),
    };
    Ok(finished(status, &page))
}

pub(super) async fn approve(console: &Console, visit: &Visit, form: &Form, now: UnixTime) -> Answer {
    let role = form.role("role")?;
    let approved = directory::approve(&console.store, &visit.actor(), form.text("id"), role, now).await;
    answered(console, visit, approved.map(drop), Said::Approved, now).await
}

pub(super) async fn dismiss(console: &Console, visit: &Visit, form: &Form, now: UnixTime) -> Answer {
    let dismissed = directory::dismiss(&console.store, &visit.actor(), form.text("id"), now).await;
    answered(console, visit, dismissed, Said::Dismissed, now).await
}

async fn answered(
    console: &Console,
    visit: &Visit,
    outcome: Result<(), ChangeError>,
    said: Said,
    now: UnixTime,
) -> Answer {
    match outcome {
        Ok(()) => Ok(done("/waiting", said)),
        Err(error) => {
            let obstacle = Obstacle::of(error, "/waiting")?;
            draw(console, visit, Some(obstacle), now).await
        }
    }
}
