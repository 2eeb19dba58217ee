//! What stands around each page: the way to the others, who is signed in, what was done a moment ago.

use http::StatusCode;

use super::form::Form;
use super::refusal::Obstacle;
use super::{Console, Visit, token};
use crate::clock::UnixTime;
use crate::directory::Action;
use crate::pages::console::{Frame, Notice, WayTo};

/// What was done. The word stands in the address of the page that says so, which anybody may write: the sentence is ours, and
/// names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    SessionEnded,
    SessionsEnded,
    KeyRotated,
    KeyPlanned,
    RoleSet,
    Deactivated,
    Activated,
    Removed,
    Linked,
    Unlinked,
    Added,
    Withdrawn,
    Approved,
    Dismissed,
    TeamMade,
    TeamRenamed,
    TeamDeleted,
    MemberSet,
    MemberOut,
    Followed,
    Unfollowed,
}

/// Each with its word and its sentence.
const SENTENCES: [(Said, &str, &str); 21] = [
    (Said::SessionEnded, "session-ended", "The session has ended."),
    (Said::SessionsEnded, "sessions-ended", "All their sessions have ended."),
    (Said::KeyRotated, "key-rotated", "Another key signs from now on."),
    (
        Said::KeyPlanned,
        "key-planned",
        "The change-over is planned; until then the old key signs.",
    ),
    (Said::RoleSet, "role-set", "The role is set."),
    (
        Said::Deactivated,
        "deactivated",
        "The account is deactivated, and its sessions have ended.",
    ),
    (Said::Activated, "activated", "The account is active again."),
    (Said::Removed, "removed", "The account is removed."),
    (Said::Linked, "linked", "The identity is linked."),
    (Said::Unlinked, "unlinked", "The identity is unlinked."),
    (Said::Added, "added", "They are added. Send them the sentence below."),
    (Said::Withdrawn, "withdrawn", "The invitation is withdrawn."),
    (Said::Approved, "approved", "They can sign in now."),
    (Said::Dismissed, "dismissed", "They are off the list."),
    (Said::TeamMade, "team-made", "The team is made."),
    (Said::TeamRenamed, "team-renamed", "The team has another name."),
    (Said::TeamDeleted, "team-deleted", "The team is deleted."),
    (Said::MemberSet, "member-set", "They are in the team with this role."),
    (Said::MemberOut, "member-out", "They are out of the team."),
    (Said::Followed, "followed", "The team follows the group."),
    (Said::Unfollowed, "unfollowed", "The team no longer follows the group."),
];

impl Said {
    pub(super) fn word(self) -> &'static str {
        let listed = SENTENCES.iter().find(|(said, ..)| *said == self);
        listed.map_or("", |(_, word, _)| word)
    }
}

/// A part of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    People,
    Waiting,
    Teams,
    Audit,
    Keys,
    SetUp,
    Me,
    /// A refusal.
    None,
}

impl Console {
    /// The frame of a page, with why something that was asked for was not done, and the page's status.
    pub(super) fn frame_with(
        &self,
        visit: &Visit,
        part: Part,
        title: &str,
        obstacle: Option<Obstacle>,
        now: UnixTime,
    ) -> (Frame, StatusCode) {
        let mut frame = self.frame(visit, part, title, now);
        let status = obstacle.map_or(StatusCode::OK, |obstacle| obstacle.put_on(&mut frame));
        (frame, status)
    }

    /// The frame of a page of this part.
    pub(super) fn frame(&self, visit: &Visit, part: Part, title: &str, now: UnixTime) -> Frame {
        let claims = visit.session.claims();
        let mut frame = self.pages.frame(title);
        // Only the ways that lead somewhere.
        let ways = [
            (
                "People",
                "/.vestibule/console/people",
                Part::People,
                Some(Action::SeePeople),
            ),
            (
                "Pending",
                "/.vestibule/console/waiting",
                Part::Waiting,
                Some(Action::SeeRefused),
            ),
            ("Teams", "/.vestibule/console/teams", Part::Teams, None),
            (
                "Audit log",
                "/.vestibule/console/audit",
                Part::Audit,
                Some(Action::SeeAudit),
            ),
            ("Keys", "/.vestibule/console/keys", Part::Keys, Some(Action::SeeKeys)),
            (
                "Sign-in set-up",
                "/.vestibule/console/set-up",
                Part::SetUp,
                Some(Action::SeeSetUp),
            ),
            ("Your account", "/.vestibule/console/me", Part::Me, None),
        ];
        frame.ways = ways
            .into_iter()
            .filter(|(.., needed)| needed.is_none_or(|action| visit.may(action)))
            .map(|(label, href, to, _)| WayTo {
                label,
                href,
                here: part == to,
            })
            .collect();
        frame.who = claims.name.clone().unwrap_or_else(|| claims.username.clone());
        let query = Form::of_query(visit.query.as_deref());
        let said = SENTENCES.iter().find(|(_, word, _)| *word == query.text("said"));
        frame.notice = said.map(|(_, _, sentence)| Notice {
            text: (*sentence).to_owned(),
            bad: false,
        });
        frame.token = token::make(&self.sealer, &claims.sid, now);
        visit.request_id.as_ref().clone_into(&mut frame.request_id);
        frame
    }
}
