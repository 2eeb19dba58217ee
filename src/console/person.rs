//! One person: role, teams, identities, sessions, history, and what can be done with the account.

use askama::Template;
use http::StatusCode;

use super::audit::Entry;
use super::confirm::Confirm;
use super::form::Form;
use super::frame::{Part, Said};
use super::me::SessionLine;
use super::moment::Moment;
use super::people::{ROWS, called};
use super::refusal::{Obstacle, Refusal};
use super::{Answer, Console, Visit, done, link, team};
use crate::clock::UnixTime;
use crate::directory::{self, Action, AuditQuery, Membership, Person, Status, Version};
use crate::pages::console::{Frame, finished};
use crate::person::Role;
use crate::session;

/// Events that are shown with a person.
const HISTORY: usize = 10;
/// Teams whose names are offered.
const OFFERED: usize = 100;

struct TeamLine {
    id: String,
    name: String,
    role: &'static str,
    by_hand: bool,
    /// Name of a group, and the role that it gives.
    groups: Vec<(String, &'static str)>,
}

impl TeamLine {
    fn of(membership: Membership) -> Self {
        Self {
            id: membership.team.to_string(),
            name: membership.name,
            role: membership.role.as_str(),
            by_hand: membership.by_hand.is_some(),
            groups: membership
                .by_group
                .into_iter()
                .map(|reason| (reason.group, reason.role.as_str()))
                .collect(),
        }
    }
}

struct IdentityLine {
    issuer: String,
    subject: String,
    linked: Moment,
    unlink: String,
}

#[derive(Template)]
#[template(path = "console/person.html")]
struct PersonPage<'a> {
    frame: Frame,
    id: &'a str,
    email: &'a str,
    username: &'a str,
    role: &'static str,
    /// What stands in the form: what was typed, where that was not taken.
    chosen_role: &'a str,
    status: &'static str,
    created: Moment,
    signed_in: Option<Moment>,
    expires: Option<Moment>,
    invited_by: &'a str,
    version: i64,
    may_edit: bool,
    may_see_history: bool,
    mail: Option<String>,
    teams: Vec<TeamLine>,
    all_teams: Vec<String>,
    typed_team: &'a str,
    typed_team_role: &'a str,
    identities: Vec<IdentityLine>,
    typed_issuer: &'a str,
    typed_subject: &'a str,
    sessions: Vec<SessionLine>,
    more_sessions: bool,
    end_session: String,
    history: Vec<Entry>,
}

pub(super) async fn show(console: &Console, visit: &Visit, id: &str, now: UnixTime) -> Answer {
    draw(console, visit, id, None, &Form::default(), now).await
}

/// The page, with what was typed and why it was not taken, if so.
async fn draw(
    console: &Console,
    visit: &Visit,
    id: &str,
    obstacle: Option<Obstacle>,
    typed: &Form,
    now: UnixTime,
) -> Answer {
    let actor = visit.actor();
    let person = directory::person(&console.store, &actor, id).await?;
    let Person {
        user,
        identities,
        teams,
    } = person;
    directory::check(&console.store, &actor, Action::SeeSessions, Some(&user.id)).await?;
    let (sessions, more_sessions) = session::newest(&console.store, &user.id, ROWS, now).await?;
    let may_edit = visit.may(Action::SetRole);
    let may_see_history = visit.may(Action::SeeAudit);
    let history = if may_see_history {
        let query = AuditQuery {
            person: Some(user.id.to_string()),
            limit: HISTORY,
            ..AuditQuery::default()
        };
        directory::audit(&console.store, &actor, &query).await?.rows
    } else {
        Vec::new()
    };
    let all_teams = if may_edit {
        directory::teams(&console.store, &actor, "", None, OFFERED).await?.rows
    } else {
        Vec::new()
    };
    let (frame, status) = console.frame_with(visit, Part::People, &called(&user), obstacle, now);
    let own_sid = &visit.session.claims().sid;
    let base = format!("/people/{}", user.id);
    let page = PersonPage {
        frame,
        id: user.id.as_str(),
        email: user.email.as_deref().unwrap_or_default(),
        username: user.username.as_deref().unwrap_or_default(),
        role: user.role.as_str(),
        chosen_role: typed.chosen("role", user.role),
        status: user.status.as_str(),
        created: Moment(user.created),
        signed_in: user.last_sign_in.map(Moment),
        expires: user.expires.map(Moment),
        invited_by: user.invited_by.as_deref().unwrap_or_default(),
        version: user.version.0,
        may_edit,
        may_see_history,
        mail: (may_edit && user.status == Status::Invited).then(|| console.mail()),
        teams: teams.into_iter().map(TeamLine::of).collect(),
        all_teams: all_teams.into_iter().map(|team| team.name).collect(),
        typed_team: typed.as_typed("team"),
        typed_team_role: typed.chosen("team_role", Role::Member),
        identities: identities
            .into_iter()
            .map(|identity| IdentityLine {
                unlink: link(
                    &format!("{base}/unlink"),
                    &[("issuer", &identity.issuer), ("subject", &identity.subject)],
                ),
                issuer: identity.issuer,
                subject: identity.subject,
                linked: Moment(identity.linked),
            })
            .collect(),
        typed_issuer: typed.as_typed("issuer"),
        typed_subject: typed.as_typed("subject"),
        sessions: sessions
            .into_iter()
            .map(|listed| SessionLine::of(listed, own_sid))
            .collect(),
        more_sessions,
        end_session: link(&format!("{base}/end-session"), &[]),
        history: history.into_iter().map(Entry::of).collect(),
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
    let version = || form.version().map(Some);
    let here = format!("/people/{id}");
    let (outcome, said) = match action {
        "role" => {
            let (role, version) = (form.role("role")?, version()?);
            let themselves = visit.session.claims().sub.as_str() == id;
            if themselves && visit.may(Action::SetRole) && role != Role::Admin && !form.has("sure") {
                return Ok(confirm_own_role(console, visit, role, form, now));
            }
            let set = directory::set_role(store, actor, id, role, version, now).await;
            (set.map(drop), done(&here, Said::RoleSet))
        }
        "deactivate" => {
            // Keeping somebody out does not wait for what they change meanwhile, as at every sign-in.
            let done_so = directory::deactivate(store, actor, id, None, now).await;
            (done_so.map(drop), done(&here, Said::Deactivated))
        }
        "activate" => {
            let done_so = directory::activate(store, actor, id, version()?, now).await;
            (done_so.map(drop), done(&here, Said::Activated))
        }
        "remove" => {
            let removed = directory::remove(store, actor, id, version()?, now).await;
            (removed.map(drop), done("/people", Said::Removed))
        }
        "withdraw" => {
            let withdrawn = directory::withdraw(store, actor, id, now).await;
            (withdrawn.map(drop), done("/waiting", Said::Withdrawn))
        }
        "link" => {
            let linked = directory::link(store, actor, id, form.text("issuer"), form.text("subject"), now).await;
            (linked.map(drop), done(&here, Said::Linked))
        }
        "unlink" => {
            let (issuer, subject) = (form.as_typed("issuer"), form.as_typed("subject"));
            let unlinked = directory::unlink(store, actor, id, issuer, subject, now).await;
            // What was asked for is in no form of the page.
            return answered(
                console,
                visit,
                id,
                unlinked.map(drop),
                &Form::default(),
                done(&here, Said::Unlinked),
                now,
            )
            .await;
        }
        "join-team" => {
            let role = form.role("role")?;
            let joined = directory::set_member(store, actor, form.text("team"), id, role, None, now).await;
            let typed = form.renamed("role", "team_role");
            return answered(console, visit, id, joined, &typed, done(&here, Said::MemberSet), now).await;
        }
        "leave-team" => {
            let left = directory::remove_member(store, actor, form.text("team"), id, None, now).await;
            return answered(
                console,
                visit,
                id,
                left,
                &Form::default(),
                done(&here, Said::MemberOut),
                now,
            )
            .await;
        }
        "end-session" => {
            let ended = directory::end_session(store, actor, form.text("sid"), now).await;
            (ended, done(&here, Said::SessionEnded))
        }
        "end-sessions" => {
            let ended = directory::end_sessions(store, actor, id, now).await;
            (ended.map(drop), done(&here, Said::SessionsEnded))
        }
        _ => return Err(Refusal::NoSuchPage),
    };
    answered(console, visit, id, outcome, form, said, now).await
}

/// The redirect, or the page with what was typed and why it was not taken.
async fn answered(
    console: &Console,
    visit: &Visit,
    id: &str,
    outcome: Result<(), directory::ChangeError>,
    typed: &Form,
    said: http::Response<bytes::Bytes>,
    now: UnixTime,
) -> Answer {
    match outcome {
        Ok(()) => Ok(said),
        Err(error) => {
            let obstacle = Obstacle::of(error, "/people")?;
            draw(console, visit, id, Some(obstacle), typed, now).await
        }
    }
}

/// Whoever gives up being an admin can't take it back.
fn confirm_own_role(
    console: &Console,
    visit: &Visit,
    role: Role,
    form: &Form,
    now: UnixTime,
) -> http::Response<bytes::Bytes> {
    let page = Confirm {
        frame: console.frame(visit, Part::People, "No longer an admin?", now),
        text: vec![format!(
            "You would be a {role} from the next request on, and could not take that back: another admin would have to."
        )],
        action: link(&format!("/people/{}/role", visit.session.claims().sub), &[]),
        fields: vec![
            ("role", role.to_string()),
            ("version", form.text("version").to_owned()),
            ("sure", "1".to_owned()),
        ],
        button: "Give it up",
        danger: true,
        back: link(&format!("/people/{}", visit.session.claims().sub), &[]),
    };
    finished(StatusCode::OK, &page)
}

/// Asks once more before something is lost.
pub(super) async fn confirm(console: &Console, visit: &Visit, id: &str, action: &str, now: UnixTime) -> Answer {
    let asked = Form::of_query(visit.query.as_deref());
    let action = match action {
        "leave-team" => {
            let (team, member) =
                directory::member_by_hand(&console.store, &visit.actor(), asked.text("team"), id).await?;
            let page = team::take_out(console, visit, &team, &member, "/people", now);
            return Ok(finished(StatusCode::OK, &page));
        }
        "role" | "link" | "join-team" | "end-session" => return Err(Refusal::Method("POST")),
        "deactivate" | "activate" | "remove" | "withdraw" | "unlink" | "end-sessions" => action,
        _ => return Err(Refusal::NoSuchPage),
    };
    let allowed = match action {
        "deactivate" => Action::DeactivatePerson,
        "activate" => Action::ActivatePerson,
        "remove" => Action::RemovePerson,
        "withdraw" => Action::Withdraw,
        "unlink" => Action::UnlinkIdentity,
        _ => Action::EndSessions,
    };
    let person = directory::person(&console.store, &visit.actor(), id).await?;
    let user = &person.user;
    directory::check(&console.store, &visit.actor(), allowed, Some(&user.id)).await?;
    let who = called(user);
    let Version(version) = user.version;
    let mut fields = vec![("version", version.to_string())];
    let (title, text, button, danger) = match action {
        "deactivate" => (
            format!("Deactivate {who}?"),
            "They are out within a second, wherever they are signed in, and can't sign in until somebody activates them \
             again. Their teams and their role stay.",
            "Deactivate",
            true,
        ),
        "activate" => (
            format!("Activate {who}?"),
            "They can sign in again, with the role and the teams that they had.",
            "Activate",
            false,
        ),
        "remove" => (
            format!("Remove {who}?"),
            "The account, its identities, its places in teams and its sessions are gone, and nothing brings them back: who \
             signs in with the same identity again is a new person to the app. The audit log stays. To keep somebody out, \
             deactivate them instead.",
            "Remove for good",
            true,
        ),
        "withdraw" => (
            format!("Withdraw the invitation of {who}?"),
            "They are not expected any more, and the role and teams that were meant for them are forgotten.",
            "Withdraw",
            true,
        ),
        "unlink" => {
            fields = vec![
                ("issuer", asked.as_typed("issuer").to_owned()),
                ("subject", asked.as_typed("subject").to_owned()),
            ];
            (
                format!("Unlink an identity of {who}?"),
                "Whoever comes with it is not this person any more. Sessions that began by it end, and so do the places in \
                 teams that come from its groups.",
                "Unlink",
                true,
            )
        }
        _ => (
            format!("End all sessions of {who}?"),
            "Whatever they have open in the app stops working until they sign in again.",
            "End them",
            true,
        ),
    };
    let mut paragraphs = vec![text.to_owned()];
    if action == "unlink" {
        paragraphs.push(format!("{} at {}", asked.as_typed("subject"), asked.as_typed("issuer")));
    }
    let page = Confirm {
        frame: console.frame(visit, Part::People, &title, now),
        text: paragraphs,
        action: link(&format!("/people/{}/{action}", user.id), &[]),
        fields,
        button,
        danger,
        back: link(&format!("/people/{}", user.id), &[]),
    };
    Ok(finished(StatusCode::OK, &page))
}
