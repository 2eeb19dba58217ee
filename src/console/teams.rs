//! All teams, or one's own for who may not see all.

use askama::Template;

use super::form::Form;
use super::frame::{Part, Said};
use super::moment::Moment;
use super::people::ROWS;
use super::refusal::Obstacle;
use super::{Answer, Console, Visit, done, link};
use crate::clock::UnixTime;
use crate::directory::{self, Action, Cursor};
use crate::pages::console::{Frame, finished};

struct TeamLine {
    id: String,
    name: String,
    members: u64,
    created: Moment,
}

#[derive(Template)]
#[template(path = "console/teams.html")]
struct TeamsPage<'a> {
    frame: Frame,
    may_see_all: bool,
    may_create: bool,
    search: &'a str,
    teams: Vec<TeamLine>,
    typed_name: &'a str,
    previous: Option<String>,
    next: Option<String>,
}

pub(super) async fn show(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    draw(console, visit, None, &Form::default(), now).await
}

async fn draw(console: &Console, visit: &Visit, obstacle: Option<Obstacle>, typed: &Form, now: UnixTime) -> Answer {
    let asked = Form::of_query(visit.query.as_deref());
    let search = asked.text("q");
    let page = directory::teams(&console.store, &visit.actor(), search, asked.cursor().as_ref(), ROWS).await?;
    let to = |cursor: Option<Cursor>| cursor.map(|cursor| link("/teams", &[("q", search), ("after", cursor.as_str())]));
    let (frame, status) = console.frame_with(visit, Part::Teams, "Teams", obstacle, now);
    let page = TeamsPage {
        frame,
        may_see_all: visit.may(Action::SeeTeams),
        may_create: visit.may(Action::CreateTeam),
        search,
        teams: page
            .rows
            .into_iter()
            .map(|team| TeamLine {
                id: team.id.to_string(),
                name: team.name,
                members: team.members,
                created: Moment(team.created),
            })
            .collect(),
        typed_name: typed.as_typed("name"),
        previous: to(page.previous),
        next: to(page.next),
    };
    Ok(finished(status, &page))
}

pub(super) async fn create(console: &Console, visit: &Visit, form: &Form, now: UnixTime) -> Answer {
    let name = form.text("name");
    match directory::create_team(&console.store, &visit.actor(), name, now).await {
        Ok(team) => Ok(done(&format!("/teams/{}", team.id), Said::TeamMade)),
        Err(error) => {
            let obstacle = Obstacle::of(error, "/teams")?;
            draw(console, visit, Some(obstacle), form, now).await
        }
    }
}
