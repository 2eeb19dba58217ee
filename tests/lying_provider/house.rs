//! The real gateway on a real socket between a browser and an app that remembers what it saw.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::net::TcpListener;
use vestibule::cli::serve::Instance;
use vestibule::clock::UnixTime;
use vestibule::config::{
    AuthMethod, ClientAuth, Database, EmailVerified, EntryRules, ForwardingHeader, LogFormat, Oidc, ProviderProxy,
    PublicPaths, PublicUrl, SecretKeys, Settings, Streams, Upstream, UpstreamScheme,
};
use vestibule::person::Role;
use vestibule::seal::SecretKey;
use vestibule::session;
use vestibule::store::Store;
use vestibule::telemetry::Telemetry;

use crate::browser::{self, Answer};
use crate::provider::{CLIENT_ID, CLIENT_SECRET, Provider, State};
use crate::{app, database};

pub struct House {
    pub provider: Provider,
    pub instance: Instance,
    address: SocketAddr,
    origin: String,
    store: Store,
    seen: app::Seen,
    _folder: tempfile::TempDir,
}

impl House {
    /// Code with PKCE, an honest provider.
    pub async fn open() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    pub async fn implicit() -> Self {
        Self::with(|settings| oidc(settings).auth_method = AuthMethod::Implicit, |_| {}).await
    }

    /// A provider that is made to lie before the gateway sees it, and changed settings.
    pub async fn with(settings: impl FnOnce(&mut Settings), lie: impl FnOnce(&mut State)) -> Self {
        let provider = Provider::start().await;
        provider.change(lie);
        let (app, seen) = app::start().await;
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().await;
        let mut wanted = plain_settings(&provider.issuer, app, port, folder.path());
        if let Some(server) = database::on_postgres().await {
            wanted.database = server;
        }
        settings(&mut wanted);
        let instance = Instance::start(&wanted, Arc::new(Telemetry::new(None)), UnixTime::now())
            .await
            .unwrap();
        Self {
            address: instance.addresses()[0],
            origin: wanted.public.origin(),
            store: Store::open(&wanted.database).await.unwrap(),
            provider,
            instance,
            seen,
            _folder: folder,
        }
    }

    pub fn browser(&self) -> Browser<'_> {
        Browser {
            house: self,
            own: browser::Browser::new(self.address, &self.origin),
        }
    }

    pub fn upstream_saw(&self) -> Vec<http::request::Parts> {
        self.seen.lock().unwrap().clone()
    }

    pub async fn sessions(&self) -> usize {
        session::list(&self.store, None, UnixTime::now()).await.unwrap().len()
    }

    pub async fn users(&self) -> Vec<vestibule::directory::User> {
        vestibule::directory::list(&self.store).await.unwrap()
    }

    /// As another process does it, `vestibule users deactivate`.
    pub async fn deactivate(&self, who: &str) {
        vestibule::directory::deactivate(
            &self.store,
            &vestibule::directory::Actor::shell(),
            who,
            None,
            UnixTime::now(),
        )
        .await
        .unwrap();
    }

    /// A whole sign-in by a fresh browser; what the gateway answers to the callback.
    pub async fn sign_in(&self) -> (Browser<'_>, Answer) {
        let mut browser = self.browser();
        let answer = browser.sign_in("/page?a=b").await;
        (browser, answer)
    }

    /// A sign-in that must fail: no session anywhere, and the app saw nothing.
    pub async fn turns_away(&self, what: &str) -> Answer {
        let (mut browser, answer) = self.sign_in().await;
        self.nobody_is_in(&mut browser, &answer, what).await;
        answer
    }

    pub async fn nobody_is_in(&self, browser: &mut Browser<'_>, answer: &Answer, what: &str) {
        assert!(
            answer.status.is_client_error() || answer.status.is_server_error(),
            "{what}: {} to {:?}",
            answer.status,
            answer.header("location")
        );
        assert!(
            !browser.jar.contains_key(&self.session_cookie()),
            "{what}: a session cookie was set"
        );
        let page = browser.get("/page?a=b").await;
        assert_eq!(page.status, StatusCode::FOUND, "{what}: the page was shown");
        assert_eq!(
            browser.get("/.vestibule/whoami").await.status,
            StatusCode::UNAUTHORIZED,
            "{what}"
        );
        assert_eq!(self.sessions().await, 0, "{what}: there is a session");
        assert!(self.upstream_saw().is_empty(), "{what}: the upstream saw something");
    }

    pub fn session_cookie(&self) -> String {
        format!("vestibule-{}", self.address.port())
    }
}

pub fn oidc(settings: &mut Settings) -> &mut Oidc {
    settings.oidc.as_mut().unwrap()
}

/// A browser that goes to the provider and comes back.
pub struct Browser<'a> {
    house: &'a House,
    own: browser::Browser,
}

impl Deref for Browser<'_> {
    type Target = browser::Browser;

    fn deref(&self) -> &Self::Target {
        &self.own
    }
}

impl DerefMut for Browser<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.own
    }
}

impl Browser<'_> {
    pub async fn post(&mut self, target: &str, fields: &[(String, String)]) -> Answer {
        self.post_with(target, &[], fields).await
    }

    pub async fn post_with(&mut self, target: &str, headers: &[(&str, &str)], fields: &[(String, String)]) -> Answer {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        self.ask(Method::POST, target, headers, Some(&fields)).await
    }

    /// Asks for a page and is sent to the provider: the request it brings there.
    pub async fn begin(&mut self, target: &str) -> url::Url {
        let sent = self.get(target).await;
        assert_eq!(sent.status, StatusCode::FOUND, "{}", sent.body);
        let login = sent.header("location").unwrap().to_owned();
        self.begin_at(&login).await
    }

    pub async fn begin_at(&mut self, login: &str) -> url::Url {
        let sent = self.get(login).await;
        assert_eq!(sent.status, StatusCode::FOUND, "{}", sent.body);
        let address = url::Url::parse(sent.header("location").unwrap()).unwrap();
        assert!(
            address
                .as_str()
                .starts_with(&format!("{}/authorize?", self.house.provider.issuer))
        );
        address
    }

    /// Brings the provider's answer to the callback.
    pub async fn bring(&mut self, fields: &[(String, String)]) -> Answer {
        if fields.iter().any(|(name, _)| name == "id_token") {
            return self.post("/oidc/callback", fields).await;
        }
        self.get(&callback(fields)).await
    }

    pub async fn sign_in(&mut self, target: &str) -> Answer {
        let request = self.begin(target).await;
        let fields = self.house.provider.authorize(&request);
        self.bring(&fields).await
    }
}

pub fn callback(fields: &[(String, String)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    format!("/oidc/callback?{query}")
}

/// One field of an answer replaced, or removed where there is no value.
pub fn with_field(fields: &[(String, String)], name: &str, value: Option<&str>) -> Vec<(String, String)> {
    let mut fields: Vec<_> = fields.iter().filter(|(key, _)| key != name).cloned().collect();
    fields.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    fields
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn plain_settings(issuer: &str, app: SocketAddr, port: u16, folder: &std::path::Path) -> Settings {
    Settings {
        upstream: Upstream {
            scheme: UpstreamScheme::Http,
            authority: app.to_string().parse().unwrap(),
            timeout: Duration::from_secs(5),
            preserve_host: true,
            headers: vec![],
        },
        public: PublicUrl {
            https: false,
            host: "localhost".into(),
            port: Some(port),
        },
        extra_hosts: vec![],
        listen: vec![SocketAddr::from(([127, 0, 0, 1], port))],
        ops_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        database: Database::Sqlite(folder.join("vestibule.db")),
        secret_keys: SecretKeys::Given(vec![SecretKey::generate()]),
        tls: None,
        hsts: false,
        redirect_listen: None,
        trusted_proxies: vec![],
        trusted_proxy_header: ForwardingHeader::XForwardedFor,
        public_paths: PublicPaths::default(),
        pass_preflight: false,
        allowed_origins: vec![],
        callback_path: "/oidc/callback".into(),
        logout_path: Some("/logout".into()),
        ca_file: None,
        provider_proxy: ProviderProxy::default(),
        keepalive: Duration::from_secs(5),
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(1),
        threads: 1,
        log: "info".into(),
        log_format: LogFormat::Text,
        access_log: false,
        instance_name: "localhost".into(),
        oidc: Some(Oidc {
            issuer: issuer.into(),
            client_id: CLIENT_ID.into(),
            client_secret: Some(CLIENT_SECRET.to_owned().into()),
            auth_method: AuthMethod::Pkce,
            client_auth: ClientAuth::Auto,
            custom_scopes: vec![],
            backchannel: None,
            email_claim: Some("email".into()),
            username_claim: "preferred_username".into(),
            groups_claim: "groups".into(),
            subject_claim: "sub".into(),
            email_verified: EmailVerified::UnlessDenied,
        }),
        ldap: None,
        entry: EntryRules {
            provisioning: true,
            initial_admins: vec![],
            default_role: Role::Member,
            allowed_domains: None,
            allowed_groups: None,
            names_follow: false,
            email_needed: true,
            follow_group_claims: false,
            follow_ldap_groups: false,
        },
        assertion_audience: format!("http://localhost:{port}"),
        session_length: Duration::from_hours(1),
        restore: false,
        session_idle: None,
        audit_kept: Duration::from_hours(24),
        session_cache: 64 * 1024 * 1024,
        streams: Streams::EndWithSession,
        shown: vestibule::config::ShownSettings::default(),
    }
}
