//! Where things are kept, and the keys that seal them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::{Reader, network};
use crate::config::postgres;
use crate::config::problem::Problem;
use crate::config::settings::{Database, Moving, PublicUrl, SecretKeys, StoreSettings};
use crate::seal::SecretKey;

pub(super) fn settings(
    reader: &mut Reader<'_>,
    public: Option<&PublicUrl>,
    ca_file: Option<&Path>,
) -> Option<StoreSettings> {
    let database = database(reader, public, ca_file);
    let given = secret_keys(reader);
    let database = database?;
    let secret_keys = match (given?, &database) {
        (Some(keys), _) => SecretKeys::Given(keys),
        (None, Database::Sqlite(path)) => {
            let file = key_file(path);
            reader
                .derived
                .push(("VESTIBULE_SECRET_KEY", format!("kept in {}", file.display())));
            SecretKeys::File(file)
        }
        (None, Database::Postgres(_)) => {
            reader.wrong(
                "VESTIBULE_SECRET_KEY",
                "it is missing: several gateways on one database need the same key",
                KEY_WRITE,
            );
            return None;
        }
    };
    Some(StoreSettings {
        database,
        secret_keys,
        email_needed: super::entry::email_needed(reader),
    })
}

pub(super) fn is_postgres(reader: &Reader<'_>) -> bool {
    let value = reader.set("VESTIBULE_DATABASE_URL");
    value.is_some_and(|value| postgres::is_meant(&value.text))
}

fn database(reader: &mut Reader<'_>, public: Option<&PublicUrl>, ca_file: Option<&Path>) -> Option<Database> {
    const NAME: &str = "VESTIBULE_DATABASE_URL";
    const WRITE: &str = "sqlite:/var/lib/vestibule/vestibule.db, in a folder that outlives the gateway";
    let local = public.is_some_and(network::is_local_url);
    let Some(value) = reader.set(NAME) else {
        if local {
            reader.derived.push((NAME, "sqlite:vestibule.db".to_owned()));
            return Some(Database::Sqlite(PathBuf::from("vestibule.db")));
        }
        reader.wrong(
            NAME,
            "it is missing; only a gateway for this machine alone (a loopback public URL) goes without",
            WRITE,
        );
        return None;
    };
    // Read in any case: what is wrong with them is wrong.
    let rules = postgres_rules(reader, ca_file);
    if postgres::is_meant(&value.text) {
        return postgres_database(reader, &value.text, &rules?);
    }
    for name in ["VESTIBULE_DATABASE_POOL", "VESTIBULE_DATABASE_TIMEOUT"] {
        if reader.set(name).is_some() {
            reader.warn(name, "it is for PostgreSQL; SQLite goes without");
        }
    }
    let wrong = match sqlite_path(&value.text) {
        Err(wrong) => wrong,
        Ok(path) if !local && !Path::new(path).is_absolute() => {
            "the path is not absolute: it would depend on the folder the gateway is started in"
        }
        Ok(path) => return Some(Database::Sqlite(PathBuf::from(path))),
    };
    reader.wrong(NAME, wrong, WRITE);
    None
}

/// Two databases that are named as arguments, and the key of the first.
pub(super) fn moving(
    reader: &mut Reader<'_>,
    public: Option<&PublicUrl>,
    ca_file: Option<&Path>,
    [from, to]: [&str; 2],
) -> Option<Moving> {
    let given = secret_keys(reader);
    let rules = postgres_rules(reader, ca_file);
    let mut database = |argument: &'static str, text: &str| {
        if text == "configured" {
            return self::database(reader, public, ca_file);
        }
        let read = if postgres::is_meant(text) {
            postgres::read(text, rules.as_ref()?).map(|read| Database::Postgres(read.postgres))
        } else {
            let path = sqlite_path(text).map(|path| Database::Sqlite(PathBuf::from(path)));
            path.map_err(|wrong| (wrong.to_owned(), "sqlite:/path, postgres://…, or configured"))
        };
        match read {
            Ok(database) => Some(database),
            Err((wrong, write)) => {
                let setting = argument.to_owned();
                // What was read may hold a password.
                let problem = Problem {
                    setting,
                    source: None,
                    read: None,
                    wrong,
                    write: write.to_owned(),
                };
                reader.found.push((None, problem));
                None
            }
        }
    };
    let (from, to) = (database("FROM", from), database("TO", to));
    let (from, to) = (from?, to?);
    let secret_keys = match (given?, &from) {
        (Some(keys), _) => SecretKeys::Given(keys),
        (None, Database::Sqlite(path)) => SecretKeys::File(key_file(path)),
        (None, Database::Postgres(_)) => {
            reader.wrong(
                "VESTIBULE_SECRET_KEY",
                "it is missing: what is sealed in the source opens with it",
                KEY_WRITE,
            );
            return None;
        }
    };
    Some(Moving { from, to, secret_keys })
}

fn postgres_database(reader: &mut Reader<'_>, text: &str, rules: &postgres::Rules<'_>) -> Option<Database> {
    const NAME: &str = "VESTIBULE_DATABASE_URL";
    match postgres::read(text, rules) {
        Ok(read) => {
            if let Some(sentence) = read.warning {
                reader.warn("VESTIBULE_DATABASE_ALLOW_UNVERIFIED", sentence);
            }
            Some(Database::Postgres(read.postgres))
        }
        Err((wrong, write)) => {
            reader.wrong(NAME, wrong, write);
            None
        }
    }
}

fn postgres_rules<'a>(reader: &mut Reader<'_>, ca_file: Option<&'a Path>) -> Option<postgres::Rules<'a>> {
    let timeout = reader.duration("VESTIBULE_DATABASE_TIMEOUT", 1, 60);
    let allow_unverified = reader.flag("VESTIBULE_DATABASE_ALLOW_UNVERIFIED");
    let pool = reader
        .text("VESTIBULE_DATABASE_POOL")
        .and_then(|text| text.parse::<u32>().ok())
        .filter(|pool| (2..=200).contains(pool));
    if pool.is_none() {
        reader.wrong(
            "VESTIBULE_DATABASE_POOL",
            "it is no number of connections",
            "a number from 2 to 200",
        );
    }
    Some(postgres::Rules {
        allow_unverified: allow_unverified?,
        ca_file,
        pool: pool?,
        timeout: timeout?,
    })
}

fn sqlite_path(text: &str) -> Result<&str, &'static str> {
    let rest = text.strip_prefix("sqlite:").ok_or("it does not begin with sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.ends_with('/') {
        return Err("it names no file");
    }
    if path.contains(":memory:") {
        return Err("a database in memory forgets everybody at each start");
    }
    if path.contains(['?', '#', '%']) {
        return Err("it holds ?, # or %, which a file name here must not");
    }
    Ok(path)
}

/// The file beside the database that keeps the key which was made once.
fn key_file(database: &Path) -> PathBuf {
    let mut file = database.as_os_str().to_owned();
    file.push(".key");
    PathBuf::from(file)
}

const KEY_WRITE: &str = "the output of `openssl rand -base64 32`; several, comma-separated, the first of which seals";

/// None inside: none were given.
#[expect(clippy::option_option, reason = "the outer one says whether the value could be read")]
fn secret_keys(reader: &mut Reader<'_>) -> Option<Option<Vec<SecretKey>>> {
    const NAME: &str = "VESTIBULE_SECRET_KEY";
    let Some(value) = reader.set(NAME) else {
        return Some(None);
    };
    let items = Zeroizing::new(match &value.items {
        Some(items) => items.clone(),
        None => value.text.split(',').map(str::to_owned).collect(),
    });
    let mut keys = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let key = key_of(item.trim());
        match key {
            Some(bytes) => {
                if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
                    reader.warn(
                        NAME,
                        format!("key {} is no random key: all its bytes are the same", at + 1),
                    );
                }
                keys.push(SecretKey::new(*bytes));
            }
            None => reader.wrong(NAME, format!("key {} is not 32 bytes in base64", at + 1), KEY_WRITE),
        }
    }
    (keys.len() == items.len()).then_some(Some(keys))
}

fn key_of(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    let bytes = Zeroizing::new(GeneralPurpose::new(alphabet, LENIENT).decode(text).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}
