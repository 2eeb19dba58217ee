//! What `vestibule check` and the console's button try: the provider, the directory, the database, the secret key and the
//! upstream, a line each. Changes nothing: a database that is not there yet is not made, as it would belong to whoever
//! runs the check.

use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use crate::clock::UnixTime;
use crate::config::{Database, SecretKeys, Settings};
use crate::directory::{self, Admitted, Arrival, How, Refused};
use crate::gateway;
use crate::identity;
use crate::seal::Sealer;
use crate::sign_in::ldap;
use crate::sign_in::oidc::{Finding, probe};
use crate::store::{Found, Store, StoreError};

/// How long the upstream may take to say anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a gateway does not start that nobody could ever sign in to.
pub const NOBODY_CAN_SIGN_IN: &str = "nobody can sign in: DISABLE_SSO_PROVISIONING is true, nobody has been added, and there is \
     no initial admin; run `vestibule users add EMAIL --role admin`, or set VESTIBULE_INITIAL_ADMINS";

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Good to know.
    pub notes: Vec<String>,
    /// What it is about, and the sentence.
    pub warnings: Vec<(&'static str, String)>,
    /// What was tried.
    pub trials: Vec<Trial>,
}

/// One thing that was tried.
#[derive(Debug)]
pub struct Trial {
    /// What.
    pub of: &'static str,
    /// What was found, or what to do.
    pub outcome: Result<String, String>,
}

/// Tries everything that the settings name; with `person`, a sign-in with the directory, too.
pub async fn check(settings: &Settings, person: Option<(&str, &SecretString)>) -> Findings {
    let mut out = Findings::default();
    if settings.oidc.is_some() {
        try_provider(settings, &mut out).await;
    }
    let arrival = try_directory(settings, person, &mut out).await;
    let database = try_database(settings, &mut out).await;
    try_secret_keys(settings, &database, &mut out).await;
    if let Answers::Store(store) = database {
        if let (Some((login, _)), Some(arrival)) = (person, arrival) {
            foresee(&store, settings, login, &arrival, &mut out).await;
        }
        store.close().await;
    }
    try_upstream(settings, &mut out).await;
    out
}

async fn try_provider(settings: &Settings, out: &mut Findings) {
    let issuer = settings.oidc.as_ref().map_or("", |oidc| oidc.issuer.as_str());
    let outcome = match probe(settings).await {
        Ok(told) => {
            for finding in told.findings {
                match finding {
                    Finding::Warning(sentence) => out.warnings.push(("provider", sentence)),
                    Finding::Note(sentence) => out.notes.push(sentence),
                }
            }
            Ok(format!("{issuer} answers, with {} usable keys", told.keys))
        }
        Err(error) => Err(with_advice(
            &error.to_string(),
            "OIDC_",
            "look whether OIDC_ISSUER is right and the gateway can reach it (OIDC_BACKCHANNEL_URL, HTTPS_PROXY, \
             VESTIBULE_CA_FILE)",
        )),
    };
    out.trials.push(Trial {
        of: "provider",
        outcome,
    });
}

/// Says who the person is, if the directory has nothing against them.
async fn try_directory(
    settings: &Settings,
    person: Option<(&str, &SecretString)>,
    out: &mut Findings,
) -> Option<Arrival> {
    let Some(ldap) = &settings.ldap else {
        if person.is_some() {
            out.trials.push(Trial {
                of: "directory",
                outcome: Err("no directory is set: LOCAL_LDAP_ADDRESS".to_owned()),
            });
        }
        return None;
    };
    if !ldap.login {
        let note = "nobody signs in with the directory yet: LOCAL_LDAP_LOGIN=true lets them";
        out.notes.push(note.to_owned());
    }
    out.notes.push(match ldap.recheck {
        Some(interval) => format!(
            "the directory is asked again about live sessions every {} minutes (VESTIBULE_SESSION_RECHECK): who is removed, \
             disabled or out of the allow list there is out here by then",
            interval.as_secs().div_ceil(60)
        ),
        None => "the directory is not asked again about live sessions (VESTIBULE_SESSION_RECHECK=0): who is removed there stays \
                 signed in until the session ends"
            .to_owned(),
    });
    let probed = ldap::probe(ldap, settings, person, UnixTime::now()).await;
    let trials = probed.steps.into_iter().map(|outcome| Trial {
        of: "directory",
        outcome,
    });
    out.trials.extend(trials);
    probed.arrival
}

/// What a sign-in would say to somebody, by the accounts that there are.
async fn foresee(store: &Store, settings: &Settings, login: &str, arrival: &Arrival, out: &mut Findings) {
    let outcome = match directory::foresee(store, arrival, &settings.entry, UnixTime::now()).await {
        Ok(Admitted { role, how, .. }) => {
            let account = match how {
                How::Known => "with the account that they have",
                How::Invited => "with the account that was made for them",
                How::Provisioned | How::InitialAdmin | How::FirstAdmin => "with a new account",
            };
            Ok(format!("{login} would be let in {account}, as {}", role.as_str()))
        }
        Err(refused) => {
            let advice = match refused {
                Refused::NotInvited => "; DISABLE_SSO_PROVISIONING=true: vestibule users add EMAIL lets them in",
                Refused::Deactivated => "; vestibule users activate EMAIL lets them in",
                Refused::EmailTaken => {
                    "; if it is the same person, vestibule users link EMAIL ldap ID gives them this one, too"
                }
                _ => "",
            };
            Err(format!("{login} would be refused: {refused}{advice}"))
        }
    };
    out.trials.push(Trial {
        of: "directory",
        outcome,
    });
}

/// What the secret key's line needs to know of the database.
enum Answers {
    /// The line of the database says what to do.
    Not,
    /// There is nothing yet that is sealed, or nothing that can be read.
    Empty,
    /// It can be looked into.
    Store(Store),
}

async fn try_database(settings: &Settings, out: &mut Findings) -> Answers {
    let database = &settings.database;
    let file = match database {
        Database::Sqlite(file) => Some(file.as_path()),
        Database::Postgres(_) => None,
    };
    let outcome = match file {
        Some(file) if !file.exists() => new_file(file, settings, out).map(|told| (told, None)),
        _ => existing_database(database, settings, out).await,
    };
    let (outcome, answers) = match outcome {
        Ok((told, store)) => (Ok(told), store.map_or(Answers::Empty, Answers::Store)),
        Err(wrong) => (Err(wrong), Answers::Not),
    };
    out.trials.push(Trial {
        of: "database",
        outcome,
    });
    answers
}

fn new_file(file: &Path, settings: &Settings, out: &mut Findings) -> Result<String, String> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Only trying tells: rights, read-only mounts and quotas all have a say.
    tempfile_in(folder).map_err(|error| {
        format!(
            "nothing can be written in {}: {error}; make the folder and give it to the gateway's user, or set \
             VESTIBULE_DATABASE_URL",
            folder.display()
        )
    })?;
    let place = file.display().to_string();
    nobody_is_in_it(&place, settings, out)?;
    Ok(format!("{place} is not there yet and can be made at the first start"))
}

fn nobody_is_in_it(place: &str, settings: &Settings, out: &mut Findings) -> Result<(), String> {
    if settings.entry.initial_admins.is_empty() {
        if !settings.entry.provisioning {
            return Err(nobody_can_sign_in());
        }
        warn_of_first_admin(place, out);
    }
    Ok(())
}

async fn existing_database(
    database: &Database,
    settings: &Settings,
    out: &mut Findings,
) -> Result<(String, Option<Store>), String> {
    let place = database.to_string();
    let advised = |error: StoreError| {
        let advice = match database {
            Database::Sqlite(_) => {
                "look whether VESTIBULE_DATABASE_URL names a file that the gateway's user may read and write"
            }
            Database::Postgres(_) => "look whether VESTIBULE_DATABASE_URL is right and the server can be reached",
        };
        with_advice(&format!("{place}: {error}"), "VESTIBULE_", advice)
    };
    let store = match Store::look(database).await.map_err(advised)? {
        Found::Current(store) => store,
        Found::Empty => {
            nobody_is_in_it(&place, settings, out)?;
            let told = format!("{place} answers, and is empty: the first start makes the tables");
            return Ok((told, None));
        }
        Found::Older { found, known } => {
            let told = format!("{place} answers; it is of version {found}, and the next start brings it to {known}");
            return Ok((told, None));
        }
    };
    let looked = async {
        store.ping().await?;
        let empty = directory::is_empty(&store).await?;
        Ok((empty, directory::first_admin_open(&store, &settings.entry).await?))
    };
    let looked: Result<_, StoreError> = looked.await;
    let (empty, first_admin_open) = looked.map_err(advised)?;
    if empty && !settings.entry.provisioning && settings.entry.initial_admins.is_empty() {
        return Err(nobody_can_sign_in());
    }
    if first_admin_open {
        warn_of_first_admin(&place, out);
    }
    Ok((format!("{place} answers"), Some(store)))
}

/// What went wrong, and what to do unless that names a setting already.
fn with_advice(wrong: &str, settings: &str, advice: &str) -> String {
    if wrong.contains(settings) {
        wrong.to_owned()
    } else {
        format!("{wrong}; {advice}")
    }
}

fn nobody_can_sign_in() -> String {
    NOBODY_CAN_SIGN_IN.to_owned()
}

fn warn_of_first_admin(place: &str, out: &mut Findings) {
    let sentence = format!(
        "nobody is admin yet in {place}: the next person to sign in becomes the admin; VESTIBULE_INITIAL_ADMINS says who \
         it should be"
    );
    out.warnings.push(("database", sentence));
}

fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let name = folder.join(format!(
        ".vestibule-check-{:016x}",
        u64::from_ne_bytes(crate::seal::random())
    ));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&name)?;
    std::fs::remove_file(name)
}

async fn try_secret_keys(settings: &Settings, database: &Answers, out: &mut Findings) {
    let outcome = match &settings.secret_keys {
        SecretKeys::Given(keys) => opens(settings, database, format!("{} given", keys.len())).await,
        SecretKeys::File(file) if file.exists() => {
            opens(settings, database, format!("read from {}", file.display())).await
        }
        SecretKeys::File(file) => match database {
            // The database's line says what to do.
            Answers::Not => return,
            Answers::Empty => Ok(can_be_made(file)),
            Answers::Store(store) => match identity::list(store, UnixTime::now()).await {
                Ok(sealed) if sealed.is_empty() => Ok(can_be_made(file)),
                Ok(_) => Err(format!(
                    "{} is not there, and what is sealed in the database opens only with it: put it back, or give what was \
                     in it in VESTIBULE_SECRET_KEY",
                    file.display()
                )),
                Err(error) => Err(error.to_string()),
            },
        },
    };
    out.trials.push(Trial {
        of: "secret key",
        outcome,
    });
}

fn can_be_made(file: &Path) -> String {
    format!("{} is not there yet and can be made at the first start", file.display())
}

/// Tries the keys at what is sealed in the database: with others no gateway starts.
async fn opens(settings: &Settings, database: &Answers, where_from: String) -> Result<String, String> {
    let told = |error: &dyn std::error::Error| error.to_string();
    let keys = settings.secret_keys.load().map_err(|error| told(&error))?;
    let sealer = Sealer::new(&keys).map_err(|error| told(&error))?;
    let Answers::Store(store) = database else {
        return Ok(where_from);
    };
    identity::check(store, &sealer, UnixTime::now())
        .await
        .map_err(|error| told(&error))?;
    Ok(format!("{where_from}; the signing keys in the database open with it"))
}

async fn try_upstream(settings: &Settings, out: &mut Findings) {
    let upstream = &settings.upstream;
    let outcome = match tokio::time::timeout(PATIENCE, gateway::probe(upstream, settings.ca_file.as_deref())).await {
        Ok(Ok(status)) => Ok(format!("{upstream} answers (status {})", status.as_u16())),
        Ok(Err(error)) => Err(format!("{upstream}: {error}")),
        Err(_) => Err(format!(
            "{upstream} does not answer within {} s; look whether the app is well, or put its address into \
             VESTIBULE_UPSTREAM",
            PATIENCE.as_secs()
        )),
    };
    out.trials.push(Trial {
        of: "upstream",
        outcome,
    });
}
