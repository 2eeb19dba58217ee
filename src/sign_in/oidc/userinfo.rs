//! Userinfo (OpenID Connect Core 1.0, section 5.3): asked when the ID token lacks something, counts only for the same `sub`.

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::Url;

use super::discovery::json_request;
use super::http::{Answer, NoAnswer, ProviderClient};

/// Why userinfo says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoUserinfo {
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("it is no JSON object (signed or encrypted answers are not read)")]
    NotJson,
    #[error("the access token does not fit into a header")]
    Token,
    /// Section 5.3.2: somebody else's, and so not used.
    #[error("it is about somebody else: its sub is not the ID token's")]
    SomebodyElse,
}

/// Asks for the claims about `sub`.
pub(super) async fn fetch(
    client: &ProviderClient,
    endpoint: &Url,
    access_token: &SecretString,
    sub: &str,
) -> Result<Map<String, Value>, NoUserinfo> {
    let mut request = json_request(endpoint);
    let mut value =
        HeaderValue::try_from(format!("Bearer {}", access_token.expose_secret())).map_err(|_| NoUserinfo::Token)?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    read(&client.ask(request).await?, sub)
}

fn read(answer: &Answer, sub: &str) -> Result<Map<String, Value>, NoUserinfo> {
    if answer.status != StatusCode::OK {
        return Err(NoUserinfo::Status(answer.status));
    }
    let json = answer
        .content_type
        .as_deref()
        .is_none_or(|kind| kind == "application/json" || kind.ends_with("+json"));
    if !json {
        return Err(NoUserinfo::NotJson);
    }
    let claims: Map<String, Value> = serde_json::from_slice(&answer.body).map_err(|_| NoUserinfo::NotJson)?;
    match claims.get("sub").and_then(Value::as_str) {
        Some(found) if found == sub => Ok(claims),
        _ => Err(NoUserinfo::SomebodyElse),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::super::http::Answer;
    use super::{NoUserinfo, read};

    fn answer(status: u16, content_type: Option<&str>, body: &'static str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            content_type: content_type.map(ToOwned::to_owned),
            location: None,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn claims_count_only_for_the_same_sub() {
        assert!(
            read(
                &answer(200, Some("application/json"), r#"{"sub":"a","email":"b"}"#),
                "a"
            )
            .is_ok()
        );
        assert!(read(&answer(200, None, r#"{"sub":"a"}"#), "a").is_ok());
        for body in [
            r#"{"sub":"b"}"#,
            r#"{"email":"b"}"#,
            r#"{"sub":null}"#,
            r#"{"sub":["a"]}"#,
            r#"{"sub":"A"}"#,
            r#"{"sub":"a "}"#,
        ] {
            assert!(
                matches!(read(&answer(200, None, body), "a"), Err(NoUserinfo::SomebodyElse)),
                "{body}"
            );
        }
    }

    #[test]
    fn only_a_json_object_with_200_is_read() {
        let good = r#"{"sub":"a"}"#;
        for (status, kind, body) in [
            (201, None, good),
            (302, None, good),
            (401, Some("application/json"), good),
            (500, None, good),
            (200, Some("application/jwt"), good),
            (200, Some("text/html"), good),
            (200, None, "a.b.c"),
            (200, None, "[]"),
            (200, None, ""),
        ] {
            assert!(
                read(&answer(status, kind, body), "a").is_err(),
                "{status} {kind:?} {body}"
            );
        }
    }
}
