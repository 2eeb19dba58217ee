//! Adding people before they come: one, or a pasted list. Looked at first, then all of them or none.

use askama::Template;
use http::StatusCode;

use super::form::Form;
use super::frame::{Part, Said};
use super::refusal::{Obstacle, Refusal};
use super::{Answer, Console, Visit, done};
use crate::clock::UnixTime;
use crate::directory::{self, Action, ChangeError, Fate, Invitation, PlannedLine};
use crate::pages::console::{Frame, finished};
use crate::person::Role;

const DAY: i64 = 86_400;

struct Line {
    number: usize,
    email: String,
    role: &'static str,
    teams: String,
    fate: String,
    good: bool,
}

impl Line {
    fn of(planned: &PlannedLine) -> Self {
        let teams: Vec<&str> = planned.teams.iter().map(String::as_str).collect();
        Self {
            number: planned.line,
            email: planned.email.clone(),
            role: planned.role.map_or("", Role::as_str),
            teams: teams.join("; "),
            fate: planned.fate.to_string(),
            good: matches!(planned.fate, Fate::Invite(_)),
        }
    }
}

#[derive(Template)]
#[template(path = "console/add.html")]
struct AddPage<'a> {
    frame: Frame,
    lines: Vec<Line>,
    good: usize,
    bad: usize,
    people: &'a str,
    role: &'a str,
    expires: &'a str,
}

pub(super) async fn show(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    directory::check(&console.store, &visit.actor(), Action::Invite, None).await?;
    // Better said before a list is typed than after.
    let obstacle = (!console.entry.load().email_needed).then(|| Obstacle::typed(&ChangeError::NoAddresses));
    let mut page = draw(console, visit, &[], &Form::default(), obstacle, now);
    *page.status_mut() = StatusCode::OK;
    Ok(page)
}

fn draw(
    console: &Console,
    visit: &Visit,
    planned: &[PlannedLine],
    typed: &Form,
    obstacle: Option<Obstacle>,
    now: UnixTime,
) -> http::Response<bytes::Bytes> {
    let lines: Vec<Line> = planned.iter().map(Line::of).collect();
    let good = lines.iter().filter(|line| line.good).count();
    let (frame, status) = console.frame_with(visit, Part::People, "Add people", obstacle, now);
    let page = AddPage {
        frame,
        good,
        bad: lines.len() - good,
        lines,
        people: typed.as_typed("people"),
        role: typed.chosen("role", console.entry.load().default_role),
        expires: typed.text("expires"),
    };
    finished(status, &page)
}

/// Looks at a list, or adds it.
pub(super) async fn act(console: &Console, visit: &Visit, form: &Form, now: UnixTime) -> Answer {
    let actor = visit.actor();
    let role = form.role("role")?;
    let expires = match form.text("expires") {
        "" => None,
        days => {
            let days: i64 = days.parse().map_err(|_| Refusal::Malformed)?;
            Some(now.plus(days.clamp(1, 365) * DAY))
        }
    };
    let text = form.as_typed("people");
    let email_needed = console.entry.load().email_needed;
    let planned = directory::plan_invitations(&console.store, &actor, text, role, expires, email_needed, now).await;
    let planned = match planned {
        Ok(planned) => planned,
        Err(error) => {
            let obstacle = Obstacle::of(error, "/people/add")?;
            return Ok(draw(console, visit, &[], form, Some(obstacle), now));
        }
    };
    let invitations: Vec<Invitation> = planned
        .iter()
        .filter_map(|line| match &line.fate {
            Fate::Invite(invitation) => Some(invitation.clone()),
            _ => None,
        })
        .collect();
    let all_good = !planned.is_empty() && invitations.len() == planned.len();
    match form.text("step") {
        "preview" => Ok(draw(console, visit, &planned, form, None, now)),
        "add" if all_good => match directory::invite(&console.store, &actor, &invitations, email_needed, now).await {
            Ok(_) => Ok(done("/waiting", Said::Added)),
            Err(error) => {
                let obstacle = Obstacle::of(error, "/people/add")?;
                Ok(draw(console, visit, &planned, form, Some(obstacle), now))
            }
        },
        // Something changed since it was looked at: it is looked at anew.
        "add" => Ok(draw(
            console,
            visit,
            &planned,
            form,
            Some(Obstacle::list_changed()),
            now,
        )),
        _ => Err(Refusal::Malformed),
    }
}
