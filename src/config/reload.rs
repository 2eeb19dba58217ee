//! What happens to a configuration that changes while the gateway runs.

use super::source::text_of;
use super::table::SETTINGS;
use super::{Loaded, Problems, Warning, understand};

/// A setting that says something else than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub setting: &'static str,
    /// Whether the change is taken up now; if not, at the next start.
    pub live: bool,
}

impl Loaded {
    /// What `new` says otherwise.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let differs = SETTINGS
            .iter()
            .filter(|setting| text_of(&self.values, setting) != text_of(&new.values, setting));
        differs
            .map(|setting| Change {
                setting: setting.name,
                live: setting.live,
            })
            .collect()
    }

    /// The configuration that a running gateway goes on with: what can change while it runs as `new` has it, all else as
    /// it was. Comes with what changed.
    ///
    /// # Errors
    /// If that mixture is not right: the new values lean on one that needs a restart.
    pub fn take_up(&self, new: &Self) -> Result<(Self, Vec<Change>), Problems> {
        let changes = self.changes(new);
        let mut values = self.values.clone();
        for change in changes.iter().filter(|change| change.live) {
            match new.values.get(change.setting) {
                Some(value) => values.insert(change.setting, value.clone()),
                None => values.remove(change.setting),
            };
        }
        Ok((understand(values, Vec::new())?, changes))
    }

    /// Warnings that were not there before.
    pub fn new_warnings<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Warning> {
        self.warnings
            .iter()
            .filter(|warning| !before.warnings.contains(warning))
    }
}

#[cfg(test)]
mod tests {
    use super::Change;
    use crate::config::tests::{loaded, minimal};

    #[test]
    fn a_reload_takes_up_what_can_change_and_names_what_cannot() {
        let before = loaded(&minimal());
        let mut env = minimal();
        env.push(("VESTIBULE_ALLOWED_GROUPS", "staff"));
        env.push(("VESTIBULE_LISTEN", "127.0.0.1:9999"));
        let (now, changes) = before.take_up(&loaded(&env)).unwrap();
        assert_eq!(
            changes,
            [
                Change {
                    setting: "VESTIBULE_ALLOWED_GROUPS",
                    live: true
                },
                Change {
                    setting: "VESTIBULE_LISTEN",
                    live: false
                },
            ]
        );
        assert_eq!(
            now.settings.entry.allowed_groups.as_deref(),
            Some(&["staff".to_owned()][..])
        );
        assert_eq!(now.settings.listen, before.settings.listen);
    }

    #[test]
    fn a_reload_never_opens_what_only_the_new_whole_keeps_closed() {
        // The new whole is safe because the issuer changes as well, and that needs a restart.
        let open = "https://accounts.google.com";
        let mut env = minimal();
        env.retain(|(name, _)| *name != "OIDC_ISSUER");
        let with = |issuer, domain: Option<&'static str>| {
            let mut env = env.clone();
            env.push(("OIDC_ISSUER", issuer));
            env.extend(domain.map(|domain| ("VESTIBULE_ALLOWED_EMAIL_DOMAINS", domain)));
            loaded(&env)
        };
        let before = with(open, Some("example.com"));
        let new = with("https://idp.example.com", None);
        assert!(before.take_up(&new).is_err());
    }

    #[test]
    fn the_same_configuration_has_no_changes() {
        assert_eq!(loaded(&minimal()).changes(&loaded(&minimal())), []);
    }

    #[test]
    fn writing_a_default_out_is_no_change() {
        let mut env = minimal();
        env.push(("VESTIBULE_KEEPALIVE", "75"));
        assert_eq!(loaded(&minimal()).changes(&loaded(&env)), []);
    }
}
