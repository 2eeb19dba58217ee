//! The exchange of a code for tokens (OpenID Connect Core 1.0, section 3.1.3; RFC 7636, section 4.5). A code is sent once,
//! to one address, whatever comes back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::discovery::{Metadata, shown};
use super::http::{NoAnswer, ProviderClient};
use crate::config::{ClientAuth, Oidc};
use crate::sign_in::attempt::Attempt;

/// What the token endpoint gave.
#[expect(clippy::struct_field_names, reason = "the names are OAuth's")]
pub(super) struct Tokens {
    pub(super) id_token: SecretString,
    pub(super) access_token: Option<SecretString>,
    pub(super) refresh_token: Option<SecretString>,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoTokens {
    #[error("the token endpoint: {0}")]
    NoAnswer(#[from] NoAnswer),
    #[error("the provider announces no usable token_endpoint")]
    NoEndpoint,
    #[error("the token endpoint answers {0}")]
    Down(StatusCode),
    /// The client is not who the provider thinks it is.
    #[error("the provider does not accept this client ({error}): {fix}")]
    Client { error: String, fix: &'static str },
    #[error("the token endpoint refuses the code: {0}")]
    Refused(String),
    #[error("the token endpoint answers {0} with nothing that is understood")]
    NotUnderstood(StatusCode),
    #[error("the token endpoint gave no ID token: is the scope openid allowed for this client?")]
    NoIdToken,
}

/// Exchanges a code.
pub(super) async fn exchange(
    client: &ProviderClient,
    metadata: &Metadata,
    settings: &Oidc,
    redirect_uri: &str,
    code: &str,
    attempt: &Attempt,
) -> Result<Tokens, NoTokens> {
    let endpoint = metadata.token_endpoint.as_ref().ok_or(NoTokens::NoEndpoint)?;
    let auth = metadata.client_auth(settings);
    let answer = client
        .ask(request(endpoint, settings, auth, redirect_uri, code, attempt))
        .await?;
    read(answer.status, &answer.body, auth)
}

fn request(
    endpoint: &Url,
    settings: &Oidc,
    auth: ClientAuth,
    redirect_uri: &str,
    code: &str,
    attempt: &Attempt,
) -> Request<Bytes> {
    let secret = settings
        .client_secret
        .as_ref()
        .map_or("", |secret| secret.expose_secret());
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("code_verifier", &attempt.verifier);
    if auth != ClientAuth::Basic {
        form.append_pair("client_id", &settings.client_id);
    }
    if auth == ClientAuth::Post {
        form.append_pair("client_secret", secret);
    }
    let mut request = Request::new(Bytes::from(form.finish()));
    *request.method_mut() = Method::POST;
    // A parsed URL's text is a URI; the empty one that would stay has no host and is not asked.
    if let Ok(uri) = endpoint.as_str().parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if auth == ClientAuth::Basic {
        // Each form-encoded before they are joined: RFC 6749, section 2.3.1.
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let both = format!("{}:{}", encoded(&settings.client_id), encoded(secret));
        if let Ok(mut value) = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(both))) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
    request
}

fn read(status: StatusCode, body: &[u8], auth: ClientAuth) -> Result<Tokens, NoTokens> {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let text = |name: &str| {
        answer
            .as_ref()
            .and_then(|answer| answer.get(name))
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    if status == StatusCode::OK {
        let secret = |name: &str| text(name).map(|text| SecretString::from(text.to_owned()));
        if !answer.as_ref().is_some_and(Value::is_object) {
            return Err(NoTokens::NotUnderstood(status));
        }
        return Ok(Tokens {
            id_token: secret("id_token").ok_or(NoTokens::NoIdToken)?,
            access_token: secret("access_token"),
            refresh_token: secret("refresh_token"),
        });
    }
    match text("error") {
        // RFC 6749, section 5.2. Some providers call it unauthorized_client, or only say 401.
        Some(error @ ("invalid_client" | "unauthorized_client")) => Err(NoTokens::Client {
            error: error.to_owned(),
            fix: fix_for(auth),
        }),
        _ if status == StatusCode::UNAUTHORIZED => Err(NoTokens::Client {
            error: "401".to_owned(),
            fix: fix_for(auth),
        }),
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Err(NoTokens::Down(status)),
        Some(error) => Err(NoTokens::Refused(match text("error_description") {
            Some(description) => format!("{} ({})", shown(error), shown(description)),
            None => shown(error),
        })),
        None => Err(NoTokens::NotUnderstood(status)),
    }
}

const fn fix_for(auth: ClientAuth) -> &'static str {
    match auth {
        ClientAuth::Post => "check OIDC_CLIENT_ID and OIDC_CLIENT_SECRET, or try OIDC_CLIENT_AUTH=basic",
        ClientAuth::None => "set OIDC_CLIENT_SECRET, or make the client a public one at the provider",
        ClientAuth::Basic | ClientAuth::Auto => {
            "check OIDC_CLIENT_ID and OIDC_CLIENT_SECRET, or try OIDC_CLIENT_AUTH=post"
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use http::StatusCode;
    use http::header::AUTHORIZATION;
    use secrecy::ExposeSecret;

    use super::super::testing;
    use super::{NoTokens, read, request};
    use crate::config::ClientAuth;
    use crate::sign_in::attempt;

    fn sent(auth: ClientAuth) -> (Option<String>, Vec<(String, String)>) {
        let mut settings = testing::settings();
        settings.client_id = "app id:1".into();
        settings.client_secret = Some("s+e/c:r%et é".to_owned().into());
        let (attempt, _) = attempt::testing::begun("/a");
        let endpoint = "https://id.example.com/token".parse().unwrap();
        let request = request(
            &endpoint,
            &settings,
            auth,
            "https://app.example.com/cb",
            "c&d=e",
            &attempt,
        );
        let basic = request.headers().get(AUTHORIZATION).map(|value| {
            assert!(value.is_sensitive());
            let value = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
            String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
        });
        let form = url::form_urlencoded::parse(request.body()).into_owned().collect();
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
        for body in ["", "<html>", "[]", "\"a.b.c\"", "id_token=a.b.c"] {
            assert!(matches!(
                read(StatusCode::OK, body.as_bytes(), ClientAuth::Basic),
                Err(NoTokens::NotUnderstood(_))
            ));
        }
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
}
