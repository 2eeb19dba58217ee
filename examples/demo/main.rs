//! `cargo run --release --example demo`: Vestibule between an identity provider and an app, on loopback, to be looked at.
//!
//! The gateway is the real one. The provider (choose who you are) and the app (shows what it received) are this example's.

mod stage;

use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpStream;
use vestibule::cli::serve;
use vestibule::config::LogFormat;
use vestibule::telemetry::log;

use self::stage::{Ports, Stage};

const PORTS: Ports = Ports {
    gateway: 4180,
    ops: 4181,
    provider: 4182,
    app: 4183,
};

fn main() -> ExitCode {
    match play() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("The demo does not start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<ExitCode, Box<dyn std::error::Error + Send + Sync>> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let stage = runtime.block_on(stage::set(PORTS, folder.path()))?;
    for (wanted, taken) in &stage.moved {
        println!("Port {wanted} is taken; using {taken}.");
    }
    let log = log::init("warn", LogFormat::Text)?;
    let settings = stage.settings.clone();
    runtime.spawn(announce(stage));
    let again = settings.clone();
    Ok(serve::run(settings, log, move || Ok(again.clone())))
}

/// Says what to do, once the gateway is there.
async fn announce(stage: Stage) {
    let Some(gateway) = stage.settings.listen.first() else {
        return;
    };
    while TcpStream::connect(gateway).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (origin, ops, issuer) = (&stage.origin, stage.settings.ops_listen, &stage.issuer);
    println!(
        "
Vestibule stands in front of a demo app:

    {origin}/

What to try
  1. Open it and sign in as Ada. Whoever comes first becomes the admin. The page shows what the app received.
  2. Open it in a private window and sign in as Grace: a member. As Edgar: not let in.
  3. Sign out. You are signed out at the provider ({issuer}), too.
  4. A program is told in words that it can read:
       curl -i {origin}/
  5. Nobody can bring an identity along; the public page shows what is left of it:
       curl -s -H 'X-Forwarded-User: root' -H 'X_Forwarded_Email: root@example.com' {origin}/public/hello
  6. What operators see:
       curl -s http://{ops}/readyz
       curl -s http://{ops}/metrics
       curl -s {origin}/.vestibule/jwks.json

Below are the access log and audit events. Ctrl-C ends everything; the database goes with it.
"
    );
}
