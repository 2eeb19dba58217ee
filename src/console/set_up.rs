//! How people sign in here: what is configured, secrets never shown, and a button that tries it.

use askama::Template;
use http::StatusCode;

use super::frame::Part;
use super::{Answer, Checked, Console, Visit};
use crate::clock::UnixTime;
use crate::config::{AuthMethod, ClientAuth, EmailVerified, EntryRules, Ldap, Oidc};
use crate::directory::{self, Action};
use crate::pages::console::{Frame, finished};
use crate::person::EmailAddress;
use crate::sign_in::ProviderState;

/// The name of a setting, what it is about, and its value here.
struct Line {
    setting: &'static str,
    about: &'static str,
    value: String,
}

struct Section {
    title: &'static str,
    id: &'static str,
    lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "console/set_up.html")]
struct SetUpPage {
    frame: Frame,
    provider: Option<(&'static str, String)>,
    sections: Vec<Section>,
    checked: Option<Checked>,
}

pub(super) async fn show(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    directory::check(&console.store, &visit.actor(), Action::SeeSetUp, None).await?;
    Ok(finished(StatusCode::OK, &page(console, visit, None, now)))
}

/// Tries what is set up. It changes nothing, so the answer to the form is the page itself.
pub(super) async fn check(console: &Console, visit: &Visit, now: UnixTime) -> Answer {
    directory::check(&console.store, &visit.actor(), Action::SeeSetUp, None).await?;
    let checked = (console.check)().await;
    Ok(finished(StatusCode::OK, &page(console, visit, Some(checked), now)))
}

fn page(console: &Console, visit: &Visit, checked: Option<Checked>, now: UnixTime) -> SetUpPage {
    let settings = &console.settings;
    let mut sections = vec![Section {
        title: "This gateway",
        id: "gateway",
        lines: vec![
            line(
                "VESTIBULE_PUBLIC_URL",
                "Address that browsers see",
                settings.public.origin(),
            ),
            line("", "Redirect URI to register", settings.redirect_uri()),
            line(
                "",
                "Address after sign-out to register",
                settings.post_logout_redirect_uri(),
            ),
            line(
                "SESSION_LENGTH",
                "Sessions live",
                format!("{} hours", settings.session_length.as_secs() / 3600),
            ),
            line(
                "VESTIBULE_SESSION_IDLE",
                "Sessions end unused",
                settings.session_idle.map_or_else(
                    || "not before that".to_owned(),
                    |idle| format!("after {} minutes", idle.as_secs() / 60),
                ),
            ),
        ],
    }];
    sections.extend(settings.oidc.as_ref().map(of_provider));
    sections.extend(settings.ldap.as_ref().map(of_directory));
    sections.push(who_gets_in(&console.entry.load()));
    SetUpPage {
        frame: console.frame(visit, Part::SetUp, "Sign-in set-up", now),
        provider: match console.sign_in.provider_state() {
            ProviderState::None => None,
            ProviderState::Known => Some(("answers", String::new())),
            ProviderState::Unknown(why) => Some(("does not answer: nobody can sign in with it", why)),
            ProviderState::Stale(why) => Some(("did not answer the last time; what was known before is used", why)),
        },
        sections,
        checked,
    }
}

fn of_provider(oidc: &Oidc) -> Section {
    let secret = if oidc.client_secret.is_some() {
        "set, not shown"
    } else {
        "none (public client)"
    };
    let mut lines = vec![
        line("OIDC_ISSUER", "Issuer", oidc.issuer.clone()),
        line("OIDC_CLIENT_ID", "Client id", oidc.client_id.clone()),
        line("OIDC_CLIENT_SECRET", "Client secret", secret.to_owned()),
        line(
            "OIDC_AUTH_METHOD",
            "Flow",
            match oidc.auth_method {
                AuthMethod::Pkce => "authorization code with PKCE",
                AuthMethod::Implicit => "implicit, with form_post",
            }
            .to_owned(),
        ),
        line(
            "OIDC_CLIENT_AUTH",
            "Client authentication",
            match oidc.client_auth {
                ClientAuth::Auto => "auto",
                ClientAuth::Basic => "basic",
                ClientAuth::Post => "post",
                ClientAuth::None => "none",
            }
            .to_owned(),
        ),
        line(
            "OIDC_EMAIL_CLAIM",
            "Claim of the e-mail address",
            oidc.email_claim
                .clone()
                .unwrap_or_else(|| "none: people need no e-mail address".to_owned()),
        ),
        line(
            "OIDC_EMAIL_VERIFIED",
            "Unverified addresses",
            match oidc.email_verified {
                EmailVerified::UnlessDenied => "refused if the provider says so",
                EmailVerified::Required => "refused unless the provider says that they are verified",
                EmailVerified::Ignored => "taken: the provider's administrators vouch for them",
            }
            .to_owned(),
        ),
        line(
            "OIDC_USERNAME_CLAIM",
            "Claim of the user name",
            oidc.username_claim.clone(),
        ),
        line("OIDC_GROUPS_CLAIM", "Claim of the groups", oidc.groups_claim.clone()),
        line(
            "OIDC_SUBJECT_CLAIM",
            "Claim of the stable id",
            oidc.subject_claim.clone(),
        ),
    ];
    if !oidc.custom_scopes.is_empty() {
        lines.push(line(
            "OIDC_CUSTOM_SCOPES",
            "Further scopes",
            oidc.custom_scopes.join(" "),
        ));
    }
    if let Some(backchannel) = &oidc.backchannel {
        // An address may hold a password.
        let shown = backchannel.host_str().unwrap_or_default().to_owned();
        lines.push(line("OIDC_BACKCHANNEL_URL", "Reached at", shown));
    }
    Section {
        title: "OpenID provider",
        id: "provider",
        lines,
    }
}

fn of_directory(ldap: &Ldap) -> Section {
    let servers: Vec<String> = ldap.servers.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        line(
            "LOCAL_LDAP_LOGIN",
            "People sign in with it",
            if ldap.login { "yes" } else { "no, it is only tried" }.to_owned(),
        ),
        line("LOCAL_LDAP_ADDRESS", "Servers", servers.join(", ")),
        line("LOCAL_LDAP_BASE_DN", "Where people are", ldap.base_dn.clone()),
        line(
            "LOCAL_LDAP_BIND_DN",
            "Service account",
            ldap.bind.as_ref().map_or_else(
                || "anonymous".to_owned(),
                |(name, _)| format!("{name}, its password is not shown"),
            ),
        ),
        line("LOCAL_LDAP_USER_FILTER", "Filter of people", ldap.user_filter.clone()),
        line(
            "LOCAL_LDAP_ATTRIBUTES",
            "Attributes",
            format!(
                "email={}, group={}, username={}, name={}",
                ldap.attributes.email, ldap.attributes.group, ldap.attributes.username, ldap.attributes.name
            ),
        ),
    ];
    if let Some(groups) = &ldap.allow_list {
        lines.push(line(
            "LOCAL_LDAP_GROUP_ALLOW_LIST",
            "Only members of",
            groups.join("; "),
        ));
    }
    Section {
        title: "Directory (LDAP)",
        id: "directory",
        lines,
    }
}

fn who_gets_in(rules: &EntryRules) -> Section {
    let anybody = |list: &Option<Vec<String>>| list.as_ref().map_or_else(|| "any".to_owned(), |list| list.join(", "));
    let admins: Vec<&str> = rules.initial_admins.iter().map(EmailAddress::as_str).collect();
    Section {
        title: "Who gets in",
        id: "entry",
        lines: vec![
            line(
                "DISABLE_SSO_PROVISIONING",
                "People who were not added before",
                if rules.provisioning {
                    format!("get in, as {}", rules.default_role)
                } else {
                    "are refused".to_owned()
                },
            ),
            line(
                "VESTIBULE_ALLOWED_EMAIL_DOMAINS",
                "E-mail domains",
                anybody(&rules.allowed_domains),
            ),
            line("VESTIBULE_ALLOWED_GROUPS", "Groups", anybody(&rules.allowed_groups)),
            line(
                "VESTIBULE_INITIAL_ADMINS",
                "Initial admins",
                if admins.is_empty() {
                    "none: the first user ever became the admin".to_owned()
                } else {
                    admins.join(", ")
                },
            ),
        ],
    }
}

const fn line(setting: &'static str, about: &'static str, value: String) -> Line {
    Line { setting, about, value }
}
