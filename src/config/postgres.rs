//! Addresses of PostgreSQL servers, read strictly: what is not understood here would otherwise be passed over by the
//! driver in silence, and one of the things that could be passed over is how the server is verified.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use super::settings::{Postgres, PostgresTls};

/// What holds besides the address itself.
pub(super) struct Rules<'a> {
    /// Whether the server may go unverified beyond loopback.
    pub allow_unverified: bool,
    pub ca_file: Option<&'a Path>,
    pub pool: u32,
    pub timeout: Duration,
}

/// An address that was understood.
pub(super) struct Read {
    pub postgres: Postgres,
    /// What to know of at each start.
    pub warning: Option<String>,
}

/// What is wrong, and what to write.
pub(super) type Wrong = (String, &'static str);

const WRITE: &str = "postgres://user:password@host:5432/database";
const WRITE_TLS: &str = "sslmode=verify-full, with the server's CA in VESTIBULE_CA_FILE if the system does not know it; or \
                         VESTIBULE_DATABASE_ALLOW_UNVERIFIED=true besides, if everybody on the way there is trusted";
/// Parameters that the driver understands. Others would be passed over.
const PARAMETERS: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
];

/// Whether a PostgreSQL server is meant at all.
pub(super) fn is_meant(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("postgres") || scheme.eq_ignore_ascii_case("postgresql")
}

/// Host, port and database of an address, and nothing that could be secret; None if it can't be read.
pub(super) fn place(text: &str) -> Option<String> {
    let url = is_meant(text).then(|| Url::parse(text).ok())??;
    if holds_an_at(&url) {
        return None;
    }
    // What should be a user and a password, but lacks the `@`, would stand where the host is expected.
    let host = host_of(&url)?;
    let database = parameter(&url, "dbname").unwrap_or_else(|| decoded(url.path().trim_start_matches('/')));
    let port = port_of(&url).ok()?;
    Some(if host.starts_with('/') {
        format!("{host}/{database}")
    } else {
        format!("{}:{port}/{database}", url_host(&host))
    })
}

/// Reads an address.
pub(super) fn read(text: &str, rules: &Rules<'_>) -> Result<Read, Wrong> {
    let url = Url::parse(text).map_err(|error| {
        let why = if text.rsplit('@').next().is_some_and(|rest| rest.contains(',')) {
            "it names several servers; give one name that leads to the one that takes writes".to_owned()
        } else {
            format!("it is no address: {error} (a password in it is percent-encoded)")
        };
        (why, WRITE)
    })?;
    if holds_an_at(&url) {
        let why = "it holds an @ behind the host; in a password /, ? and @ are %2F, %3F and %40";
        return Err((why.to_owned(), WRITE));
    }
    if url.fragment().is_some() {
        return Err(("it holds a #; in a password that is %23".to_owned(), WRITE));
    }
    let mut seen: Vec<String> = Vec::new();
    for (name, _) in url.query_pairs() {
        if !PARAMETERS.contains(&&*name) {
            return Err((
                format!("the parameter {name:?} is not understood"),
                "it without that parameter",
            ));
        }
        if seen.contains(&name.to_string()) {
            return Err((format!("the parameter {name:?} is there twice"), "it once"));
        }
        seen.push(name.into_owned());
    }
    let host = host_of(&url).ok_or_else(|| ("it names no server".to_owned(), WRITE))?;
    if host.contains(',') {
        let why = "it names several servers; give one name that leads to the one that takes writes";
        return Err((why.to_owned(), WRITE));
    }
    port_of(&url).map_err(|()| ("its port is no port".to_owned(), WRITE))?;
    let tls = tls_of(&url, is_local(&host))?;
    let local = is_local(&host);
    let unverified = !local && tls != PostgresTls::VerifyFull;
    if unverified && !rules.allow_unverified {
        return Err((unverified_because(tls).to_owned(), WRITE_TLS));
    }
    let root = parameter(&url, "sslrootcert").filter(|file| file != "system");
    let ca_files = root.map(PathBuf::from).into_iter();
    let place = place(text).ok_or_else(|| ("it is no address".to_owned(), WRITE))?;
    Ok(Read {
        warning: unverified.then(|| format!("of the database at {place}: {}", unverified_because(tls))),
        postgres: Postgres {
            url: SecretString::from(text),
            place,
            host: Some(host).filter(|host| !host.starts_with('/')),
            tls,
            ca_files: ca_files.chain(rules.ca_file.map(Path::to_path_buf)).collect(),
            pool: rules.pool,
            timeout: rules.timeout,
        },
    })
}

fn tls_of(url: &Url, local: bool) -> Result<PostgresTls, Wrong> {
    Ok(match parameter(url, "sslmode").as_deref() {
        // The tool of PostgreSQL itself would take what it gets. Beyond this machine we don't.
        None if local => PostgresTls::Prefer,
        None | Some("verify-full") => PostgresTls::VerifyFull,
        Some("disable") => PostgresTls::Off,
        Some("allow" | "prefer") => PostgresTls::Prefer,
        Some("require") => PostgresTls::Require,
        Some("verify-ca") => PostgresTls::VerifyCa,
        Some(_) => return Err(("its sslmode is none that there is".to_owned(), "sslmode=verify-full")),
    })
}

const fn unverified_because(tls: PostgresTls) -> &'static str {
    match tls {
        PostgresTls::Off => "without TLS everybody on the way can read it, and change what it answers",
        PostgresTls::Prefer => "sslmode=prefer lets whoever is on the way decide that there is no TLS",
        PostgresTls::Require => {
            "sslmode=require does not look who answers: whoever is on the way can pose as the database"
        }
        PostgresTls::VerifyCa | PostgresTls::VerifyFull => {
            "sslmode=verify-ca takes any certificate of any authority that the system trusts: whoever has one can pose as \
             the database"
        }
    }
}

/// What follows the host holds no bare `@`, unless a password before it was not percent-encoded: then it is told nowhere.
fn holds_an_at(url: &Url) -> bool {
    [Some(url.path()), url.query(), url.fragment()]
        .into_iter()
        .flatten()
        .any(|part| part.contains('@'))
}

fn is_local(host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || address.is_some_and(|ip| ip.to_canonical().is_loopback())
}

/// Name, address (without brackets) or folder of the socket.
fn host_of(url: &Url) -> Option<String> {
    let host = parameter(url, "host").or_else(|| url.host_str().map(decoded))?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    Some(bare.map_or_else(|| host.clone(), str::to_owned)).filter(|host| !host.is_empty())
}

fn port_of(url: &Url) -> Result<u16, ()> {
    match parameter(url, "port") {
        Some(text) => text.parse().map_err(drop),
        None => Ok(url.port().unwrap_or(5432)),
    }
}

fn url_host(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, allow_unverified: bool) -> Result<Read, Wrong> {
        read(
            text,
            &Rules {
                allow_unverified,
                ca_file: Some(Path::new("/ca.pem")),
                pool: 8,
                timeout: Duration::from_secs(4),
            },
        )
    }

    fn tls(text: &str) -> PostgresTls {
        with(text, false)
            .unwrap_or_else(|(wrong, _)| panic!("{text}: {wrong}"))
            .postgres
            .tls
    }

    #[test]
    fn beyond_loopback_the_server_is_verified_unless_somebody_said_otherwise_twice() {
        assert_eq!(tls("postgres://u:p@db.example.com/v"), PostgresTls::VerifyFull);
        assert_eq!(tls("postgresql://u@db/v?sslmode=verify-full"), PostgresTls::VerifyFull);
        for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
            let text = format!("postgres://u:canary@db.example.com/v?sslmode={mode}");
            let (wrong, write) = with(&text, false).err().unwrap();
            assert!(write.contains("VESTIBULE_DATABASE_ALLOW_UNVERIFIED"), "{mode}: {write}");
            assert!(!wrong.contains("canary"));
            let read = with(&text, true).ok().unwrap();
            assert!(read.warning.unwrap().contains("db.example.com:5432/v"));
        }
        // With leave to go unverified, who asks for verification gets it.
        let read = with("postgres://u:p@db/v", true).ok().unwrap();
        assert_eq!((read.postgres.tls, read.warning), (PostgresTls::VerifyFull, None));
    }

    #[test]
    fn on_this_machine_it_is_as_the_address_says() {
        for host in ["127.0.0.1", "localhost:5433", "[::1]:5433", "%2Frun%2Fpostgresql"] {
            assert_eq!(tls(&format!("postgres://u@{host}/v")), PostgresTls::Prefer, "{host}");
            assert_eq!(tls(&format!("postgres://u@{host}/v?sslmode=disable")), PostgresTls::Off);
            assert_eq!(
                tls(&format!("postgres://u@{host}/v?sslmode=require")),
                PostgresTls::Require
            );
            assert_eq!(
                tls(&format!("postgres://u@{host}/v?sslmode=verify-full")),
                PostgresTls::VerifyFull
            );
        }
        // A name that only looks like it.
        assert_eq!(tls("postgres://u@localhost.example.com/v"), PostgresTls::VerifyFull);
        assert_eq!(
            tls("postgres://u@localhost/v?host=db.example.com"),
            PostgresTls::VerifyFull
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_and_never_repeats_the_password() {
        for text in [
            "postgres://u:canary@/v",
            "postgres:///v",
            "postgres://u:canary@db:99999/v",
            "postgres://u:canary@a,b/v",
            "postgres://u:canary@a:1,b:2/v",
            "postgres://u:can#ary@db/v",
            "postgres://u:canary@db/v?sslmod=disable",
            "postgres://u:canary@db/v?sslmode=VERIFY-FULL",
            "postgres://u:canary@db/v?sslmode=verify-full&sslmode=disable",
            "postgres://u:canary@db/v?target_session_attrs=any",
            "postgres://u:canary@db/v?port=x",
            "postgres:canary",
            "postgres://u:123/canary@db/v",
            "postgres://u:9?canary@db/v",
            "postgres://u:9#canary@db/v",
            "postgres://canary#x@db/v",
        ] {
            let (wrong, write) = with(text, false).err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(
                !wrong.contains("canary") && !write.contains("canary"),
                "{text}: {wrong}"
            );
        }
    }

    #[test]
    fn a_place_names_host_port_and_database_alone() {
        assert_eq!(place("postgres://u:canary@db/v?password=canary").unwrap(), "db:5432/v");
        assert_eq!(place("postgres://u@[::1]:7/v").unwrap(), "[::1]:7/v");
        assert_eq!(place("postgres://u@%2Frun%2Fpg/v").unwrap(), "/run/pg/v");
        assert_eq!(place("postgres://x/v?host=/run/pg&dbname=w").unwrap(), "/run/pg/w");
        assert_eq!(place("sqlite:/x"), None);
        assert_eq!(place("postgres:canary"), None);
        assert_eq!(place("postgres://u:123/canary@db/v"), None);
        assert_eq!(place("postgres://canary#x@db/v"), None);
    }

    #[test]
    fn authorities_of_the_address_and_of_the_setting_count() {
        let read = with("postgres://u@db/v?sslrootcert=/own.pem", false).ok().unwrap();
        assert_eq!(
            read.postgres.ca_files,
            [PathBuf::from("/own.pem"), PathBuf::from("/ca.pem")]
        );
        let read = with("postgres://u@db/v?sslrootcert=system", false).ok().unwrap();
        assert_eq!(read.postgres.ca_files, [PathBuf::from("/ca.pem")]);
    }
}
