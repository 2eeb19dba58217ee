//! Moves to another issuer: who is whom afterwards, and who could be whom.

use serde_json::json;

use super::teams::actor;
use super::*;

const OLD: &str = "ldap";
const DAY: i64 = 86_400;

fn from_old(subject: &str, address: &str) -> Arrival {
    Arrival {
        issuer: OLD.to_owned(),
        email: ClaimedEmail::Verified(email(address)),
        ..arrival(subject)
    }
}

/// The same address, at the new issuer.
fn from_new(subject: &str, address: &str) -> Arrival {
    Arrival {
        email: ClaimedEmail::Verified(email(address)),
        ..arrival(subject)
    }
}

/// Ann (admin), Bob and Cem at the old issuer.
async fn house(store: &Store) -> Vec<UserId> {
    let mut ids = Vec::new();
    for name in ["ann", "bob", "cem"] {
        let arrival = from_old(&format!("{name}-old"), &format!("{name}@example.com"));
        ids.push(admit(store, &arrival, &rules(), NOW).await.unwrap().user);
    }
    ids
}

async fn relink(store: &Store, by: &RelinkBy, dry_run: bool) -> (Vec<RelinkLine>, bool) {
    super::relink(store, &Actor::shell(), [OLD, ISSUER], by, dry_run, NOW)
        .await
        .unwrap()
}

fn by_email() -> RelinkBy {
    RelinkBy::Email {
        until: NOW.plus(14 * DAY),
    }
}

fn list(lines: &[(&str, &str)]) -> RelinkBy {
    let lines = lines.iter().enumerate();
    RelinkBy::List(
        lines
            .map(|(at, (old, new))| (at + 1, (*old).to_owned(), (*new).to_owned()))
            .collect(),
    )
}

async fn identities(store: &Store, who: &UserId) -> Vec<(String, String)> {
    let person = person(store, &Actor::shell(), who.as_str()).await.unwrap();
    person
        .identities
        .into_iter()
        .map(|identity| (identity.issuer, identity.subject))
        .collect()
}

fn at_new(subject: &str) -> Vec<(String, String)> {
    vec![(ISSUER.to_owned(), subject.to_owned())]
}

#[tokio::test(flavor = "multi_thread")]
async fn by_subject_everybody_is_the_same_person_at_the_new_issuer() {
    for place in places().await {
        let store = place.open().await;
        let ids = house(&store).await;
        let before = everything(&store).await;
        let (planned, done) = relink(&store, &RelinkBy::Subject, true).await;
        assert!(!done);
        assert_eq!(everything(&store).await, before, "a dry run changed something");
        let (lines, done) = relink(&store, &RelinkBy::Subject, false).await;
        assert!(done);
        assert_eq!(lines, planned);
        assert!(lines.iter().all(|line| line.fate == RelinkFate::Moves), "{lines:?}");
        assert_eq!(identities(&store, &ids[1]).await, at_new("bob-old"));
        let back = from_new("bob-old", "bob@example.com");
        let back = admit(&store, &back, &rules(), NOW).await.unwrap();
        assert_eq!((&back.user, back.how), (&ids[1], How::Known));
        // The old identity is nobody's, and its address is Bob's: nobody comes by it.
        let old = from_old("bob-old", "bob@example.com");
        assert!(matches!(
            admit(&store, &old, &rules(), NOW).await,
            Err(Refused::EmailTaken)
        ));
        let query = AuditQuery {
            person: Some(ids[1].to_string()),
            limit: 10,
            ..AuditQuery::default()
        };
        let rows = audit(&store, &Actor::shell(), &query).await.unwrap().rows;
        assert!(rows.iter().any(|row| row.event == "identity_change"
            && row.after == Some(serde_json::json!({ "issuer": ISSUER, "subject": "bob-old" }))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_names_old_subjects_or_addresses_and_moves_all_or_none() {
    for place in places().await {
        let store = place.open().await;
        let ids = house(&store).await;
        let stranger = admit(&store, &from_new("taken", "eve@example.com"), &rules(), NOW)
            .await
            .unwrap();
        let before = everything(&store).await;
        for (wrong, bad) in [
            (vec![("ann-old", "a"), ("nobody", "n")], 1),
            (vec![("ann-old", "a"), ("eve@example.com", "n")], 1),
            (vec![("ann-old", "a"), ("bob-old", "taken")], 1),
            (vec![("ann-old", "a"), ("ann@example.com", "b")], 2),
            (vec![("ann-old", "a"), ("bob-old", "a")], 2),
            (vec![("ann-old", "a"), ("bob-old", "")], 1),
            (vec![("ann-old", "a"), ("bob-old", "a\nb")], 1),
        ] {
            let (lines, done) = relink(&store, &list(&wrong), false).await;
            assert!(!done, "{wrong:?}");
            let problems = lines
                .iter()
                .filter(|line| matches!(line.fate, RelinkFate::Problem(_)))
                .count();
            assert_eq!(problems, bad, "{lines:?}");
            assert_eq!(everything(&store).await, before, "{wrong:?} changed something");
        }
        let (lines, done) = relink(&store, &list(&[("ann-old", "a"), ("BOB@example.com", "b")]), false).await;
        assert!(done, "{lines:?}");
        assert_eq!(lines[2].fate, RelinkFate::Stays("not in the list"));
        assert_eq!(identities(&store, &ids[0]).await, at_new("a"));
        assert_eq!(identities(&store, &ids[1]).await, at_new("b"));
        assert_eq!(
            identities(&store, &ids[2]).await,
            [(OLD.to_owned(), "cem-old".to_owned())]
        );
        assert_eq!(identities(&store, &stranger.user).await, at_new("taken"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_at_one_issuer_can_be_replaced_but_never_by_somebody_elses() {
    for place in places().await {
        let store = place.open().await;
        let ids = house(&store).await;
        let within = async |lines: &[(&str, &str)]| {
            super::relink(&store, &Actor::shell(), [OLD, OLD], &list(lines), false, NOW)
                .await
                .unwrap()
                .1
        };
        assert!(!within(&[("ann-old", "bob-old"), ("bob-old", "ann-old")]).await);
        assert!(within(&[("ann-old", "ann-oid"), ("bob-old", "bob-oid")]).await);
        assert_eq!(
            identities(&store, &ids[0]).await,
            [(OLD.to_owned(), "ann-oid".to_owned())]
        );
        let same = super::relink(&store, &Actor::shell(), [OLD, OLD], &RelinkBy::Subject, false, NOW).await;
        assert!(!same.unwrap().1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_email_the_next_verified_sign_in_from_there_is_that_person_and_no_other() {
    for place in places().await {
        let store = place.open().await;
        let ids = house(&store).await;
        let (lines, done) = relink(&store, &by_email(), false).await;
        assert!(
            done && lines.iter().all(|line| matches!(line.fate, RelinkFate::Waits(_))),
            "{lines:?}"
        );
        // Nothing has changed for them yet.
        let still = admit(&store, &from_old("bob-old", "bob@example.com"), &rules(), NOW)
            .await
            .unwrap();
        assert_eq!(still.user, ids[1]);

        // Who could pretend: an address that is not verified, another issuer, another address.
        let mut unverified = from_new("eve", "bob@example.com");
        unverified.email = ClaimedEmail::Unverified(email("bob@example.com"));
        assert!(matches!(
            refused(&store, &unverified, &rules()).await,
            Refused::EmailUnverified
        ));
        let mut elsewhere = from_new("eve", "bob@example.com");
        elsewhere.issuer = "https://other.example".to_owned();
        assert!(matches!(
            admit(&store, &elsewhere, &rules(), NOW).await,
            Err(Refused::EmailTaken)
        ));
        let other = admit(&store, &from_new("dan", "dan@example.com"), &rules(), NOW)
            .await
            .unwrap();
        assert!(!ids.contains(&other.user));

        let moved = admit(&store, &from_new("bob-new", "Bob@example.com"), &rules(), NOW)
            .await
            .unwrap();
        assert_eq!((&moved.user, moved.role), (&ids[1], Role::Member));
        assert_eq!(identities(&store, &ids[1]).await, at_new("bob-new"));
        // Once: the next with this address is not Bob, and neither is whoever comes by the old identity.
        let second = from_new("eve", "bob@example.com");
        assert!(matches!(
            admit(&store, &second, &rules(), NOW).await,
            Err(Refused::EmailTaken)
        ));
        let old = from_old("bob-old", "bob@example.com");
        assert!(matches!(
            admit(&store, &old, &rules(), NOW).await,
            Err(Refused::EmailTaken)
        ));
        let again = admit(&store, &from_new("bob-new", "bob@example.com"), &rules(), NOW)
            .await
            .unwrap();
        assert_eq!(again.user, ids[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_is_not_taken_over_by_an_address_that_nobody_says_was_verified() {
    for place in places().await {
        let store = place.open().await;
        let ids = house(&store).await;
        relink(&store, &by_email(), false).await;
        let presumed = |subject: &str, address: &str| Arrival {
            email: ClaimedEmail::Presumed(email(address)),
            ..from_new(subject, address)
        };
        assert!(matches!(
            admit(&store, &presumed("eve", "ann@example.com"), &rules(), NOW).await,
            Err(Refused::EmailTaken)
        ));
        let bob = admit(&store, &presumed("bob-new", "bob@example.com"), &rules(), NOW)
            .await
            .unwrap();
        assert_eq!(bob.user, ids[1]);
        let ann = admit(&store, &from_new("ann-new", "ann@example.com"), &rules(), NOW)
            .await
            .unwrap();
        assert_eq!((&ann.user, ann.role), (&ids[0], Role::Admin));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_marked_a_piece_at_a_time_and_once_more_after_it_broke_off() {
    for place in places().await {
        let store = place.open().await;
        for n in 0..250 {
            let (subject, address) = (format!("p{n}-old"), format!("p{n}@example.com"));
            admit(&store, &from_old(&subject, &address), &rules(), NOW)
                .await
                .unwrap();
        }
        let feed = everything(&store).await.1;
        let (lines, done) = relink(&store, &by_email(), false).await;
        assert!(done && lines.len() == 250);
        assert_eq!(everything(&store).await.1, feed + 2, "two transactions");
        let waiting = async |n: usize| {
            let mut reading = store.reading().await.unwrap();
            reading
                .relink(ISSUER, &format!("p{n}@example.com"))
                .await
                .unwrap()
                .map(|mark| mark.until)
        };
        let first = waiting(249).await.unwrap();
        damage(&store, "DELETE FROM relinks WHERE email_folded > 'p1'").await;
        assert!(waiting(249).await.is_none() && waiting(0).await.is_some());
        let later = RelinkBy::Email { until: first.plus(DAY) };
        assert!(relink(&store, &later, false).await.1);
        for n in 0..250 {
            assert_eq!(waiting(n).await, Some(first.plus(DAY)), "{n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_waits_for_no_directory_and_it_is_said_what_they_wait_for_elsewhere() {
    for place in places().await {
        let store = place.open().await;
        let ids = house(&store).await;
        for (to, admins) in [
            (
                "ldap",
                RelinkFate::Stays("an admin: a directory's address is not enough, link by hand"),
            ),
            (
                ISSUER,
                RelinkFate::Waits(Some("an admin: only if the provider says that the address is verified")),
            ),
        ] {
            let (lines, _) = super::relink(&store, &Actor::shell(), [OLD, to], &by_email(), false, NOW)
                .await
                .unwrap();
            for line in &lines {
                let is_admin = line.user.as_ref() == Some(&ids[0]);
                assert_eq!(line.fate, if is_admin { admins } else { RelinkFate::Waits(None) });
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_linked_by_hand_at_the_same_issuer_waits_for_nobody() {
    for place in places().await {
        let store = place.open().await;
        let ids = house(&store).await;
        let by_hand = async |subject| {
            link(&store, &Actor::shell(), ids[1].as_str(), OLD, subject, NOW)
                .await
                .unwrap()
        };
        let arrives = async |subject: &str| admit(&store, &from_old(subject, "bob@example.com"), &rules(), NOW).await;
        // Before the marks, and after them.
        by_hand("bob-new").await;
        let (lines, _) = super::relink(&store, &Actor::shell(), [OLD, OLD], &by_email(), false, NOW)
            .await
            .unwrap();
        let bobs = lines.iter().filter(|line| line.user.as_ref() == Some(&ids[1]));
        assert!(bobs.clone().count() == 2 && bobs.clone().all(|line| matches!(line.fate, RelinkFate::Stays(_))));
        assert!(matches!(arrives("eve").await, Err(Refused::EmailTaken)));

        unlink(&store, &Actor::shell(), ids[1].as_str(), OLD, "bob-new", NOW)
            .await
            .unwrap();
        super::relink(&store, &Actor::shell(), [OLD, OLD], &by_email(), false, NOW)
            .await
            .unwrap();
        by_hand("bob-newer").await;
        assert!(matches!(arrives("eve").await, Err(Refused::EmailTaken)));
        assert_eq!(arrives("bob-newer").await.unwrap().user, ids[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_ends_with_its_time_the_address_the_account_and_when_it_is_taken_back() {
    for place in places().await {
        let store = place.open().await;
        let ids = house(&store).await;
        deactivate(&store, ids[2].as_str(), NOW).await.unwrap();
        let (lines, _) = relink(&store, &by_email(), false).await;
        assert_eq!(lines[2].fate, RelinkFate::Stays("deactivated"));
        let taken = async |subject: &str, address: &str, at: UnixTime| {
            admit(&store, &from_new(subject, address), &rules(), at).await
        };
        // Time.
        let late = NOW.plus(14 * DAY);
        assert!(matches!(
            taken("ann-new", "ann@example.com", late).await,
            Err(Refused::EmailTaken)
        ));
        // Deactivated, before the mark and after it.
        assert!(matches!(
            taken("cem-new", "cem@example.com", NOW).await,
            Err(Refused::EmailTaken)
        ));
        deactivate(&store, ids[1].as_str(), NOW).await.unwrap();
        assert!(matches!(
            taken("bob-new", "bob@example.com", NOW).await,
            Err(Refused::Deactivated)
        ));
        activate(&store, ids[1].as_str(), NOW).await.unwrap();
        // The address became another one, and its new owner is not the old one.
        admit(&store, &from_old("bob-old", "robert@example.com"), &rules(), NOW)
            .await
            .unwrap();
        let new = taken("bob-new", "bob@example.com", NOW).await.unwrap();
        assert_ne!(new.user, ids[1]);
        // An admin linked an identity there meanwhile.
        link(&store, &Actor::shell(), ids[0].as_str(), ISSUER, "ann-by-hand", NOW)
            .await
            .unwrap();
        assert!(matches!(
            taken("ann-new", "ann@example.com", NOW).await,
            Err(Refused::EmailTaken)
        ));
        unlink(&store, &Actor::shell(), ids[0].as_str(), ISSUER, "ann-by-hand", NOW)
            .await
            .unwrap();
        // Taken back.
        let gone = forget_relinks(&store, &Actor::shell(), [OLD, ISSUER], NOW)
            .await
            .unwrap();
        assert_eq!(gone, 2);
        let query = AuditQuery {
            person: Some(ids[0].to_string()),
            event: Some(Kind::IdentityChange),
            limit: 1,
            ..AuditQuery::default()
        };
        let told = &audit(&store, &Actor::shell(), &query).await.unwrap().rows[0];
        assert_eq!(told.detail.as_ref().unwrap()["how"], "no longer to be linked");
        assert_eq!(told.before, Some(json!({ "issuer": ISSUER })));
        assert!(matches!(
            taken("ann-new", "ann@example.com", NOW).await,
            Err(Refused::EmailTaken)
        ));
        // An account that was removed leaves none behind.
        relink(&store, &by_email(), false).await;
        remove(&store, ids[1].as_str(), NOW).await.unwrap();
        let robert = taken("robert", "robert@example.com", NOW).await.unwrap();
        assert_ne!(robert.user, ids[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_move_people_and_a_refusal_names_the_command() {
    for place in places().await {
        let store = place.open().await;
        let ids = house(&store).await;
        for (who, allowed) in [(&ids[0], true), (&ids[1], false)] {
            let outcome = super::relink(
                &store,
                &actor(&store, who.as_str()).await,
                [OLD, ISSUER],
                &RelinkBy::Subject,
                true,
                NOW,
            )
            .await;
            assert_eq!(outcome.is_ok(), allowed);
            let outcome = forget_relinks(&store, &actor(&store, who.as_str()).await, [OLD, ISSUER], NOW).await;
            assert_eq!(outcome.is_ok(), allowed);
        }
        let eve = from_new("bob-new", "bob@example.com");
        assert!(matches!(
            admit(&store, &eve, &rules(), NOW).await,
            Err(Refused::EmailTaken)
        ));
        let query = AuditQuery {
            event: Some(Kind::Refusal),
            limit: 1,
            ..AuditQuery::default()
        };
        let rows = audit(&store, &Actor::shell(), &query).await.unwrap().rows;
        let told = rows[0].detail.clone().unwrap().to_string();
        assert!(
            told.contains("vestibule users relink --from") && told.contains(&format!("'{ISSUER}'")),
            "{told}"
        );
    }
}
