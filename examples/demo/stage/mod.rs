//! The demo's stage: an identity provider and an app on loopback, and the settings of a gateway that stands between them.

pub mod app;
pub mod provider;
pub mod web;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use vestibule::config::{self, Settings};

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
    let environment = environment(&client, &issuer, app_listener.local_addr()?, gateway, ops, folder);
    let settings = config::load(environment, None)?.settings;

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

/// What an operator would write into the environment.
fn environment(
    client: &Client,
    issuer: &str,
    app: SocketAddr,
    gateway: SocketAddr,
    ops: SocketAddr,
    folder: &Path,
) -> Vec<(String, String)> {
    let database = format!("sqlite:{}", folder.join("vestibule.db").display());
    [
        ("VESTIBULE_UPSTREAM", format!("http://{app}")),
        ("OIDC_ISSUER", issuer.to_owned()),
        ("OIDC_CLIENT_ID", client.id.clone()),
        ("OIDC_CLIENT_SECRET", client.secret.clone()),
        ("VESTIBULE_ALLOWED_EMAIL_DOMAINS", "example.com".to_owned()),
        ("VESTIBULE_PUBLIC_PATHS", "/public/*".to_owned()),
        ("VESTIBULE_LISTEN", gateway.to_string()),
        ("VESTIBULE_OPS_LISTEN", ops.to_string()),
        ("VESTIBULE_DATABASE_URL", database),
        ("VESTIBULE_INSTANCE_NAME", "Vestibule demo".to_owned()),
        ("VESTIBULE_LOG_FORMAT", "text".to_owned()),
        ("VESTIBULE_DRAIN_TIMEOUT", "2".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}
