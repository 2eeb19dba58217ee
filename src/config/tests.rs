//! The rules of values and those between them, through [`load`] as everybody else calls it.

use super::{Loaded, Problems, load};

/// The fewest settings a gateway starts with.
pub(super) fn minimal() -> Vec<(&'static str, &'static str)> {
    vec![
        ("VESTIBULE_UPSTREAM", "http://127.0.0.1:8080"),
        ("OIDC_ISSUER", "https://idp.example.com"),
        ("OIDC_CLIENT_ID", "vestibule"),
    ]
}

pub(super) fn read(env: &[(&str, &str)]) -> Result<Loaded, Problems> {
    load(
        env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())),
        None,
    )
}

pub(super) fn loaded(env: &[(&str, &str)]) -> Loaded {
    read(env).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn three_settings_are_enough_on_loopback() {
    let settings = loaded(&minimal()).settings;
    assert_eq!(settings.public.origin(), "http://localhost:4180");
}

#[test]
fn people_come_back_from_a_logout_to_a_path_of_the_gateways_own() {
    let back_to = |path| {
        let mut env = minimal();
        env.push(("VESTIBULE_LOGOUT_PATH", path));
        loaded(&env).settings.post_logout_redirect_uri()
    };
    let public = "http://localhost:4180";
    assert_eq!(
        loaded(&minimal()).settings.post_logout_redirect_uri(),
        format!("{public}/logout")
    );
    assert_eq!(back_to("/signout"), format!("{public}/signout"));
    // Empty: `/logout` is the app's.
    assert_eq!(back_to(""), format!("{public}/.vestibule/logout"));
}
