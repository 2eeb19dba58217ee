use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use secrecy::ExposeSecret;

use super::super::http::Answer;
use super::super::testing;
use super::{NoTokens, TokenAnswer, Tokens, exchange_by};
use crate::config::{ClientAuth, Oidc};
use crate::sign_in::attempt;

/// An exchange with a token endpoint that answers so, and what it was asked.
fn exchanged(settings: &Oidc, status: StatusCode, body: &[u8]) -> (Request<Bytes>, Result<Tokens, NoTokens>) {
    let asked = Mutex::new(vec![]);
    let ask = |request| {
        asked.lock().unwrap().push(request);
        std::future::ready(Ok(Answer {
            status,
            content_type: Some("text/plain".into()),
            location: None,
            body: Bytes::copy_from_slice(body),
        }))
        .boxed()
    };
    let (attempt, _) = attempt::testing::begun("/a");
    let metadata = testing::metadata_with(&serde_json::json!({}), settings);
    let client = testing::client(settings);
    let result = exchange_by(&ask, &client, &metadata, settings, "c&d=e", &attempt)
        .now_or_never()
        .unwrap();
    let mut asked = asked.into_inner().unwrap();
    assert_eq!(asked.len(), 1, "a code is sent once");
    (asked.remove(0), result)
}

fn settings(auth: ClientAuth) -> Oidc {
    let mut settings = testing::settings();
    settings.client_auth = auth;
    if auth == ClientAuth::None {
        settings.client_secret = None;
    }
    settings
}

fn read(status: StatusCode, body: &[u8], auth: ClientAuth) -> Result<Tokens, NoTokens> {
    exchanged(&settings(auth), status, body).1
}

fn sent(auth: ClientAuth) -> (Option<String>, Vec<(String, String)>) {
    let mut settings = settings(auth);
    settings.client_id = "app id:1".into();
    settings.client_secret = settings.client_secret.map(|_| "s+e/c:r%et é".to_owned().into());
    let (request, _) = exchanged(&settings, StatusCode::OK, b"{}");
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri(), "https://id.example.com/token");
    assert_eq!(request.headers()[CONTENT_TYPE], "application/x-www-form-urlencoded");
    assert_eq!(request.headers()[ACCEPT], "application/json");
    let basic = request.headers().get(AUTHORIZATION).map(|value| {
        assert!(value.is_sensitive());
        let value = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
    });
    let form: Vec<_> = url::form_urlencoded::parse(request.body()).into_owned().collect();
    for name in ["grant_type", "code", "redirect_uri", "code_verifier"] {
        assert_eq!(form.iter().filter(|(key, _)| key == name).count(), 1, "{name}");
    }
    assert!(form.contains(&("grant_type".into(), "authorization_code".into())));
    assert!(form.contains(&("redirect_uri".into(), testing::REDIRECT_URI.into())));
    (basic, form)
}

fn has(form: &[(String, String)], name: &str) -> bool {
    form.iter().any(|(key, _)| key == name)
}

#[test]
fn basic_sends_id_and_secret_form_encoded_and_not_in_the_body() {
    let (basic, form) = sent(ClientAuth::Basic);
    assert_eq!(basic.as_deref(), Some("app+id%3A1:s%2Be%2Fc%3Ar%25et+%C3%A9"));
    assert!(!has(&form, "client_id") && !has(&form, "client_secret"));
    assert!(has(&form, "code_verifier"));
    assert!(form.contains(&("code".into(), "c&d=e".into())));
}

#[test]
fn post_and_none_send_the_id_in_the_body_and_only_post_a_secret() {
    let (basic, form) = sent(ClientAuth::Post);
    assert_eq!(basic, None);
    assert!(form.contains(&("client_secret".into(), "s+e/c:r%et é".into())));
    let (basic, form) = sent(ClientAuth::None);
    assert_eq!(basic, None);
    assert!(has(&form, "client_id") && !has(&form, "client_secret"));
}

#[test]
fn a_200_gives_tokens_and_needs_an_id_token() {
    let tokens = read(
        StatusCode::OK,
        br#"{"id_token":"a.b.c","access_token":"x","expires_in":"soon"}"#,
        ClientAuth::Basic,
    );
    let tokens = tokens.ok().unwrap();
    assert_eq!(tokens.id_token.expose_secret(), "a.b.c");
    assert!(tokens.access_token.is_some() && tokens.refresh_token.is_none());
    for body in [
        "{}",
        r#"{"id_token":""}"#,
        r#"{"id_token":7}"#,
        r#"{"id_token":null,"access_token":"x"}"#,
    ] {
        assert!(
            matches!(
                read(StatusCode::OK, body.as_bytes(), ClientAuth::Basic),
                Err(NoTokens::NoIdToken)
            ),
            "{body}"
        );
    }
    for body in [
        "",
        "<html>",
        "[]",
        "[\"a.b.c\", \"x\"]",
        "\"a.b.c\"",
        "null",
        "id_token=a.b.c",
        r#"{"id_token":"a.b.c"} {}"#,
    ] {
        assert!(matches!(
            read(StatusCode::OK, body.as_bytes(), ClientAuth::Basic),
            Err(NoTokens::NotUnderstood(_))
        ));
    }
}

#[test]
fn nothing_that_we_do_not_need_refuses_the_answer() {
    let odd_claims = format!(
        "e30.{}.x",
        STANDARD.encode(r#"{"name":7,"updated_at":"today","aud":null}"#)
    );
    for extra in [
        serde_json::json!({ "expires_in": "3600" }),
        serde_json::json!({ "expires_in": -1.5, "token_type": "BEARER" }),
        serde_json::json!({ "token_type": 7, "scope": ["openid", "email"] }),
        serde_json::json!({ "scope": null, "refresh_token": false, "error": "none" }),
    ] {
        for id_token in ["a.b.c", &odd_claims, "no token at all"] {
            let mut body = extra.clone();
            body["id_token"] = id_token.into();
            let tokens = read(StatusCode::OK, body.to_string().as_bytes(), ClientAuth::Basic);
            let tokens = tokens.ok().unwrap();
            assert_eq!(tokens.id_token.expose_secret(), id_token, "as it came");
            assert!(tokens.access_token.is_none() && tokens.refresh_token.is_none());
        }
    }
}

#[test]
fn an_answer_shows_no_token() {
    let body = r#"{"id_token":"hush1","access_token":"hush2","refresh_token":"hush3"}"#;
    let answer: TokenAnswer = serde_json::from_str(body).unwrap();
    assert!(!format!("{answer:?}").contains("hush"));
    assert!(serde_json::to_string(&answer).is_err());
}

#[test]
fn only_a_200_gives_tokens() {
    let body = br#"{"id_token":"a.b.c","access_token":"x"}"#;
    for status in [
        201, 202, 204, 206, 301, 302, 303, 307, 308, 400, 401, 403, 404, 429, 500, 503,
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        assert!(read(status, body, ClientAuth::Basic).is_err(), "{status}");
    }
}

#[test]
fn a_refused_client_names_the_setting_to_try() {
    let invalid = br#"{"error":"invalid_client"}"#;
    for (auth, setting) in [
        (ClientAuth::Basic, "OIDC_CLIENT_AUTH=post"),
        (ClientAuth::Post, "OIDC_CLIENT_AUTH=basic"),
        (ClientAuth::None, "OIDC_CLIENT_SECRET"),
    ] {
        for (status, body) in [
            (401, invalid.as_slice()),
            (400, invalid.as_slice()),
            (401, b"no".as_slice()),
        ] {
            let error = read(StatusCode::from_u16(status).unwrap(), body, auth).err().unwrap();
            assert!(error.to_string().contains(setting), "{error}");
        }
    }
}

#[test]
fn what_the_provider_says_cannot_break_a_log_line() {
    let body = b"{\"error\":\"invalid_grant\",\"error_description\":\"a\\nb\\u001b[31m\"}";
    let error = read(StatusCode::BAD_REQUEST, body, ClientAuth::Basic)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("invalid_grant") && !error.contains(char::is_control),
        "{error:?}"
    );
}
