//! From text to meaning: every rule about values, and those between them.

mod entry;
mod ldap;
mod network;
mod oidc;
mod paths;
mod storage;
mod upstream;

use std::str::FromStr as _;
use std::time::Duration;

use super::problem::{Problem, Warning, shown};
use super::settings::{LogFormat, Moving, Settings, StoreSettings, Streams};
use super::shown::ShownSettings;
use super::source::{Found, Value, Values, text_of};
use super::table::{Kind, by_name};
use super::words;

/// Reads everything that a serving gateway needs.
pub(super) fn settings(reader: &mut Reader<'_>) -> Option<Settings> {
    let listen = network::listen(reader);
    let ops_listen = network::ops_listen(reader, listen.as_deref());
    let public = network::public_url(reader, listen.as_deref());
    let tls = network::tls(reader);
    let hsts = network::hsts(reader, public.as_ref());
    let taken: Vec<_> = listen.iter().flatten().copied().chain(ops_listen).collect();
    let redirect_listen = network::redirect_listen(reader, public.as_ref(), &taken);
    let upstream = upstream::settings(reader, listen.as_deref(), ops_listen);
    let extra_hosts = network::extra_hosts(reader, public.as_ref());
    let callback_path = paths::callback_path(reader);
    let logout_path = paths::logout_path(reader, callback_path.as_deref());
    let ours = [callback_path.clone(), logout_path.clone().flatten()];
    let public_paths = paths::public_paths(reader, &ours);
    let ca_file = network::ca_file(reader);
    let storage = storage::settings(reader, public.as_ref(), ca_file.as_ref().and_then(Option::as_deref));
    let instance_name = instance_name(reader, public.as_ref().map(|public| public.host.as_str()));
    let assertion_audience = network::assertion_audience(reader, public.as_ref());
    let ldap = ldap::settings(reader);
    // A directory alone is a way to sign in, too.
    let oidc = if ldap::is_on(reader) && !oidc::is_meant(reader) {
        Some(None)
    } else {
        oidc::settings(reader).map(Some)
    };
    let entry = entry::rules(reader);
    let trusted_proxies = network::trusted_proxies(reader);
    let trusted_proxy_header = network::trusted_proxy_header(reader);
    let allowed_origins = network::allowed_origins(reader);
    let provider_proxy = network::provider_proxy(reader);
    let pass_preflight = reader.flag("VESTIBULE_PASS_PREFLIGHT");
    let keepalive = reader.duration("VESTIBULE_KEEPALIVE", 1, 3_600);
    let drain_delay = reader.duration("VESTIBULE_DRAIN_DELAY", 0, 3_600);
    let drain_timeout = reader.duration("VESTIBULE_DRAIN_TIMEOUT", 0, 86_400);
    let threads = threads(reader);
    let log = log(reader);
    let log_format = log_format(reader);
    let access_log = reader.flag("VESTIBULE_ACCESS_LOG");
    let session_length = reader.duration("SESSION_LENGTH", 1, 366 * 86_400);
    let session_idle = session_idle(reader);
    let audit_kept = audit_kept(reader);
    let restore = reader.flag("LOCAL_RESTORE");
    if restore == Some(true) {
        reader.warn(
            "LOCAL_RESTORE",
            "a one-time link on standard error lets whoever reads it in as an admin: start without it when the set-up works",
        );
    }
    let session_cache = session_cache(reader);
    let streams = reader.flag("VESTIBULE_STREAMS_OUTLIVE_SESSION");

    let storage = storage?;
    Some(Settings {
        upstream: upstream?,
        public: public?,
        extra_hosts: extra_hosts?,
        listen: listen?,
        ops_listen: ops_listen?,
        database: storage.database,
        secret_keys: storage.secret_keys,
        tls: tls?,
        hsts: hsts?,
        redirect_listen: redirect_listen?,
        trusted_proxies: trusted_proxies?,
        trusted_proxy_header: trusted_proxy_header?,
        public_paths: public_paths?,
        pass_preflight: pass_preflight?,
        allowed_origins: allowed_origins?,
        callback_path: callback_path?,
        logout_path: logout_path?,
        ca_file: ca_file?,
        provider_proxy: provider_proxy?,
        keepalive: keepalive?,
        drain_delay: drain_delay?,
        drain_timeout: drain_timeout?,
        threads: threads?,
        log: log?,
        log_format: log_format?,
        access_log: access_log?,
        instance_name: instance_name?,
        oidc: oidc?,
        ldap: ldap?,
        entry: entry?,
        assertion_audience: assertion_audience?,
        session_length: session_length?,
        session_idle: session_idle?,
        restore: restore?,
        audit_kept: audit_kept?,
        session_cache: session_cache?,
        shown: ShownSettings::default(),
        streams: if streams? {
            Streams::OutliveSession
        } else {
            Streams::EndWithSession
        },
    })
}

/// Names of what [`store_settings`] reads.
pub(super) const STORE_SETTINGS: [&str; 6] = [
    "VESTIBULE_DATABASE_URL",
    "VESTIBULE_SECRET_KEY",
    "VESTIBULE_DATABASE_POOL",
    "VESTIBULE_DATABASE_TIMEOUT",
    "VESTIBULE_DATABASE_ALLOW_UNVERIFIED",
    "VESTIBULE_CA_FILE",
];

/// Reads what a command needs that looks into the database beside a running gateway.
pub(super) fn store_settings(reader: &mut Reader<'_>) -> Option<StoreSettings> {
    // Whether there is a default database depends on these; what is wrong with them is not this command's matter.
    let listen = network::listen(reader);
    let public = network::public_url(reader, listen.as_deref());
    // A file has no need of certificates.
    let ca_file = if storage::is_postgres(reader) {
        network::ca_file(reader)?
    } else {
        None
    };
    storage::settings(reader, public.as_ref(), ca_file.as_deref())
}

/// Reads what is needed to move an instance.
pub(super) fn moving(reader: &mut Reader<'_>, from: &str, to: &str) -> Option<Moving> {
    let listen = network::listen(reader);
    let public = network::public_url(reader, listen.as_deref());
    let ca_file = network::ca_file(reader)?;
    storage::moving(reader, public.as_ref(), ca_file.as_deref(), [from, to])
}

/// Gives out values and takes in what is wrong with them.
pub(super) struct Reader<'a> {
    pub values: &'a Values,
    pub found: Vec<Found>,
    pub warnings: Vec<Warning>,
    /// What was made from other settings where nothing is set, for those who want to see.
    pub derived: Vec<(&'static str, String)>,
}

impl<'a> Reader<'a> {
    pub fn new(values: &'a Values, found: Vec<Found>) -> Self {
        Self {
            values,
            found,
            warnings: Vec::new(),
            derived: Vec::new(),
        }
    }

    /// What was set.
    fn set(&self, name: &'static str) -> Option<&'a Value> {
        self.values.get(name)
    }

    /// What was set, or the table's default.
    fn text(&self, name: &'static str) -> Option<&'a str> {
        text_of(self.values, by_name(name)?)
    }

    /// The items of a list, none of them empty.
    fn items(&self, name: &'static str) -> Vec<String> {
        let split = |text: &str| text.split(',').map(str::to_owned).collect();
        let items: Vec<String> = match self.set(name).and_then(|value| value.items.clone()) {
            Some(items) => items,
            None => self.text(name).map(split).unwrap_or_default(),
        };
        let trimmed = items.iter().map(|item| item.trim().to_owned());
        trimmed.filter(|item| !item.is_empty()).collect()
    }

    /// Says that a value is wrong, and what to write.
    fn wrong(&mut self, name: &'static str, wrong: impl Into<String>, write: impl Into<String>) {
        let value = self.set(name);
        let read = by_name(name)
            .zip(value)
            .map(|(setting, value)| shown(setting, &value.text));
        self.found.push((
            Some(name),
            Problem {
                setting: name.to_owned(),
                source: value.map(|value| value.source.clone()),
                read,
                wrong: wrong.into(),
                write: write.into(),
            },
        ));
    }

    /// Says that an item of a list is wrong.
    fn wrong_item(&mut self, name: &'static str, item: &str, wrong: &str, write: impl Into<String>) {
        let item = by_name(name).map(|setting| shown(setting, item)).unwrap_or_default();
        self.wrong(name, format!("{item}: {wrong}"), write);
    }

    fn warn(&mut self, setting: &'static str, sentence: impl Into<String>) {
        self.warnings.push(Warning {
            setting,
            sentence: sentence.into(),
        });
    }

    fn flag(&mut self, name: &'static str) -> Option<bool> {
        let value = words::flag(self.text(name).unwrap_or("false"));
        if value.is_none() {
            self.wrong(name, "it is neither true nor false", "true or false");
        }
        value
    }

    /// Whether a flag is certainly on; says nothing if it is unreadable, [`Reader::flag`] does.
    fn is_on(&self, name: &'static str) -> bool {
        self.text(name).and_then(words::flag) == Some(true)
    }

    /// One of the setting's words, in lower case.
    fn choice(&mut self, name: &'static str) -> Option<&'static str> {
        let text = self.text(name)?;
        let Some(Kind::Choice(choices)) = by_name(name).map(|setting| setting.kind) else {
            return None;
        };
        let choice = choices.iter().find(|choice| choice.eq_ignore_ascii_case(text)).copied();
        if choice.is_none() {
            self.wrong(name, "there is no such choice", choices.join(" or "));
        }
        choice
    }

    /// A length of time between two numbers of seconds, both included.
    fn duration(&mut self, name: &'static str, least: u64, most: u64) -> Option<Duration> {
        let text = self.text(name)?;
        let (unit, word) = match by_name(name).map(|setting| setting.kind) {
            Some(Kind::Hours) => (3_600, "hours"),
            Some(Kind::Minutes) => (60, "minutes"),
            _ => (1, "seconds"),
        };
        let write = || {
            format!(
                "a number of {word}, or with a unit (90s, 15m, 720h), from {} to {}",
                in_words(least),
                in_words(most)
            )
        };
        match words::duration(text, Duration::from_secs(unit)) {
            None => {
                self.wrong(name, "it is no length of time", write());
                None
            }
            Some(length) if length < Duration::from_secs(least) || length > Duration::from_secs(most) => {
                self.wrong(name, "it is too short or too long", write());
                None
            }
            length => length,
        }
    }
}

fn in_words(seconds: u64) -> String {
    match seconds {
        0 => "0".to_owned(),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

fn instance_name(reader: &mut Reader<'_>, host: Option<&str>) -> Option<String> {
    const NAME: &str = "VESTIBULE_INSTANCE_NAME";
    let Some(value) = reader.set(NAME) else {
        reader.derived.extend(host.map(|host| (NAME, host.to_owned())));
        return host.map(str::to_owned);
    };
    if value.text.chars().count() > 100 {
        reader.wrong(NAME, "it is longer than 100 characters", "a short name");
        return None;
    }
    Some(value.text.clone())
}

fn threads(reader: &mut Reader<'_>) -> Option<usize> {
    const NAME: &str = "VESTIBULE_THREADS";
    let Some(text) = reader.text(NAME) else {
        // Sees the cgroup's quota and the affinity mask.
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        reader.derived.push((NAME, cores.to_string()));
        return Some(cores);
    };
    let count = usize::from_str(text).ok().filter(|count| (1..=256).contains(count));
    if count.is_none() {
        reader.wrong(NAME, "it is no number of threads", "a number from 1 to 256");
    }
    count
}

fn log(reader: &mut Reader<'_>) -> Option<String> {
    const NAME: &str = "VESTIBULE_LOG";
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    const WRITE: &str = "error, warn, info, debug or trace, or by target: info,vestibule::sign_in=debug";
    let text = reader.text(NAME)?;
    // The filter's own reader takes a misspelt level for the name of a target and then logs nothing else.
    let lone_word = text.split(',').map(str::trim).find(|part| {
        !part.is_empty() && !part.contains(['=', '[', ':']) && !LEVELS.contains(&part.to_ascii_lowercase().as_str())
    });
    if let Some(word) = lone_word {
        reader.wrong_item(NAME, word, "there is no such level", WRITE);
        return None;
    }
    if tracing_subscriber::EnvFilter::builder().parse(text).is_err() {
        reader.wrong(NAME, "it is no log filter", WRITE);
        return None;
    }
    Some(text.to_owned())
}

fn log_format(reader: &mut Reader<'_>) -> Option<LogFormat> {
    const NAME: &str = "VESTIBULE_LOG_FORMAT";
    if reader.set(NAME).is_some() {
        return Some(match reader.choice(NAME)? {
            "text" => LogFormat::Text,
            _ => LogFormat::Json,
        });
    }
    let format = if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        LogFormat::Text
    } else {
        LogFormat::Json
    };
    let word = if format == LogFormat::Text { "text" } else { "json" };
    reader.derived.push((NAME, word.to_owned()));
    Some(format)
}

fn audit_kept(reader: &mut Reader<'_>) -> Option<Duration> {
    const NAME: &str = "VESTIBULE_AUDIT_DAYS";
    let days = reader
        .text(NAME)?
        .parse()
        .ok()
        .filter(|days| (1..=36_500).contains(days));
    if days.is_none() {
        reader.wrong(NAME, "it is no number of days", "a number from 1 to 36500");
    }
    days.map(|days: u64| Duration::from_secs(days * 86_400))
}

/// None inside: sessions do not end by idling.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
fn session_idle(reader: &mut Reader<'_>) -> Option<Option<Duration>> {
    const NAME: &str = "VESTIBULE_SESSION_IDLE";
    if reader.set(NAME).is_none() {
        return Some(None);
    }
    reader.duration(NAME, 1, 366 * 86_400).map(Some)
}

/// In bytes.
fn session_cache(reader: &mut Reader<'_>) -> Option<u64> {
    const NAME: &str = "VESTIBULE_SESSION_CACHE";
    let mebibytes = reader.text(NAME)?.parse().ok();
    let mebibytes = mebibytes.filter(|count: &u64| (1..=65_536).contains(count));
    if mebibytes.is_none() {
        reader.wrong(NAME, "it is no number of mebibytes", "a number from 1 to 65536");
    }
    mebibytes.map(|count| count * 1024 * 1024)
}
