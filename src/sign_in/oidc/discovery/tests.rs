use serde_json::{Value, json};
use url::Url;

use super::super::testing::{document, metadata_with, settings};
use super::{Metadata, NotDiscovered, back_channel, well_known};
use crate::config::{ClientAuth, Oidc};

fn read(changes: &Value, settings: &Oidc) -> Result<Metadata, NotDiscovered> {
    Metadata::read(&document(changes), settings)
}

fn error(changes: &Value, settings: &Oidc) -> String {
    read(changes, settings).expect_err(&changes.to_string()).to_string()
}

fn issuer(issuer: &str) -> Oidc {
    Oidc {
        issuer: issuer.into(),
        ..settings()
    }
}

#[test]
fn the_issuer_must_be_the_same_to_the_byte_and_the_error_shows_both_and_the_fix() {
    for (set, found, fix) in [
        (
            "https://id.example.com",
            "https://id.example.com/",
            "OIDC_ISSUER=https://id.example.com/ (with the slash",
        ),
        (
            "https://id.example.com/",
            "https://id.example.com",
            "(without the slash",
        ),
        (
            "https://login.microsoftonline.com/common/v2.0",
            "https://login.microsoftonline.com/{tenantid}/v2.0",
            "the tenant's own",
        ),
        (
            "https://login.microsoftonline.com/abc",
            "https://sts.windows.net/abc/",
            "/v2.0",
        ),
        (
            "https://id.example.com",
            "https://other.example.com",
            "it points to https://other.example.com",
        ),
        ("https://id.example.com", "https://ID.example.com", "it points to"),
        ("https://id.example.com", "http://id.example.com", "it points to"),
    ] {
        let error = error(&json!({ "issuer": found }), &issuer(set));
        assert!(
            error.contains(set) && error.contains(found) && error.contains(fix),
            "{error}"
        );
    }
    let odd = error(&json!({ "issuer": "https://evil.example\n\u{1b}[31m" }), &settings());
    assert!(!odd.contains(char::is_control), "{odd:?}");
    for missing in [json!(null), json!(7), json!(["https://id.example.com"])] {
        assert!(read(&json!({ "issuer": missing }), &settings()).is_err());
    }
}

#[test]
fn odd_but_harmless_documents_are_read() {
    let metadata = metadata_with(
        &json!({
            "response_types_supported": "code",
            "scopes_supported": { "openid": true },
            "prompt_values_supported": 7,
            "claims_supported": [1, "sub", null],
            "token_endpoint_auth_methods_supported": null,
            "userinfo_endpoint": 7,
            "end_session_endpoint": "not an address",
            "authorization_response_iss_parameter_supported": "perhaps",
            "something_new": [[[]]],
        }),
        &settings(),
    );
    assert!(metadata.userinfo_endpoint.is_none() && metadata.end_session_endpoint.is_none());
    assert!(!metadata.iss_parameter && !metadata.selects_account && metadata.takes_basic);
    assert_eq!(metadata.announced.claims, Some(vec!["sub".to_owned()]));
}

#[test]
fn what_is_needed_must_be_there() {
    for name in ["authorization_endpoint", "jwks_uri"] {
        for value in [
            json!(null),
            json!(7),
            json!(""),
            json!("/relative"),
            json!("javascript:alert(1)"),
            json!("ftp://id.example.com/"),
        ] {
            let error = error(&json!({ name: value }), &settings());
            assert!(error.contains(name), "{error}");
        }
    }
    for text in ["", "[]", "<html>", "null"] {
        assert!(matches!(
            Metadata::read(text.as_bytes(), &settings()),
            Err(NotDiscovered::NotJson(_))
        ));
    }
}

#[test]
fn endpoints_of_an_https_issuer_are_https() {
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "userinfo_endpoint",
        "end_session_endpoint",
    ] {
        let error = error(&json!({ name: "http://id.example.com/x" }), &settings());
        assert!(error.contains(name) && error.contains("https"), "{error}");
    }
    let http = issuer("http://127.0.0.1:9000");
    assert!(
        read(
            &json!({ "issuer": "http://127.0.0.1:9000", "token_endpoint": "http://127.0.0.1:9000/t" }),
            &http
        )
        .is_ok()
    );
}

#[test]
fn the_well_known_address_has_one_slash() {
    for (issuer, address) in [
        (
            "https://id.example.com",
            "https://id.example.com/.well-known/openid-configuration",
        ),
        (
            "https://id.example.com/",
            "https://id.example.com/.well-known/openid-configuration",
        ),
        (
            "https://id.example.com/realms/x",
            "https://id.example.com/realms/x/.well-known/openid-configuration",
        ),
    ] {
        assert_eq!(well_known(issuer).unwrap().as_str(), address);
    }
}

#[test]
fn the_back_channel_replaces_the_issuers_base() {
    for (issuer_url, base, url, expected) in [
        (
            "https://id.example.com/realms/x",
            "http://keycloak:8080/realms/x",
            "https://id.example.com/realms/x/token",
            "http://keycloak:8080/realms/x/token",
        ),
        (
            "https://id.example.com/realms/x",
            "http://keycloak:8080",
            "https://id.example.com/realms/x/token?a=b",
            "http://keycloak:8080/realms/x/token?a=b",
        ),
        (
            "https://id.example.com",
            "http://inner:1/sub/",
            "https://id.example.com/token",
            "http://inner:1/sub/token",
        ),
        (
            "https://id.example.com/realms/x",
            "http://inner:1/y",
            "https://id.example.com/realms/xx/token",
            "http://inner:1/realms/xx/token",
        ),
        (
            "https://id.example.com",
            "http://inner:1",
            "https://keys.example.com/jwks",
            "https://keys.example.com/jwks",
        ),
    ] {
        let mut settings = issuer(issuer_url);
        settings.backchannel = Some(base.parse().unwrap());
        let url: Url = url.parse().unwrap();
        assert_eq!(back_channel(&url, &settings).unwrap().as_str(), expected);
    }
}

#[test]
fn only_what_we_ask_goes_by_the_back_channel() {
    let mut settings = settings();
    settings.backchannel = Some("http://inner:1".parse().unwrap());
    let metadata = metadata_with(&json!({ "userinfo_endpoint": "http://inner:1/me" }), &settings);
    assert_eq!(metadata.token_endpoint.unwrap().as_str(), "http://inner:1/token");
    assert_eq!(metadata.jwks_uri.as_str(), "http://inner:1/jwks");
    assert_eq!(metadata.userinfo_endpoint.unwrap().as_str(), "http://inner:1/me");
    assert_eq!(
        metadata.authorization_endpoint.as_str(),
        "https://id.example.com/authorize"
    );
    assert_eq!(
        metadata.end_session_endpoint.unwrap().as_str(),
        "https://id.example.com/logout"
    );
    // Browsers never go there, whatever is announced.
    assert!(
        read(
            &json!({ "authorization_endpoint": "http://inner:1/authorize" }),
            &settings
        )
        .is_err()
    );
}

#[test]
fn the_client_shows_who_it_is_as_the_setting_or_the_provider_says() {
    let with = |announced: Value, set: ClientAuth, secret: bool| {
        let mut settings = settings();
        settings.client_auth = set;
        if !secret {
            settings.client_secret = None;
        }
        metadata_with(
            &json!({ "token_endpoint_auth_methods_supported": announced }),
            &settings,
        )
        .client_auth(&settings)
    };
    let (basic, post) = ("client_secret_basic", "client_secret_post");
    assert_eq!(with(json!(null), ClientAuth::Auto, true), ClientAuth::Basic);
    assert_eq!(with(json!([post, basic]), ClientAuth::Auto, true), ClientAuth::Basic);
    assert_eq!(with(json!([post]), ClientAuth::Auto, true), ClientAuth::Post);
    assert_eq!(with(json!([post]), ClientAuth::Basic, true), ClientAuth::Basic);
    assert_eq!(with(json!([basic]), ClientAuth::Post, true), ClientAuth::Post);
    assert_eq!(with(json!([basic]), ClientAuth::None, true), ClientAuth::None);
    assert_eq!(with(json!([basic]), ClientAuth::Auto, false), ClientAuth::None);
}
