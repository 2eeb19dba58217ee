//! The demo's app: it has no sign-in of its own, and shows what it received. What it believes of it is what an app should:
//! the assertion, verified with the gateway's published keys.

use std::sync::Arc;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::web::{self, Answer};

/// The header that counts. The others say the same in plain.
const ASSERTION: &str = "x-vestibule-assertion";

/// The app.
pub struct App {
    /// `iss` and `aud` of every assertion: the gateway's public origin.
    origin: String,
    jwks_url: http::Uri,
    client: Client<HttpConnector, Full<Bytes>>,
    keys: Mutex<JwkSet>,
}

/// Who a request is from, as far as the app can tell.
enum Visitor {
    /// Nobody: a public path without a session.
    Nobody,
    /// The assertion is good.
    Known { kid: String, claims: Value },
    /// There is an assertion, and it is not to be believed.
    Doubtful(String),
}

#[derive(Template)]
#[template(path = "demo_app.html")]
struct Page<'a> {
    public: bool,
    greeting: String,
    facts: Vec<(&'static str, String)>,
    verified: Option<&'a str>,
    doubt: Option<&'a str>,
    head: String,
    claims: String,
    request: String,
    headers: Vec<(String, String)>,
}

impl App {
    /// An app behind the gateway at `origin`, whose keys are at `jwks_url`.
    pub fn new(origin: String, jwks_url: http::Uri) -> Self {
        Self {
            origin,
            jwks_url,
            client: Client::builder(TokioExecutor::new()).build_http(),
            keys: Mutex::new(JwkSet { keys: Vec::new() }),
        }
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/public/demo.css" => web::text(StatusCode::OK, "text/css", super::STYLE),
            "/public/demo.js" => web::text(StatusCode::OK, "text/javascript", super::SCRIPT),
            "/echo" => self.echo(request).await,
            _ => self.show(&request).await,
        }
    }

    async fn show(&self, request: &Request<Incoming>) -> Answer {
        let visitor = self.visitor(request.headers()).await;
        let token = request.headers().get(ASSERTION).and_then(|value| value.to_str().ok());
        let mut page = Page {
            public: request.uri().path().starts_with("/public/"),
            greeting: "Nobody is signed in".into(),
            facts: Vec::new(),
            verified: None,
            doubt: None,
            head: token.and_then(|token| part(token, 0)).unwrap_or_default(),
            claims: token.and_then(|token| part(token, 1)).unwrap_or_default(),
            request: format!("{} {}", request.method(), request.uri()),
            headers: shown(request.headers()),
        };
        match &visitor {
            Visitor::Nobody => {}
            Visitor::Known { kid, claims } => {
                page.greeting = format!(
                    "Hello, {}",
                    claims["name"].as_str().or(claims["email"].as_str()).unwrap_or("you")
                );
                page.facts = facts(claims);
                page.verified = Some(kid);
            }
            Visitor::Doubtful(why) => {
                page.greeting = "This is not to be believed".into();
                page.doubt = Some(why);
            }
        }
        web::page(StatusCode::OK, &page)
    }

    /// Believes an assertion if its signature, issuer, audience and times are right, and nothing else.
    async fn visitor(&self, headers: &HeaderMap) -> Visitor {
        let Some(token) = headers.get(ASSERTION) else {
            return Visitor::Nobody;
        };
        match self.verify(token).await {
            Ok((kid, claims)) => Visitor::Known { kid, claims },
            Err(why) => Visitor::Doubtful(why.to_string()),
        }
    }

    async fn verify(&self, token: &HeaderValue) -> Result<(String, Value), Box<dyn std::error::Error + Send + Sync>> {
        let token = token.to_str()?;
        let kid = jsonwebtoken::decode_header(token)?.kid.ok_or("there is no kid")?;
        let key = self.key(&kid).await?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&self.origin]);
        validation.set_audience(&[&self.origin]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        validation.validate_nbf = true;
        let claims = jsonwebtoken::decode::<Value>(token, &key, &validation)?.claims;
        Ok((kid, claims))
    }

    /// The key of this id; where it is not known, the gateway's keys are asked for again.
    async fn key(&self, kid: &str) -> Result<DecodingKey, Box<dyn std::error::Error + Send + Sync>> {
        let mut keys = self.keys.lock().await;
        if keys.find(kid).is_none() {
            let answer = self.client.get(self.jwks_url.clone()).await?;
            let body = Limited::new(answer.into_body(), 64 * 1024).collect().await?.to_bytes();
            *keys = serde_json::from_slice(&body)?;
        }
        let jwk = keys.find(kid).ok_or("the gateway publishes no key of this id")?;
        Ok(DecodingKey::from_jwk(jwk)?)
    }

    /// A WebSocket that says everything back, with the name of who said it.
    async fn echo(&self, mut request: Request<Incoming>) -> Answer {
        let Visitor::Known { claims, .. } = self.visitor(request.headers()).await else {
            return web::text(StatusCode::FORBIDDEN, "text/plain", "Only for people who are known.\n");
        };
        let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
            return web::text(StatusCode::UPGRADE_REQUIRED, "text/plain", "This is a WebSocket.\n");
        };
        let accept = derive_accept_key(key.as_bytes());
        let name = claims["preferred_username"].as_str().unwrap_or("somebody").to_owned();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
                let (mut out, mut incoming) = socket.split();
                while let Some(Ok(message)) = incoming.next().await {
                    if let Message::Text(text) = message
                        && out.send(Message::text(format!("{name}: {text}"))).await.is_err()
                    {
                        break;
                    }
                }
            }
        });
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        answer
    }
}

/// Header or claims of a token, laid out to be read, believed or not.
fn part(token: &str, at: usize) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(at)?).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    serde_json::to_string_pretty(&value).ok()
}

fn facts(claims: &Value) -> Vec<(&'static str, String)> {
    let groups = |value: &Value| {
        let names = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    [
        ("E-mail", text("email")),
        ("User name", text("preferred_username")),
        ("Role", text("role")),
        ("Groups", groups(&claims["groups"])),
        ("Id here", text("sub")),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

/// What the gateway says of the person first, then the rest as it came.
fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut shown: Vec<_> = headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            let short: String = value.chars().take(160).collect();
            let mark = if short.len() < value.len() { "…" } else { "" };
            (name.to_string(), format!("{short}{mark}"))
        })
        .collect();
    shown.sort_by_key(|(name, _)| !(name.starts_with("x-vestibule-") || name.starts_with("x-forwarded-")));
    shown
}
