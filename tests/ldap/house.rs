//! The real gateway on a real socket between a browser and an app that remembers what it saw, with a directory.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use vestibule::cli::serve::Instance;
use vestibule::clock::UnixTime;
use vestibule::config::{self, LdapScheme, LdapServer, Settings};
use vestibule::session;
use vestibule::store::Store;
use vestibule::telemetry::Telemetry;

use crate::app;
use crate::browser::{Answer, Browser};
use crate::slapd::{BASE, SECRET, SERVICE, Slapd, free_port};

pub struct House {
    instance: Instance,
    address: SocketAddr,
    origin: String,
    pub store: Store,
    seen: app::Seen,
    folder: tempfile::TempDir,
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

/// As an operator writes it into `LOCAL_LDAP_ADDRESS`.
pub fn written(addresses: &str) -> Vec<LdapServer> {
    let environment = [
        ("VESTIBULE_UPSTREAM", "http://127.0.0.1:9"),
        ("LOCAL_LDAP_LOGIN", "true"),
        ("LOCAL_LDAP_ADDRESS", addresses),
        ("LOCAL_LDAP_BASE_DN", BASE),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    config::load(environment, None).unwrap().settings.ldap.unwrap().servers
}

impl House {
    pub async fn open(slapd: &Slapd) -> Self {
        Self::with(slapd, |_| {}).await
    }

    pub async fn with(slapd: &Slapd, change: impl FnOnce(&mut Settings)) -> Self {
        Self::at(vec![plain("127.0.0.1", slapd.port)], Some(slapd.ca()), change).await
    }

    pub async fn at(servers: Vec<LdapServer>, ca: Option<PathBuf>, change: impl FnOnce(&mut Settings)) -> Self {
        let (app, seen) = app::start().await;
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
            folder,
        }
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.address, &self.origin)
    }

    pub async fn users(&self) -> Vec<vestibule::directory::User> {
        vestibule::directory::list(&self.store).await.unwrap()
    }

    /// A whole sign-in by a fresh browser.
    pub async fn sign_in(&self, login: &str, password: &str) -> (Browser, Answer) {
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
        let (before, saw) = (self.sessions().await, self.seen.lock().unwrap().len());
        let (mut browser, answer) = self.sign_in(login, password).await;
        assert_eq!(answer.status, status, "{login:?}: {}", answer.body);
        assert_eq!(browser.get("/page").await.status, StatusCode::FOUND);
        assert_eq!(browser.get("/.vestibule/whoami").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(self.sessions().await, before, "{login:?}: there is a session");
        assert_eq!(self.seen.lock().unwrap().len(), saw, "{login:?}: the app saw something");
        answer
    }

    async fn sessions(&self) -> usize {
        session::list(&self.store, None, UnixTime::now()).await.unwrap().len()
    }

    /// What another program is told of its database.
    pub fn database(&self) -> String {
        format!("sqlite:{}", self.folder.path().join("vestibule.db").display())
    }

    pub fn live_sessions(&self) -> &Arc<session::Sessions> {
        self.instance.sessions()
    }

    pub async fn close(self) {
        self.instance.drain(Duration::ZERO).await;
    }
}

impl Answer {
    /// The form's hidden field.
    pub fn state(&self) -> String {
        let (_, rest) = self.body.split_once("name=\"state\" value=\"").expect("a form");
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Browser {
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
}
