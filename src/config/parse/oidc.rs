//! The OpenID provider.

use secrecy::SecretString;
use url::{Host, Url};

use super::Reader;
use crate::config::settings::{AuthMethod, ClientAuth, EmailVerified, Oidc};
use crate::config::words;

pub(super) fn settings(reader: &mut Reader<'_>) -> Option<Oidc> {
    let issuer = issuer(reader);
    let client_id = client_id(reader);
    let client_secret = reader
        .set("OIDC_CLIENT_SECRET")
        .map(|value| SecretString::from(value.text.clone()));
    let auth_method = reader.choice("OIDC_AUTH_METHOD").map(|word| match word {
        "implicit" => AuthMethod::Implicit,
        _ => AuthMethod::Pkce,
    });
    let client_auth = client_auth(reader);
    let custom_scopes = custom_scopes(reader);
    let backchannel = backchannel(reader);
    let email_claim = reader
        .text("OIDC_EMAIL_CLAIM")
        .filter(|claim| *claim != "none")
        .map(str::to_owned);
    let email_verified = reader.choice("OIDC_EMAIL_VERIFIED").map(|word| match word {
        "required" => EmailVerified::Required,
        "ignored" => EmailVerified::Ignored,
        _ => EmailVerified::UnlessDenied,
    });
    if reader.flag("OIDC_ALLOW_HTTP") == Some(true) {
        reader.warn(
            "OIDC_ALLOW_HTTP",
            "the provider may be asked over plain http: everybody on the way can sign in as anybody",
        );
    }
    Some(Oidc {
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        auth_method: auth_method?,
        client_auth: client_auth?,
        custom_scopes: custom_scopes?,
        backchannel: backchannel?,
        email_claim,
        username_claim: reader.text("OIDC_USERNAME_CLAIM")?.to_owned(),
        groups_claim: reader.text("OIDC_GROUPS_CLAIM")?.to_owned(),
        subject_claim: reader.text("OIDC_SUBJECT_CLAIM")?.to_owned(),
        email_verified: email_verified?,
    })
}

/// Whether a provider is set, or half of one.
pub(super) fn is_meant(reader: &Reader<'_>) -> bool {
    ["OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"]
        .iter()
        .any(|name| reader.set(name).is_some())
}

fn issuer(reader: &mut Reader<'_>) -> Option<String> {
    const NAME: &str = "OIDC_ISSUER";
    const WRITE: &str = "the issuer as the provider's /.well-known/openid-configuration names it";
    let Some(value) = reader.set(NAME) else {
        let wrong = if reader.is_on("LOCAL_LDAP_LOGIN") {
            "it is missing, and other settings of the provider are there"
        } else {
            "it is missing: there is no way to sign in"
        };
        reader.wrong(NAME, wrong, WRITE);
        return None;
    };
    let url = match words::web_url(&value.text) {
        Ok(url) => url,
        Err(wrong) => {
            reader.wrong(NAME, wrong, WRITE);
            return None;
        }
    };
    if let Some((issuer, _)) = value.text.split_once("/.well-known/") {
        reader.wrong(NAME, "it is the address of the discovery document", issuer);
        return None;
    }
    if entra_without_tenant(&url) {
        reader.wrong(
            NAME,
            "it names no tenant: anybody's tokens would do",
            "https://login.microsoftonline.com/<your tenant's id>/v2.0",
        );
        return None;
    }
    check_http(reader, NAME, &url)?;
    Some(value.text.clone())
}

/// Entra's issuers that stand for many tenants.
fn entra_without_tenant(url: &Url) -> bool {
    let entra = url.host_str().is_some_and(|host| {
        host.starts_with("login.microsoftonline.") || matches!(host, "login.windows.net" | "sts.windows.net")
    });
    let tenant = url
        .path_segments()
        .and_then(|mut segments| segments.next())
        .unwrap_or_default();
    let tenant = tenant.to_ascii_lowercase();
    entra
        && (matches!(tenant.as_str(), "" | "common" | "organizations" | "consumers")
            || tenant.contains(['{', '<'])
            || tenant.contains("%7b")
            || tenant.contains("%3c"))
}

/// Plain http is for loopback, unless somebody says otherwise.
fn check_http(reader: &mut Reader<'_>, name: &'static str, url: &Url) -> Option<()> {
    let safe = url.scheme() == "https" || url.host().is_some_and(|host| words::is_loopback(&host));
    if safe || reader.is_on("OIDC_ALLOW_HTTP") {
        return Some(());
    }
    reader.wrong(
        name,
        "it is plain http beyond loopback: everybody on the way could sign in as anybody",
        "an https:// URL, or OIDC_ALLOW_HTTP=true if that is what you want",
    );
    None
}

fn client_id(reader: &mut Reader<'_>) -> Option<String> {
    const NAME: &str = "OIDC_CLIENT_ID";
    let Some(value) = reader.set(NAME) else {
        if reader.set("OIDC_ISSUER").is_some() {
            reader.wrong(NAME, "it is missing", "the client id that the provider gave");
        }
        return None;
    };
    Some(value.text.clone())
}

fn client_auth(reader: &mut Reader<'_>) -> Option<ClientAuth> {
    const NAME: &str = "OIDC_CLIENT_AUTH";
    let word = reader.choice(NAME)?;
    let secret = reader.set("OIDC_CLIENT_SECRET").is_some();
    let client_auth = match word {
        "basic" => ClientAuth::Basic,
        "post" => ClientAuth::Post,
        "none" => ClientAuth::None,
        _ => ClientAuth::Auto,
    };
    match client_auth {
        ClientAuth::Basic | ClientAuth::Post if !secret => {
            reader.wrong(
                NAME,
                "it needs OIDC_CLIENT_SECRET, which is missing",
                "OIDC_CLIENT_SECRET as well, or none for a public client",
            );
            None
        }
        ClientAuth::None if secret => {
            reader.warn(NAME, "it is none, so OIDC_CLIENT_SECRET is not used");
            Some(client_auth)
        }
        _ => Some(client_auth),
    }
}

fn custom_scopes(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    const NAME: &str = "OIDC_CUSTOM_SCOPES";
    let mut scopes: Vec<String> = Vec::new();
    let mut well = true;
    for item in reader.items(NAME) {
        for scope in item.split_ascii_whitespace() {
            // RFC 6749, section 3.3.
            if !scope
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
            {
                reader.wrong_item(NAME, scope, "it is no scope", "names of scopes, comma-separated");
                well = false;
            } else if !["openid", "profile", "email"].contains(&scope) && !scopes.iter().any(|other| other == scope) {
                scopes.push(scope.to_owned());
            }
        }
    }
    well.then_some(scopes)
}

/// None inside: the issuer's own.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
fn backchannel(reader: &mut Reader<'_>) -> Option<Option<Url>> {
    const NAME: &str = "OIDC_BACKCHANNEL_URL";
    let Some(value) = reader.set(NAME) else {
        return Some(None);
    };
    match words::web_url(&value.text) {
        Ok(url) => check_http(reader, NAME, &url).map(|()| Some(url)),
        Err(wrong) => {
            reader.wrong(
                NAME,
                wrong,
                "the provider's base address as the gateway reaches it, such as https://idp.internal:8443/realms/main",
            );
            None
        }
    }
}

/// Whether anybody at all can get an account at this issuer.
pub(super) fn open_to_everybody(issuer: &str) -> bool {
    const HOSTS: &[&str] = &[
        "accounts.google.com",
        "gitlab.com",
        "login.live.com",
        "appleid.apple.com",
        "account.apple.com",
        "www.facebook.com",
        "facebook.com",
        "limited.facebook.com",
        "www.linkedin.com",
        "linkedin.com",
        "api.login.yahoo.com",
        "access.line.me",
        "login.yahoo.co.jp",
        "kauth.kakao.com",
        "id.twitch.tv",
        "slack.com",
        "discord.com",
        "login.salesforce.com",
        "www.paypal.com",
        "www.amazon.com",
        "orcid.org",
    ];
    // The tenant of personal Microsoft accounts.
    const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
    let Ok(url) = Url::parse(issuer) else {
        return false;
    };
    let host = match url.host() {
        Some(Host::Domain(domain)) => domain.trim_end_matches('.').to_owned(),
        _ => return false,
    };
    HOSTS.contains(&host.as_str()) || url.path().to_ascii_lowercase().contains(CONSUMERS)
}
