//! A server of our own that misbehaves at the protocol. The gateway goes on, and nobody is let in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::house::{House, plain};
use crate::program::Program;
use crate::protocol::{BIND, Request, SEARCH, element, entry, message, reference, result};

fn bob() -> Vec<u8> {
    entry(
        "uid=bob,dc=example,dc=com",
        &[("uid", b"bob"), ("mail", b"bob@example.com"), ("entryUUID", b"b0b")],
    )
}

/// What it does at an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    None,
    CloseAtBind,
    CloseAtSearch,
    CloseAtPersonsBind,
    ResetAtSearch,
    BreaksOff,
    Garbage,
    OddResult,
    WrongId,
    HugeLength,
    Deep,
    EmptyDn,
    TwoEntries,
    ReferenceOnly,
    ReferenceAndBob,
    Referral,
    EntryAfterDone,
    OddEntry,
    /// After three messages a connection is closed, or nothing is heard any more.
    ClosesSoon,
    SilentSoon,
    BindCode(u8),
}

/// What it saw.
#[derive(Default)]
pub struct Watched {
    empty_seen: AtomicBool,
    persons_binds: AtomicUsize,
    pub searches: AtomicUsize,
}

/// Answers every bind with yes, whatever password.
async fn serve(mut stream: TcpStream, lie: Lie, watched: Arc<Watched>) -> std::io::Result<()> {
    for count in 0.. {
        let request = Request::read(&mut stream).await?;
        match lie {
            Lie::ClosesSoon if count == 3 => return Ok(()),
            Lie::SilentSoon if count == 3 => std::future::pending().await,
            _ => {}
        }
        let id = request.id;
        let is_person = request.holds(b"uid=bob");
        let answer = match (request.operation, lie) {
            (BIND, Lie::CloseAtBind) | (SEARCH, Lie::CloseAtSearch) => return Ok(()),
            (SEARCH, Lie::ResetAtSearch) => return stream.set_zero_linger(),
            (BIND, Lie::CloseAtPersonsBind) if is_person => return Ok(()),
            (BIND, _) => {
                if is_person {
                    watched.persons_binds.fetch_add(1, Ordering::SeqCst);
                }
                // Behind it there may be controls.
                if request.body.ends_with(&[0x80, 0]) || request.holds(&[0x80, 0, 0xa0]) {
                    watched.empty_seen.store(true, Ordering::SeqCst);
                }
                match lie {
                    Lie::Garbage => b"\x16\x03\x01HTTP/1.1 200 OK\r\n\r\n".to_vec(),
                    Lie::OddResult => message(id, &element(0x61, &[4, 0])),
                    Lie::WrongId => message(id + 7, &result(0x61, 0, "")),
                    Lie::HugeLength => vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2, 1],
                    Lie::Deep => {
                        let mut deep = Vec::new();
                        for _ in 0..10_000 {
                            let length = u32::try_from(deep.len()).unwrap().to_be_bytes();
                            deep = [&[0x30, 0x84], &length[..], &deep[..]].concat();
                            if deep.len() > 40_000 {
                                break;
                            }
                        }
                        deep
                    }
                    Lie::BindCode(code) if is_person => message(id, &result(0x61, code, "no")),
                    _ => message(id, &result(0x61, 0, "")),
                }
            }
            (SEARCH, _) => {
                watched.searches.fetch_add(1, Ordering::SeqCst);
                let done = message(id, &result(0x65, 0, ""));
                let found = message(id, &bob());
                let reference = message(id, &reference("ldap://127.0.0.1:1/dc=example,dc=com"));
                let root = !request.holds(b"uid");
                match lie {
                    _ if root => done,
                    Lie::EmptyDn => [
                        message(id, &entry("", &[("entryUUID", b"x"), ("mail", b"x@example.com")])),
                        done,
                    ]
                    .concat(),
                    Lie::TwoEntries => [found.clone(), found, done].concat(),
                    Lie::ReferenceOnly => [reference, done].concat(),
                    Lie::ReferenceAndBob => [reference, found, done].concat(),
                    Lie::Referral => message(id, &result(0x65, 10, "")),
                    Lie::EntryAfterDone => [done, found].concat(),
                    Lie::BreaksOff => {
                        stream.write_all(&found[..found.len() / 2]).await?;
                        return Ok(());
                    }
                    Lie::OddEntry => [message(id, &element(0x64, &[4, 1, 0xff])), done].concat(),
                    _ => [found, done].concat(),
                }
            }
            _ => return Ok(()),
        };
        stream.write_all(&answer).await?;
    }
    Ok(())
}

async fn start(lie: Lie) -> (u16, Arc<Watched>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let watched = Arc::<Watched>::default();
    let seen = Arc::clone(&watched);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, lie, Arc::clone(&seen)));
        }
    });
    (port, watched)
}

/// A directory of bob alone.
pub async fn honest() -> (u16, Arc<Watched>) {
    start(Lie::None).await
}

async fn house(lie: Lie) -> (House, Arc<Watched>) {
    let (port, watched) = start(lie).await;
    let house = House::at(vec![plain("127.0.0.1", port)], None, |_| {}).await;
    (house, watched)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_one_lets_in_and_never_sees_an_empty_password() {
    for lie in [Lie::None, Lie::ReferenceAndBob] {
        let (house, watched) = house(lie).await;
        house.lets_in("bob", "anything").await;
        house.turns_away("bob", "", StatusCode::BAD_REQUEST).await;
        // To this server any password is right; those that may be empty to one never reach it.
        for nothing in [" ", "\u{ad}", "\u{200b}\u{feff}"] {
            house.turns_away("bob", nothing, StatusCode::UNAUTHORIZED).await;
        }
        assert!(!watched.empty_seen.load(Ordering::SeqCst));
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_died_is_replaced_without_failing_a_sign_in() {
    for lie in [Lie::ClosesSoon, Lie::SilentSoon] {
        let (house, _) = house(lie).await;
        for _ in 0..3 {
            let begun = std::time::Instant::now();
            house.lets_in("bob", "anything").await;
            assert!(begun.elapsed() < Duration::from_secs(9), "{lie:?}");
        }
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_sends_nobody_is_let_in_and_the_gateway_goes_on() {
    for (lie, status) in [
        (Lie::CloseAtBind, StatusCode::SERVICE_UNAVAILABLE),
        (Lie::CloseAtSearch, StatusCode::SERVICE_UNAVAILABLE),
        (Lie::ResetAtSearch, StatusCode::SERVICE_UNAVAILABLE),
        (Lie::BreaksOff, StatusCode::SERVICE_UNAVAILABLE),
        (Lie::Garbage, StatusCode::SERVICE_UNAVAILABLE),
        (Lie::OddResult, StatusCode::SERVICE_UNAVAILABLE),
        (Lie::HugeLength, StatusCode::SERVICE_UNAVAILABLE),
        (Lie::Deep, StatusCode::SERVICE_UNAVAILABLE),
        (Lie::EmptyDn, StatusCode::UNAUTHORIZED),
        (Lie::TwoEntries, StatusCode::UNAUTHORIZED),
        (Lie::ReferenceOnly, StatusCode::UNAUTHORIZED),
        (Lie::Referral, StatusCode::SERVICE_UNAVAILABLE),
        (Lie::EntryAfterDone, StatusCode::UNAUTHORIZED),
        (Lie::OddEntry, StatusCode::SERVICE_UNAVAILABLE),
        (Lie::BindCode(49), StatusCode::UNAUTHORIZED),
        (Lie::BindCode(19), StatusCode::UNAUTHORIZED),
        (Lie::BindCode(53), StatusCode::UNAUTHORIZED),
        (Lie::BindCode(1), StatusCode::SERVICE_UNAVAILABLE),
        (Lie::BindCode(14), StatusCode::SERVICE_UNAVAILABLE),
        (Lie::BindCode(10), StatusCode::SERVICE_UNAVAILABLE),
    ] {
        eprintln!("{lie:?}");
        let (house, _) = house(lie).await;
        house.turns_away("bob", "anything", status).await;
        assert_eq!(
            house.browser().get("/.vestibule/login").await.status,
            StatusCode::OK,
            "{lie:?}"
        );
        house.close().await;
    }
}

/// At some of these the library panics.
#[tokio::test(flavor = "multi_thread")]
async fn strange_bytes_end_one_connection_and_are_counted_and_what_breaks_is_not() {
    for (lie, expected) in [
        (Lie::Garbage, 1),
        (Lie::OddResult, 1),
        (Lie::HugeLength, 1),
        (Lie::Deep, 1),
        (Lie::OddEntry, 1),
        (Lie::CloseAtBind, 0),
        (Lie::CloseAtSearch, 0),
        (Lie::ResetAtSearch, 0),
        (Lie::BreaksOff, 0),
        (Lie::Referral, 0),
    ] {
        let ((first, _), (second, _)) = (start(lie).await, start(Lie::None).await);
        let gateway = Program::start(&[first, second]).await;
        let mut before = gateway.browser();
        // The one server's strange answer costs nobody a sign-in: there is another.
        assert_eq!(
            before.sign_in("bob", "anything").await.status,
            StatusCode::SEE_OTHER,
            "{lie:?}"
        );
        let nonsense = gateway.counted("vestibule_directory_nonsense_total").await;
        assert_eq!(nonsense, expected, "{lie:?}");
        assert_eq!(
            gateway.counted("vestibule_directory_failures_total").await,
            1,
            "{lie:?}"
        );
        let mut after = gateway.browser();
        assert_eq!(
            after.sign_in("bob", "anything").await.status,
            StatusCode::SEE_OTHER,
            "{lie:?}"
        );
        assert_eq!(before.whoami().await["email"], "bob@example.com", "{lie:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_sent_to_one_server_is_not_tried_at_the_next() {
    for lie in [Lie::CloseAtPersonsBind, Lie::BindCode(52)] {
        let ((first, _), (second, watched)) = (start(lie).await, start(Lie::None).await);
        let servers = vec![plain("127.0.0.1", first), plain("127.0.0.1", second)];
        let house = House::at(servers, None, |_| {}).await;
        house
            .turns_away("bob", "anything", StatusCode::SERVICE_UNAVAILABLE)
            .await;
        assert_eq!(watched.persons_binds.load(Ordering::SeqCst), 0, "{lie:?}");
        // The one that failed is asked last for a while.
        house.lets_in("bob", "anything").await;
        assert_eq!(watched.persons_binds.load(Ordering::SeqCst), 1, "{lie:?}");
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_to_another_question_or_never_is_given_up_in_time() {
    let (house, _) = house(Lie::WrongId).await;
    let begun = std::time::Instant::now();
    house
        .turns_away("bob", "anything", StatusCode::SERVICE_UNAVAILABLE)
        .await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    house.close().await;
}

/// Takes StartTLS requests and answers them; then says whether more than a handshake came in clear.
async fn start_tls_liar(answer: &'static [u8]) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let bind_seen = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&bind_seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut request = [0; 31];
                if stream.read_exact(&mut request).await.is_err() || stream.write_all(answer).await.is_err() {
                    return;
                }
                let mut rest = vec![0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut rest).await {
                    if rest[..count].windows(9).any(|part| part == b"vestibule") || rest[0] == 0x30 {
                        seen.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    (port, bind_seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_start_tls_is_refused_or_goes_wrong_no_password_is_sent() {
    for answer in [
        // unwillingToPerform
        &b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x35\x04\x00\x04\x00"[..],
        b"\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00",
        // Success, and then a bind's success in clear.
        b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
        b"garbage",
    ] {
        let (port, bind_seen) = start_tls_liar(answer).await;
        let house = House::at(vec![plain("127.0.0.1", port)], None, |settings| {
            settings.ldap.as_mut().unwrap().start_tls = true;
        })
        .await;
        house.turns_away("bob", "anything", StatusCode::SERVICE_UNAVAILABLE).await;
        assert!(!bind_seen.load(Ordering::SeqCst), "{answer:x?}");
        house.close().await;
    }
}
