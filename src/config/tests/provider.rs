//! The provider, and who gets in.

use super::{refused, refused_for, warnings, with};
use crate::config::{ClientAuth, EmailVerified};
use crate::person::Role;

#[test]
fn the_issuer_is_kept_byte_for_byte() {
    for text in [
        "https://IDP.example.com/realms/Main",
        "https://tenant.eu.auth0.com/",
        "http://127.0.0.1:9000",
    ] {
        assert_eq!(with(&[("OIDC_ISSUER", text)]).oidc.unwrap().issuer, text);
    }
    for text in [
        "idp.example.com",
        "https://idp.example.com?x",
        "https://idp.example.com#x",
        "https://u:p@idp.example.com",
        "https://idp.example.com/.well-known/openid-configuration",
    ] {
        refused("OIDC_ISSUER", text);
    }
}

#[test]
fn a_provider_over_plain_http_has_to_be_asked_for_and_warns() {
    let plain = ("OIDC_ISSUER", "http://idp.example.com");
    refused_for("OIDC_ISSUER", &[plain]);
    assert_eq!(warnings(&[plain, ("OIDC_ALLOW_HTTP", "true")]), ["OIDC_ALLOW_HTTP"]);
    let channel = ("OIDC_BACKCHANNEL_URL", "http://idp:8080/realms/main");
    refused_for("OIDC_BACKCHANNEL_URL", &[channel]);
    let settings = with(&[channel, ("OIDC_ALLOW_HTTP", "yes")]);
    assert_eq!(settings.oidc.unwrap().backchannel.unwrap().as_str(), channel.1);
    for text in ["idp:8080", "https://idp?x", "https://u@idp"] {
        refused("OIDC_BACKCHANNEL_URL", text);
    }
}

#[test]
fn issuers_that_stand_for_many_tenants_are_refused() {
    for tenant in [
        "common",
        "organizations",
        "consumers",
        "{tenantid}",
        "%7Btenantid%7D",
        "Common",
        "<tenant>",
    ] {
        let issuer = format!("https://login.microsoftonline.com/{tenant}/v2.0");
        refused("OIDC_ISSUER", &issuer);
    }
    with(&[(
        "OIDC_ISSUER",
        "https://login.microsoftonline.com/6f1c1f2a-0000-4000-8000-000000000000/v2.0",
    )]);
}

#[test]
fn where_anybody_can_get_an_account_somebody_has_to_say_who_is_meant() {
    for issuer in [
        "https://accounts.google.com",
        "https://gitlab.com",
        "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        "https://appleid.apple.com",
    ] {
        let issuer = ("OIDC_ISSUER", issuer);
        refused_for("OIDC_ISSUER", &[issuer]);
        refused_for(
            "OIDC_ISSUER",
            &[issuer, ("VESTIBULE_INITIAL_ADMINS", "ada@example.com")],
        );
        for who in [
            ("VESTIBULE_ALLOWED_EMAIL_DOMAINS", "example.com"),
            ("VESTIBULE_ALLOWED_EMAIL_DOMAINS", "*"),
            ("VESTIBULE_ALLOWED_GROUPS", "staff"),
            ("DISABLE_SSO_PROVISIONING", "true"),
        ] {
            with(&[issuer, who]);
        }
    }
    with(&[("OIDC_ISSUER", "https://gitlab.com.example.com")]);
}

#[test]
fn client_authentication_fits_the_secret() {
    let secret = ("OIDC_CLIENT_SECRET", "s3cret");
    let auth = |word, more: &[(&str, &str)]| {
        let all = [&[("OIDC_CLIENT_AUTH", word)], more].concat();
        with(&all).oidc.unwrap().client_auth
    };
    assert_eq!(auth("basic", &[secret]), ClientAuth::Basic);
    assert_eq!(auth("POST", &[secret]), ClientAuth::Post);
    assert_eq!(auth("none", &[]), ClientAuth::None);
    refused("OIDC_CLIENT_AUTH", "basic");
    refused("OIDC_CLIENT_AUTH", "post");
    refused("OIDC_CLIENT_AUTH", "private_key_jwt");
    refused("OIDC_AUTH_METHOD", "hybrid");
    assert_eq!(warnings(&[("OIDC_CLIENT_AUTH", "none"), secret]), ["OIDC_CLIENT_AUTH"]);
}

#[test]
fn scopes_are_added_once() {
    let settings = with(&[("OIDC_CUSTOM_SCOPES", "groups, email,groups offline_access")]);
    assert_eq!(settings.oidc.unwrap().custom_scopes, ["groups", "offline_access"]);
    refused("OIDC_CUSTOM_SCOPES", "a\"b");
    refused("OIDC_CUSTOM_SCOPES", "größe");
}

#[test]
fn without_an_email_claim_nothing_goes_by_email() {
    let none = ("OIDC_EMAIL_CLAIM", "none");
    let settings = with(&[none]);
    assert!(!settings.entry.email_needed && settings.oidc.unwrap().email_claim.is_none());
    refused_for(
        "VESTIBULE_INITIAL_ADMINS",
        &[none, ("VESTIBULE_INITIAL_ADMINS", "ada@example.com")],
    );
    let domains = "VESTIBULE_ALLOWED_EMAIL_DOMAINS";
    refused_for(domains, &[none, (domains, "example.com")]);
    with(&[none, (domains, "*")]);
}

#[test]
fn domains_are_compared_in_one_spelling() {
    let domains = |text| with(&[("VESTIBULE_ALLOWED_EMAIL_DOMAINS", text)]).entry.allowed_domains;
    assert_eq!(
        domains("Example.COM, @corp.example").unwrap(),
        ["example.com", "corp.example"]
    );
    assert_eq!(
        domains("bücher.example").unwrap(),
        ["bücher.example", "xn--bcher-kva.example"]
    );
    assert_eq!(domains("*"), None);
    for text in [
        "*,example.com",
        "*.example.com",
        "a@example.com",
        "example.com.",
        ".example.com",
        "exa mple.com",
        ",",
    ] {
        refused("VESTIBULE_ALLOWED_EMAIL_DOMAINS", text);
    }
}

#[test]
fn groups_lose_one_leading_slash_and_have_no_patterns() {
    let groups = |text| {
        with(&[("VESTIBULE_ALLOWED_GROUPS", text)])
            .entry
            .allowed_groups
            .unwrap()
    };
    assert_eq!(groups("/staff, a b,//x,/a/b"), ["staff", "a b", "/x", "a/b"]);
    for text in ["/", "staff-*", ","] {
        refused("VESTIBULE_ALLOWED_GROUPS", text);
    }
}

#[test]
fn who_gets_in_as_whom() {
    let entry = with(&[
        ("DISABLE_SSO_PROVISIONING", "YES"),
        ("VESTIBULE_INITIAL_ADMINS", "Ada@Example.com,bob@example.com"),
        ("VESTIBULE_DEFAULT_ROLE", "viewer"),
        ("USE_IDENTIFIER_CLAIMS", "1"),
    ])
    .entry;
    assert!(!entry.provisioning && entry.names_follow);
    assert_eq!(entry.default_role, Role::Viewer);
    let folded: Vec<&str> = entry
        .initial_admins
        .iter()
        .map(crate::person::EmailAddress::folded)
        .collect();
    assert_eq!(folded, ["ada@example.com", "bob@example.com"]);
    refused("VESTIBULE_INITIAL_ADMINS", "ada");
    refused("VESTIBULE_DEFAULT_ROLE", "admin");
    refused("DISABLE_SSO_PROVISIONING", "on");
    assert_eq!(
        with(&[("OIDC_EMAIL_VERIFIED", "required")])
            .oidc
            .unwrap()
            .email_verified,
        EmailVerified::Required
    );
}

#[test]
fn teams_that_follow_groups_of_two_sides_are_warned_of() {
    let both = [
        ("ENABLE_SSO_GROUP_CLAIMS", "true"),
        ("LDAP_GROUP_SYNC", "true"),
        ("LOCAL_LDAP_LOGIN", "true"),
        ("LOCAL_LDAP_ADDRESS", "ldaps://ldap.example.com"),
        ("LOCAL_LDAP_BASE_DN", "dc=example"),
    ];
    assert_eq!(warnings(&both), ["LDAP_GROUP_SYNC"]);
    for one_off in 0..3 {
        let mut one = both.to_vec();
        one[one_off].1 = "false";
        assert_eq!(warnings(&one), [""; 0], "{one:?}");
    }
}
