//! Each test runs on SQLite, and on PostgreSQL where there is one.

use std::os::unix::fs::PermissionsExt as _;

use super::testing::{Place, damage, places};
use super::*;
use crate::person::{Role, UserId};

const NOW: UnixTime = UnixTime(1_800_000_000);

fn user(name: &str) -> UserRow {
    UserRow {
        id: UserId::new(name),
        email: Some((format!("{name}@Example.com"), format!("{name}@example.com"))),
        username: None,
        name: Some("Zoë \u{1f980}".to_owned()),
        role: Role::Member,
        deactivated: false,
        created: NOW,
        signed_in: None,
        version: 1,
        expires: None,
        invited_by: None,
    }
}

async fn insert(store: &Store, name: &str) -> Result<(), StoreError> {
    let mut change = store.change(NOW).await?;
    change.insert_user(&user(name)).await?;
    change.publish(ChangeKind::User, name).await?;
    change.commit().await
}

async fn names(store: &Store) -> Vec<String> {
    let users = store.reading().await.unwrap().users().await.unwrap();
    users.into_iter().map(|user| user.id.to_string()).collect()
}

#[tokio::test]
async fn the_debug_of_a_server_does_not_tell_its_password() {
    let server = postgres::Server::new(&config::Postgres {
        url: secrecy::SecretString::from("postgres://u:canary@127.0.0.1:1/v"),
        place: "127.0.0.1:1/v".to_owned(),
        host: None,
        tls: config::PostgresTls::Prefer,
        ca_files: Vec::new(),
        pool: 8,
        timeout: Duration::from_secs(4),
    });
    let told = format!("{:?}", server.unwrap());
    assert!(told.contains("connections") && !told.contains("canary"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_the_same() {
    for place in places().await {
        let store = place.open().await;
        insert(&store, "a").await.unwrap();
        let mut reading = store.reading().await.unwrap();
        assert_eq!(reading.user("a").await.unwrap(), Some(user("a")));
        assert_eq!(reading.user("A").await.unwrap(), None);
        assert_eq!(reading.user_by_email("a@example.com").await.unwrap(), Some(user("a")));
        assert_eq!(reading.user_by_email("a@Example.com").await.unwrap(), None);
        assert_eq!(reading.user_by_identity("i", "s").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_committed_never_was() {
    for place in places().await {
        let store = place.open().await;
        let mut change = store.change(NOW).await.unwrap();
        change.insert_user(&user("a")).await.unwrap();
        drop(change);
        insert(&store, "b").await.unwrap();
        assert_eq!(names(&store).await, ["b"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_newly_made_once_however_many_open_it_at_once() {
    for place in places().await {
        let opening: Vec<_> = (0..8)
            .map(|_| {
                let database = place.database.clone();
                tokio::spawn(async move { Store::open(&database).await.unwrap().newly_made() })
            })
            .collect();
        let mut made = 0;
        for one in opening {
            made += usize::from(one.await.unwrap());
        }
        assert_eq!(made, 1);
        assert!(!place.open().await.newly_made());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_database_is_refused_and_left_alone() {
    for place in places().await {
        let store = place.open().await;
        damage(&store, "UPDATE schema_version SET version = 99").await;
        let refused = Store::open(&place.database).await.unwrap_err();
        assert!(matches!(refused, StoreError::Newer { found: 99, .. }), "{refused}");
        let mut reading = store.reading().await.unwrap();
        let row = reading
            .link
            .one("SELECT version FROM schema_version", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<i64>("version").unwrap(), 99);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_the_feed_appear_in_order_and_none_is_passed_over() {
    for place in places().await {
        let stores = [place.open().await, place.open().await];
        let writers: Vec<_> = (0..40)
            .map(|n| {
                let store = stores[n % 2].clone();
                tokio::spawn(async move { insert(&store, &format!("u{n}")).await.unwrap() })
            })
            .collect();
        let reader = place.open().await;
        let mut seen: Vec<FeedEntry> = Vec::new();
        while seen.len() < 40 {
            let after = seen.last().map_or(0, |entry| entry.feed);
            seen.extend(reader.reading().await.unwrap().changes_after(after).await.unwrap());
            tokio::task::yield_now().await;
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let numbers: Vec<_> = seen.iter().map(|entry| entry.feed).collect();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
        assert_eq!(reader.reading().await.unwrap().feed().await.unwrap(), 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_is_away_within_seconds_and_still_read() {
    for place in places().await {
        let (store, other) = (place.open().await, place.open().await);
        insert(&store, "a").await.unwrap();
        let held = other.change(NOW).await.unwrap();
        let begun = Instant::now();
        assert!(insert(&store, "b").await.is_err());
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        assert_eq!(names(&store).await, ["a"]);
        drop(held);
        insert(&store, "b").await.unwrap();
        assert_eq!(names(&store).await, ["a", "b"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wrote_nothing_was_served_and_whoever_had_no_answer_was_not() {
    for place in places().await {
        let (store, other) = (place.open().await, place.open().await);
        let served = || store.queue.served();
        let before = served();
        drop(store.change(NOW).await.unwrap());
        assert_eq!(served(), before + 1);
        insert(&store, "a").await.unwrap();
        assert_eq!(served(), before + 2);
        let held = other.change(NOW).await.unwrap();
        assert!(insert(&store, "b").await.is_err());
        assert_eq!(served(), before + 2);
        drop(held);
    }
}

#[tokio::test]
async fn a_command_in_a_shell_waits_for_who_writes() {
    let place = Place::sqlite();
    let (store, other) = (place.open().await.patient(), place.open().await);
    let held = other.change(NOW).await.unwrap();
    let (written, ()) = tokio::join!(insert(&store, "a"), async {
        tokio::time::sleep(BUSY + Duration::from_secs(1)).await;
        drop(held);
    });
    written.unwrap();
    assert_eq!(names(&store).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_user_takes_identities_and_sessions_along() {
    for place in places().await {
        let store = place.open().await;
        let mut change = store.change(NOW).await.unwrap();
        change.insert_user(&user("a")).await.unwrap();
        change.link_identity("i", "s", &UserId::new("a")).await.unwrap();
        change.commit().await.unwrap();
        let mut change = store.change(NOW).await.unwrap();
        change.delete_user(&UserId::new("a")).await.unwrap();
        change.commit().await.unwrap();
        let mut reading = store.reading().await.unwrap();
        assert!(reading.user_by_identity("i", "s").await.unwrap().is_none());
        assert!(!reading.has_identity(&UserId::new("a")).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_or_session_of_nobody_cannot_be_written() {
    for place in places().await {
        let store = place.open().await;
        let mut change = store.change(NOW).await.unwrap();
        assert!(change.link_identity("i", "s", &UserId::new("nobody")).await.is_err());
    }
}

#[tokio::test]
async fn only_its_owner_reads_the_file_and_its_companions() {
    let place = Place::sqlite();
    let store = place.open().await;
    insert(&store, "a").await.unwrap();
    let mut seen = 0;
    for entry in place.file().parent().unwrap().read_dir().unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{entry:?}"
        );
        seen += 1;
    }
    assert_eq!(seen, 3, "vestibule.db, -wal, -shm");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let place = Place::sqlite();
    let missing = place.file().with_file_name("missing");
    let database = config::Database::Sqlite(missing.join("vestibule.db"));
    let error = Store::open(&database).await.unwrap_err();
    assert!(matches!(&error, StoreError::NoFolder(folder) if *folder == missing));
    assert!(!missing.exists());
}

#[tokio::test]
async fn what_is_no_database_is_an_error_and_stays_as_it_is() {
    let place = Place::sqlite();
    let garbage = "this is no database. ".repeat(500);
    std::fs::write(place.file(), &garbage).unwrap();
    assert!(Store::open(&place.database).await.is_err());
    assert_eq!(std::fs::read_to_string(place.file()).unwrap(), garbage);
}

/// What the operating system holds at the moment of the answer is what a kill -9 leaves behind.
#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let place = Place::sqlite();
    let store = place.open().await;
    for n in 0..20 {
        insert(&store, &format!("u{n:02}")).await.unwrap();
        let left = Place::sqlite();
        for suffix in ["", "-wal"] {
            let name = |place: &Place| format!("{}{suffix}", place.file().display());
            std::fs::copy(name(&place), name(&left)).unwrap();
        }
        assert_eq!(names(&left.open().await).await.len(), n + 1);
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_nothing_half_written() {
    let place = Place::sqlite();
    let store = place.open().await;
    damage(&store, "PRAGMA max_page_count = 40").await;
    let mut written = Vec::new();
    let error = loop {
        let name = format!("{}{:04}", "x".repeat(500), written.len());
        match insert(&store, &name).await {
            Ok(()) => written.push(name),
            Err(error) => break error,
        }
        assert!(written.len() < 1000, "the disk is never full");
    };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert_eq!(names(&store).await, written);
    damage(&store, "PRAGMA max_page_count = 4000").await;
    insert(&store, "after").await.unwrap();
}

#[tokio::test]
async fn a_database_that_became_read_only_is_an_error_and_still_read() {
    let place = Place::sqlite();
    let store = place.open().await;
    insert(&store, "a").await.unwrap();
    damage(&store, "PRAGMA query_only = 1").await;
    assert!(matches!(insert(&store, "b").await, Err(StoreError::Unavailable(_))));
    assert_eq!(names(&store).await, ["a"]);
    store.ping().await.unwrap();
}
