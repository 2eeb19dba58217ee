//! Who is believed to be the database, and what is said when it is not there, not ours, or not this program's.

use crate::program::{Gateway, KEY, run, until};
use crate::server::Server;

#[test]
fn a_server_is_verified_as_the_address_says() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (server.authority("ca.pem"), server.authority("other-ca.pem"));
    let list = |url: &str, ca: Option<&str>| {
        let mut env = vec![("VESTIBULE_DATABASE_URL", url)];
        env.extend(ca.map(|ca| ("VESTIBULE_CA_FILE", ca)));
        let said = run(folder.path(), &env, &["users", "list"]);
        assert!(
            !said.err.contains("canary") && !said.out.contains("canary"),
            "{}",
            said.err
        );
        said
    };
    let full = server.url("localhost", "sslmode=verify-full");
    assert_eq!(list(&full, Some(&ours)).code, Some(0));
    // The address may name the authority itself.
    let named = server.url("localhost", &format!("sslmode=verify-full&sslrootcert={ours}"));
    assert_eq!(list(&named, None).code, Some(0));
    // With the wrong authority, with none, and for another name than the certificate's.
    for (url, ca) in [
        (&full, Some(other.as_str())),
        (&full, None),
        (&server.url("127.0.0.1", "sslmode=verify-full"), Some(ours.as_str())),
        (&server.url("127.0.0.1", "sslmode=verify-ca"), Some(other.as_str())),
    ] {
        let said = list(url, ca);
        assert_eq!(said.code, Some(69), "{url} {ca:?}");
        assert!(said.err.contains("certificate"), "{}", said.err);
    }
    // On this machine less is taken, if the address says so.
    for mode in ["require", "prefer"] {
        assert_eq!(
            list(&server.url("127.0.0.1", &format!("sslmode={mode}")), None).code,
            Some(0)
        );
    }
    assert_eq!(list(&server.url("[::1]", "sslmode=require"), None).code, Some(0));
    // This one wants TLS.
    assert_eq!(list(&server.url("127.0.0.1", "sslmode=disable"), None).code, Some(69));
}

#[test]
fn what_is_wrong_is_said_without_the_password() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let list = |url: &str| run(folder.path(), &[("VESTIBULE_DATABASE_URL", url)], &["users", "list"]);
    let right = server.url("localhost", "sslmode=require");
    let wrong = right.replace("canary", "canari");
    let said = list(&wrong);
    assert_eq!(said.code, Some(69));
    assert!(said.err.contains("password authentication failed"), "{}", said.err);
    assert!(!said.err.contains("canari"), "{}", said.err);

    let said = run(
        folder.path(),
        &[
            ("VESTIBULE_DATABASE_URL", &right),
            ("VESTIBULE_UPSTREAM", "http://127.0.0.1:9"),
            ("OIDC_ISSUER", "http://127.0.0.1:9"),
            ("OIDC_CLIENT_ID", "vestibule"),
        ],
        &["check"],
    );
    assert!(said.out.contains("and is empty"), "{}", said.out);
    assert!(
        said.out.contains(&format!("…@localhost:{}/postgres", server.port)),
        "{}",
        said.out
    );
    assert!(!said.out.contains("canary"), "{}", said.out);
    assert_eq!(
        server.sql("postgres", "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0\n"
    );

    assert_eq!(list(&right).code, Some(0));
    server.sql("postgres", "UPDATE schema_version SET version = 99");
    let said = list(&right);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("version 99") && said.err.contains("run the newer program"),
        "{}",
        said.err
    );
    let gateway = Gateway::start(folder.path(), &right);
    until("the refusal", || {
        gateway
            .log(folder.path())
            .contains("run the newer program")
            .then_some(())
    });
}

#[test]
fn replicas_that_start_at_once_on_nothing_make_one_instance() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = server.url("localhost", "sslmode=require");
    // Before there is a server to answer.
    server.switch("stop");
    let gateways: Vec<Gateway> = (0..4).map(|_| Gateway::start(folder.path(), &url)).collect();
    until("the warning", || {
        gateways[0]
            .log(folder.path())
            .contains("waiting for the database")
            .then_some(())
    });
    server.switch("start");
    for gateway in &gateways {
        until("readiness", || gateway.is_ready().then_some(()));
    }
    assert_eq!(server.sql("postgres", "SELECT COUNT(*) FROM instance"), "1\n");
    // One key signs and one is next, for all of them.
    assert_eq!(server.sql("postgres", "SELECT COUNT(*) FROM signing_keys"), "2\n");

    // Without the key that they have in common nothing starts.
    let env = [("VESTIBULE_DATABASE_URL", url.as_str()), ("VESTIBULE_SECRET_KEY", "")];
    let said = run(folder.path(), &env, &["users", "list"]);
    assert_eq!(said.code, Some(64));
    assert!(said.err.contains("VESTIBULE_SECRET_KEY"), "{}", said.err);
    assert!(!said.err.contains(KEY));
}
