//! A development identity provider: authorization code with PKCE, checked for real, for people who choose who they are.
//! It asks for no password, so it is part of this example and of nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use askama::Template;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, COOKIE, HeaderValue, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use vestibule::clock::UnixTime;
use vestibule::seal;

use super::web::{self, Answer, Fields};

/// Somebody to sign in as.
#[derive(Debug)]
pub struct Person {
    /// The stable id here.
    pub sub: &'static str,
    /// Full name.
    pub name: &'static str,
    /// User name.
    pub username: &'static str,
    /// Address.
    pub email: &'static str,
    /// Groups.
    pub groups: &'static [&'static str],
    /// What the page says of them.
    pub note: &'static str,
}

impl Person {
    fn initials(&self) -> String {
        self.name.split(' ').filter_map(|word| word.chars().next()).collect()
    }
}

/// Everybody who can sign in.
pub const PEOPLE: [Person; 3] = [
    Person {
        sub: "p-1815",
        name: "Ada Lovelace",
        username: "ada",
        email: "ada@example.com",
        groups: &["engineering", "research"],
        note: "Whoever signs in first becomes the admin.",
    },
    Person {
        sub: "p-1906",
        name: "Grace Hopper",
        username: "grace",
        email: "grace@example.com",
        groups: &["engineering"],
        note: "Whoever comes later is a member.",
    },
    Person {
        sub: "p-1990",
        name: "Edgar Outsider",
        username: "edgar",
        email: "edgar@elsewhere.example",
        groups: &[],
        note: "Not let in: only example.com may sign in.",
    },
];

/// The one client that is registered.
#[derive(Debug)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: String,
    /// Where codes go, exactly.
    pub redirect_uri: String,
    /// Where browsers may go after signing out, exactly.
    pub post_logout_redirect_uri: String,
}

/// The provider.
pub struct Provider {
    issuer: String,
    client: Client,
    signing: EncodingKey,
    checking: DecodingKey,
    jwks: String,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    codes: HashMap<String, Grant>,
    access_tokens: HashMap<String, &'static Person>,
    sessions: HashMap<String, (&'static Person, UnixTime)>,
}

/// What a code stands for, once, for a minute.
struct Grant {
    person: &'static Person,
    redirect_uri: String,
    code_challenge: String,
    nonce: String,
    auth_time: UnixTime,
    expires: UnixTime,
}

#[derive(Template)]
#[template(path = "demo_provider.html")]
struct ChoicePage<'a> {
    people: &'static [Person],
    hidden: Vec<(&'static str, &'a str)>,
}

#[derive(Template)]
#[template(path = "demo_provider_message.html")]
struct MessagePage<'a> {
    title: &'a str,
    text: &'a str,
}

/// What an authorization request may carry here; the page that asks who it is sends all of it on.
const REQUEST_FIELDS: [&str; 9] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "response_mode",
];
const KEY_ID: &str = "demo";
const COOKIE_NAME: &str = "demo-provider";

impl Provider {
    /// A provider at this issuer, with a key of its own.
    pub fn new(issuer: String, client: Client) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        // An uncompressed point: 4, then x and y of 32 bytes each.
        let point = pair.public_key().as_ref();
        let (x, y) = point
            .get(1..)
            .and_then(|point| point.split_at_checked(32))
            .ok_or("no point")?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": KEY_ID, "use": "sig", "alg": "ES256"});
        Ok(Self {
            issuer,
            client,
            signing: EncodingKey::from_ec_der(pair.to_pkcs8v1()?.as_ref()),
            checking: DecodingKey::from_ec_components(&x, &y)?,
            jwks: json!({ "keys": [jwk] }).to_string(),
            memory: Mutex::default(),
        })
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let headers = request.headers().clone();
        let posted = request.method() == Method::POST;
        match (path.as_str(), posted) {
            ("/.well-known/openid-configuration", false) => json_answer(StatusCode::OK, &self.metadata()),
            ("/jwks", false) => web::text(StatusCode::OK, "application/json", self.jwks.clone()),
            ("/authorize", _) => self.authorize(&Fields::of(request).await, &headers),
            ("/choose", true) => self.choose(&Fields::of(request).await, &headers),
            ("/token", true) => self.token(&Fields::of(request).await, &headers),
            ("/userinfo", _) => self.userinfo(&headers),
            ("/end-session", _) => self.end_session(&Fields::of(request).await, &headers),
            ("/demo.css", false) => web::text(StatusCode::OK, "text/css", super::STYLE),
            _ => message(
                StatusCode::NOT_FOUND,
                "Nothing here",
                "This is the demo's identity provider.",
            ),
        }
    }

    fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "userinfo_endpoint": at("/userinfo"),
            "jwks_uri": at("/jwks"),
            "end_session_endpoint": at("/end-session"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "profile", "email"],
            "prompt_values_supported": ["none", "login", "select_account"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    /// The authorization endpoint (OpenID Connect Core 1.0, section 3.1.2). Who is known in this browser goes straight on.
    fn authorize(&self, asked: &Fields, headers: &HeaderMap) -> Answer {
        if let Err(refusal) = self.check(asked) {
            return *refusal;
        }
        let prompt = asked.value("prompt");
        let known = self.session(headers);
        match (known, prompt) {
            (Some((person, auth_time)), "" | "none" | "consent") => self.grant(asked, person, auth_time),
            (None, "none") => self.back(asked, &[("error", "login_required")]),
            _ => web::page(
                StatusCode::OK,
                &ChoicePage {
                    people: &PEOPLE,
                    hidden: REQUEST_FIELDS.iter().map(|&name| (name, asked.value(name))).collect(),
                },
            ),
        }
    }

    /// Somebody chose who they are.
    fn choose(&self, asked: &Fields, headers: &HeaderMap) -> Answer {
        if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin") {
            return message(StatusCode::FORBIDDEN, "Not from here", "Another site sent this form.");
        }
        if let Err(refusal) = self.check(asked) {
            return *refusal;
        }
        let Some(person) = PEOPLE.iter().find(|person| person.sub == asked.value("person")) else {
            return self.back(asked, &[("error", "access_denied")]);
        };
        let now = UnixTime::now();
        let token = random();
        self.memory().sessions.insert(token.clone(), (person, now));
        let mut answer = self.grant(asked, person, now);
        let cookie = format!("{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Lax");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            answer.headers_mut().insert(SET_COOKIE, cookie);
        }
        answer
    }

    /// Whom the answer would go to is checked first: an error about that is shown here and sent nowhere (RFC 6749, section
    /// 4.1.2.1).
    fn check(&self, asked: &Fields) -> Result<(), Box<Answer>> {
        if asked.value("client_id") != self.client.id {
            return Err(Box::new(message(
                StatusCode::BAD_REQUEST,
                "Unknown client",
                "No client of this id is registered here.",
            )));
        }
        if asked.value("redirect_uri") != self.client.redirect_uri {
            return Err(Box::new(message(
                StatusCode::BAD_REQUEST,
                "Wrong redirect URI",
                "The redirect URI is not the registered one.",
            )));
        }
        let error = if asked.value("response_type") != "code" {
            "unsupported_response_type"
        } else if !asked.value("scope").split(' ').any(|scope| scope == "openid") {
            "invalid_scope"
        } else if asked.value("code_challenge_method") != "S256" || asked.value("code_challenge").len() != 43 {
            "invalid_request"
        } else {
            return Ok(());
        };
        Err(Box::new(self.back(asked, &[("error", error)])))
    }

    fn grant(&self, asked: &Fields, person: &'static Person, auth_time: UnixTime) -> Answer {
        let code = random();
        let grant = Grant {
            person,
            redirect_uri: asked.value("redirect_uri").to_owned(),
            code_challenge: asked.value("code_challenge").to_owned(),
            nonce: asked.value("nonce").to_owned(),
            auth_time,
            expires: UnixTime::now().plus(60),
        };
        self.memory().codes.insert(code.clone(), grant);
        self.back(asked, &[("code", &code)])
    }

    /// Back to the client, with `state` and `iss` (RFC 9207).
    fn back(&self, asked: &Fields, answer: &[(&str, &str)]) -> Answer {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(answer)
            .append_pair("state", asked.value("state"))
            .append_pair("iss", &self.issuer)
            .finish();
        web::see_other(&format!("{}?{query}", self.client.redirect_uri))
    }

    /// The token endpoint (RFC 6749, section 4.1.3; RFC 7636, section 4.6).
    fn token(&self, asked: &Fields, headers: &HeaderMap) -> Answer {
        if !self.is_client(asked, headers) {
            let mut answer = oauth_error(StatusCode::UNAUTHORIZED, "invalid_client");
            let basic = HeaderValue::from_static("Basic realm=\"demo\"");
            answer.headers_mut().insert(WWW_AUTHENTICATE, basic);
            return answer;
        }
        if asked.value("grant_type") != "authorization_code" {
            return oauth_error(StatusCode::BAD_REQUEST, "unsupported_grant_type");
        }
        let now = UnixTime::now();
        let grant = self.memory().codes.remove(asked.value("code"));
        let challenge = URL_SAFE_NO_PAD.encode(seal::sha256(asked.value("code_verifier").as_bytes()));
        let Some(grant) = grant.filter(|grant| {
            grant.expires > now
                && grant.redirect_uri == asked.value("redirect_uri")
                && grant.code_challenge == challenge
        }) else {
            return oauth_error(StatusCode::BAD_REQUEST, "invalid_grant");
        };
        let access_token = random();
        self.memory().access_tokens.insert(access_token.clone(), grant.person);
        match self.id_token(&grant, &access_token, now) {
            Ok(id_token) => json_answer(
                StatusCode::OK,
                &json!({"access_token": access_token, "token_type": "Bearer", "expires_in": 300, "id_token": id_token}),
            ),
            Err(_) => oauth_error(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        }
    }

    fn is_client(&self, asked: &Fields, headers: &HeaderMap) -> bool {
        let (id, secret) = match headers.get(AUTHORIZATION) {
            Some(basic) => match credentials(basic) {
                Some(pair) => pair,
                None => return false,
            },
            None => (
                asked.value("client_id").to_owned(),
                asked.value("client_secret").to_owned(),
            ),
        };
        id == self.client.id && secret == self.client.secret
    }

    fn id_token(
        &self,
        grant: &Grant,
        access_token: &str,
        now: UnixTime,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let half_of_hash = &seal::sha256(access_token.as_bytes())[..16];
        let mut claims = claims(grant.person);
        let protocol = json!({
            "iss": self.issuer, "aud": self.client.id, "iat": now, "exp": now.plus(300), "auth_time": grant.auth_time,
            "nonce": grant.nonce, "amr": ["demo"], "at_hash": URL_SAFE_NO_PAD.encode(half_of_hash),
        });
        if let (Some(claims), Value::Object(protocol)) = (claims.as_object_mut(), protocol) {
            claims.extend(protocol);
        }
        let header = Header {
            kid: Some(KEY_ID.into()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.signing)
    }

    fn userinfo(&self, headers: &HeaderMap) -> Answer {
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        match token.and_then(|token| self.memory().access_tokens.get(token).copied()) {
            Some(person) => json_answer(StatusCode::OK, &claims(person)),
            None => oauth_error(StatusCode::UNAUTHORIZED, "invalid_token"),
        }
    }

    /// OpenID Connect RP-Initiated Logout 1.0: with a hint that is ours, the browser goes back where it is registered.
    fn end_session(&self, asked: &Fields, headers: &HeaderMap) -> Answer {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.set_audience(&[&self.client.id]);
        validation.set_issuer(&[&self.issuer]);
        let hinted = jsonwebtoken::decode::<Value>(asked.value("id_token_hint"), &self.checking, &validation).is_ok();
        if let Some(token) = cookie(headers) {
            self.memory().sessions.remove(&token);
        }
        let back = &self.client.post_logout_redirect_uri;
        if hinted && asked.value("post_logout_redirect_uri") == back {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("state", asked.value("state"))
                .finish();
            return web::see_other(&format!("{back}?{query}"));
        }
        message(
            StatusCode::OK,
            "Signed out",
            "You are signed out at the demo's identity provider.",
        )
    }

    fn session(&self, headers: &HeaderMap) -> Option<(&'static Person, UnixTime)> {
        self.memory().sessions.get(&cookie(headers)?).copied()
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn claims(person: &Person) -> Value {
    json!({
        "sub": person.sub, "name": person.name, "preferred_username": person.username, "email": person.email,
        "email_verified": true, "groups": person.groups,
    })
}

/// `client_secret_basic`: both halves are form-encoded before they are joined (RFC 6749, section 2.3.1).
fn credentials(basic: &HeaderValue) -> Option<(String, String)> {
    let encoded = basic.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decoded = |half: &str| {
        let field = format!("half={half}");
        Fields::parse(field.as_bytes()).value("half").to_owned()
    };
    Some((decoded(id), decoded(secret)))
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?;
    cookies
        .split("; ")
        .find_map(|cookie| cookie.strip_prefix(COOKIE_NAME)?.strip_prefix('='))
        .map(str::to_owned)
}

fn random() -> String {
    URL_SAFE_NO_PAD.encode(seal::random::<32>())
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    web::text(status, "application/json", value.to_string())
}

fn oauth_error(status: StatusCode, error: &str) -> Answer {
    json_answer(status, &json!({ "error": error }))
}

fn message(status: StatusCode, title: &str, text: &str) -> Answer {
    web::page(status, &MessagePage { title, text })
}
