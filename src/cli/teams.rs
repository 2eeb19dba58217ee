//! `vestibule teams`: teams from a shell, also while the gateway runs.

use clap::Subcommand;
use serde_json::{Value, json};

use super::CommandError;
use super::output::{show, time, to_stdout};
use crate::clock::UnixTime;
use crate::directory::{self, Actor, ChangeError, Cursor, GroupRole, LinkedGroup, Member, Team, TeamView};
use crate::person::Role;
use crate::store::Store;

/// Rows that are asked for at a time.
const PIECE: usize = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// All teams
    List,
    /// Who is in a team, why, and which groups it follows
    Show {
        /// Name or id
        team: String,
    },
    /// Make a team; it follows the group of its name
    Create {
        /// What it is called, also to the app
        name: String,
    },
    /// Call a team otherwise
    Rename {
        /// Name or id
        team: String,
        /// The new name
        name: String,
    },
    /// End a team
    Delete {
        /// Name or id
        team: String,
    },
    /// Put somebody into a team
    AddMember {
        /// Name or id of the team
        team: String,
        /// E-mail address or id of the person
        who: String,
        /// admin, member or viewer
        #[arg(long, default_value = "member")]
        role: Role,
    },
    /// Change somebody's role in a team
    SetRole {
        /// Name or id of the team
        team: String,
        /// E-mail address or id of the person
        who: String,
        /// admin, member or viewer
        role: Role,
    },
    /// Take somebody out of a team who was put into it by hand
    RemoveMember {
        /// Name or id of the team
        team: String,
        /// E-mail address or id of the person
        who: String,
    },
    /// Let a team follow a group of the provider or directory
    Follow {
        /// Name or id of the team
        team: String,
        /// The group's name, as it is sent
        group: String,
        /// What its people are in the team: admin, member or viewer
        #[arg(long, default_value = "member")]
        role: Role,
    },
    /// Let a team follow a group no longer; who was in it for that only is out
    Unfollow {
        /// Name or id of the team
        team: String,
        /// The group's name
        group: String,
    },
}

pub(super) async fn run(command: Command, store: &Store, json: bool) -> Result<(), CommandError> {
    let (shell, now) = (Actor::shell(), UnixTime::now());
    match command {
        Command::List => show_teams(&all(store, &shell).await?, json),
        Command::Create { name } => show_teams(&[directory::create_team(store, &shell, &name, now).await?], json),
        Command::Rename { team, name } => {
            show_teams(
                &[directory::rename_team(store, &shell, &team, &name, None, now).await?],
                json,
            );
        }
        Command::Delete { team } => {
            let gone = whole(store, &shell, &team).await?.0;
            directory::delete_team(store, &shell, gone.id.as_str(), None, now).await?;
            show_teams(&[gone], json);
        }
        Command::Show { team } => {
            let (team, members, groups) = whole(store, &shell, &team).await?;
            show_whole(&team, &members, &groups, json);
        }
        Command::AddMember { team, who, role } => {
            directory::set_member(store, &shell, &team, &who, role, None, now).await?;
            show_member(store, &shell, &team, &who, json).await?;
        }
        Command::SetRole { team, who, role } => {
            let (found, members, _) = whole(store, &shell, &team).await?;
            let user = directory::find(store, &who).await?;
            if !members.iter().any(|member| member.user == user.id) {
                return Err(ChangeError::NotInTeam(who).into());
            }
            directory::set_member(store, &shell, found.id.as_str(), user.id.as_str(), role, None, now).await?;
            show_member(store, &shell, &team, &who, json).await?;
        }
        Command::RemoveMember { team, who } => {
            let members = member(store, &shell, &team, &who).await?;
            directory::remove_member(store, &shell, &team, &who, None, now).await?;
            show_members(&members, json);
        }
        Command::Follow { team, group, role } => {
            directory::follow_group(store, &shell, &team, &group, role, None, now).await?;
            show_groups(&whole(store, &shell, &team).await?.2, json);
        }
        Command::Unfollow { team, group } => {
            directory::unfollow_group(store, &shell, &team, &group, None, now).await?;
            show_groups(&whole(store, &shell, &team).await?.2, json);
        }
    }
    Ok(())
}

async fn all(store: &Store, shell: &Actor) -> Result<Vec<Team>, ChangeError> {
    let (mut teams, mut after): (Vec<Team>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = directory::teams(store, shell, "", after.as_ref(), PIECE).await?;
        teams.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return Ok(teams);
        }
    }
}

async fn whole(store: &Store, shell: &Actor, team: &str) -> Result<(Team, Vec<Member>, Vec<LinkedGroup>), ChangeError> {
    let (mut members, mut after): (Vec<Member>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let view: TeamView = directory::team(store, shell, team, after.as_ref(), PIECE).await?;
        members.extend(view.members.rows);
        after = view.members.next;
        if after.is_none() {
            return Ok((view.team, members, view.groups));
        }
    }
}

async fn member(store: &Store, shell: &Actor, team: &str, who: &str) -> Result<Vec<Member>, ChangeError> {
    let user = directory::find(store, who).await?.id;
    let (_, mut members, _) = whole(store, shell, team).await?;
    members.retain(|member| member.user == user);
    Ok(members)
}

async fn show_member(store: &Store, shell: &Actor, team: &str, who: &str, json: bool) -> Result<(), ChangeError> {
    show_members(&member(store, shell, team, who).await?, json);
    Ok(())
}

fn show_teams(teams: &[Team], json: bool) {
    let objects = teams.iter().map(team_object).collect();
    show(objects, &["id", "name", "members", "created"], json);
}

fn show_members(members: &[Member], json: bool) {
    let objects = members.iter().map(member_object).collect();
    show(
        objects,
        &["user", "email", "name", "status", "role", "by_hand", "groups"],
        json,
    );
}

fn show_groups(groups: &[LinkedGroup], json: bool) {
    show(groups.iter().map(group_object).collect(), &["group", "role"], json);
}

fn show_whole(team: &Team, members: &[Member], groups: &[LinkedGroup], json: bool) {
    if json {
        let mut object = team_object(team);
        // How many there are is the length of the list.
        object["members"] = members.iter().map(member_object).collect();
        object["groups"] = groups.iter().map(group_object).collect();
        return show(vec![object], &[], true);
    }
    show_teams(std::slice::from_ref(team), false);
    to_stdout("\nMembers");
    show_members(members, false);
    to_stdout("\nFollows");
    show_groups(groups, false);
}

fn team_object(team: &Team) -> Value {
    json!({
        "id": team.id,
        "name": team.name,
        "members": team.members,
        "created": time(team.created),
    })
}

fn member_object(member: &Member) -> Value {
    json!({
        "user": member.user,
        "email": member.email,
        "username": member.username,
        "name": member.name,
        "status": member.status.as_str(),
        "role": member.role,
        "by_hand": member.by_hand,
        "groups": groups_of(&member.by_group),
    })
}

fn group_object(group: &LinkedGroup) -> Value {
    json!({ "group": group.group, "role": group.role })
}

pub(super) fn groups_of(groups: &[GroupRole]) -> Value {
    let groups = groups
        .iter()
        .map(|group| json!({ "issuer": group.issuer, "group": group.group, "role": group.role }));
    groups.collect()
}
