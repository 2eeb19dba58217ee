//! One team: who is in it as what, the groups that it follows, its name and its end.

use askama::Template;
use http::StatusCode;

use super::confirm::Confirm;
use super::form::Form;
use super::frame::{Part, Said};
use super::moment::Moment;
use super::people::{ROWS, shown_name};
use super::refusal::{Obstacle, Refusal};
use super::{Answer, Console, Visit, done, link};
use crate::clock::UnixTime;
use crate::directory::{self, Action, ChangeError, Cursor, Member, Status, Team};
use crate::pages::console::{Frame, finished};
use crate::person::Role;

struct MemberLine {
    id: String,
    called: String,
    email: String,
    /// Only where it is not active.
    status: &'static str,
    role: &'static str,
    by_hand: &'static str,
    /// Name of a group, and the role that it gives.
    groups: Vec<(String, &'static str)>,
}

impl MemberLine {
    fn of(member: Member) -> Self {
        Self {
            called: shown_name([&member.name, &member.username, &member.email], member.user.as_str()),
            id: member.user.to_string(),
            email: member.email.unwrap_or_default(),
            status: match member.status {
                Status::Active => "",
                other => other.as_str(),
            },
            role: member.role.as_str(),
            by_hand: member.by_hand.map_or("", Role::as_str),
            groups: member
                .by_group
                .into_iter()
                .map(|reason| (reason.group, reason.role.as_str()))
                .collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "console/team.html")]
#[expect(clippy::struct_excessive_bools, reason = "each is a question that the template asks")]
struct TeamPage<'a> {
    frame: Frame,
    id: &'a str,
    version: i64,
    count: u64,
    created: Moment,
    members: Vec<MemberLine>,
    previous: Option<String>,
    next: Option<String>,
    /// Name of a group, the role that it gives, and where it is ended.
    links: Vec<(String, &'static str, String)>,
    followed: bool,
    may_set_members: bool,
    may_edit: bool,
    may_see_people: bool,
    typed_who: &'a str,
    typed_role: &'a str,
    typed_group: &'a str,
    typed_name: &'a str,
}

pub(super) async fn show(console: &Console, visit: &Visit, id: &str, now: UnixTime) -> Answer {
    draw(console, visit, id, None, &Form::default(), now).await
}

async fn draw(
    console: &Console,
    visit: &Visit,
    id: &str,
    obstacle: Option<Obstacle>,
    typed: &Form,
    now: UnixTime,
) -> Answer {
    let asked = Form::of_query(visit.query.as_deref());
    let view = directory::team(&console.store, &visit.actor(), id, asked.cursor().as_ref(), ROWS).await?;
    let team = view.team;
    let here = format!("/teams/{}", team.id);
    let to = |cursor: Option<Cursor>| cursor.map(|cursor| link(&here, &[("after", cursor.as_str())]));
    let (frame, status) = console.frame_with(visit, Part::Teams, &team.name, obstacle, now);
    let page = TeamPage {
        frame,
        id: team.id.as_str(),
        version: team.version.0,
        count: team.members,
        created: Moment(team.created),
        members: view.members.rows.into_iter().map(MemberLine::of).collect(),
        previous: to(view.members.previous),
        next: to(view.members.next),
        links: view
            .groups
            .into_iter()
            .map(|linked| {
                let end = link(&format!("{here}/unfollow"), &[("group", &linked.group)]);
                (linked.group, linked.role.as_str(), end)
            })
            .collect(),
        followed: console.follows_groups(),
        may_set_members: view.may_set_members,
        may_edit: visit.may(Action::RenameTeam),
        may_see_people: visit.may(Action::SeePeople),
        typed_who: typed.as_typed("who"),
        typed_role: typed.chosen("role", Role::Member),
        typed_group: typed.as_typed("group"),
        typed_name: if typed.has("name") {
            typed.as_typed("name")
        } else {
            &team.name
        },
    };
    Ok(finished(status, &page))
}

/// Does what a form of the page asks for.
pub(super) async fn act(
    console: &Console,
    visit: &Visit,
    id: &str,
    action: &str,
    form: &Form,
    now: UnixTime,
) -> Answer {
    let (store, actor) = (&console.store, &visit.actor());
    let here = format!("/teams/{id}");
    let (outcome, said) = match action {
        "members" => {
            // Somebody new is put in beside what others do meanwhile; who is there already is changed as they were seen.
            let version = if form.has("new") { None } else { Some(form.version()?) };
            let (who, role) = (form.text("who"), form.role("role")?);
            let set = directory::set_member(store, actor, id, who, role, version, now).await;
            (set, done(&here, Said::MemberSet))
        }
        "take-out" => {
            // Taking somebody out waits for nobody's change.
            let out = directory::remove_member(store, actor, id, form.text("who"), None, now).await;
            (out, done(&here, Said::MemberOut))
        }
        "follow" => {
            let (role, version) = (form.role("role")?, Some(form.version()?));
            let followed = directory::follow_group(store, actor, id, form.text("group"), role, version, now).await;
            (followed, done(&here, Said::Followed))
        }
        "unfollow" => {
            let version = Some(form.version()?);
            let ended = directory::unfollow_group(store, actor, id, form.as_typed("group"), version, now).await;
            (ended, done(&here, Said::Unfollowed))
        }
        "rename" => {
            let version = Some(form.version()?);
            let renamed = directory::rename_team(store, actor, id, form.text("name"), version, now).await;
            (renamed.map(drop), done(&here, Said::TeamRenamed))
        }
        "delete" => {
            let deleted = directory::delete_team(store, actor, id, Some(form.version()?), now).await;
            (deleted, done("/teams", Said::TeamDeleted))
        }
        _ => return Err(Refusal::NoSuchPage),
    };
    match outcome {
        Ok(()) => Ok(said),
        Err(error) => {
            let obstacle = match error {
                // The person was typed; it is not the page that is gone.
                ChangeError::NoSuchPerson(_) => Obstacle::typed(&error),
                error => Obstacle::of(error, "/teams")?,
            };
            // Only what is typed stays in its field; a row's buttons stand where they stood.
            let typed = if form.has("new") || matches!(action, "follow" | "rename") {
                form
            } else {
                &Form::default()
            };
            draw(console, visit, id, Some(obstacle), typed, now).await
        }
    }
}

pub(super) async fn confirm_take_out(console: &Console, visit: &Visit, id: &str, now: UnixTime) -> Answer {
    let asked = Form::of_query(visit.query.as_deref());
    let (team, member) = directory::member_by_hand(&console.store, &visit.actor(), id, asked.text("who")).await?;
    let page = take_out(console, visit, &team, &member, "/teams", now);
    Ok(finished(StatusCode::OK, &page))
}

/// Asks once more before somebody is taken out of a team, on the way from a page of `part`.
pub(super) fn take_out(
    console: &Console,
    visit: &Visit,
    team: &Team,
    member: &Member,
    part: &'static str,
    now: UnixTime,
) -> Confirm {
    let who = shown_name([&member.name, &member.username, &member.email], member.user.as_str());
    let by_hand = member.by_hand.map_or("", Role::as_str);
    let stays: Vec<String> = member
        .by_group
        .iter()
        .map(|reason| format!("the group {} ({})", reason.group, reason.role))
        .collect();
    let of_group = if stays.is_empty() {
        format!("They are in it as {by_hand}. The app no longer sees them in this team from their next request on.")
    } else {
        format!(
            "What was given by hand ends: {by_hand}. They stay in the team by {}.",
            stays.join(", ")
        )
    };
    let (frame_part, action, back, fields) = if part == "/people" {
        let base = format!("/people/{}", member.user);
        let fields = vec![("team", team.id.to_string())];
        (Part::People, format!("{base}/leave-team"), base, fields)
    } else {
        let base = format!("/teams/{}", team.id);
        let fields = vec![("who", member.user.to_string())];
        (Part::Teams, format!("{base}/take-out"), base, fields)
    };
    Confirm {
        frame: console.frame(visit, frame_part, &format!("Take {who} out of {}?", team.name), now),
        text: vec![of_group],
        action: link(&action, &[]),
        fields,
        button: "Take them out",
        danger: true,
        back: link(&back, &[]),
    }
}

pub(super) async fn confirm_unfollow(console: &Console, visit: &Visit, id: &str, now: UnixTime) -> Answer {
    let asked = Form::of_query(visit.query.as_deref());
    let group = asked.as_typed("group");
    let actor = visit.actor();
    let team = directory::team(&console.store, &actor, id, None, 1).await?.team;
    // Behind the version: what changes after that makes the form an old one.
    let leaving = directory::only_by_group(&console.store, &actor, id, group).await?;
    let leaving = match leaving {
        0 => "Nobody is in the team by this group alone.".to_owned(),
        1 => "One person is in the team by this group alone, and is out of it then.".to_owned(),
        count => format!("{count} people are in the team by this group alone, and are out of it then."),
    };
    let page = Confirm {
        frame: console.frame(visit, Part::Teams, &format!("No longer follow {group}?"), now),
        text: vec![
            leaving,
            "Who is in it by hand or by another group as well stays, with the role that these give. If the team follows the \
             group again later, its people come back one by one, as they sign in."
                .to_owned(),
        ],
        action: link(&format!("/teams/{}/unfollow", team.id), &[]),
        fields: vec![("version", team.version.0.to_string()), ("group", group.to_owned())],
        button: "No longer follow it",
        danger: true,
        back: link(&format!("/teams/{}", team.id), &[]),
    };
    Ok(finished(StatusCode::OK, &page))
}

pub(super) async fn confirm_delete(console: &Console, visit: &Visit, id: &str, now: UnixTime) -> Answer {
    let actor = visit.actor();
    directory::check(&console.store, &actor, Action::DeleteTeam, None).await?;
    let team = directory::team(&console.store, &actor, id, None, 1).await?.team;
    let people = match team.members {
        1 => "One person is in it.".to_owned(),
        count => format!("{count} people are in it."),
    };
    let page = Confirm {
        frame: console.frame(visit, Part::Teams, &format!("Delete {}?", team.name), now),
        text: vec![
            people,
            "They stay, but the app no longer sees them in this team, and nothing brings it back with the people who were \
             in it."
                .to_owned(),
        ],
        action: link(&format!("/teams/{}/delete", team.id), &[]),
        fields: vec![("version", team.version.0.to_string())],
        button: "Delete the team",
        danger: true,
        back: link(&format!("/teams/{}", team.id), &[]),
    };
    Ok(finished(StatusCode::OK, &page))
}
