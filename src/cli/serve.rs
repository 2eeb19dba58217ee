//! `vestibule serve`: builds everything, starts it, and ends it in order.
//!
//! [`Instance::start`] is what the command, the demo and the tests use alike.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::UnixTime;
use crate::config::{Database, EntryRules, KeyFileError, Settings};
use crate::console::{self, Console};
use crate::directory::{self, Link};
use crate::gateway::{BindError, CannotUse, Certificate, Control, Lent, Listeners, Running, Shared, redirect_to_https};
use crate::identity::{AssertionSettings, KeyRing, KeyRingError};
use crate::ops::{self, Reloader, Signals, Told, Vitals};
use crate::pages::Pages;
use crate::seal::{NoKey, Sealer};
use crate::session::{SessionRules, Sessions, Unavailable};
use crate::sign_in::{CannotStart, ProviderState, RESTORE_PATH, SignIn};
use crate::store::{Store, StoreError};
use crate::telemetry::log::LogHandle;
use crate::telemetry::{AccessLog, Health, Telemetry};
use crate::trust::CannotTrust;

/// Threads of the control plane: sign-ins, SQL, keys, operations.
const CONTROL_THREADS: usize = 2;

/// Runs the gateway until it is told to end. `read_again` reads the configuration anew on SIGHUP.
#[must_use]
pub fn run(settings: Settings, log: LogHandle, read_again: impl FnMut() -> Result<Settings, String>) -> ExitCode {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build();
    let served = runtime
        .map_err(StartError::from)
        .and_then(|runtime| runtime.block_on(serve(settings, log, read_again)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the gateway does not start");
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    settings: Settings,
    log: LogHandle,
    mut read_again: impl FnMut() -> Result<Settings, String>,
) -> Result<(), StartError> {
    let mut signals = Signals::new()?;
    let ops_listener = TcpListener::bind(settings.ops_listen)
        .await
        .map_err(|source| BindError {
            address: settings.ops_listen,
            source,
        })?;
    let access_log = settings
        .access_log
        .then(|| AccessLog::start(settings.log_format))
        .transpose()?;
    let telemetry = Arc::new(Telemetry::new(access_log));
    let health = Arc::new(Health::default());
    let started: Arc<OnceLock<Instance>> = Arc::default();
    let stop_ops = CancellationToken::new();
    let (looking, phase) = (Arc::clone(&started), Arc::clone(&health));
    tokio::spawn(ops::serve(
        ops_listener,
        move || vitals(looking.get(), &phase),
        stop_ops.clone(),
    ));

    let begun = Instance::start(&settings, Arc::clone(&telemetry), UnixTime::now()).await?;
    let instance = started.get_or_init(|| begun);
    health.serving();
    tracing::info!(listen = ?instance.addresses(), ops = %settings.ops_listen, public_url = settings.public.origin(), upstream = %settings.upstream, "serving");

    let mut reloader = Reloader::new(settings, Arc::clone(instance.entry()), Some(log));
    while signals.next().await == Told::Reload {
        reloader.reload(read_again());
    }
    let (delay, limit) = (reloader.current().drain_delay, reloader.current().drain_timeout);
    Box::pin(ops::drain(&health, delay, signals.stop(), instance.drain(limit))).await;
    stop_ops.cancel();
    telemetry.flush();
    Ok(())
}

/// Refuses an instance that nobody could ever sign in to, and warns of one that whoever comes next would own.
async fn who_could_sign_in(settings: &Settings, store: &Store) -> Result<(), StartError> {
    if !settings.entry.provisioning && settings.entry.initial_admins.is_empty() && directory::is_empty(store).await? {
        return Err(StartError::NobodyCanSignIn);
    }
    if directory::first_admin_open(store, &settings.entry).await? {
        warn_of_first_admin(&settings.database);
    }
    Ok(())
}

fn warn_of_first_admin(database: &Database) {
    tracing::warn!(
        %database,
        "nobody has signed in yet: the next person to sign in becomes the admin; name them in VESTIBULE_INITIAL_ADMINS to be sure who"
    );
}

/// The console's button, which tries the same as `vestibule check`.
fn check_of(settings: &Settings) -> console::Check {
    let settings = Arc::new(settings.clone());
    Box::new(move || {
        let settings = Arc::clone(&settings);
        Box::pin(async move {
            let found = ops::check(&settings, None).await;
            let warnings = found.warnings.into_iter().map(|(_, sentence)| sentence);
            console::Checked {
                trials: found
                    .trials
                    .into_iter()
                    .map(|trial| (trial.of.to_owned(), trial.outcome))
                    .collect(),
                warnings: warnings.chain(found.notes).collect(),
            }
        })
    })
}

/// Writes the one-time link to standard error, and to no log target: logs are kept, copied and searched.
async fn tell_of_restore(settings: &Settings, store: &Store, now: UnixTime) -> Result<(), StoreError> {
    if !settings.restore {
        return directory::no_restore_link(store, now).await;
    }
    match directory::restore_link(store, now).await? {
        Link::New(secret) => super::output::to_stderr(format_args!(
            "to sign in without single sign-on, once, within 15 minutes: {}{RESTORE_PATH}?link={}",
            settings.public.origin(),
            secret.expose_secret()
        )),
        Link::Open(until) => super::output::to_stderr(format_args!(
            "LOCAL_RESTORE: the link that was written before is good for {} more minutes; start again after that for another",
            until.since(now) / 60 + 1
        )),
        Link::Used => super::output::to_stderr(
            "LOCAL_RESTORE: the link was used; start once without LOCAL_RESTORE, and then with it, for another",
        ),
    }
    Ok(())
}

/// How the gateway is; before it is started it is starting.
fn vitals(instance: Option<&Instance>, health: &Health) -> Vitals {
    Vitals {
        phase: health.phase(),
        store_away: instance.map_or(0, |instance| instance.sessions.away_for(UnixTime::now())),
        sessions_known: instance.map_or(0, |instance| instance.sessions.known()),
        provider: instance.map_or(ProviderState::None, |instance| instance.sign_in.provider_state()),
        jwks: instance.map(|instance| instance.keys.jwks()).unwrap_or_default(),
    }
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what its source says")]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    #[error(transparent)]
    NoKey(#[from] NoKey),
    #[error(transparent)]
    Certificate(#[from] CannotUse),
    #[error("VESTIBULE_CA_FILE: {0}")]
    Trust(#[from] CannotTrust),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sessions(#[from] Unavailable),
    #[error(transparent)]
    KeyRing(#[from] KeyRingError),
    #[error(transparent)]
    SignIn(#[from] CannotStart),
    #[error("threads could not be started: {0}")]
    Threads(#[from] io::Error),
    #[error("{}", ops::NOBODY_CAN_SIGN_IN)]
    NobodyCanSignIn,
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Instance {
    running: Running,
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    sessions: Arc<Sessions>,
    sign_in: Arc<SignIn>,
    keys: Arc<KeyRing>,
    entry: Arc<ArcSwap<EntryRules>>,
    newly_made: bool,
}

impl Instance {
    /// Builds everything and starts it on the runtime it is called on, which becomes the control plane.
    ///
    /// # Errors
    /// If anything that the gateway needs from the start is not there. The provider is not among it.
    pub async fn start(settings: &Settings, telemetry: Arc<Telemetry>, now: UnixTime) -> Result<Self, StartError> {
        let listeners = Listeners::bind(&settings.listen)?;
        let certificate = settings.tls.as_ref().map(Certificate::open).transpose()?;
        let sealer = Arc::new(Sealer::new(&settings.secret_keys.load()?)?);
        let store = Store::open(&settings.database).await?;
        who_could_sign_in(settings, &store).await?;
        tell_of_restore(settings, &store, now).await?;
        let assertion = AssertionSettings {
            issuer: settings.public.origin(),
            audience: settings.assertion_audience.clone(),
            upstream_headers: settings.upstream.headers.clone(),
        };
        let keys = Arc::new(KeyRing::open(store.clone(), Arc::clone(&sealer), assertion, now).await?);
        let rules = SessionRules {
            length: settings.session_length,
            idle: settings.session_idle,
            audit_kept: settings.audit_kept,
            cache: settings.session_cache,
        };
        let sessions = Sessions::open(store.clone(), Arc::clone(&sealer), rules, now).await?;
        let entry = Arc::new(ArcSwap::from_pointee(settings.entry.clone()));
        let pages = Arc::new(Pages::new(&settings.instance_name));
        let sign_in = Arc::new(SignIn::new(
            settings,
            Arc::clone(&entry),
            Arc::clone(&sealer),
            store.clone(),
            Arc::clone(&sessions),
            Pages::clone(&pages),
        )?);

        let console = Arc::new(Console::new(
            settings,
            console::Lent {
                store: store.clone(),
                sessions: Arc::clone(&sessions),
                keys: Arc::clone(&keys),
                sealer: Arc::clone(&sealer),
                sign_in: Arc::clone(&sign_in),
                pages: Arc::clone(&pages),
                entry: Arc::clone(&entry),
                check: check_of(settings),
            },
        ));

        let stop = CancellationToken::new();
        let (following, ring, until) = (Arc::clone(&sessions), Arc::clone(&keys), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = following.run(&ring) => {}
                () = until.cancelled() => {}
            }
        });
        let (discovering, until) = (Arc::clone(&sign_in), stop.clone());
        tokio::spawn(async move { discovering.run(until).await });

        if let Some(followed) = certificate.clone() {
            let until = stop.clone();
            tokio::spawn(async move { until.run_until_cancelled(followed.follow()).await });
        }
        if let Some(address) = settings.redirect_listen {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|source| BindError { address, source })?;
            tokio::spawn(redirect_to_https(listener, settings.public.origin(), stop.clone()));
        }
        let addresses = listeners.addresses();
        let control = Control::new(
            tokio::runtime::Handle::current(),
            Arc::clone(&sessions),
            Arc::clone(&sign_in),
            console,
        );
        let lent = Lent {
            sessions: Arc::clone(&sessions),
            keys: Arc::clone(&keys),
            pages,
            telemetry,
            control,
            certificate,
        };
        let running = Running::start(
            listeners,
            &Shared::new(settings, lent)?,
            settings.threads,
            settings.keepalive,
        )?;
        Ok(Self {
            running,
            addresses,
            stop,
            sessions,
            sign_in,
            keys,
            entry,
            newly_made: store.newly_made(),
        })
    }

    /// The addresses it listens on.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether its database was made just now.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.newly_made
    }

    /// Its sessions.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Its sign-in.
    #[must_use]
    pub fn sign_in(&self) -> &Arc<SignIn> {
        &self.sign_in
    }

    /// Its key ring.
    #[must_use]
    pub fn keys(&self) -> &Arc<KeyRing> {
        &self.keys
    }

    /// Who gets in; a reload swaps it.
    #[must_use]
    pub fn entry(&self) -> &Arc<ArcSwap<EntryRules>> {
        &self.entry
    }

    /// Stops accepting, ends streams, lets the rest finish for `limit` at most, and writes what sessions have to say.
    pub async fn drain(&self, limit: Duration) {
        self.running.drain();
        if !self.running.finished(limit).await {
            tracing::warn!(
                connections = self.running.connections(),
                "requests were still under way when the drain timeout ended"
            );
        }
        if let Err(error) = self.sessions.flush().await {
            tracing::warn!(%error, "the last use of sessions was not written");
        }
        self.stop.cancel();
    }
}
