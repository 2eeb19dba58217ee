//! What stands around each page: the way to the others, who is signed in, what was done a moment ago.

use super::form::Form;
use super::{Console, Visit, token};
use crate::clock::UnixTime;
use crate::pages::console::{Frame, Notice, WayTo};
use crate::person::Role;

/// What was done. The word stands in the address of the page that says so, which anybody may write: the sentence is ours, and
/// names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    SessionEnded,
    KeyRotated,
    KeyPlanned,
}

impl Said {
    const ALL: [Self; 3] = [Self::SessionEnded, Self::KeyRotated, Self::KeyPlanned];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::SessionEnded => "session-ended",
            Self::KeyRotated => "key-rotated",
            Self::KeyPlanned => "key-planned",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::SessionEnded => "The session has ended.",
            Self::KeyRotated => "Another key signs from now on.",
            Self::KeyPlanned => "The change-over is planned; until then the old key signs.",
        }
    }
}

/// A part of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Keys,
    SetUp,
    Me,
    /// A refusal.
    None,
}

impl Console {
    /// The frame of a page of this part.
    pub(super) fn frame(&self, visit: &Visit, part: Part, title: &str, now: UnixTime) -> Frame {
        let claims = visit.session.claims();
        let mut frame = self.pages.frame(title);
        let way = |label, href, to| WayTo {
            label,
            href,
            here: part == to,
        };
        if claims.role == Role::Admin {
            frame.ways.extend([
                way("Keys", "/.vestibule/console/keys", Part::Keys),
                way("Sign-in set-up", "/.vestibule/console/set-up", Part::SetUp),
            ]);
        }
        frame.ways.push(way("Your account", "/.vestibule/console/me", Part::Me));
        frame.who = claims.name.clone().unwrap_or_else(|| claims.username.clone());
        let query = Form::of_query(visit.query.as_deref());
        let said = Said::ALL.into_iter().find(|said| said.word() == query.text("said"));
        frame.notice = said.map(|said| Notice {
            text: said.sentence().to_owned(),
            bad: false,
        });
        frame.token = token::make(&self.sealer, &claims.sid, now);
        frame.request_id = visit.request_id.as_ref().to_owned();
        frame
    }
}
