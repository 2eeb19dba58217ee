//! Which paths are the gateway's, and which need no session.

use super::Reader;
use crate::config::settings::PublicPaths;
use crate::config::words;

pub(super) fn callback_path(reader: &mut Reader<'_>) -> Option<String> {
    const NAME: &str = "VESTIBULE_CALLBACK_PATH";
    let path = reader.text(NAME)?;
    own_path(reader, NAME, path)
}

/// None inside: left to the app.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
pub(super) fn logout_path(reader: &mut Reader<'_>, callback_path: Option<&str>) -> Option<Option<String>> {
    const NAME: &str = "VESTIBULE_LOGOUT_PATH";
    let path = reader.text(NAME)?;
    if path.is_empty() {
        return Some(None);
    }
    let path = own_path(reader, NAME, path)?;
    if Some(path.as_str()) == callback_path {
        reader.wrong(
            NAME,
            "it is VESTIBULE_CALLBACK_PATH, too",
            "another path, such as /logout",
        );
        return None;
    }
    Some(Some(path))
}

fn own_path(reader: &mut Reader<'_>, name: &'static str, path: &str) -> Option<String> {
    const WRITE: &str = "a plain path, such as /oidc/callback or /logout";
    let wrong = match words::plain_path(path) {
        Err(wrong) => wrong,
        Ok(()) if path == "/" => "it is the app's front page",
        Ok(()) if below_ours(path) => "what is below /.vestibule has its meaning already",
        Ok(()) => return Some(path.to_owned()),
    };
    reader.wrong(name, wrong, WRITE);
    None
}

/// Whether a path is `/.vestibule` or below, to a reader who does not look at case either.
fn below_ours(path: &str) -> bool {
    path.to_ascii_lowercase().starts_with("/.vestibule")
}

pub(super) fn public_paths(reader: &mut Reader<'_>, ours: &[Option<String>]) -> Option<PublicPaths> {
    const NAME: &str = "VESTIBULE_PUBLIC_PATHS";
    let mut paths = PublicPaths::default();
    let mut well = true;
    for item in reader.items(NAME) {
        let prefix = item.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
        let path = prefix.unwrap_or(&item);
        let wrong = match words::plain_path(path) {
            Err(wrong) => wrong,
            Ok(()) if prefix == Some("/") => "it would make everything public",
            Ok(()) if below_ours(path) => "what is below /.vestibule is the gateway's own",
            Ok(()) if prefix.is_none() && ours.iter().flatten().any(|own| own == path) => {
                "the path is the gateway's own (VESTIBULE_CALLBACK_PATH or VESTIBULE_LOGOUT_PATH)"
            }
            Ok(()) => {
                let list = if prefix.is_some() {
                    &mut paths.prefixes
                } else {
                    &mut paths.exact
                };
                list.push(path.to_owned());
                continue;
            }
        };
        reader.wrong_item(NAME, &item, wrong, "/exact or /prefix/*");
        well = false;
    }
    well.then_some(paths)
}
