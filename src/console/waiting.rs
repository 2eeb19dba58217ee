//! Who was refused because nobody had added them, and who was added and is not here yet.

use askama::Template;
use http::StatusCode;

use super::form::Form;
use super::frame::{Part, Said};
use super::moment::Moment;
use super::people::{PersonLine, ROWS};
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
        let names = [&arrival.name, &arrival.username, &arrival.email];
        let name = names.into_iter().flatten().find(|name| !name.is_empty());
        Self {
            called: name.unwrap_or(&arrival.subject).clone(),
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
    let refused = directory::refused(&console.store, &actor).await?;
    let query = PeopleQuery {
        status: Some(Status::Invited),
        sort: Sort::Created,
        descending: true,
        after: Some(asked.text("after"))
            .filter(|after| !after.is_empty())
            .map(Cursor::new),
        limit: ROWS,
        ..PeopleQuery::default()
    };
    let pending = directory::people(&console.store, &actor, &query).await?;
    let to = |cursor: Option<Cursor>| cursor.map(|cursor| link("/waiting", &[("after", cursor.as_str())]));
    let mut frame = console.frame(visit, Part::Waiting, "Pending and refused", now);
    let status = obstacle.map_or(StatusCode::OK, |obstacle| obstacle.put_on(&mut frame));
    let rules = console.entry.load();
    let page = WaitingPage {
        frame,
        provisioning: rules.provisioning,
        default_role: rules.default_role.as_str(),
        refused: refused.into_iter().map(ArrivalLine::of).collect(),
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
