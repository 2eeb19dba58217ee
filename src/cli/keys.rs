//! `vestibule keys`: the keys that sign assertions.

use clap::Subcommand;
use serde_json::json;

use super::CommandError;
use super::output::{show, time};
use crate::clock::UnixTime;
use crate::config::StoreSettings;
use crate::identity;
use crate::seal::Sealer;
use crate::store::Store;
use crate::telemetry::audit::Actor;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The keys, oldest first
    List,
    /// Let the next key sign once it has been published for ten minutes
    Rotate {
        /// At once: apps that keep the old JWKS will refuse assertions until they fetch it anew
        #[arg(long)]
        now: bool,
    },
}

pub(super) async fn run(
    command: Command,
    settings: &StoreSettings,
    store: &Store,
    json: bool,
) -> Result<(), CommandError> {
    let now = UnixTime::now();
    match command {
        Command::List => {
            let keys = identity::list(store, now).await?.into_iter().map(|key| {
                json!({
                    "kid": key.kid,
                    "state": key.state.as_str(),
                    "created": time(key.created),
                    "signs_from": key.signs_from.map(time),
                    "signs_until": key.signs_until.map(time),
                })
            });
            show(
                keys.collect(),
                &["kid", "state", "created", "signs_from", "signs_until"],
                json,
            );
        }
        Command::Rotate { now: immediately } => {
            let sealer = Sealer::new(&settings.secret_keys.load()?)?;
            let rotated = identity::rotate(store, &sealer, immediately, &Actor::shell(), now).await?;
            let object = json!({ "kid": rotated.kid, "signs_from": time(rotated.at) });
            show(vec![object], &["kid", "signs_from"], json);
        }
    }
    Ok(())
}
