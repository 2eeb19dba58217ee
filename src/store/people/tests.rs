//! A hundred thousand people (fifty thousand in PostgreSQL), and how the databases find a page of them.

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
INSERT INTO user_words (word, user_id, role, status, sort_email, sort_name, created, sort_seen)
    WITH RECURSIVE n (i) AS (SELECT {from} + 1 UNION ALL SELECT i + 1 FROM n WHERE i < {from} + {PIECE}),
    words (word, i) AS (SELECT 'p' || i || '@example.com', i FROM n UNION ALL SELECT 'example.com', i FROM n
        UNION ALL SELECT 'person', i FROM n UNION ALL SELECT 'late', i FROM n WHERE CAST(i AS TEXT) LIKE '9%'
        UNION ALL SELECT 'later', i FROM n WHERE CAST(i AS TEXT) LIKE '9%')
    SELECT word, users.id, role, status, sort_email, sort_name, created, sort_seen
    FROM words JOIN users ON users.id = 'u_' || words.i;"
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
        for from in 0..if postgres { 5 } else { 10 } {
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

impl Reading {
    /// How the database would find this page and count, in its own words: of each question that is asked for it.
    async fn plans_of(&mut self, search: &PeopleSearch<'_>) -> Result<Vec<String>, StoreError> {
        let lasts = lasts(&search.words);
        let way = self.way(search, &lasts).await?;
        let mut questions: Vec<Question<'_>> = way.leads.iter().map(|lead| few(*lead)).collect();
        let place;
        if way.leads.is_empty() || way.narrow().is_some() || way.in_order(search.sort) {
            questions.push(page(search, &way, way.narrow(), None));
        } else {
            place = self.edge(search, &way).await?;
            questions.push(edge(search, &way));
            questions.push(page(search, &way, None, place.as_ref()));
            let full = is_full(&self.users_of(page(search, &way, None, place.as_ref())).await?, search);
            let at = self.rarest(&way).await?;
            if !full {
                let is_word = |lead: &&Lead<'_>| matches!(lead, Lead::Word(..));
                questions.extend(way.leads.iter().filter(is_word).map(|lead| many(*lead)));
                questions.push(match way.leads.get(at) {
                    Some(Lead::Word(..)) => best_of_word(search, &way, at, ALIKE),
                    _ => page(search, &way, Some(at), None),
                });
            }
        }
        // Everybody is counted by what the database finds smallest to count.
        if let (Some((at, _)), 2..) = (way.fewest, way.leads.len()) {
            questions.push(count(&way, Some(at)));
        }
        let mut plans = Vec::new();
        for question in questions {
            plans.push(self.plan_of(question).await?);
        }
        Ok(plans)
    }

    async fn plan_of(&mut self, question: Question<'_>) -> Result<String, StoreError> {
        let mut explain = Question::default();
        explain.say(if self.link.is_postgres() {
            "EXPLAIN "
        } else {
            "EXPLAIN QUERY PLAN "
        });
        explain.append(question);
        let column = if self.link.is_postgres() {
            "QUERY PLAN"
        } else {
            "detail"
        };
        let rows = self.link.answer(explain).await?;
        let lines: Result<Vec<String>, _> = rows.iter().map(|row| row.get(column)).collect();
        Ok(lines?.join("\n"))
    }
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
            // Many, all of them at the end of the order; and with another condition that many meet.
            asked.push(PeopleSearch {
                words: text("late"),
                ..base.clone()
            });
            asked.push(PeopleSearch {
                words: text("late"),
                from: Some(from),
                role: Some(Role::Viewer),
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
            for plan in reading.plans_of(&search).await.unwrap() {
                for line in plan.lines() {
                    // SQLite: a walk over the table itself. PostgreSQL: the same in its words.
                    let ours = ["hit", "best", "few", "many"].iter().any(|name| line.contains(name));
                    let whole = line.starts_with("SCAN") && !line.contains("INDEX") && !ours;
                    assert!(!whole && !line.contains("Seq Scan"), "{search:?}\n{plan}");
                }
            }
            let PeopleRows { rows, total } = reading.people(&search).await.unwrap();
            assert!(total.is_none_or(|total| rows.len() as u64 <= total), "{search:?}");
        }
        let postgres = reading.link.is_postgres();
        pages_are_right(&mut reading, if postgres { 5 * PIECE } else { 10 * PIECE }).await;
    }
}

/// Whichever way a page is found, it is the one that reading everybody would give.
async fn pages_are_right(reading: &mut Reading, people: i64) {
    for (word, role) in [
        ("late", None),
        ("late", Some(Role::Viewer)),
        ("person", Some(Role::Admin)),
        ("p9", None),
    ] {
        for sort in [SortBy::Email, SortBy::Name, SortBy::Created, SortBy::SignedIn] {
            for descending in [false, true] {
                let mut expected: Vec<(SortKey, String)> = (1..=people)
                    .filter(|i| word == "person" || i.to_string().starts_with('9'))
                    .filter(|i| role.is_none_or(|role| role_of(*i) == role))
                    .map(|i| (key_of(sort, i), format!("u_{i}")))
                    .collect();
                expected.sort_by_cached_key(|(key, id)| match key {
                    SortKey::Number(number) => (*number, String::new(), id.clone()),
                    SortKey::Text(text) => (0, text.clone(), id.clone()),
                });
                if descending {
                    expected.reverse();
                }
                let wanted = |from: usize, count: usize| -> Vec<&str> {
                    let page = expected.iter().skip(from).take(count);
                    page.map(|(_, id)| id.as_str()).collect()
                };
                let mut asked = PeopleSearch {
                    words: vec![word.to_owned()],
                    role,
                    descending,
                    ..search(sort)
                };
                let first = reading.people(&asked).await.unwrap();
                assert_eq!(ids(&first.rows), wanted(0, 51), "{asked:?}");
                // Counted where few meet one of the conditions, and not gone through for it where many meet each.
                let few = role == Some(Role::Admin);
                assert_eq!(first.total, few.then_some(expected.len() as u64), "{asked:?}");
                let Some((key, id)) = expected.get(20).cloned() else {
                    continue;
                };
                let [on, back] = [false, true].map(|backwards| Position {
                    key: key.clone(),
                    id: id.clone(),
                    backwards,
                });
                asked.from = Some(&on);
                let second = reading.people(&asked).await.unwrap();
                assert_eq!(ids(&second.rows), wanted(21, 51), "{asked:?}");
                asked.from = Some(&back);
                let before = reading.people(&asked).await.unwrap();
                assert_eq!(ids(&before.rows), wanted(0, 20), "{asked:?}");
            }
        }
    }
}

fn ids(rows: &[UserRow]) -> Vec<&str> {
    rows.iter().map(|user| user.id.as_str()).collect()
}

/// As [`piece`] has it.
fn role_of(i: i64) -> Role {
    match i {
        i if i % 1000 == 0 => Role::Admin,
        i if i % 3 == 0 => Role::Viewer,
        _ => Role::Member,
    }
}

fn key_of(sort: SortBy, i: i64) -> SortKey {
    match sort {
        SortBy::Email => SortKey::Text(format!("p{i}@example.com")),
        SortBy::Name => SortKey::Text(format!("person {i}")),
        SortBy::Created => SortKey::Number(1_700_000_000 + (i * 7919) % 99_991),
        SortBy::SignedIn => SortKey::Number(1_750_000_000 + (i * 17_389) % 99_991),
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
                words: crate::store::asked_words("ÄH exam"),
                status: Some("active"),
                ..search(SortBy::Name)
            })
            .await
            .unwrap()
            .rows;
        assert_eq!(found.len(), 1);
        assert_eq!(SortBy::SignedIn.key(&found[0]), SortKey::Number(UnixTime(7).0));
        let sql = "SELECT sort_name, sort_email, sort_seen FROM users";
        let row = reading.link.one(sql, &[]).await.unwrap();
        assert_eq!(row.get::<String>("sort_name").unwrap(), "ann äh");
        assert_eq!(row.get::<i64>("sort_seen").unwrap(), 7);
    }
}
