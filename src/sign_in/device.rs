//! The device cookie: a browser that has signed in before as somebody, remembered by the browser itself in a sealed cookie.
//! It lets nobody in; it only gives the browser counts of wrong passwords of its own.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::cookies;
use crate::clock::UnixTime;
use crate::config::PublicUrl;
use crate::seal::{self, Sealer};

/// The purpose of the seal.
const PURPOSE: &str = "device";
/// How long a browser remembers, in seconds.
const LIFETIME: i64 = 180 * 86_400;
/// People that one browser remembers.
const MOST: usize = 5;
/// What all of them may take, in bytes: a cookie is at most 4 kB everywhere.
const LONGEST: usize = 2_500;

/// Somebody who signed in with the browser. The name is theirs alone: who signs in as themselves with a browser that others
/// use, too, gets no new count for guessing the others' passwords.
#[derive(Clone, Serialize, Deserialize)]
struct Seen {
    subject: String,
    device: String,
    at: UnixTime,
}

/// Writes and reads the cookie.
#[derive(Debug)]
pub(super) struct Devices {
    name: String,
    secure: bool,
    sealer: Arc<Sealer>,
}

impl Devices {
    pub(super) fn new(public: &PublicUrl, sealer: Arc<Sealer>) -> Self {
        Self {
            name: format!("{}-d", public.cookie_name()),
            secure: public.https,
            sealer,
        }
    }

    /// The browser's name, if it has signed in as `subject` before.
    pub(super) fn known_as(&self, cookie: Option<&str>, subject: &str, now: UnixTime) -> Option<String> {
        let seen = self.read(cookie?, now);
        seen.into_iter()
            .find(|seen| seen.subject == subject)
            .map(|seen| seen.device)
    }

    /// The browser's newest name, if anybody has signed in with it before.
    pub(super) fn newest(&self, cookie: Option<&str>, now: UnixTime) -> Option<String> {
        // The newest stands first.
        self.read(cookie?, now).into_iter().next().map(|seen| seen.device)
    }

    /// The `Set-Cookie` value after a sign-in as `subject`. A new name each time: what was counted under the old one was
    /// forgotten with the right password.
    pub(super) fn remember(&self, cookie: Option<&str>, subject: &str, now: UnixTime) -> Option<HeaderValue> {
        let mut seen = vec![Seen {
            subject: subject.to_owned(),
            device: seal::random_name(),
            at: now,
        }];
        let before = cookie.map(|cookie| self.read(cookie, now)).unwrap_or_default();
        seen.extend(before.into_iter().filter(|other| other.subject != subject));
        seen.truncate(MOST);
        // Strings and numbers always serialize.
        let mut plain = serde_json::to_vec(&seen).ok()?;
        while plain.len() > LONGEST && seen.len() > 1 {
            seen.pop();
            plain = serde_json::to_vec(&seen).ok()?;
        }
        let value = URL_SAFE_NO_PAD.encode(self.sealer.seal(PURPOSE, &self.name, &plain));
        cookies::keep(&self.name, &value, LIFETIME, self.secure)
    }

    /// Those whom the cookie still remembers. What the browser does with its age is the browser's; the seal holds it, too.
    fn read(&self, cookie: &str, now: UnixTime) -> Vec<Seen> {
        let opened = || {
            let sealed = URL_SAFE_NO_PAD.decode(cookie).ok()?;
            let plain = self.sealer.open(PURPOSE, &self.name, &sealed).ok()?;
            serde_json::from_slice::<Vec<Seen>>(&plain).ok()
        };
        let mut seen = opened().unwrap_or_default();
        seen.retain(|seen| now.since(seen.at) < LIFETIME);
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Devices, LIFETIME};
    use crate::clock::UnixTime;
    use crate::config::PublicUrl;
    use crate::seal::{Sealer, SecretKey};

    const NOW: UnixTime = UnixTime(1_800_000_000);

    #[test]
    fn a_browser_is_known_as_those_who_signed_in_with_it_only() {
        let public = PublicUrl {
            https: true,
            host: "app.example.com".into(),
            port: None,
        };
        let devices = || Devices::new(&public, Arc::new(Sealer::new(&[SecretKey::generate()]).unwrap()));
        let (ours, other) = (devices(), devices());
        let cookie = |devices: &Devices, before: Option<&str>, subject: &str| {
            let set = devices.remember(before, subject, NOW).unwrap();
            let set = set.to_str().unwrap().to_owned();
            set.split(';').next().unwrap().split_once('=').unwrap().1.to_owned()
        };
        let bobs = cookie(&ours, None, "b");
        assert!(ours.known_as(Some(&bobs), "b", NOW).is_some());
        assert_eq!(ours.known_as(Some(&bobs), "a", NOW), None);
        assert_eq!(other.known_as(Some(&bobs), "b", NOW), None);
        let both = cookie(&ours, Some(&bobs), "a");
        assert!(ours.known_as(Some(&both), "b", NOW).is_some() && ours.known_as(Some(&both), "a", NOW).is_some());
        // Signing in as somebody else is no fresh count for guessing bob's password; signing in as bob is.
        assert_eq!(
            ours.known_as(Some(&both), "b", NOW),
            ours.known_as(Some(&bobs), "b", NOW)
        );
        let again = cookie(&ours, Some(&both), "b");
        assert_ne!(
            ours.known_as(Some(&again), "b", NOW),
            ours.known_as(Some(&bobs), "b", NOW)
        );
        assert_eq!(ours.known_as(Some(&bobs), "b", NOW.plus(LIFETIME)), None);
    }
}
