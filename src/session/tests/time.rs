//! What time does to sessions, and what is written and taken away as it passes.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sign_in_lets_the_old_session_end_half_a_minute_later() {
    for place in places().await {
        let (here, there) = (Gateway::start(&place, RULES).await, Gateway::start(&place, RULES).await);
        let (old, session) = here.sign_in("ann").await;
        there.find(&old, NOW).await.unwrap();
        let (new, _) = here.sign_in_over("bob", Some(&old), NOW.plus(100)).await;
        here.follow(NOW.plus(100)).await;
        there.follow(NOW.plus(100)).await;
        assert_ne!(old.cookie_value(), new.cookie_value());
        for gateway in [&here, &there] {
            assert!(gateway.live(&old, NOW.plus(129)).await.is_some());
            assert!(gateway.live(&old, NOW.plus(130)).await.is_none());
            assert!(gateway.live(&new, NOW.plus(130)).await.is_some());
        }
        assert_eq!(session.expires_at(), NOW.plus(130));
        here.sessions.end_over(NOW.plus(130)).await.unwrap();
        assert!(session.ended().is_cancelled());
        // A clock that steps back does not revive it.
        assert!(here.live(&old, NOW).await.is_none());
        assert!(there.find(&old, NOW).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_session_is_none_and_stays_none_when_the_clock_steps_back() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let (token, session) = gateway.sign_in("ann").await;
        gateway.follow(NOW.plus(3599)).await;
        assert!(matches!(gateway.cached(&token, NOW.plus(3599)), Cached::Live(_)));
        assert!(is_none(&gateway.cached(&token, NOW.plus(3600))));
        assert!(gateway.find(&token, NOW.plus(3600)).await.is_none());
        gateway.sessions.end_over(NOW.plus(3600)).await.unwrap();
        assert!(session.ended().is_cancelled());
        assert!(gateway.live(&token, NOW).await.is_none());
        let other = Gateway::start(&place, RULES).await;
        assert!(other.live(&token, NOW).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_steps_break_no_live_session() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let (token, session) = gateway.sign_in("ann").await;
        let first = session.headers(&gateway.keys, NOW).unwrap();
        gateway.follow(NOW).await;
        // Back by a day: nothing is valid yet that was signed, so it is signed again.
        let back = NOW.plus(-86_400);
        gateway.follow(back).await;
        let session = gateway.live(&token, back).await.unwrap();
        let second = session.headers(&gateway.keys, back).unwrap();
        assert!(second.not_before <= back && back < second.resign_at && second.not_before < first.not_before);
        // Forward by two minutes: the store was not away, the clock was.
        let forward = NOW.plus(120);
        assert!(matches!(gateway.cached(&token, forward), Cached::Unavailable));
        gateway.follow(forward).await;
        assert!(matches!(gateway.cached(&token, forward), Cached::Live(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_requests_ends_unless_another_process_sees_some() {
    let rules = SessionRules {
        idle: Some(Duration::from_mins(10)),
        ..RULES
    };
    for place in places().await {
        let (here, there) = (Gateway::start(&place, rules).await, Gateway::start(&place, rules).await);
        let (token, session) = here.sign_in("ann").await;
        there.find(&token, NOW).await.unwrap();
        // Used there only, and written down.
        there.follow(NOW.plus(500)).await;
        assert!(there.live(&token, NOW.plus(500)).await.is_some());
        there.sessions.upkeep(NOW.plus(500)).await.unwrap();
        here.follow(NOW.plus(700)).await;
        here.sessions.end_over(NOW.plus(700)).await.unwrap();
        assert!(here.live(&token, NOW.plus(700)).await.is_some());
        there.follow(NOW.plus(1300)).await;
        here.follow(NOW.plus(1300)).await;
        assert!(here.live(&token, NOW.plus(1300)).await.is_none());
        here.sessions.end_over(NOW.plus(1300)).await.unwrap();
        assert!(session.ended().is_cancelled());
        assert!(there.live(&token, NOW.plus(1300)).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_found_unused_no_other_has_beyond_reach() {
    let rules = SessionRules {
        idle: Some(Duration::from_mins(10)),
        ..RULES
    };
    for place in places().await {
        let (here, there) = (Gateway::start(&place, rules).await, Gateway::start(&place, rules).await);
        let (token, _) = here.sign_in("ann").await;
        // Used there a moment ago, which is not written down yet.
        there.follow(NOW.plus(599)).await;
        let session = there.live(&token, NOW.plus(599)).await.unwrap();
        here.sessions.end_over(NOW.plus(601)).await.unwrap();
        there.follow(NOW.plus(601)).await;
        assert!(session.ended().is_cancelled());
        assert!(there.live(&token, NOW.plus(601)).await.is_none());

        // The same by the sweep, of one that this process does not know.
        let (token, _) = there.sign_in("bob").await;
        there.follow(NOW.plus(900)).await;
        let session = there.live(&token, NOW.plus(599)).await.unwrap();
        here.sessions.upkeep(NOW.plus(900)).await.unwrap();
        there.follow(NOW.plus(900)).await;
        assert!(session.ended().is_cancelled());

        // Signing out everywhere reaches what the store does not have.
        let (token, session) = there.sign_in("cem").await;
        damage(&there.store, "DELETE FROM sessions").await;
        let actor = Actor::shell();
        directory::end_sessions(&there.store, &actor, "cem@example.com", NOW)
            .await
            .unwrap();
        there.follow(NOW).await;
        assert!(session.ended().is_cancelled() && there.live(&token, NOW).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn use_is_written_once_in_a_while_and_before_the_end() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let (token, _) = gateway.sign_in("ann").await;
        gateway.cached(&token, NOW.plus(30));
        assert_eq!(list(&gateway.store, None, NOW).await.unwrap()[0].last_seen, NOW);
        gateway.sessions.flush().await.unwrap();
        assert_eq!(
            list(&gateway.store, None, NOW).await.unwrap()[0].last_seen,
            NOW.plus(30)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_many_sessions_is_written_and_never_set_back() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let mut tokens = Vec::new();
        for n in 0..130 {
            tokens.push(gateway.sign_in(&format!("p{n}")).await.0);
        }
        let ahead = gateway.find(&tokens[0], NOW).await.unwrap().claims().sid.clone();
        damage(
            &gateway.store,
            format!(
                "UPDATE sessions SET last_seen = {} WHERE sid = '{ahead}'",
                NOW.plus(999).0
            ),
        )
        .await;
        for token in &tokens {
            gateway.live(token, NOW.plus(50)).await.unwrap();
        }
        gateway.sessions.flush().await.unwrap();
        for session in list(&gateway.store, None, NOW).await.unwrap() {
            let expected = if session.sid == ahead { 999 } else { 50 };
            assert_eq!(session.last_seen, NOW.plus(expected));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_keeps_nothing_else_from_being_tidied() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    let gateway = Gateway::start(&place, RULES).await;
    let (token, session) = gateway.sign_in("ann").await;
    let (old, _) = gateway.sign_in_over("bob", None, NOW.plus(-7_000)).await;
    gateway.live(&token, NOW.plus(50)).await.unwrap();
    let other = place.open().await;
    let mut held = other.change(NOW).await.unwrap();
    held.set_session_groups(&session.claims().sid, "[]", false)
        .await
        .unwrap();
    assert!(gateway.sessions.upkeep(NOW.plus(50)).await.is_err());
    held.commit().await.unwrap();
    let hash = crate::seal::sha256(old.cookie_value().as_bytes());
    assert!(other.reading().await.unwrap().session(&hash).await.unwrap().0.is_none());
    // What was not written is written the next time.
    gateway.sessions.upkeep(NOW.plus(50)).await.unwrap();
    assert_eq!(
        list(&gateway.store, None, NOW).await.unwrap()[0].last_seen,
        NOW.plus(50)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_length_counts_for_those_who_signed_in_before() {
    for place in places().await {
        let (token, _) = Gateway::start(&place, RULES).await.sign_in("ann").await;
        let strict = SessionRules {
            length: Duration::from_mins(1),
            ..RULES
        };
        let gateway = Gateway::start(&place, strict).await;
        assert_eq!(gateway.find(&token, NOW).await.unwrap().expires_at(), NOW.plus(60));
        assert!(gateway.find(&token, NOW.plus(60)).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_sessions_are_taken_out_of_the_store() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        gateway.sign_in("ann").await;
        gateway.sign_in_over("bob", None, NOW.plus(100)).await;
        // Ten minutes are left for processes whose clock is behind.
        gateway.sessions.upkeep(NOW.plus(4190)).await.unwrap();
        assert_eq!(list(&gateway.store, None, NOW).await.unwrap().len(), 2);
        gateway.sessions.upkeep(NOW.plus(4250)).await.unwrap();
        let left = list(&gateway.store, None, NOW).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].email.as_deref(), Some("bob@example.com"));
        let ann = admit(&gateway.store, "ann").await;
        assert!(list(&gateway.store, Some(&ann), NOW).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_holds_is_given_up_and_found_again() {
    for place in places().await {
        // Room for a few sessions only.
        let gateway = Gateway::start(&place, SessionRules { cache: 10_000, ..RULES }).await;
        let (_, held) = gateway.sign_in("held").await;
        let mut tokens = Vec::new();
        for number in 0..200 {
            tokens.push(gateway.sign_in(&format!("p{number}")).await.0);
        }
        assert_eq!(gateway.sessions.known(), 201);
        // What the cache threw out it lets go of a little later.
        for _ in 0..20 {
            for token in &tokens {
                gateway.cached(token, NOW);
            }
            gateway.sessions.upkeep(NOW).await.unwrap();
        }
        let known = gateway.sessions.known();
        assert!((1..100).contains(&known), "{known}");
        // Who waits on the signal of one hears it, and who was given up comes back.
        gateway.sessions.end_here(&held.claims().sid);
        assert!(held.ended().is_cancelled());
        for token in &tokens {
            assert!(gateway.find(token, NOW).await.is_some());
        }
    }
}
