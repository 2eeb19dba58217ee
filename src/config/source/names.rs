//! Which setting a name means, in all its spellings, and which one was meant by a name that is none.

use crate::config::table::{SETTINGS, Setting, key_of};

/// What a name means.
pub(super) struct Spelling {
    pub setting: &'static Setting,
    /// Whether it names a file that holds the value.
    pub names_file: bool,
}

/// The setting that an environment name means.
pub(super) fn spelling(name: &str) -> Option<Spelling> {
    let plain = match name.strip_prefix("GORILLA_") {
        Some("AUTH_METHOD") => "OIDC_AUTH_METHOD",
        Some(plain) => plain,
        None => name,
    };
    if let Some(setting) = by_name_or_alias(plain) {
        return Some(Spelling {
            setting,
            names_file: false,
        });
    }
    let setting = by_name_or_alias(plain.strip_suffix("_FILE")?)?;
    setting.can_come_from_a_file().then_some(Spelling {
        setting,
        names_file: true,
    })
}

fn by_name_or_alias(name: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|setting| setting.name == name || setting.aliases.contains(&name))
}

/// What to write instead of an environment name that looks meant for us but is none of ours; None if it is not meant for
/// us.
pub(super) fn complaint(name: &str) -> Option<String> {
    // A proxy for plain http has nothing to do here, and is two letters away from one for https.
    const OTHERS: &[&str] = &["HTTP_PROXY"];
    if name.starts_with("GORILLA_") || OTHERS.contains(&name) || made_by_kubernetes(name) {
        return None;
    }
    if name.starts_with("VESTIBULE_") || name.starts_with("OIDC_") {
        return Some(suggestion(name));
    }
    let near = name.chars().count() >= 10 && nearest(name, all_names()).is_some_and(|(distance, _)| distance <= 2);
    near.then(|| suggestion(name))
}

/// Names that Kubernetes makes for every Service of the namespace, in every container.
fn made_by_kubernetes(name: &str) -> bool {
    let numbered = name.rsplit_once("_PORT_").or_else(|| name.split_once("_PORT_"));
    let port_of_service = |(_, rest): (&str, &str)| {
        let (number, protocol) = rest.split_once('_').unwrap_or((rest, ""));
        !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && ["TCP", "UDP", "SCTP"].iter().any(|known| protocol.starts_with(known))
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || numbered.is_some_and(port_of_service)
}

fn suggestion(name: &str) -> String {
    if let Some(setting) = name.strip_suffix("_FILE").and_then(by_name_or_alias) {
        return format!(
            "{}: only secrets can be read from a file named by a setting",
            setting.name
        );
    }
    // Not every name of ours begins with VESTIBULE_.
    if let Some(setting) = name.strip_prefix("VESTIBULE_").and_then(by_name_or_alias) {
        return format!("{}, if that is meant", setting.name);
    }
    match nearest(name, all_names()) {
        Some((distance, near)) if distance <= 2.max(name.len() / 4) => format!("{near}, if that is meant"),
        _ => "one of the names that `vestibule --help` lists, or take it out".to_owned(),
    }
}

fn all_names() -> impl Iterator<Item = String> {
    SETTINGS.iter().flat_map(|setting| {
        let plain = std::iter::once(setting.name).chain(setting.aliases.iter().copied());
        plain.flat_map(|name| {
            let file = setting.can_come_from_a_file().then(|| format!("{name}_FILE"));
            std::iter::once(name.to_owned()).chain(file)
        })
    })
}

fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<(usize, String)> {
    names
        .map(|candidate| (strsim::osa_distance(name, &candidate), candidate))
        .min()
}

/// The setting that a TOML key means.
pub(super) fn spelling_of_key(key: &str) -> Option<Spelling> {
    let plain = |key: &str| {
        SETTINGS.iter().find(|setting| {
            // `host` is a name of ours in the environment alone, where W&B Server's operators have it.
            setting.key() == key || (key != "host" && setting.aliases.iter().any(|alias| key_of(alias) == key))
        })
    };
    if let Some(setting) = plain(key) {
        return Some(Spelling {
            setting,
            names_file: false,
        });
    }
    let setting = plain(key.strip_suffix("_file")?)?;
    setting.can_come_from_a_file().then_some(Spelling {
        setting,
        names_file: true,
    })
}

/// What to write instead of a TOML key that is none of ours.
pub(super) fn suggestion_for_key(key: &str) -> String {
    let lower = key_of(&key.to_ascii_uppercase());
    if lower == "host" {
        return "public_url".to_owned();
    }
    if spelling_of_key(&lower).is_some() {
        return format!("{lower} (keys are in lower case, without vestibule_)");
    }
    match nearest(&lower, all_names().map(|name| key_of(&name))) {
        Some((distance, near)) if distance <= 2.max(key.len() / 4) => format!("{near}, if that is meant"),
        _ => "one of the names that `vestibule --help` lists, in lower case and without VESTIBULE_, or take it out"
            .to_owned(),
    }
}
