//! A hundred thousand people (twenty thousand in PostgreSQL), and how the databases find a page of them.

use super::*;
use crate::clock::UnixTime;
use crate::store::Store;
use crate::store::testing::{damage, places};

/// In one statement all would take longer than a statement may.
const PIECE: i64 = 10_000;

fn piece(from: i64) -> String {
    format!(
        "INSERT INTO users (id, email, email_folded, username, username_folded, name, role, deactivated, created,
    signed_in, version, status, sort_email, sort_name, sort_seen)
WITH RECURSIVE n (i) AS (SELECT {from} + 1 UNION ALL SELECT i + 1 FROM n WHERE i < {from} + {PIECE})
SELECT 'u_' || i, 'p' || i || '@example.com', 'p' || i || '@example.com', 'p' || i, 'p' || i, 'Person ' || i,
    CASE WHEN i % 1000 = 0 THEN 'admin' WHEN i % 3 = 0 THEN 'viewer' ELSE 'member' END, 0,
    1700000000 + (i * 7919) % 99991, 1750000000 + (i * 17389) % 99991, 1,
    CASE WHEN i % 50 = 0 THEN 'invited' ELSE 'active' END,
    'p' || i || '@example.com', 'person ' || i, 1750000000 + (i * 17389) % 99991
FROM n;
INSERT INTO user_words (word, user_id)
    WITH RECURSIVE n (i) AS (SELECT {from} + 1 UNION ALL SELECT i + 1 FROM n WHERE i < {from} + {PIECE})
    SELECT 'p' || i || '@example.com', 'u_' || i FROM n
    UNION ALL SELECT 'example.com', 'u_' || i FROM n UNION ALL SELECT 'person', 'u_' || i FROM n;"
    )
}

const TEAMS: &str = "
INSERT INTO teams (id, name, name_folded, created, version)
    VALUES ('t_big', 'Big', 'big', 1, 1), ('t_small', 'Small', 'small', 1, 1);
INSERT INTO team_members (team_id, user_id, source, group_name, role, since)
    SELECT 't_big', id, '', '', 'member', 1 FROM users WHERE role = 'viewer';
INSERT INTO team_members (team_id, user_id, source, group_name, role, since)
    SELECT 't_small', id, '', '', 'member', 1 FROM users WHERE role = 'admin'";

fn search(sort: SortBy) -> PeopleSearch<'static> {
    PeopleSearch {
        words: Vec::new(),
        role: None,
        status: None,
        team: None,
        sort,
        descending: false,
        from: None,
        limit: 51,
    }
}

async fn filled() -> Vec<(crate::store::testing::Place, Store)> {
    let mut filled = Vec::new();
    for place in places().await {
        let store = place.open().await;
        // PostgreSQL has many databases to keep in these tests; its planner goes by statistics, which show it from fewer on.
        let postgres = matches!(place.database, crate::config::Database::Postgres(_));
        for from in 0..if postgres { 2 } else { 10 } {
            let unlimited = if postgres { "SET statement_timeout = 0; " } else { "" };
            damage(&store, format!("{unlimited}{}", piece(from * PIECE))).await;
        }
        damage(&store, TEAMS).await;
        if postgres {
            // What its autovacuum does by itself. SQLite's planner goes without.
            damage(&store, "ANALYZE users, user_words, team_members").await;
        }
        filled.push((place, store));
    }
    filled
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_hundred_thousand_people_is_found_by_an_index_whatever_is_asked_for() {
    let text = |word: &str| vec![word.to_owned()];
    let middle = |key| Position {
        key,
        id: "u_5".to_owned(),
        backwards: false,
    };
    let (by_text, by_number) = (
        middle(SortKey::Text("p5".to_owned())),
        middle(SortKey::Number(1_700_050_000)),
    );
    for (_place, store) in filled().await {
        let mut reading = store.reading().await.unwrap();
        let mut asked = Vec::new();
        for (sort, from) in [
            (SortBy::Email, &by_text),
            (SortBy::Name, &by_text),
            (SortBy::Created, &by_number),
            (SortBy::SignedIn, &by_number),
        ] {
            let base = search(sort);
            asked.push(base.clone());
            asked.push(PeopleSearch {
                from: Some(from),
                ..base.clone()
            });
            asked.push(PeopleSearch {
                from: Some(from),
                descending: true,
                ..base.clone()
            });
            // Few of them, and many.
            asked.push(PeopleSearch {
                words: text("p4711@"),
                ..base.clone()
            });
            asked.push(PeopleSearch {
                words: text("example.com"),
                from: Some(from),
                ..base.clone()
            });
            asked.push(PeopleSearch {
                words: vec!["person".to_owned(), "p47".to_owned()],
                ..base.clone()
            });
            asked.push(PeopleSearch {
                words: text("nobody"),
                ..base.clone()
            });
            asked.push(PeopleSearch {
                role: Some(Role::Admin),
                ..base.clone()
            });
            asked.push(PeopleSearch {
                role: Some(Role::Viewer),
                ..base.clone()
            });
            asked.push(PeopleSearch {
                status: Some("invited"),
                ..base.clone()
            });
            asked.push(PeopleSearch {
                role: Some(Role::Member),
                status: Some("active"),
                ..base.clone()
            });
            asked.push(PeopleSearch {
                team: Some("t_small"),
                ..base.clone()
            });
            asked.push(PeopleSearch {
                team: Some("t_big"),
                words: text("example"),
                ..base.clone()
            });
        }
        for search in asked {
            let plan = reading.plan_of(&search).await.unwrap();
            for line in plan.lines() {
                // SQLite: a walk over the table itself. PostgreSQL: the same in its words.
                let whole = line.starts_with("SCAN") && !line.contains("INDEX") && !line.contains("hit");
                assert!(!whole && !line.contains("Seq Scan"), "{search:?}\n{plan}");
            }
            let rows = reading.people(&search).await.unwrap();
            let most = reading.count_people(&search).await.unwrap();
            assert!(most.is_none_or(|most| rows.len() as u64 <= most), "{search:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_there_before_words_were_is_found_by_them() {
    for place in places().await {
        let store = place.open().await;
        damage(
            &store,
            "INSERT INTO users (id, email, email_folded, name, role, deactivated, created, signed_in) \
             VALUES ('u_1', 'Ann@Example.com', 'ann@example.com', 'Ann Äh', 'viewer', 0, 5, 7)",
        )
        .await;
        let mut writing = store.writing().await.unwrap();
        writing.index_people().await.unwrap();
        writing.commit().await.unwrap();
        let mut reading = store.reading().await.unwrap();
        let found = reading
            .people(&PeopleSearch {
                words: asked_words("ÄH exam"),
                status: Some("active"),
                ..search(SortBy::Name)
            })
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(SortBy::SignedIn.key(&found[0]), SortKey::Number(UnixTime(7).0));
        let sql = "SELECT sort_name, sort_email, sort_seen FROM users";
        let row = reading.link.one(sql, &[]).await.unwrap();
        assert_eq!(row.get::<String>("sort_name").unwrap(), "ann äh");
        assert_eq!(row.get::<i64>("sort_seen").unwrap(), 7);
    }
}
