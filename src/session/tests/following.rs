//! What other processes did is heard, whatever else goes on.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_stays_ended_everywhere() {
    for place in places().await {
        let (here, there) = (Gateway::start(&place, RULES).await, Gateway::start(&place, RULES).await);
        let (token, session) = here.sign_in("ann").await;
        let elsewhere = there.find(&token, NOW).await.unwrap();
        let tokens = here.sessions.end(&session, &Actor::system(), NOW).await.unwrap();
        assert_eq!(
            secrecy::ExposeSecret::expose_secret(&tokens.id_token.unwrap()),
            "raw.id.token"
        );
        assert!(session.ended().is_cancelled());
        assert!(here.live(&token, NOW).await.is_none());
        assert!(!elsewhere.ended().is_cancelled());
        there.follow(NOW).await;
        assert!(elsewhere.ended().is_cancelled());
        assert!(there.live(&token, NOW).await.is_none());
        // Twice is no error.
        here.sessions.end(&session, &Actor::system(), NOW).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_or_removed_user_is_out_at_the_next_look() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        gateway.sign_in("boss").await;
        // Another process than the gateway's.
        let shell = place.open().await;
        for round in ["deactivate", "remove", "revoke", "revoke one"] {
            let (token, session) = gateway.sign_in("ann").await;
            let (bobs, _) = gateway.sign_in("bob").await;
            let who = session.claims().sub.as_str();
            match round {
                "deactivate" => drop(
                    directory::deactivate(&shell, &Actor::shell(), who, None, NOW)
                        .await
                        .unwrap(),
                ),
                "remove" => drop(
                    directory::remove(&shell, &Actor::shell(), who, None, NOW)
                        .await
                        .unwrap(),
                ),
                "revoke" => assert!(
                    directory::end_sessions(&shell, &Actor::shell(), session.claims().sub.as_str(), NOW)
                        .await
                        .unwrap()
                        > 0
                ),
                _ => directory::end_session(&shell, &Actor::shell(), &session.claims().sid, NOW)
                    .await
                    .unwrap(),
            }
            gateway.follow(NOW).await;
            assert!(session.ended().is_cancelled(), "{round}");
            assert!(gateway.live(&token, NOW).await.is_none(), "{round}");
            assert!(gateway.live(&bobs, NOW).await.is_some(), "{round}");
            if round == "deactivate" {
                let new = NewSession {
                    user: session.claims().sub.clone(),
                    ..new_session(&gateway.store, "bob").await
                };
                let began = gateway.sessions.begin(new, None, &Actor::system(), NOW).await;
                assert!(matches!(began, Err(CannotBegin::NotActive)));
                directory::activate(&shell, &Actor::shell(), who, None, NOW)
                    .await
                    .unwrap();
                gateway.follow(NOW).await;
                assert!(gateway.live(&token, NOW).await.is_none(), "an old session came back");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_follower_puts_a_deactivated_user_out_within_a_second() {
    for place in places().await {
        let gateway = Arc::new(Gateway::start(&place, RULES).await);
        gateway.sign_in("boss").await;
        let (_, session) = gateway.sign_in("ann").await;
        let follower = Arc::clone(&gateway);
        let running = tokio::spawn(async move { follower.sessions.run(&follower.keys).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let shell = place.open().await;
        directory::deactivate(&shell, &Actor::shell(), "ann@example.com", None, UnixTime::now())
            .await
            .unwrap();
        let out = tokio::time::timeout(Duration::from_secs(1), session.ended().cancelled()).await;
        running.abort();
        assert!(out.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_heard_while_tidying_waits_for_others_who_write() {
    for place in places().await {
        let gateway = Arc::new(Gateway::start(&place, RULES).await);
        gateway.sign_in("boss").await;
        let (_, session) = gateway.sign_in("ann").await;
        // One that is over, so that there is something to take out of the store.
        let long_ago = UnixTime::now().plus(-3600);
        let over = gateway.sign_in_over("over", None, long_ago).await.1;
        let held = hold_the_line(&gateway.store).await;
        let follower = Arc::clone(&gateway);
        let pace = Duration::from_millis(20);
        let running = tokio::spawn(async move { follower.sessions.run_at(&follower.keys, pace, pace).await });
        // Now it waits.
        over.ended().cancelled().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let shell = place.open().await;
        directory::deactivate(&shell, &Actor::shell(), "ann@example.com", None, UnixTime::now())
            .await
            .unwrap();
        let out = tokio::time::timeout(Duration::from_secs(1), session.ended().cancelled()).await;
        assert!(out.is_ok(), "it was deaf");
        // And goes on when the others are done.
        assert!(
            shell
                .reading()
                .await
                .unwrap()
                .session_expires(&over.claims().sid)
                .await
                .unwrap()
                .is_some()
        );
        drop(held);
        let gone = async {
            while shell
                .reading()
                .await
                .unwrap()
                .session_expires(&over.claims().sid)
                .await
                .unwrap()
                .is_some()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(5), gone).await;
        running.abort();
        assert!(gone.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signed_in_again_after_a_deactivation_keeps_the_new_session() {
    for place in places().await {
        let (here, there) = (Gateway::start(&place, RULES).await, Gateway::start(&place, RULES).await);
        here.sign_in("boss").await;
        let (old, _) = here.sign_in("ann").await;
        there.find(&old, NOW).await.unwrap();
        directory::deactivate(&here.store, &Actor::shell(), "ann@example.com", None, NOW)
            .await
            .unwrap();
        directory::activate(&here.store, &Actor::shell(), "ann@example.com", None, NOW)
            .await
            .unwrap();
        let (new, session) = there.sign_in("ann").await;
        there.follow(NOW).await;
        assert!(there.live(&old, NOW).await.is_none());
        assert!(there.live(&new, NOW).await.is_some());
        assert!(!session.ended().is_cancelled());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_change_shows_in_live_sessions_and_ends_none() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        gateway.sign_in("boss").await;
        let (token, session) = gateway.sign_in("ann").await;
        directory::set_role(
            &gateway.store,
            &Actor::shell(),
            "ann@example.com",
            Role::Viewer,
            None,
            NOW,
        )
        .await
        .unwrap();
        gateway.follow(NOW).await;
        let again = gateway.live(&token, NOW).await.unwrap();
        assert_eq!(again.claims().role, Role::Viewer);
        assert!(!session.ended().is_cancelled());
        // The signal is the same, whichever object a connection holds.
        gateway.sessions.end(&again, &Actor::system(), NOW).await.unwrap();
        assert!(session.ended().is_cancelled());
    }
}

/// The steps of `find`, with the revocation between any two of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_change_is_not_remembered_after_it() {
    use std::sync::atomic::Ordering::SeqCst;
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let sessions = &gateway.sessions;
        for heard in ["before remembering", "after remembering", "by looking at everything"] {
            let (token, session) = gateway.sign_in("ann").await;
            let hash = session.life.hash;
            sessions.cache.forget(&hash);
            let drops = sessions.drops.load(SeqCst);
            let (row, feed) = gateway.store.reading().await.unwrap().session(&hash).await.unwrap();
            let read = sessions.live(row.unwrap(), Vec::new(), hash, NOW).unwrap().unwrap();
            directory::end_session(&gateway.store, &Actor::shell(), &session.claims().sid, NOW)
                .await
                .unwrap();
            if heard == "by looking at everything" {
                sessions.lost.store(true, SeqCst);
            }
            if heard == "after remembering" {
                assert!(sessions.remember(hash, read, feed, drops));
                gateway.follow(NOW).await;
            } else {
                gateway.follow(NOW).await;
                assert!(!sessions.remember(hash, read, feed, drops), "{heard}");
            }
            assert!(sessions.cache.get(&hash).is_none(), "{heard}");
            assert!(gateway.live(&token, NOW).await.is_none(), "{heard}");
            assert!(session.ended().is_cancelled(), "{heard}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_store_away_cached_sessions_go_on_for_a_minute_and_new_ones_do_not() {
    let place = Place::sqlite();
    let gateway = Gateway::start(&place, RULES).await;
    let (token, _) = gateway.sign_in("ann").await;
    let (gone, session) = gateway.sign_in("bob").await;
    gateway.sessions.end(&session, &Actor::system(), NOW).await.unwrap();
    let new = new_session(&gateway.store, "bob").await;
    gateway.store.close().await;
    assert!(gateway.sessions.follow(&gateway.keys, NOW.plus(10)).await.is_err());
    assert!(matches!(gateway.cached(&token, NOW.plus(60)), Cached::Live(_)));
    assert!(matches!(gateway.cached(&token, NOW.plus(61)), Cached::Unavailable));
    assert!(matches!(gateway.cached(&gone, NOW.plus(61)), Cached::Unavailable));
    assert!(is_none(&gateway.sessions.cached(b"made up", NOW.plus(61))));
    assert_eq!(gateway.sessions.away_for(NOW.plus(61)), 61);
    let began = gateway.sessions.begin(new, None, &Actor::system(), NOW).await;
    assert!(matches!(began, Err(CannotBegin::Unavailable(_))));
    assert!(gateway.sessions.use_attempt("a", NOW).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_connection_everything_is_compared_with_the_store() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let (kept, keeping) = gateway.sign_in("ann").await;
        let (lost, losing) = gateway.sign_in("bob").await;
        // What it missed left nothing in the feed: a clean-up, or a database put back from a copy.
        damage(
            &gateway.store,
            "DELETE FROM sessions WHERE subject = 'bob'; DELETE FROM changes",
        )
        .await;
        gateway.sessions.lost.store(true, std::sync::atomic::Ordering::SeqCst);
        gateway.follow(NOW).await;
        assert!(losing.ended().is_cancelled());
        assert!(!keeping.ended().is_cancelled());
        assert!(gateway.live(&lost, NOW).await.is_none());
        assert!(gateway.live(&kept, NOW).await.is_some());
        // The feed's number went back.
        damage(&gateway.store, "DELETE FROM sessions; UPDATE instance SET feed = 0").await;
        gateway.follow(NOW).await;
        assert!(keeping.ended().is_cancelled());
        assert!(gateway.live(&kept, NOW).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_kind_that_a_newer_program_wrote_is_not_passed_over() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let (token, session) = gateway.sign_in("ann").await;
        let sql = "DELETE FROM sessions; UPDATE instance SET feed = feed + 1; \
                   INSERT INTO changes SELECT feed, 1, 'from-later', 'x', 1800000000 FROM instance";
        damage(&gateway.store, sql).await;
        gateway.follow(NOW).await;
        assert!(session.ended().is_cancelled());
        assert!(gateway.live(&token, NOW).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_by_another_process_is_heard() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let before = gateway.keys.jwks();
        identity::rotate(&place.open().await, &gateway.sealer, false, &Actor::shell(), NOW)
            .await
            .unwrap();
        assert_eq!(gateway.keys.jwks(), before);
        gateway.follow(NOW).await;
        assert_ne!(gateway.keys.jwks(), before);
        // A key that does not open is the operator's to see: the store is not away for it.
        identity::rotate(&place.open().await, &gateway.sealer, true, &Actor::shell(), NOW)
            .await
            .unwrap();
        damage(&gateway.store, "UPDATE signing_keys SET sealed = sealed || sealed").await;
        let before = gateway.keys.jwks();
        gateway.follow(NOW).await;
        assert_eq!(gateway.keys.jwks(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_team_shows_in_live_sessions_at_the_next_look() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let (token, _) = gateway.sign_in("ann").await;
        let (shell, ann) = (Actor::shell(), "ann@example.com");
        // Another process.
        let store = place.open().await;
        let teams = async || {
            gateway.follow(NOW).await;
            gateway.live(&token, NOW).await.unwrap().claims().teams.clone()
        };
        assert!(teams().await.is_empty());
        directory::create_team(&store, &shell, "Art", NOW).await.unwrap();
        directory::set_member(&store, &shell, "Art", ann, Role::Viewer, None, NOW)
            .await
            .unwrap();
        assert_eq!(teams().await, [("Art".to_owned(), Role::Viewer)]);
        directory::set_member(&store, &shell, "Art", ann, Role::Admin, None, NOW)
            .await
            .unwrap();
        assert_eq!(teams().await, [("Art".to_owned(), Role::Admin)]);
        directory::rename_team(&store, &shell, "Art", "Music", None, NOW)
            .await
            .unwrap();
        assert_eq!(teams().await, [("Music".to_owned(), Role::Admin)]);
        directory::delete_team(&store, &shell, "Music", None, NOW)
            .await
            .unwrap();
        assert!(teams().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_another_process_is_not_missed_by_what_is_remembered() {
    for place in places().await {
        let (here, there) = (Gateway::start(&place, RULES).await, Gateway::start(&place, RULES).await);
        let (token, _) = there.sign_in("ann").await;
        let session = here.live(&token, NOW).await.unwrap();
        let moment = here.sessions.moment(NOW);
        let mut change = there.store.change(NOW).await.unwrap();
        change
            .publish(crate::store::ChangeKind::User, session.claims().sub.as_str())
            .await
            .unwrap();
        change.commit().await.unwrap();
        assert!(here.sessions.still(&session, moment, NOW), "not heard of yet");
        here.sessions.follow(&here.keys, NOW).await.unwrap();
        assert!(!here.sessions.still(&session, moment, NOW));
    }
}
