//! A small OpenID provider with real keys. By itself it is honest and strict; a test makes it lie in one thing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vestibule::clock::UnixTime;

use crate::keys::{SigningKey, b64};

pub const CLIENT_ID: &str = "app";
pub const CLIENT_SECRET: &str = "s3cret/+ &:";
pub const ACCESS_TOKEN: &str = "access-token-of-alice";

/// What stands behind one address.
pub struct Provider {
    pub issuer: String,
    state: Arc<Mutex<State>>,
}

/// An answer, byte for byte.
#[derive(Clone)]
pub struct Raw {
    pub status: u16,
    pub content_type: &'static str,
    pub location: Option<String>,
    pub body: Vec<u8>,
    pub delay: Duration,
}

impl Raw {
    pub fn json(body: &Value) -> Self {
        Self::new(200, "application/json", body.to_string())
    }

    pub fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type,
            location: None,
            body: body.into(),
            delay: Duration::ZERO,
        }
    }

    pub fn redirect(status: u16, to: &str) -> Self {
        Self {
            location: Some(to.to_owned()),
            ..Self::new(status, "text/plain", "")
        }
    }

    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// What an honest ID token would be; a lie changes it before or instead of signing.
pub struct Draft {
    pub header: Value,
    pub claims: Value,
    pub key: Arc<SigningKey>,
}

impl Draft {
    pub fn sign(&self) -> String {
        self.key.sign(&self.header, self.claims.to_string().as_bytes())
    }
}

type Forge = Box<dyn Fn(Draft) -> String + Send>;
/// Makes the token endpoint's answer of an ID token.
pub type Reply = Box<dyn Fn(&str) -> Raw + Send>;

pub struct State {
    /// Changes to the discovery document; null removes.
    pub metadata: Value,
    /// Instead of the discovery document.
    pub discovery: Option<Raw>,
    pub jwks: Raw,
    /// The key that signs, and its `kid`.
    pub key: Arc<SigningKey>,
    pub kid: Option<String>,
    pub alg: &'static str,
    /// Makes the ID token of a draft.
    pub forge: Forge,
    /// Makes the token endpoint's answer of an ID token.
    pub token: Reply,
    pub userinfo: Raw,
    /// Whether the token endpoint looks at who asks.
    pub strict: bool,
    grants: HashMap<String, Grant>,
    issued: usize,
    /// `METHOD path` of everything asked.
    pub heard: Vec<String>,
    /// The `Authorization` header and form of every exchange.
    pub exchanges: Vec<(Option<String>, HashMap<String, String>)>,
}

struct Grant {
    nonce: String,
    challenge: String,
    redirect_uri: String,
}

impl State {
    fn honest() -> Self {
        let key = Arc::new(SigningKey::p256());
        Self {
            metadata: json!({}),
            discovery: None,
            jwks: jwks(&[key.jwk_named("k1")]),
            key,
            kid: Some("k1".into()),
            alg: "ES256",
            forge: Box::new(|draft| draft.sign()),
            token: Box::new(|id_token| Raw::json(&token_answer(id_token))),
            userinfo: Raw::json(&json!({ "sub": "alice" })),
            strict: true,
            grants: HashMap::new(),
            issued: 0,
            heard: Vec::new(),
            exchanges: Vec::new(),
        }
    }

    /// Tells the truth again, with the same keys.
    pub fn be_honest(&mut self) {
        self.forge = Box::new(|draft| draft.sign());
        self.token = Box::new(|id_token| Raw::json(&token_answer(id_token)));
        self.userinfo = Raw::json(&json!({ "sub": "alice" }));
        self.strict = true;
        self.heard.clear();
        self.exchanges.clear();
    }

    /// Changes one claim of every ID token from now on; `"(none)"` removes it.
    pub fn claim(&mut self, name: &'static str, value: Value) {
        self.claims(vec![(name, value)]);
    }

    pub fn claims(&mut self, changes: Vec<(&'static str, Value)>) {
        self.forge = Box::new(move |mut draft| {
            for (name, value) in &changes {
                if *value == "(none)" {
                    draft.claims.as_object_mut().unwrap().remove(*name);
                } else {
                    draft.claims[*name] = value.clone();
                }
            }
            draft.sign()
        });
    }

    /// Changes the header of every ID token from now on.
    pub fn header(&mut self, change: impl Fn(&mut Value) + Send + 'static) {
        self.forge = Box::new(move |mut draft| {
            change(&mut draft.header);
            draft.sign()
        });
    }

    pub fn heard(&self, path: &str) -> usize {
        self.heard
            .iter()
            .filter(|line| line.ends_with(&format!(" {path}")))
            .count()
    }

    fn id_token(&self, issuer: &str, nonce: &str) -> String {
        let now = UnixTime::now().0;
        let mut header = json!({ "alg": self.alg, "typ": "JWT" });
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        (self.forge)(Draft {
            header,
            claims: json!({
                "iss": issuer, "aud": CLIENT_ID, "sub": "alice", "nonce": nonce, "iat": now, "exp": now + 300,
                "auth_time": now, "email": "alice@example.com", "email_verified": true, "name": "Alice",
                "preferred_username": "alice",
            }),
            key: Arc::clone(&self.key),
        })
    }
}

pub fn token_answer(id_token: &str) -> Value {
    json!({ "id_token": id_token, "access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 300 })
}

pub fn jwks(keys: &[Value]) -> Raw {
    Raw::json(&json!({ "keys": keys }))
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::honest()));
        let (served, base) = (Arc::clone(&state), issuer.clone());
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (state, base) = (Arc::clone(&served), base.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&state), base.clone()));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { issuer, state }
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock().unwrap())
    }

    /// What an honest provider does when alice signs in there: the fields of its answer, by the request it was sent.
    pub fn authorize(&self, request: &url::Url) -> Vec<(String, String)> {
        let asked: HashMap<String, String> = request.query_pairs().into_owned().collect();
        let mut state = self.state.lock().unwrap();
        let mut fields = vec![("state".to_owned(), asked["state"].clone())];
        if asked["response_type"] == "id_token" {
            fields.push(("id_token".into(), state.id_token(&self.issuer, &asked["nonce"])));
        } else {
            state.issued += 1;
            let code = format!("code-{}", state.issued);
            state.grants.insert(
                code.clone(),
                Grant {
                    nonce: asked["nonce"].clone(),
                    challenge: asked["code_challenge"].clone(),
                    redirect_uri: asked["redirect_uri"].clone(),
                },
            );
            fields.push(("code".into(), code));
        }
        fields
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    issuer: String,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let path = head.uri.path().to_owned();
    let raw = {
        let mut state = state.lock().unwrap();
        state.heard.push(format!("{} {path}", head.method));
        let authorization = head
            .headers
            .get(http::header::AUTHORIZATION)
            .map(|value| value.to_str().unwrap().to_owned());
        match path.as_str() {
            path if path.ends_with("/.well-known/openid-configuration") => state
                .discovery
                .clone()
                .unwrap_or_else(|| Raw::json(&document(&state, &issuer))),
            "/jwks" => state.jwks.clone(),
            "/token" => exchange(&mut state, &issuer, authorization.as_deref(), &body),
            "/userinfo" if authorization.as_deref() != Some(&format!("Bearer {ACCESS_TOKEN}")) => {
                Raw::new(401, "text/plain", "")
            }
            "/userinfo" => state.userinfo.clone(),
            _ => Raw::new(404, "text/plain", ""),
        }
    };
    tokio::time::sleep(raw.delay).await;
    let mut response = Response::new(Full::new(Bytes::from(raw.body)));
    *response.status_mut() = StatusCode::from_u16(raw.status).unwrap();
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, raw.content_type.parse().unwrap());
    if let Some(location) = raw.location {
        headers.insert(http::header::LOCATION, location.parse().unwrap());
    }
    Ok(response)
}

fn document(state: &State, issuer: &str) -> Value {
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "end_session_endpoint": format!("{issuer}/end"),
    });
    for (name, value) in state.metadata.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

/// Strict where it is honest: the client must be who it says, the code must be fresh, the verifier must fit.
fn exchange(state: &mut State, issuer: &str, authorization: Option<&str>, body: &[u8]) -> Raw {
    let form: HashMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    state
        .exchanges
        .push((authorization.map(ToOwned::to_owned), form.clone()));
    let error = |status, error: &str| Raw {
        status,
        ..Raw::json(&json!({ "error": error }))
    };
    if state.strict && !is_the_client(authorization, &form) {
        return error(401, "invalid_client");
    }
    let Some(grant) = form.get("code").and_then(|code| state.grants.remove(code)) else {
        return error(400, "invalid_grant");
    };
    let challenge = form
        .get("code_verifier")
        .map(|verifier| b64(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes()).as_ref()));
    if challenge.as_deref() != Some(&grant.challenge) || form.get("redirect_uri") != Some(&grant.redirect_uri) {
        return error(400, "invalid_grant");
    }
    let id_token = state.id_token(issuer, &grant.nonce);
    (state.token)(&id_token)
}

fn is_the_client(authorization: Option<&str>, form: &HashMap<String, String>) -> bool {
    let decode = |text: &str| {
        url::form_urlencoded::parse(format!("x={text}").as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
    };
    let by_basic = authorization
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|value| STANDARD.decode(value).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|both| {
            let (id, secret) = both.split_once(':')?;
            Some((decode(id)?, decode(secret)?))
        });
    let by_post = form.get("client_id").cloned().zip(form.get("client_secret").cloned());
    by_basic.or(by_post) == Some((CLIENT_ID.to_owned(), CLIENT_SECRET.to_owned()))
}
