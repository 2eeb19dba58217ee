//! Who may do what: one table.
//!
//! Instance admins do everything. Everybody sees themselves and their teams. A team's admins, whatever their role in the
//! instance, look after who is in it and as what; its name, its groups and its end are the instance's business, because
//! apps decide by the name.

use self::Action::{
    ActivatePerson, Approve, CreateTeam, DeactivatePerson, DeleteTeam, DismissRefused, EndSessions, FollowGroup,
    Invite, LinkIdentity, RemoveMember, RemovePerson, RenameTeam, RotateKeys, SeeAudit, SeeKeys, SeePeople, SeePerson,
    SeeRefused, SeeSessions, SeeSetUp, SeeTeam, SeeTeams, SetMember, SetRole, UnfollowGroup, UnlinkIdentity, Withdraw,
};
use self::Grant::{Admins, TeamAdmins, TeamMembers, Themselves};
use crate::person::Role;

/// Something that can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// See everybody.
    SeePeople,
    /// See one person, with teams and identities.
    SeePerson,
    /// Set somebody's role in the instance.
    SetRole,
    /// Keep somebody out.
    DeactivatePerson,
    /// Let somebody in again.
    ActivatePerson,
    /// Remove an account.
    RemovePerson,
    /// Link another identity to an account.
    LinkIdentity,
    /// Take an identity from an account.
    UnlinkIdentity,
    /// Add people before they come.
    Invite,
    /// Take an invitation back.
    Withdraw,
    /// See who was refused because nobody had added them.
    SeeRefused,
    /// Let one of them in.
    Approve,
    /// Take one of them off the list.
    DismissRefused,
    /// See all teams.
    SeeTeams,
    /// See one team, with its members.
    SeeTeam,
    /// Make a team.
    CreateTeam,
    /// Give a team another name.
    RenameTeam,
    /// End a team.
    DeleteTeam,
    /// Put somebody into a team, or give them another role in it.
    SetMember,
    /// Take somebody out of a team.
    RemoveMember,
    /// Let a team follow a group.
    FollowGroup,
    /// Let a team no longer follow a group.
    UnfollowGroup,
    /// Read the audit log.
    SeeAudit,
    /// See somebody's sessions.
    SeeSessions,
    /// End somebody's sessions.
    EndSessions,
    /// See the signing keys.
    SeeKeys,
    /// Let the next key sign.
    RotateKeys,
    /// See how signing in is set up, and try it.
    SeeSetUp,
}

/// How whoever acts stands to what they act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Their own account or sessions.
    Themselves,
    /// Somebody else's.
    Another,
    /// A team whose admin they are.
    TeamAdmin,
    /// A team in which they are a member or viewer.
    TeamMember,
    /// A team in which they are not.
    OtherTeam,
    /// The instance.
    Instance,
}

/// To whom an action is open besides the instance's admins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// Nobody.
    Admins,
    /// Whom it is about.
    Themselves,
    /// The team's admins.
    TeamAdmins,
    /// Whoever is in the team.
    TeamMembers,
}

/// The one table.
const TABLE: [(Action, Grant); 28] = [
    (SeePeople, Admins),
    (SeePerson, Themselves),
    (SetRole, Admins),
    (DeactivatePerson, Admins),
    (ActivatePerson, Admins),
    (RemovePerson, Admins),
    (LinkIdentity, Admins),
    (UnlinkIdentity, Admins),
    (Invite, Admins),
    (Withdraw, Admins),
    (SeeRefused, Admins),
    (Approve, Admins),
    (DismissRefused, Admins),
    (SeeTeams, Admins),
    (SeeTeam, TeamMembers),
    (CreateTeam, Admins),
    (RenameTeam, Admins),
    (DeleteTeam, Admins),
    (SetMember, TeamAdmins),
    (RemoveMember, TeamAdmins),
    (FollowGroup, Admins),
    (UnfollowGroup, Admins),
    (SeeAudit, Admins),
    (SeeSessions, Themselves),
    (EndSessions, Themselves),
    (SeeKeys, Admins),
    (RotateKeys, Admins),
    (SeeSetUp, Admins),
];

/// Whether somebody of this role, who stands so to what it is about, may do this.
#[must_use]
pub fn may(role: Role, relation: Relation, action: Action) -> bool {
    if role == Role::Admin {
        return true;
    }
    let Some((_, grant)) = TABLE.iter().find(|(listed, _)| *listed == action) else {
        return false;
    };
    match grant {
        Grant::Admins => false,
        Grant::Themselves => relation == Relation::Themselves,
        Grant::TeamAdmins => relation == Relation::TeamAdmin,
        Grant::TeamMembers => matches!(relation, Relation::TeamAdmin | Relation::TeamMember),
    }
}

impl Action {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(action, _)| *action)
    }

    /// The word in the audit log, where somebody tried what they may not.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            SeePeople => "see_people",
            SeePerson => "see_person",
            SetRole => "set_role",
            DeactivatePerson => "deactivate",
            ActivatePerson => "activate",
            RemovePerson => "remove",
            LinkIdentity => "link_identity",
            UnlinkIdentity => "unlink_identity",
            Invite => "invite",
            Withdraw => "withdraw",
            SeeRefused => "see_refused",
            Approve => "approve",
            DismissRefused => "dismiss",
            SeeTeams => "see_teams",
            SeeTeam => "see_team",
            CreateTeam => "create_team",
            RenameTeam => "rename_team",
            DeleteTeam => "delete_team",
            SetMember => "set_member",
            RemoveMember => "remove_member",
            FollowGroup => "follow_group",
            UnfollowGroup => "unfollow_group",
            SeeAudit => "see_audit",
            SeeSessions => "see_sessions",
            EndSessions => "end_sessions",
            SeeKeys => "see_keys",
            RotateKeys => "rotate_keys",
            SeeSetUp => "see_set_up",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ROLES: [Role; 3] = [Role::Admin, Role::Member, Role::Viewer];
    const RELATIONS: [Relation; 6] = [
        Relation::Themselves,
        Relation::Another,
        Relation::TeamAdmin,
        Relation::TeamMember,
        Relation::OtherTeam,
        Relation::Instance,
    ];

    #[test]
    fn every_action_stands_in_the_table_once_under_a_word_of_its_own() {
        let actions: HashSet<Action> = Action::all().collect();
        let words: HashSet<&str> = Action::all().map(Action::as_str).collect();
        assert_eq!((actions.len(), words.len()), (TABLE.len(), TABLE.len()));
    }

    #[test]
    fn an_admin_may_do_everything_and_nobody_else_more_than_is_written_here() {
        // Written out again, by hand: what members and viewers may do at all.
        let theirs = [
            (SeePerson, Relation::Themselves),
            (SeeSessions, Relation::Themselves),
            (EndSessions, Relation::Themselves),
            (SeeTeam, Relation::TeamAdmin),
            (SeeTeam, Relation::TeamMember),
            (SetMember, Relation::TeamAdmin),
            (RemoveMember, Relation::TeamAdmin),
        ];
        for action in Action::all() {
            for relation in RELATIONS {
                for role in ROLES {
                    let expected = role == Role::Admin || theirs.contains(&(action, relation));
                    assert_eq!(may(role, relation, action), expected, "{role} {relation:?} {action:?}");
                }
            }
        }
    }
}
