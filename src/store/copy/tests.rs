//! Copies from SQLite to SQLite, and to PostgreSQL and back where there is a server.

use super::*;
use crate::clock::UnixTime;
use crate::store::ChangeKind;
use crate::store::testing::{Place, damage, places};

const NOW: UnixTime = UnixTime(1_800_000_000);

/// Puts rows into every table: as many as make several pieces, and every kind of value there is.
async fn fill(store: &Store) {
    let mut link = store.writing().await.unwrap().reading.link;
    unhurried(&mut link).await.unwrap();
    link.execute("DELETE FROM instance", &[]).await.unwrap();
    for table in tables().await.unwrap() {
        let count = if table.name == "instance" { 1 } else { PIECE * 2 + 7 };
        let rows: Vec<Vec<Cell>> = (1..=count).map(|number| row(&table, number)).collect();
        table.write(&mut link, &rows).await.unwrap();
    }
    link.commit().await.unwrap();
}

fn row(table: &Table, number: usize) -> Vec<Cell> {
    let cells = table.columns.iter().enumerate().map(|(at, (name, kind))| {
        let needed = table.key.contains(&at) || !number.is_multiple_of(3) || name.ends_with("_id");
        match kind {
            Kind::Int => Cell::Int(Some(i64::try_from(number).unwrap())),
            Kind::Text if needed => Cell::Text(Some(format!("{number}é\u{1f980}'\"\\"))),
            Kind::Bytes if needed => Cell::Bytes(Some(vec![
                0,
                255,
                u8::try_from(number % 256).unwrap(),
                u8::try_from(number / 256).unwrap(),
            ])),
            // Not everywhere: some columns must hold something.
            Kind::Text => Cell::Text(Some(format!("{number}"))),
            Kind::Bytes => Cell::Bytes(Some(number.to_be_bytes().to_vec())),
        }
    });
    cells.collect()
}

async fn everything(store: &Store) -> Vec<(String, Vec<Vec<Cell>>)> {
    let mut link = store.snapshot().await.unwrap();
    let mut all = Vec::new();
    for table in tables().await.unwrap() {
        let mut rows = Vec::new();
        let mut after = None;
        loop {
            let piece = table.read(&mut link, after.as_ref()).await.unwrap();
            rows.extend(piece.clone());
            match piece.last() {
                Some(last) if piece.len() == PIECE => after = Some(last.clone()),
                _ => break,
            }
        }
        rows.sort_by_key(|row| format!("{row:?}"));
        all.push((table.name, rows));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_there_is_is_copied_whole() {
    for target in places().await {
        let (source, back) = (Place::sqlite(), Place::sqlite());
        let (from, to) = (source.open().await, target.open().await);
        fill(&from).await;
        let copied = from.copy_to(&to).await.unwrap();
        let before = everything(&from).await;
        assert_eq!(everything(&to).await, before);
        // Those of the database itself are those that were copied.
        let names: BTreeSet<&str> = copied.iter().map(|table| table.name.as_str()).collect();
        let mut link = from.snapshot().await.unwrap();
        let rows = link
            .rows(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
                &[],
            )
            .await
            .unwrap();
        let there: Vec<String> = rows.iter().map(|row| row.get("name").unwrap()).collect();
        let there: BTreeSet<&str> = there
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "schema_version")
            .collect();
        assert_eq!(names, there);
        assert!(
            copied
                .iter()
                .all(|table| table.rows == PIECE * 2 + 7 || table.name == "instance")
        );
        drop(link);
        // And back.
        let again = to.copy_to(&back.open().await).await.unwrap();
        assert_eq!(again, copied);
        assert_eq!(everything(&back.open().await).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_empty_is_refused_and_stays_as_it_is() {
    for target in places().await {
        let source = Place::sqlite();
        let (from, to) = (source.open().await, target.open().await);
        fill(&from).await;
        for (making, unmaking) in [
            (
                "INSERT INTO used_attempts (id, until) VALUES ('a', 1)",
                "DELETE FROM used_attempts",
            ),
            ("UPDATE instance SET feed = 1", "UPDATE instance SET feed = 0"),
            (
                "UPDATE instance SET admin_settled = 1",
                "UPDATE instance SET admin_settled = 0",
            ),
        ] {
            damage(&to, making).await;
            let before = everything(&to).await;
            let refused = from.copy_to(&to).await.unwrap_err();
            assert!(matches!(refused, CopyError::NotEmpty(_)), "{making}: {refused}");
            assert_eq!(everything(&to).await, before);
            damage(&to, unmaking).await;
        }
        from.copy_to(&to).await.unwrap();
        assert!(matches!(from.copy_to(&to).await, Err(CopyError::NotEmpty(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_meanwhile_is_noticed_and_nothing_is_copied() {
    for target in places().await {
        let source = Place::sqlite();
        let (from, to, gateway) = (source.open().await, target.open().await, source.open().await);
        fill(&from).await;
        // Whoever holds the target's lock row lets the copy wait after it began to read.
        let held = to.change(NOW).await.unwrap();
        let (copied, ()) = tokio::join!(from.copy_to(&to), async {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            let mut change = gateway.change(NOW).await.unwrap();
            change.publish(ChangeKind::User, "somebody").await.unwrap();
            change.commit().await.unwrap();
            drop(held);
        });
        assert!(matches!(copied, Err(CopyError::Changed)), "{copied:?}");
        assert_eq!(
            everything(&to).await.iter().map(|(_, rows)| rows.len()).sum::<usize>(),
            1
        );
    }
}

#[test]
fn rows_that_differ_have_different_sums() {
    let text = |text: &str| Cell::Text(Some(text.to_owned()));
    let rows = [
        vec![text("ab"), text("c")],
        vec![text("a"), text("bc")],
        vec![Cell::Text(None), text("abc")],
        vec![text(""), text("abc")],
        vec![text("abc"), Cell::Text(None)],
    ];
    let sums: BTreeSet<[u8; 32]> = rows.iter().map(|row| digest(row)).collect();
    assert_eq!(sums.len(), rows.len());
    let [one, two] = [[1; 32], [2; 32]];
    assert_eq!(checksum(vec![one, two]), checksum(vec![two, one]));
    assert_ne!(checksum(vec![one, two]), checksum(vec![one, two, two]));
}
