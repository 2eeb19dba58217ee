//! Where TLS ends here.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use vestibule::config::{PublicUrl, Settings, Tls, TlsMin};

use crate::support::{Client, Wire};

/// A folder with a certificate, and who trusts it.
pub struct Pair {
    folder: tempfile::TempDir,
    certificate: CertificateDer<'static>,
}

fn write(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["app.test".to_owned()]).unwrap();
    std::fs::write(folder.join("tls.crt"), cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

impl Pair {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = write(folder.path());
        Self { folder, certificate }
    }

    /// A client that trusts it.
    pub fn client_config(&self) -> ClientConfig {
        Arc::unwrap_or_clone(client(&self.certificate, rustls::DEFAULT_VERSIONS))
    }

    fn settings(&self, settings: &mut Settings, min: TlsMin) {
        settings.tls = Some(Tls {
            certificate: self.folder.path().join("tls.crt"),
            key: self.folder.path().join("tls.key"),
            min,
        });
        settings.public = PublicUrl {
            https: true,
            host: "app.test".into(),
            port: None,
        };
        settings.assertion_audience = "https://app.test".into();
    }

    pub fn wire(&self) -> Wire {
        Wire::with(|settings| self.settings(settings, TlsMin::V1_2))
    }
}

fn client(
    certificate: &CertificateDer<'static>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::new(
        config
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// One request over TLS; the answer's text and how the handshake went.
fn ask(address: SocketAddr, config: &Arc<ClientConfig>, request: &str) -> std::io::Result<(String, HandshakeKind)> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from("app.test").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        Err(error) => return Err(error),
    }
    Ok((answer, stream.conn.handshake_kind().unwrap()))
}

fn get(wire: &Wire) -> String {
    format!(
        "GET /x HTTP/1.1\r\nHost: app.test\r\nCookie: {}\r\nConnection: close\r\n\r\n",
        wire.cookie
    )
}

#[test]
fn tls_1_2_and_1_3_end_here_and_the_app_is_told_https() {
    let pair = Pair::new();
    let wire = pair.wire();
    assert!(wire.cookie.starts_with("__Host-vestibule="));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (answer, _) = ask(wire.gateway, &client(&pair.certificate, &[version]), &get(&wire)).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("from app"),
            "{answer}"
        );
        assert!(
            !answer.to_lowercase().contains("strict-transport-security"),
            "it binds every port of the host: only if asked for"
        );
    }
    assert_eq!(wire.app.seen()[0].values("x-forwarded-proto"), ["https"]);
}

#[test]
fn an_older_version_than_the_setting_says_is_refused() {
    let pair = Pair::new();
    let wire = Wire::with(|settings| pair.settings(settings, TlsMin::V1_3));
    assert!(
        ask(
            wire.gateway,
            &client(&pair.certificate, &[&rustls::version::TLS12]),
            &get(&wire)
        )
        .is_err()
    );
    assert!(
        ask(
            wire.gateway,
            &client(&pair.certificate, &[&rustls::version::TLS13]),
            &get(&wire)
        )
        .is_ok()
    );
}

#[test]
fn who_comes_again_resumes() {
    let pair = Pair::new();
    let wire = pair.wire();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = client(&pair.certificate, &[version]);
        assert_eq!(ask(wire.gateway, &config, &get(&wire)).unwrap().1, HandshakeKind::Full);
        assert_eq!(
            ask(wire.gateway, &config, &get(&wire)).unwrap().1,
            HandshakeKind::Resumed
        );
    }
}

#[test]
fn a_changed_certificate_is_picked_up_and_a_broken_one_refused() {
    let versions = [&rustls::version::TLS13];
    // As a secret mount does it: a link to a folder, swapped at once.
    let outer = tempfile::tempdir().unwrap();
    let swap = |name: &str| {
        let link = outer.path().join("new");
        std::os::unix::fs::symlink(outer.path().join(name), &link).unwrap();
        std::fs::rename(link, outer.path().join("current")).unwrap();
    };
    for name in ["one", "two", "broken"] {
        std::fs::create_dir(outer.path().join(name)).unwrap();
    }
    let (one, two) = (write(&outer.path().join("one")), write(&outer.path().join("two")));
    write(&outer.path().join("broken"));
    std::fs::copy(outer.path().join("one/tls.key"), outer.path().join("broken/tls.key")).unwrap();
    swap("one");
    let wire = Wire::with(|settings| {
        Pair::new().settings(settings, TlsMin::V1_2);
        let folder = outer.path().join("current");
        settings.tls = Some(Tls {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            min: TlsMin::V1_2,
        });
    });
    let serves = |certificate| ask(wire.gateway, &client(certificate, &versions), &get(&wire)).is_ok();
    assert!(serves(&one) && !serves(&two));
    swap("two");
    let until = Instant::now() + Duration::from_secs(12);
    while !serves(&two) {
        assert!(Instant::now() < until, "the new certificate was not picked up");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(!serves(&one));
    swap("broken");
    std::thread::sleep(Duration::from_secs(6));
    assert!(serves(&two), "a pair that does not fit was taken");
    std::fs::remove_file(outer.path().join("current")).unwrap();
    std::thread::sleep(Duration::from_secs(6));
    assert!(serves(&two), "the certificate went with its file");
}

#[test]
fn plain_http_to_an_https_port_gets_a_sentence() {
    let pair = Pair::new();
    let wire = pair.wire();
    let answer = wire.ask("GET /x", &["Host: app.test"]);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https"), "{answer:?}");
    assert!(wire.app.seen().is_empty());
}

#[test]
fn a_handshake_that_stalls_ends_in_time_and_starves_nobody() {
    let pair = Pair::new();
    let wire = pair.wire();
    // The first bytes of a ClientHello, then nothing; and nothing at all.
    let config = client(&pair.certificate, &[&rustls::version::TLS13]);
    let mut hello = Vec::new();
    ClientConnection::new(Arc::clone(&config), ServerName::try_from("app.test").unwrap())
        .unwrap()
        .write_tls(&mut hello)
        .unwrap();
    let start = Instant::now();
    let mut stalled: Vec<Client> = (0..60)
        .map(|at| {
            let mut client = wire.connect();
            client.send(&hello[..at * hello.len() / 60]);
            client
        })
        .collect();
    assert!(ask(wire.gateway, &config, &get(&wire)).is_ok());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "somebody else's handshake was waited for"
    );
    for client in &mut stalled {
        assert!(
            client.closes_within(Duration::from_secs(12).saturating_sub(start.elapsed())),
            "a stalled handshake is still there"
        );
    }
}

#[test]
fn hsts_is_said_on_every_answer_where_it_is_asked_for() {
    let pair = Pair::new();
    let wire = Wire::with(|settings| {
        pair.settings(settings, TlsMin::V1_2);
        settings.hsts = true;
    });
    let config = client(&pair.certificate, &[&rustls::version::TLS13]);
    for path in ["/x", "/health", "/.vestibule/nothing", "/public/../x"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
        let (answer, _) = ask(wire.gateway, &config, &request).unwrap();
        assert!(
            answer.contains("strict-transport-security: max-age=31536000\r\n"),
            "{path}: {answer}"
        );
    }
}

#[test]
fn the_second_listener_redirects_pages_and_passes_nothing_on() {
    let pair = Pair::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let wire = Wire::with(|settings| {
        pair.settings(settings, TlsMin::V1_2);
        settings.redirect_listen = Some(free);
    });
    let mut client = Client::to(free);
    let answer = client.ask("GET /a%2Fb?c=d", &["Host: app.test"]);
    assert_eq!(
        (answer.status, answer.field("location")),
        (308, Some("https://app.test/a%2Fb?c=d"))
    );
    let answer = client.ask("GET //evil.test/x", &["Host: evil.test"]);
    assert_eq!(
        answer.field("location"),
        Some("https://app.test//evil.test/x"),
        "never another origin"
    );
    assert_eq!(
        client.ask("POST /x", &["Host: app.test", "Content-Length: 0"]).status,
        400
    );
    assert!(wire.app.seen().is_empty());
}
