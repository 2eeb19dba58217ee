//! The demo's stage: an identity provider and an app on loopback, and the settings of a gateway that stands between them.

pub mod app;
pub mod provider;
pub mod web;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use vestibule::config::{
    AuthMethod, ClientAuth, Database, EmailVerified, EntryRules, ForwardingHeader, LogFormat, Oidc, ProviderProxy,
    PublicPaths, PublicUrl, SecretKeys, Settings, Upstream,
};

use self::app::App;
use self::provider::{Client, Provider};

const STYLE: &str = include_str!("demo.css");
const SCRIPT: &str = include_str!("demo.js");

/// Where everything listens, on loopback; 0 takes a free port.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The gateway.
    pub gateway: u16,
    /// Its ops listener.
    pub ops: u16,
    /// The identity provider.
    pub provider: u16,
    /// The app.
    pub app: u16,
}

/// What was set up.
pub struct Stage {
    /// For the gateway. It listens as soon as somebody starts it with them.
    pub settings: Settings,
    /// Where people go: the gateway's public URL.
    pub origin: String,
    /// The provider's issuer.
    pub issuer: String,
    /// Ports that were taken, and what was taken instead.
    pub moved: Vec<(u16, u16)>,
}

/// Starts the provider and the app on the runtime that this is called on. The gateway's database goes into `folder`.
pub async fn set(ports: Ports, folder: &Path) -> Result<Stage, Box<dyn std::error::Error + Send + Sync>> {
    let mut moved = Vec::new();
    let provider_listener = listen(ports.provider, &mut moved).await?;
    let app_listener = listen(ports.app, &mut moved).await?;
    // These two are only looked for: the gateway binds them itself.
    let gateway = listen(ports.gateway, &mut moved).await?.local_addr()?;
    let ops = listen(ports.ops, &mut moved).await?.local_addr()?;

    // Two names for one machine, so that provider and gateway are different sites for the browser, as in earnest.
    let origin = format!("http://localhost:{}", gateway.port());
    let issuer = format!("http://{}", provider_listener.local_addr()?);
    let client = Client {
        id: "vestibule-demo".into(),
        secret: "not much of a secret".into(),
        redirect_uri: format!("{origin}/oidc/callback"),
        post_logout_redirect_uri: format!("{origin}/logout"),
    };
    let settings = settings(&client, &issuer, app_listener.local_addr()?, gateway, ops, folder)?;

    let provider = Arc::new(Provider::new(issuer.clone(), client)?);
    let app = Arc::new(App::new(
        origin.clone(),
        format!("http://{gateway}/.vestibule/jwks.json").parse()?,
    ));
    tokio::spawn(web::serve(provider_listener, move |request| {
        Arc::clone(&provider).answer(request)
    }));
    tokio::spawn(web::serve(app_listener, move |request| {
        Arc::clone(&app).answer(request)
    }));
    Ok(Stage {
        settings,
        origin,
        issuer,
        moved,
    })
}

async fn listen(port: u16, moved: &mut Vec<(u16, u16)>) -> std::io::Result<TcpListener> {
    if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        return Ok(listener);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    moved.push((port, listener.local_addr()?.port()));
    Ok(listener)
}

fn settings(
    client: &Client,
    issuer: &str,
    app: SocketAddr,
    gateway: SocketAddr,
    ops: SocketAddr,
    folder: &Path,
) -> Result<Settings, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Settings {
        upstream: Upstream {
            authority: app.to_string().parse()?,
            timeout: Duration::from_mins(5),
            preserve_host: true,
            headers: Vec::new(),
        },
        public: PublicUrl {
            https: false,
            host: "localhost".into(),
            port: Some(gateway.port()),
        },
        extra_hosts: Vec::new(),
        listen: vec![gateway],
        ops_listen: ops,
        database: Database::Sqlite(folder.join("vestibule.db")),
        secret_keys: SecretKeys::File(folder.join("vestibule.key")),
        trusted_proxies: Vec::new(),
        trusted_proxy_header: ForwardingHeader::XForwardedFor,
        public_paths: PublicPaths {
            exact: Vec::new(),
            prefixes: vec!["/public/".into()],
        },
        pass_preflight: false,
        allowed_origins: Vec::new(),
        callback_path: "/oidc/callback".into(),
        logout_path: Some("/logout".into()),
        ca_file: None,
        provider_proxy: ProviderProxy::default(),
        keepalive: Duration::from_secs(75),
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(5),
        threads: 1,
        log: "warn".into(),
        log_format: LogFormat::Text,
        access_log: true,
        instance_name: "the demo".into(),
        oidc: Some(Oidc {
            issuer: issuer.into(),
            client_id: client.id.clone(),
            client_secret: Some(client.secret.clone().into()),
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
        entry: EntryRules {
            provisioning: true,
            initial_admins: Vec::new(),
            default_role: vestibule::person::Role::Member,
            allowed_domains: Some(vec!["example.com".into()]),
            allowed_groups: None,
            names_follow: false,
            email_needed: true,
        },
        assertion_audience: format!("http://localhost:{}", gateway.port()),
        session_length: Duration::from_hours(24),
        session_idle: None,
    })
}
