//! What only a server does: it calls, it goes away, it hangs. Nothing is tried without one (`VESTIBULE_TEST_POSTGRES`).

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use secrecy::SecretString;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::super::testing::{Place, damage};
use super::*;
use crate::clock::UnixTime;
use crate::store::{ChangeKind, RefusedRow, Store};
use crate::telemetry::audit::{Actor, Event, Kind};

const NOW: UnixTime = UnixTime(1_800_000_000);

async fn change(store: &Store) -> Result<(), StoreError> {
    let mut change = store.change(NOW).await?;
    change.publish(ChangeKind::User, "somebody").await?;
    change.commit().await
}

async fn heard(bell: &mut Bell) -> Option<Heard> {
    tokio::time::timeout(Duration::from_secs(3), bell.wait()).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_heard_at_once_and_so_is_a_broken_connection() {
    let Some(mut place) = Place::postgres().await else {
        return;
    };
    let name = format!("bell_{}", crate::seal::random_name());
    let url = place.server().url.expose_secret().to_owned();
    place.server().url = SecretString::from(format!("{url}&application_name={name}"));
    let (store, other) = (place.open().await, place.open().await);
    let mut bell = store.bell().unwrap();
    assert_eq!(heard(&mut bell).await, Some(Heard::Change), "what was before");

    let begun = Instant::now();
    change(&other).await.unwrap();
    // Other tests ring on the same channel; ours is among what is heard.
    assert_eq!(heard(&mut bell).await, Some(Heard::Change));
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());

    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}' AND query LIKE 'LISTEN%'"
    );
    damage(&other, Box::leak(sql.into_boxed_str())).await;
    let lost = async { while bell.wait().await != Heard::Lost {} };
    tokio::time::timeout(Duration::from_secs(5), lost).await.unwrap();
    assert_eq!(heard(&mut bell).await, Some(Heard::Change), "it listens again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_closed_is_replaced() {
    let Some(mut place) = Place::postgres().await else {
        return;
    };
    let name = format!("closed_{}", crate::seal::random_name());
    let url = place.server().url.expose_secret().to_owned();
    place.server().url = SecretString::from(format!("{url}&application_name={name}"));
    let (store, killer) = (place.open().await, place.open().await);
    change(&store).await.unwrap();
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}' AND pid <> pg_backend_pid()"
    );
    let sql: &'static str = Box::leak(sql.into_boxed_str());
    // One that waits, and one in the middle of a transaction.
    damage(&killer, sql).await;
    change(&store).await.unwrap();
    let held = store.change(NOW).await.unwrap();
    damage(&killer, sql).await;
    let error = held.commit().await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unreachable(_) | StoreError::Unavailable(_)),
        "{error}"
    );
    change(&store).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_ended_by_the_server_and_leaves_nothing_locked() {
    let Some(mut place) = Place::postgres().await else {
        return;
    };
    place.server().timeout = Duration::from_secs(1);
    let store = place.open().await;
    let begun = Instant::now();
    let slow = store
        .reading()
        .await
        .unwrap()
        .link
        .rows("SELECT pg_sleep(30)", &[])
        .await;
    assert!(matches!(slow, Err(StoreError::Slow)));
    // Another process, as it were: in this one writers wait for their turn.
    let other = place.open().await;
    let held = other.change(NOW).await.unwrap();
    let waiting = change(&store).await.unwrap_err();
    assert!(matches!(waiting, StoreError::Busy | StoreError::Slow), "{waiting}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    drop(held);
    change(&store).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_runs_outlives_a_newer_ones_change_of_the_tables() {
    let Some(place) = Place::postgres().await else { return };
    let (store, newer) = (place.open().await, place.open().await);
    store.reading().await.unwrap().users().await.unwrap();
    let mut change = store.change(NOW).await.unwrap();
    change.user("a").await.unwrap();
    drop(change);
    damage(&newer, "ALTER TABLE users ADD COLUMN added BIGINT NOT NULL DEFAULT 0").await;
    store.reading().await.unwrap().users().await.unwrap();
    // In a transaction each connection's first try is lost: it can't be known what was done before.
    let mut lost = 0;
    for _ in 0..30 {
        let mut change = store.change(NOW).await.unwrap();
        match change.user("a").await {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, StoreError::Replan), "{error}");
                lost += 1;
            }
        }
    }
    assert!(lost <= 8, "{lost}, and there are eight connections");
}

/// Stands between gateway and server. Connections up to the number in `frozen` are held, but nothing comes through.
async fn frozen_way(server: SocketAddr) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let frozen = Arc::new(AtomicU64::new(0));
    let looked_at = Arc::clone(&frozen);
    tokio::spawn(async move {
        for number in 1.. {
            let Ok((mut client, _)) = listener.accept().await else {
                return;
            };
            let frozen = Arc::clone(&looked_at);
            tokio::spawn(async move {
                let mut to = TcpStream::connect(server).await.unwrap();
                let freezes = async {
                    while frozen.load(Ordering::SeqCst) < number {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                };
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut to) => {}
                    () = freezes => std::future::pending().await,
                }
            });
        }
    });
    (address, frozen)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_hang_are_given_up_together_and_new_ones_find_who_is_there() {
    let Some(mut place) = Place::postgres().await else {
        return;
    };
    let url = url::Url::parse(place.server().url.expose_secret()).unwrap();
    let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
    let (way, frozen) = frozen_way(server.parse().unwrap()).await;
    let mut through = url.clone();
    through.set_port(Some(way.port())).unwrap();
    place.server().url = SecretString::from(through.as_str());
    place.server().timeout = Duration::from_secs(1);
    let store = place.open().await;
    let readings = futures_util::future::join_all((0..8).map(|_| store.reading())).await;
    drop(readings);
    frozen.store(1000, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(matches!(store.ping().await, Err(StoreError::TimedOut)));
    // As if the name now led elsewhere; TCP itself would have waited for a quarter of an hour.
    frozen.store(0, Ordering::SeqCst);
    let begun = Instant::now();
    while store.ping().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it stays away");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_answers_everybody_hears_so_soon() {
    let Some(mut place) = Place::postgres().await else {
        return;
    };
    let (way, gone) = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        (listener.local_addr().unwrap(), listener)
    };
    let mut url = url::Url::parse(place.server().url.expose_secret()).unwrap();
    url.set_port(Some(way.port())).unwrap();
    drop(gone);
    place.server().url = SecretString::from(url.as_str());
    let server = Server::new(place.server()).unwrap();
    assert!(server.acquire().await.is_err());
    let begun = Instant::now();
    for _ in 0..3 {
        assert!(server.acquire().await.is_err());
    }
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    let why = server.try_once().await.unwrap_err();
    assert!(matches!(why, StoreError::Unreachable(_)), "{why}");
}

async fn two_sessions(store: &Store) {
    damage(
        store,
        "INSERT INTO users (id, role, deactivated, created) VALUES ('u', 'member', 0, 0);
         INSERT INTO sessions (token_hash, sid, user_id, created, expires, last_seen, method, issuer, subject,
            provider_groups, groups_truncated)
         SELECT sha256(sid::bytea), sid, 'u', 0, 2000000000, 0, 'oidc', 'i', 's', '[]', 0
            FROM (VALUES ('one'), ('two')) AS names (sid)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_wait_gives_way_and_a_change_never_stands_in_a_circle_with_it() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    let (store, other) = (place.open().await, place.open().await);
    two_sessions(&store).await;
    let mut change = other.change(NOW).await.unwrap();
    assert!(change.delete_session("two").await.unwrap());
    let mut aside = store.aside().await.unwrap();
    aside.touch_sessions(&[("one", NOW)]).await.unwrap();
    // Each wants what the other has; the server would end one of them after a second, perhaps the change.
    let changing = tokio::spawn(async move {
        let deleted = change.delete_session("one").await?;
        change.commit().await.map(|()| deleted)
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    assert!(matches!(
        aside.touch_sessions(&[("two", NOW)]).await,
        Err(StoreError::Busy)
    ));
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    drop(aside);
    assert!(changing.await.unwrap().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_is_remembered_takes_its_rows_in_the_order_in_which_a_change_does() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    let (store, other) = (place.open().await, place.open().await);
    let row = RefusedRow {
        id: "r".to_owned(),
        issuer: "i".to_owned(),
        subject: "s".to_owned(),
        email: None,
        username: None,
        name: None,
        at: NOW,
        times: 1,
    };
    let event = || Event::new(Kind::Refusal, &Actor::system());
    store.note(event(), Some(&row), NOW).await.unwrap();
    let mut change = other.change(NOW).await.unwrap();
    let knocking = tokio::spawn({
        let (store, event, row) = (store.clone(), event(), row.clone());
        async move { store.note(event, Some(&row), NOW).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    change.forget_refused_person(Some(("i", "s")), None).await.unwrap();
    change.commit().await.unwrap();
    knocking.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!(
        store.reading().await.unwrap().refused(9).await.unwrap().1,
        1,
        "who knocked after it"
    );
}
