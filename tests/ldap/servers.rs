//! TLS, and several servers.

use http::StatusCode;
use vestibule::config::{LdapScheme, LdapServer};

use crate::house::{House, ldaps, plain, written};
use crate::slapd::{Slapd, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn ldaps_and_start_tls_verify_the_servers_name_and_authority() {
    let Some(slapd) = Slapd::start() else { return };
    for servers in [
        vec![ldaps("localhost", slapd.tls_port)],
        vec![ldaps("127.0.0.1", slapd.tls_port)],
    ] {
        let house = House::at(servers, Some(slapd.ca()), |_| {}).await;
        house.lets_in("bob", "bob's password").await;
        house.close().await;
    }
    let start_tls = |settings: &mut vestibule::config::Settings| settings.ldap.as_mut().unwrap().start_tls = true;
    let house = House::at(vec![plain("localhost", slapd.port)], Some(slapd.ca()), start_tls).await;
    house.lets_in("bob", "bob's password").await;
    house.close().await;
    // Another name than the certificate's, and an authority that nobody named.
    let house = House::at(vec![ldaps("127.0.0.2", slapd.tls_port)], Some(slapd.ca()), |_| {}).await;
    house
        .turns_away("bob", "bob's password", StatusCode::SERVICE_UNAVAILABLE)
        .await;
    house.close().await;
    let house = House::at(vec![ldaps("localhost", slapd.tls_port)], None, |_| {}).await;
    house
        .turns_away("bob", "bob's password", StatusCode::SERVICE_UNAVAILABLE)
        .await;
    house.close().await;
    let house = House::at(vec![plain("localhost", slapd.port)], None, start_tls).await;
    house
        .turns_away("bob", "bob's password", StatusCode::SERVICE_UNAVAILABLE)
        .await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_asks_for_tls_nobody_is_let_in_without() {
    let Some(mut slapd) = Slapd::start() else { return };
    slapd.stop();
    slapd.configure("database mdb", "security simple_bind=112 tls=112\ndatabase mdb");
    slapd.run();
    for start_tls in [true, false] {
        let servers = vec![plain("localhost", slapd.port)];
        let house = House::at(servers, Some(slapd.ca()), |settings| {
            settings.ldap.as_mut().unwrap().start_tls = start_tls;
        })
        .await;
        if start_tls {
            house.lets_in("bob", "bob's password").await;
            house.turns_away("bob", "wrong", StatusCode::UNAUTHORIZED).await;
        } else {
            // confidentialityRequired, said to the service account: nobody's wrong password.
            house
                .turns_away("bob", "bob's password", StatusCode::SERVICE_UNAVAILABLE)
                .await;
        }
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_by_its_ipv6_address_is_verified_by_that() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no [::1]: nothing is tried there");
        return;
    }
    let Some(mut slapd) = Slapd::start() else { return };
    slapd.stop();
    slapd.also = format!("ldap://[::1]:{} ldaps://[::1]:{}", slapd.port, slapd.tls_port);
    slapd.run();
    for named in [false, true] {
        if named {
            slapd.stop();
            slapd.certify(&["::1"]);
            slapd.run();
        }
        for (address, start_tls) in [
            (format!("ldaps://[::1]:{}", slapd.tls_port), false),
            (format!("ldap://[::1]:{}", slapd.port), true),
        ] {
            let house = House::at(written(&address), Some(slapd.ca()), |settings| {
                settings.ldap.as_mut().unwrap().start_tls = start_tls;
            })
            .await;
            if named {
                house.lets_in("bob", "bob's password").await;
            } else {
                // The right authority, and `localhost` and 127.0.0.1 stand in it, but not this address.
                house
                    .turns_away("bob", "bob's password", StatusCode::SERVICE_UNAVAILABLE)
                    .await;
            }
            house.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_takes_over_and_all_down_is_nobodys_fault() {
    let Some(mut slapd) = Slapd::start() else { return };
    let servers = vec![plain("127.0.0.1", free_port()), plain("127.0.0.1", slapd.port)];
    let house = House::at(servers, None, |settings| {
        settings.ldap.as_mut().unwrap().failures = 1;
        settings.ldap.as_mut().unwrap().failures_address = 1;
    })
    .await;
    let (mut browser, answer) = house.sign_in("bob", "bob's password").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    slapd.stop();
    for _ in 0..3 {
        house
            .turns_away("ann", "ann's password", StatusCode::SERVICE_UNAVAILABLE)
            .await;
    }
    assert_eq!(browser.get("/page").await.body, "the app", "sessions go on");
    slapd.run();
    house.lets_in("ann", "ann's password").await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_is_asked_first_again_after_a_while() {
    let Some((mut first, second)) = Slapd::start().zip(Slapd::start()) else {
        return;
    };
    second.modify("dn: uid=bob,ou=people,dc=example,dc=com\nchangetype: modify\nreplace: cn\ncn: Second Bob\n");
    let servers = vec![plain("127.0.0.1", first.port), plain("127.0.0.1", second.port)];
    let house = House::at(servers, None, |settings| {
        // Replicas have ids in common; these two were made apart.
        settings.ldap.as_mut().unwrap().id_attribute = Some("uid".into());
        settings.entry.names_follow = true;
    })
    .await;
    let asked = async || house.lets_in("bob", "bob's password").await["name"].clone();
    assert_eq!(asked().await, "Bob Builder");
    first.stop();
    for _ in 0..3 {
        assert_eq!(asked().await, "Second Bob");
    }
    first.run();
    let begun = std::time::Instant::now();
    while asked().await != "Bob Builder" {
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(45),
            "it is never asked again"
        );
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restarted_fails_nobodys_sign_in() {
    let Some(mut slapd) = Slapd::start() else { return };
    let house = House::open(&slapd).await;
    for _ in 0..3 {
        house.lets_in("bob", "bob's password").await;
        // The connection that was kept is dead now.
        slapd.stop();
        slapd.run();
    }
    house.lets_in("ann", "ann's password").await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_this_machine_is_a_directory_too() {
    let Some(slapd) = Slapd::start() else { return };
    let scheme = LdapScheme::Ldapi(slapd.socket());
    let house = House::at(vec![LdapServer { scheme }], None, |_| {}).await;
    house.lets_in("bob", "bob's password").await;
    house.turns_away("bob", "wrong", StatusCode::UNAUTHORIZED).await;
    house.close().await;
}
