//! The real gateway on a real socket between a browser and an app that remembers what it saw, with a directory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use vestibule::cli::serve::Instance;
use vestibule::clock::UnixTime;
use vestibule::config::{self, LdapScheme, LdapServer, Settings};
use vestibule::session;
use vestibule::store::Store;
use vestibule::telemetry::Telemetry;

use crate::slapd::{BASE, SECRET, SERVICE, Slapd, free_port};

pub struct House {
    instance: Instance,
    address: SocketAddr,
    origin: String,
    pub store: Store,
    seen: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

pub fn plain(host: &str, port: u16) -> LdapServer {
    let scheme = LdapScheme::Ldap {
        host: host.into(),
        port,
    };
    LdapServer { scheme }
}

pub fn ldaps(host: &str, port: u16) -> LdapServer {
    let scheme = LdapScheme::Ldaps {
        host: host.into(),
        port,
    };
    LdapServer { scheme }
}

impl House {
    pub async fn open(slapd: &Slapd) -> Self {
        Self::with(slapd, |_| {}).await
    }

    pub async fn with(slapd: &Slapd, change: impl FnOnce(&mut Settings)) -> Self {
        Self::at(vec![plain("127.0.0.1", slapd.port)], Some(slapd.ca()), change).await
    }

    pub async fn at(servers: Vec<LdapServer>, ca: Option<PathBuf>, change: impl FnOnce(&mut Settings)) -> Self {
        let (app, seen) = app().await;
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let database = format!("sqlite:{}", folder.path().join("vestibule.db").display());
        let environment = [
            ("VESTIBULE_UPSTREAM", format!("http://{app}")),
            ("VESTIBULE_LISTEN", format!("127.0.0.1:{port}")),
            ("VESTIBULE_OPS_LISTEN", format!("127.0.0.1:{}", free_port())),
            ("VESTIBULE_PUBLIC_URL", format!("http://localhost:{port}")),
            ("VESTIBULE_DATABASE_URL", database),
            ("LOCAL_LDAP_LOGIN", "true".to_owned()),
            ("LOCAL_LDAP_ADDRESS", "ldap://127.0.0.1".to_owned()),
            ("LOCAL_LDAP_BASE_DN", BASE.to_owned()),
            ("LOCAL_LDAP_BIND_DN", SERVICE.to_owned()),
            ("LOCAL_LDAP_BIND_PW", SECRET.to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let mut settings = config::load(environment, None).unwrap().settings;
        settings.ldap.as_mut().unwrap().servers = servers;
        settings.ca_file = ca;
        settings.threads = 1;
        change(&mut settings);
        let instance = Instance::start(&settings, Arc::new(Telemetry::new(None)), UnixTime::now())
            .await
            .unwrap();
        Self {
            address: instance.addresses()[0],
            origin: settings.public.origin(),
            store: Store::open(&settings.database).await.unwrap(),
            instance,
            seen,
            _folder: folder,
        }
    }

    pub fn browser(&self) -> Browser<'_> {
        Browser {
            house: self,
            jar: HashMap::new(),
        }
    }

    pub async fn users(&self) -> Vec<vestibule::directory::User> {
        vestibule::directory::list(&self.store).await.unwrap()
    }

    /// A whole sign-in by a fresh browser.
    pub async fn sign_in(&self, login: &str, password: &str) -> (Browser<'_>, Answer) {
        let mut browser = self.browser();
        let answer = browser.sign_in(login, password).await;
        (browser, answer)
    }

    /// A sign-in that must succeed; what `whoami` says.
    pub async fn lets_in(&self, login: &str, password: &str) -> serde_json::Value {
        let (mut browser, answer) = self.sign_in(login, password).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{login}: {}", answer.body);
        browser.whoami().await
    }

    /// A sign-in that must fail with this status: no session, and the app saw nothing of it.
    pub async fn turns_away(&self, login: &str, password: &str, status: StatusCode) -> Answer {
        let (before, saw) = (self.sessions().await, self.seen.load(Ordering::SeqCst));
        let (mut browser, answer) = self.sign_in(login, password).await;
        assert_eq!(answer.status, status, "{login:?}: {}", answer.body);
        assert_eq!(browser.get("/page").await.status, StatusCode::FOUND);
        assert_eq!(browser.get("/.vestibule/whoami").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(self.sessions().await, before, "{login:?}: there is a session");
        assert_eq!(
            self.seen.load(Ordering::SeqCst),
            saw,
            "{login:?}: the app saw something"
        );
        answer
    }

    async fn sessions(&self) -> usize {
        session::list(&self.store, None, UnixTime::now()).await.unwrap().len()
    }

    pub fn live_sessions(&self) -> &Arc<session::Sessions> {
        self.instance.sessions()
    }

    pub async fn close(self) {
        self.instance.drain(Duration::ZERO).await;
    }
}

/// A browser with a cookie jar.
pub struct Browser<'a> {
    house: &'a House,
    pub jar: HashMap<String, String>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    headers: http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The form's hidden field.
    pub fn state(&self) -> String {
        let (_, rest) = self.body.split_once("name=\"state\" value=\"").expect("a form");
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Browser<'_> {
    pub async fn get(&mut self, target: &str) -> Answer {
        self.ask(Method::GET, target, &[], None).await
    }

    pub async fn sign_in(&mut self, login: &str, password: &str) -> Answer {
        let form = self.get("/.vestibule/login?rd=/page%3Fa=b").await;
        assert_eq!(form.status, StatusCode::OK, "{}", form.body);
        self.send(&form.state(), login, password, &[]).await
    }

    pub async fn send(&mut self, state: &str, login: &str, password: &str, headers: &[(&str, &str)]) -> Answer {
        let fields = [("state", state), ("username", login), ("password", password)];
        self.ask(Method::POST, "/.vestibule/login", headers, Some(&fields))
            .await
    }

    pub async fn whoami(&mut self) -> serde_json::Value {
        let answer = self.get("/.vestibule/whoami").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    pub async fn ask(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        form: Option<&[(&str, &str)]>,
    ) -> Answer {
        let cookies: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", self.house.origin.trim_start_matches("http://"))
            .header("accept", "text/html");
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = form.map_or_else(String::new, |fields| {
            url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(fields)
                .finish()
        });
        if form.is_some() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        let stream = TcpStream::connect(self.house.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let response = sender
            .send_request(request.body(Full::new(Bytes::from(body))).unwrap())
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        for line in answer.headers.get_all("set-cookie") {
            let (name, rest) = line.to_str().unwrap().split_once('=').unwrap();
            if rest.contains("Max-Age=0") {
                self.jar.remove(name);
            } else {
                self.jar
                    .insert(name.to_owned(), rest.split(';').next().unwrap().to_owned());
            }
        }
        answer
    }
}

async fn app() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let seen = Arc::clone(&counted);
            tokio::spawn(async move {
                let service = service_fn(move |_: Request<Incoming>| {
                    seen.fetch_add(1, Ordering::SeqCst);
                    async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"the app")))) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, seen)
}
