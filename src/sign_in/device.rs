//! The device cookie: a browser that has signed in before as somebody, remembered by the browser itself in a sealed cookie.
//! It lets nobody in; it only gives the browser a count of wrong passwords of its own.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::cookies;
use crate::config::PublicUrl;
use crate::seal::{self, Sealer};

/// The purpose of the seal.
const PURPOSE: &str = "device";
/// How long a browser remembers, in seconds.
const LIFETIME: i64 = 180 * 86_400;
/// People that one browser remembers.
const MOST: usize = 5;

#[derive(Serialize, Deserialize)]
struct Known {
    device: String,
    subjects: Vec<String>,
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
    pub(super) fn known_as(&self, cookie: Option<&str>, subject: &str) -> Option<String> {
        let known = self.read(cookie?)?;
        known
            .subjects
            .iter()
            .any(|known| known == subject)
            .then_some(known.device)
    }

    /// The `Set-Cookie` value after a sign-in as `subject`. A new name each time: what was counted under the old one was
    /// forgotten with the right password.
    pub(super) fn remember(&self, cookie: Option<&str>, subject: &str) -> Option<HeaderValue> {
        let mut subjects = vec![subject.to_owned()];
        let before = cookie.and_then(|cookie| self.read(cookie));
        subjects.extend(
            before
                .into_iter()
                .flat_map(|known| known.subjects)
                .filter(|other| other != subject),
        );
        subjects.truncate(MOST);
        let known = Known {
            device: seal::random_name(),
            subjects,
        };
        // Strings always serialize.
        let plain = serde_json::to_vec(&known).ok()?;
        let value = URL_SAFE_NO_PAD.encode(self.sealer.seal(PURPOSE, &self.name, &plain));
        cookies::keep(&self.name, &value, LIFETIME, self.secure)
    }

    fn read(&self, cookie: &str) -> Option<Known> {
        let sealed = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let plain = self.sealer.open(PURPOSE, &self.name, &sealed).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Devices;
    use crate::config::PublicUrl;
    use crate::seal::{Sealer, SecretKey};

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
            let set = devices.remember(before, subject).unwrap();
            let set = set.to_str().unwrap().to_owned();
            set.split(';').next().unwrap().split_once('=').unwrap().1.to_owned()
        };
        let bobs = cookie(&ours, None, "b");
        assert!(ours.known_as(Some(&bobs), "b").is_some());
        assert_eq!(ours.known_as(Some(&bobs), "a"), None);
        assert_eq!(other.known_as(Some(&bobs), "b"), None);
        let both = cookie(&ours, Some(&bobs), "a");
        assert!(ours.known_as(Some(&both), "b").is_some() && ours.known_as(Some(&both), "a").is_some());
        assert_ne!(ours.known_as(Some(&both), "b"), ours.known_as(Some(&bobs), "b"));
    }
}
