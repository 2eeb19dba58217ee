//! The settings as they may be shown: secrets masked, each with where it comes from.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::problem::{self, Source};
use super::source::Values;
use super::table::{Preset, SETTINGS, Setting};

/// A setting as it may be shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Which.
    pub setting: &'static Setting,
    /// Its value, secrets masked; None if it has none.
    pub value: Option<String>,
    /// Where that came from.
    pub source: Source,
}

/// The settings as `check` and the console show them. Copies are the same list: what a reload takes over shows in all.
#[derive(Clone, Debug, Default)]
pub struct ShownSettings(Arc<ArcSwap<Vec<Shown>>>);

impl ShownSettings {
    pub(super) fn new(values: &Values, derived: &[(&'static str, String)]) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(shown(values, derived))))
    }

    /// The list, in the order of the table.
    #[must_use]
    pub fn list(&self) -> Arc<Vec<Shown>> {
        self.0.load_full()
    }

    /// Takes over what another list says of some settings.
    pub fn take_over(&self, new: &Self, which: impl Fn(&Setting) -> bool) {
        let new = new.list();
        let mut list = Vec::clone(&self.list());
        for shown in list.iter_mut().filter(|shown| which(shown.setting)) {
            if let Some(new) = new.iter().find(|new| new.setting.name == shown.setting.name) {
                shown.clone_from(new);
            }
        }
        self.0.store(Arc::new(list));
    }
}

/// Every setting, its value and where that came from.
fn shown(values: &Values, derived: &[(&'static str, String)]) -> Vec<Shown> {
    let shown = SETTINGS.iter().map(|setting| match values.get(setting.name) {
        Some(value) => Shown {
            setting,
            value: Some(problem::shown(setting, &value.text)),
            source: value.source.clone(),
        },
        None => Shown {
            setting,
            value: default_of(setting, derived).map(|text| problem::quoted(&text)),
            source: Source::Default,
        },
    });
    shown.collect()
}

/// What a setting that is not set means here.
fn default_of(setting: &Setting, derived: &[(&'static str, String)]) -> Option<String> {
    let derived = derived.iter().find(|(name, _)| *name == setting.name);
    derived.map(|(_, text)| text.clone()).or(match setting.default {
        Preset::Text(text) => Some(text.to_owned()),
        Preset::Words(_) => None,
    })
}
