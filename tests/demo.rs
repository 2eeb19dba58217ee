//! The demo works: its provider, its app and the real gateway between them, walked through as its printed text says.

#[path = "../examples/demo/stage/mod.rs"]
mod stage;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{COOKIE, HeaderName, LOCATION, SET_COOKIE};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use stage::{Ports, Stage};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use vestibule::cli::serve::Instance;
use vestibule::clock::UnixTime;
use vestibule::telemetry::Telemetry;

struct Play {
    stage: Stage,
    gateway: Instance,
    _folder: TempDir,
}

async fn play() -> Play {
    let folder = tempfile::tempdir().unwrap();
    let free = Ports {
        gateway: 0,
        ops: 0,
        provider: 0,
        app: 0,
    };
    let stage = stage::set(free, folder.path()).await.unwrap();
    let telemetry = Arc::new(Telemetry::new(None));
    let gateway = Instance::start(&stage.settings, telemetry, UnixTime::now())
        .await
        .unwrap();
    let known = async {
        while gateway.sign_in().provider_state() != vestibule::sign_in::ProviderState::Known {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), known)
        .await
        .unwrap();
    Play {
        stage,
        gateway,
        _folder: folder,
    }
}

/// A browser as far as this needs one: cookies by host and port, and redirects that are followed by hand.
struct Browser {
    client: Client<HttpConnector, Full<Bytes>>,
    cookies: BTreeMap<(String, String), String>,
}

struct Seen {
    status: StatusCode,
    location: String,
    body: String,
}

impl Browser {
    fn new() -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            cookies: BTreeMap::new(),
        }
    }

    async fn get(&mut self, url: &str) -> Seen {
        self.send(Request::get(url).header("accept", "text/html"), "").await
    }

    async fn post(&mut self, url: &str, form: &str) -> Seen {
        let request = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
        self.send(request, form).await
    }

    async fn send(&mut self, request: http::request::Builder, body: &str) -> Seen {
        let mut request = request.body(Full::from(body.to_owned())).unwrap();
        let site = request.uri().authority().unwrap().to_string();
        if let Some(cookies) = self.cookies_for(&site) {
            request.headers_mut().insert(COOKIE, cookies.parse().unwrap());
        }
        let answer = self.client.request(request).await.unwrap();
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let key = (site.clone(), name.to_owned());
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
        let location = |name: HeaderName| {
            answer
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        Seen {
            status: answer.status(),
            location: location(LOCATION).unwrap_or_default(),
            body: String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        }
    }

    fn cookies_for(&self, site: &str) -> Option<String> {
        let of_site = self.cookies.iter().filter(|((of, _), _)| of == site);
        let pairs: Vec<_> = of_site.map(|((_, name), value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// From a page of the app through the provider and back; what the gateway says to the callback.
    async fn sign_in(&mut self, stage: &Stage, person: &str) -> Seen {
        let to_sign_in = self.get(&format!("{}/a/page?x=1", stage.origin)).await;
        assert_eq!(to_sign_in.status, StatusCode::FOUND);
        let to_provider = self.get(&format!("{}{}", stage.origin, to_sign_in.location)).await;
        assert!(
            to_provider
                .location
                .starts_with(&format!("{}/authorize?", stage.issuer))
        );
        let choice = self.get(&to_provider.location).await;
        assert!(choice.body.contains("Who are you?"), "{}", choice.body);
        let (_, query) = to_provider.location.split_once('?').unwrap();
        let back = self
            .post(&format!("{}/choose", stage.issuer), &format!("{query}&person={person}"))
            .await;
        assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
        self.get(&back.location).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_does_what_it_says() {
    let Play {
        stage,
        gateway,
        _folder,
    } = play().await;
    let home = format!("{}/", stage.origin);

    // Ada comes first and is the admin; the app believes it, for the assertion says so.
    let mut ada = Browser::new();
    let arrived = ada.sign_in(&stage, "p-1815").await;
    assert_eq!(arrived.location, "/a/page?x=1", "{}", arrived.body);
    let page = ada.get(&home).await;
    assert_eq!(page.status, StatusCode::OK);
    for part in [
        "Hello, Ada Lovelace",
        "<strong>Verified.</strong>",
        "<dd>admin</dd>",
        "engineering, research",
    ] {
        assert!(page.body.contains(part), "{part} in {}", page.body);
    }

    // Grace is a member; Edgar is refused, and has no session.
    let mut grace = Browser::new();
    grace.sign_in(&stage, "p-1906").await;
    assert!(grace.get(&home).await.body.contains("<dd>member</dd>"));
    let mut edgar = Browser::new();
    assert_eq!(edgar.sign_in(&stage, "p-1990").await.status, StatusCode::FORBIDDEN);
    assert_eq!(edgar.get(&home).await.status, StatusCode::FOUND);

    // The public page knows who has a session, and believes nobody who only says so.
    let public = format!("{}/public/hello", stage.origin);
    assert!(ada.get(&public).await.body.contains("Hello, Ada Lovelace"));
    let spoofed = Request::get(&public)
        .header("x-forwarded-user", "root-by-header")
        .header("x_vestibule_assertion", "root-by-header");
    let spoofed = Browser::new().send(spoofed, "").await;
    assert!(
        spoofed.body.contains("Nobody is signed in") && !spoofed.body.contains("root-by-header"),
        "{}",
        spoofed.body
    );

    // The WebSocket says everything back, by name.
    let site = stage.origin.strip_prefix("http://").unwrap();
    let mut request = format!("ws://{site}/echo").into_client_request().unwrap();
    request
        .headers_mut()
        .insert(COOKIE, ada.cookies_for(site).unwrap().parse().unwrap());
    let stream = TcpStream::connect(gateway.addresses()[0]).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    socket.send(Message::text("Hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("ada: Hello"));

    // Signing out ends the session here and at the provider, and comes back here.
    let out = ada.get(&format!("{}/logout", stage.origin)).await;
    assert!(
        out.location.starts_with(&format!("{}/end-session?", stage.issuer)),
        "{}",
        out.location
    );
    let back = ada.get(&out.location).await;
    assert!(
        back.location.starts_with(&format!("{}/logout?", stage.origin)),
        "{} {}",
        back.location,
        back.body
    );
    assert_eq!(ada.get(&back.location).await.status, StatusCode::OK);
    assert_eq!(ada.get(&home).await.status, StatusCode::FOUND);
    let again = ada.get(&format!("{}/.vestibule/login", stage.origin)).await;
    assert!(ada.get(&again.location).await.body.contains("Who are you?"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_of_the_demo_checks_what_a_provider_checks() {
    let Play { stage, .. } = play().await;
    let mut browser = Browser::new();
    let authorize = |change: &[(&str, &str)]| {
        let redirect_uri = format!("{}/oidc/callback", stage.origin);
        let mut query: BTreeMap<&str, &str> = BTreeMap::from([
            ("response_type", "code"),
            ("client_id", "vestibule-demo"),
            ("redirect_uri", &redirect_uri),
            ("scope", "openid"),
            ("state", "s"),
            // Of the verifier in RFC 7636, appendix B.
            ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            ("code_challenge_method", "S256"),
            ("person", "p-1815"),
        ]);
        query.extend(change.iter().copied());
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(query)
            .finish()
    };
    let choose = format!("{}/choose", stage.issuer);
    let token_url = format!("{}/token", stage.issuer);

    for change in [("client_id", "another"), ("redirect_uri", "https://evil.example/")] {
        let refused = browser.post(&choose, &authorize(&[change])).await;
        assert_eq!(
            (refused.status, refused.location.as_str()),
            (StatusCode::BAD_REQUEST, "")
        );
    }
    for change in [
        ("code_challenge_method", "plain"),
        ("scope", "profile"),
        ("response_type", "token"),
    ] {
        let refused = browser.post(&choose, &authorize(&[change])).await;
        assert!(
            refused.location.contains("?error=") && !refused.location.contains("code="),
            "{}",
            refused.location
        );
    }

    let redeem = |code: &str, change: (&str, &str)| {
        let redirect_uri = format!("{}/oidc/callback", stage.origin);
        let mut form: BTreeMap<&str, &str> = BTreeMap::from([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            ("client_id", "vestibule-demo"),
            ("client_secret", "not much of a secret"),
        ]);
        form.extend([change]);
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish()
    };
    for (change, error) in [
        (("client_secret", "wrong"), "invalid_client"),
        (
            ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXx"),
            "invalid_grant",
        ),
        (("redirect_uri", "https://evil.example/"), "invalid_grant"),
    ] {
        let code = code(&browser.post(&choose, &authorize(&[])).await.location);
        let refused = browser.post(&token_url, &redeem(&code, change)).await;
        assert_eq!(
            serde_json::from_str::<Value>(&refused.body).unwrap(),
            json!({ "error": error })
        );
    }
    let code = code(&browser.post(&choose, &authorize(&[])).await.location);
    let right = redeem(&code, ("grant_type", "authorization_code"));
    assert_eq!(browser.post(&token_url, &right).await.status, StatusCode::OK);
    assert_eq!(
        browser.post(&token_url, &right).await.status,
        StatusCode::BAD_REQUEST,
        "a code works once"
    );
}

fn code(location: &str) -> String {
    let query = location.parse::<Uri>().unwrap().query().unwrap().to_owned();
    let mut fields = url::form_urlencoded::parse(query.as_bytes());
    fields.find(|(name, _)| name == "code").unwrap().1.into_owned()
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_another_one_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let ports = Ports {
        gateway: port,
        ops: 0,
        provider: 0,
        app: 0,
    };
    let stage = stage::set(ports, folder.path()).await.unwrap();
    let [(wanted, used)] = stage.moved[..] else {
        panic!("{:?}", stage.moved)
    };
    assert_eq!(wanted, port);
    assert_ne!(used, port);
    assert_eq!(stage.origin, format!("http://localhost:{used}"));
}
