//! A gateway on a real socket, between an app that writes down every byte and clients that send bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use vestibule::cli::serve::Instance;
use vestibule::clock::UnixTime;
use vestibule::config::{
    AuthMethod, ClientAuth, Database, EmailVerified, EntryRules, ForwardingHeader, IdentityField, LogFormat, Oidc,
    ProviderProxy, PublicPaths, PublicUrl, SecretKeys, Settings, Streams, Upstream, UpstreamScheme,
};
use vestibule::directory::{self, Arrival, ClaimedEmail};
use vestibule::person::{EmailAddress, Role};
use vestibule::session::{Device, NewSession};
use vestibule::store::Store;
use vestibule::telemetry::Telemetry;

pub use crate::app::{App, Seen};
pub use crate::client::{Answer, Client};
use crate::database;
pub use crate::message::dechunked;

/// A gateway in front of an [`App`], with one signed-in user.
pub struct Wire {
    pub app: App,
    pub gateway: SocketAddr,
    /// `name=value` of Ada's session cookie.
    pub cookie: String,
    pub instance: Instance,
    settings: Settings,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Wire {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let app = App::start();
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut settings = settings(app.address, &folder);
        if let Some(server) = runtime.block_on(database::on_postgres()) {
            settings.database = server;
        }
        change(&mut settings);
        let now = UnixTime::now();
        let instance = runtime
            .block_on(Instance::start(&settings, Arc::new(Telemetry::new(None)), now))
            .unwrap();
        let gateway = instance.addresses()[0];
        let cookie = runtime.block_on(sign_in(&settings, &instance, "ada@example.com", now));
        Self {
            app,
            gateway,
            cookie,
            instance,
            settings,
            runtime,
            _folder: folder,
        }
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Signs somebody in; `name=value` of their session cookie.
    pub fn sign_in(&self, email: &str) -> String {
        self.run(sign_in(&self.settings, &self.instance, email, UnixTime::now()))
    }

    /// The same, as if it had been at this time.
    pub fn signed_in_at(&self, email: &str, at: UnixTime) -> String {
        self.run(sign_in(&self.settings, &self.instance, email, at))
    }

    /// The same, with this browser.
    pub fn signed_in_from(&self, email: &str, user_agent: &str) -> String {
        let device = Device {
            user_agent: Some(user_agent.to_owned()),
            address: None,
        };
        self.run(sign_in_from(
            &self.settings,
            &self.instance,
            email,
            device,
            UnixTime::now(),
        ))
    }

    pub fn session_length(&self) -> i64 {
        i64::try_from(self.settings.session_length.as_secs()).unwrap()
    }

    pub fn database(&self) -> Database {
        self.settings.database.clone()
    }

    pub fn connect(&self) -> Client {
        Client::to(self.gateway)
    }

    /// Sends `head` (lines, without the last empty one) with Host and the session's cookie, and reads the answer.
    pub fn signed_in(&self, request_line: &str, fields: &[&str]) -> Answer {
        let cookie = format!("Cookie: {}", self.cookie);
        let mut all = vec!["Host: app.test", cookie.as_str()];
        all.extend_from_slice(fields);
        self.ask(request_line, &all)
    }

    /// Sends a request without body and reads the answer.
    pub fn ask(&self, request_line: &str, fields: &[&str]) -> Answer {
        self.connect().ask(request_line, fields)
    }

    /// Sends bytes and reads one answer.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut client = self.connect();
        client.send(bytes);
        client.answer()
    }
}

async fn sign_in(settings: &Settings, instance: &Instance, email: &str, now: UnixTime) -> String {
    sign_in_from(settings, instance, email, Device::default(), now).await
}

async fn sign_in_from(settings: &Settings, instance: &Instance, email: &str, from: Device, now: UnixTime) -> String {
    let store = Store::open(&settings.database).await.unwrap();
    let arrival = Arrival {
        issuer: "http://127.0.0.1:9".into(),
        subject: email.into(),
        email: ClaimedEmail::Verified(EmailAddress::parse(email).unwrap()),
        username: Some("ada".into()),
        name: Some("Ada Lovelace".into()),
        groups: Ok(vec!["engineers".into()]),
        hosted_domain: None,
    };
    let admitted = directory::admit(&store, &arrival, &settings.entry, &directory::Actor::system(), now)
        .await
        .unwrap();
    let new = NewSession {
        user: admitted.user,
        issuer: "http://127.0.0.1:9".into(),
        subject: email.into(),
        method: "oidc",
        how: "known",
        groups: vec!["engineers".into()],
        amr: None,
        auth_time: None,
        provider_sid: None,
        id_token: None,
        refresh_token: None,
        from,
    };
    let (token, _) = instance
        .sessions()
        .begin(new, None, &directory::Actor::system(), now)
        .await
        .unwrap();
    format!("{}={}", settings.public.cookie_name(), token.cookie_value())
}

fn settings(app: SocketAddr, folder: &tempfile::TempDir) -> Settings {
    Settings {
        upstream: Upstream {
            scheme: UpstreamScheme::Http,
            authority: app.to_string().parse().unwrap(),
            timeout: Duration::from_secs(2),
            preserve_host: true,
            headers: vec![("token-user".parse().unwrap(), IdentityField::Email)],
        },
        public: PublicUrl {
            https: false,
            host: "app.test".into(),
            port: None,
        },
        extra_hosts: vec!["app.internal".into()],
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        ops_listen: "127.0.0.1:0".parse().unwrap(),
        database: Database::Sqlite(folder.path().join("test.db")),
        secret_keys: SecretKeys::File(folder.path().join("test.db.key")),
        tls: None,
        hsts: false,
        redirect_listen: None,
        trusted_proxies: Vec::new(),
        trusted_proxy_header: ForwardingHeader::XForwardedFor,
        public_paths: PublicPaths {
            exact: vec!["/health".into()],
            prefixes: vec!["/public/".into()],
        },
        pass_preflight: false,
        allowed_origins: vec!["https://friend.test".into()],
        callback_path: "/oidc/callback".into(),
        logout_path: Some("/logout".into()),
        ca_file: None,
        provider_proxy: ProviderProxy::default(),
        keepalive: Duration::from_secs(75),
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(5),
        threads: 2,
        log: "off".into(),
        log_format: LogFormat::Text,
        access_log: false,
        instance_name: "Test".into(),
        oidc: Some(Oidc {
            issuer: "http://127.0.0.1:9".into(),
            client_id: "client".into(),
            client_secret: None,
            auth_method: AuthMethod::Pkce,
            client_auth: ClientAuth::Auto,
            custom_scopes: Vec::new(),
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
            initial_admins: Vec::new(),
            default_role: Role::Member,
            allowed_domains: None,
            allowed_groups: None,
            names_follow: false,
            email_needed: true,
            follow_group_claims: false,
            follow_ldap_groups: false,
        },
        assertion_audience: "http://app.test".into(),
        session_length: Duration::from_hours(1),
        restore: false,
        session_idle: None,
        audit_kept: Duration::from_hours(24),
        session_cache: 64 * 1024 * 1024,
        streams: Streams::EndWithSession,
        shown: vestibule::config::ShownSettings::default(),
    }
}
