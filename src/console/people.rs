//! Everybody: search, filters, order, by the page.

use askama::Template;
use http::StatusCode;

use super::form::Form;
use super::frame::Part;
use super::moment::Moment;
use super::{Answer, Console, Visit, link};
use crate::clock::UnixTime;
use crate::directory::{self, ChangeError, Cursor, Page, PeopleQuery, Sort, Status, User};
use crate::pages::console::{Frame, finished};
use crate::person::TeamId;

/// Rows of a page.
pub(super) const ROWS: usize = 50;

/// Word in the address, word in the list, order, and whether the other way round.
const SORTS: [(&str, &str, Sort, bool); 5] = [
    ("email", "e-mail", Sort::Email, false),
    ("name", "name", Sort::Name, false),
    ("newest", "newest first", Sort::Created, true),
    ("oldest", "oldest first", Sort::Created, false),
    ("seen", "last sign-in", Sort::LastSignIn, true),
];

/// Somebody in a list.
pub(super) struct PersonLine {
    pub(super) id: String,
    pub(super) called: String,
    pub(super) email: String,
    pub(super) username: String,
    pub(super) role: &'static str,
    pub(super) status: &'static str,
    pub(super) created: Moment,
    pub(super) signed_in: Option<Moment>,
    pub(super) invited_by: String,
    pub(super) expires: Option<Moment>,
    pub(super) expired: bool,
}

impl PersonLine {
    pub(super) fn of(user: User, now: UnixTime) -> Self {
        Self {
            called: called(&user),
            id: user.id.to_string(),
            email: user.email.unwrap_or_default(),
            username: user.username.unwrap_or_default(),
            role: user.role.as_str(),
            status: user.status.as_str(),
            created: Moment(user.created),
            signed_in: user.last_sign_in.map(Moment),
            invited_by: user.invited_by.unwrap_or_default(),
            expires: user.expires.map(Moment),
            expired: user.expires.is_some_and(|expires| expires <= now),
        }
    }
}

/// What somebody is called on a page.
pub(super) fn called(user: &User) -> String {
    shown_name([&user.name, &user.username, &user.email], user.id.as_str())
}

/// The first of somebody's names that says something.
pub(super) fn shown_name(names: [&Option<String>; 3], otherwise: &str) -> String {
    let name = names.into_iter().flatten().find(|name| !name.is_empty());
    name.map_or(otherwise, String::as_str).to_owned()
}

/// The status of this word.
fn status_of(word: &str) -> Option<Status> {
    [Status::Active, Status::Invited, Status::Deactivated]
        .into_iter()
        .find(|status| status.as_str() == word)
}

#[derive(Template)]
#[template(path = "console/people.html")]
struct PeoplePage<'a> {
    frame: Frame,
    one_admin: bool,
    search: &'a str,
    role: &'a str,
    status: &'a str,
    team: &'a str,
    sort: &'a str,
    sorts: Vec<(&'static str, &'static str)>,
    filtered: bool,
    no_such_team: bool,
    people: Vec<PersonLine>,
    total: Option<u64>,
    previous: Option<String>,
    next: Option<String>,
}

pub(super) async fn show(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    let actor = visit.actor();
    let asked = Form::of_filters(visit.query.as_deref())?;
    let chosen = SORTS.iter().find(|(word, ..)| *word == asked.text("sort"));
    let (sort_word, _, sort, descending) = chosen.unwrap_or(&SORTS[0]);
    let team_name = asked.text("team");
    let (team, no_such_team) = if team_name.is_empty() {
        (None, false)
    } else {
        match directory::team(&console.store, &actor, team_name, None, 1).await {
            Ok(view) => (Some(TeamId::new(view.team.id.as_str())), false),
            Err(ChangeError::NoSuchTeam(_)) => (None, true),
            Err(error) => return Err(error.into()),
        }
    };
    let query = PeopleQuery {
        search: asked.text("q").to_owned(),
        role: asked.filter("role", |word| word.parse().ok())?,
        status: asked.filter("status", status_of)?,
        team,
        sort: *sort,
        descending: *descending,
        after: asked.cursor(),
        limit: ROWS,
    };
    let page = if no_such_team {
        // Nobody is in it, which is not the same as everybody.
        Page::empty()
    } else {
        directory::people(&console.store, &actor, &query).await?
    };
    let status = if no_such_team {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    let filters = ["q", "role", "status", "team", "sort"].map(|name| (name, asked.text(name)));
    let to = |cursor: Option<Cursor>| {
        cursor.map(|cursor| {
            let mut fields = filters.to_vec();
            fields.push(("after", cursor.as_str()));
            link("/people", &fields)
        })
    };
    let page = PeoplePage {
        frame: console.frame(visit, Part::People, "People", now),
        one_admin: directory::one_admin_only(&console.store).await?,
        search: asked.text("q"),
        role: query.role.map_or("", |role| role.as_str()),
        status: query.status.map_or("", Status::as_str),
        team: team_name,
        sort: sort_word,
        sorts: SORTS.iter().map(|(word, label, ..)| (*word, *label)).collect(),
        filtered: filters.iter().take(4).any(|(_, value)| !value.is_empty()),
        no_such_team,
        people: page.rows.into_iter().map(|user| PersonLine::of(user, now)).collect(),
        total: page.total,
        previous: to(page.previous),
        next: to(page.next),
    };
    Ok(finished(status, &page))
}
