//! Each test runs on SQLite, and on PostgreSQL where there is one.

use std::sync::Arc;

use super::*;
use crate::config::{EntryRules, IdentityField};
use crate::directory::{self, Arrival, ClaimedEmail};
use crate::identity::{self, AssertionSettings, KeyRing};
use crate::person::{EmailAddress, Role};
use crate::seal::{Sealer, SecretKey};
use crate::store::Store;
use crate::store::testing::{Place, damage, hold_the_line, places};
use crate::telemetry::audit::Actor;

const NOW: UnixTime = UnixTime(1_800_000_000);
const RULES: SessionRules = SessionRules {
    length: Duration::from_hours(1),
    idle: None,
    audit_kept: Duration::from_hours(24),
    cache: 64 * 1024 * 1024,
};

/// One gateway process.
struct Gateway {
    store: Store,
    sealer: Arc<Sealer>,
    sessions: Arc<Sessions>,
    keys: KeyRing,
}

impl Gateway {
    async fn start(place: &Place, rules: SessionRules) -> Self {
        Self::with_key(place, rules, SecretKey::new([7; 32])).await
    }

    async fn with_key(place: &Place, rules: SessionRules, key: SecretKey) -> Self {
        let store = place.open().await;
        let sealer = Arc::new(Sealer::new(&[key]).unwrap());
        let settings = AssertionSettings {
            issuer: "https://app.example".to_owned(),
            audience: "https://app.example".to_owned(),
            upstream_headers: vec![("x-webauth-user".parse().unwrap(), IdentityField::Email)],
        };
        let keys = KeyRing::open(store.clone(), Arc::clone(&sealer), settings, NOW)
            .await
            .unwrap();
        let sessions = Sessions::open(store.clone(), Arc::clone(&sealer), rules, NOW)
            .await
            .unwrap();
        Self {
            store,
            sealer,
            sessions,
            keys,
        }
    }

    async fn sign_in(&self, subject: &str) -> (Token, Arc<Session>) {
        self.sign_in_over(subject, None, NOW).await
    }

    async fn sign_in_over(&self, subject: &str, old: Option<&Token>, now: UnixTime) -> (Token, Arc<Session>) {
        let new = new_session(&self.store, subject).await;
        let old = old.map(|token| token.cookie_value().as_bytes());
        self.sessions.begin(new, old, &Actor::system(), now).await.unwrap()
    }

    fn cached(&self, token: &Token, now: UnixTime) -> Cached {
        self.sessions.cached(token.cookie_value().as_bytes(), now)
    }

    async fn find(&self, token: &Token, now: UnixTime) -> Option<Arc<Session>> {
        self.sessions.find(token.cookie_value().as_bytes(), now).await.unwrap()
    }

    /// As a request does.
    async fn live(&self, token: &Token, now: UnixTime) -> Option<Arc<Session>> {
        match self.cached(token, now) {
            Cached::Live(session) => Some(session),
            Cached::None => None,
            Cached::Unknown => self.find(token, now).await,
            Cached::Unavailable => panic!("the store is there"),
        }
    }

    async fn follow(&self, now: UnixTime) {
        self.sessions.follow(&self.keys, now).await.unwrap();
    }
}

async fn admit(store: &Store, subject: &str) -> UserId {
    let arrival = Arrival {
        issuer: "https://id.example".to_owned(),
        subject: subject.to_owned(),
        email: ClaimedEmail::Verified(EmailAddress::parse(&format!("{subject}@example.com")).unwrap()),
        username: None,
        name: None,
        groups: Ok(Vec::new()),
        hosted_domain: None,
    };
    let rules = EntryRules {
        provisioning: true,
        initial_admins: Vec::new(),
        default_role: Role::Member,
        allowed_domains: None,
        allowed_groups: None,
        names_follow: false,
        email_needed: true,
        follow_group_claims: false,
        follow_ldap_groups: false,
    };
    directory::admit(store, &arrival, &rules, &Actor::system(), NOW)
        .await
        .unwrap()
        .user
}

async fn new_session(store: &Store, subject: &str) -> NewSession {
    NewSession {
        user: admit(store, subject).await,
        issuer: "https://id.example".to_owned(),
        subject: subject.to_owned(),
        method: "oidc",
        how: "known",
        groups: vec!["staff".to_owned(), "a\0b\n".to_owned()],
        amr: Some(serde_json::json!(["pwd"])),
        auth_time: Some(serde_json::json!(1.5)),
        provider_sid: Some("provider's".to_owned()),
        id_token: Some("raw.id.token".into()),
        refresh_token: None,
        from: Device::default(),
    }
}

fn is_none(cached: &Cached) -> bool {
    matches!(cached, Cached::None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_a_restart_and_is_the_same() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let (token, session) = gateway.sign_in("ann").await;
        assert!(matches!(gateway.cached(&token, NOW), Cached::Live(_)));
        // Another process, after a kill -9 as it were: nothing was flushed or closed.
        let other = Gateway::start(&place, RULES).await;
        assert!(matches!(other.cached(&token, NOW), Cached::Unknown));
        let found = other.find(&token, NOW).await.unwrap();
        assert_eq!(format!("{:?}", found.claims()), format!("{:?}", session.claims()));
        assert_eq!(found.claims().auth_time, Some(serde_json::json!(1.5)));
        assert_eq!(found.expires_at(), NOW.plus(3600));
        assert!(matches!(other.cached(&token, NOW), Cached::Live(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_tokens_are_refused_without_a_query() {
    let place = Place::sqlite();
    let gateway = Gateway::start(&place, RULES).await;
    let (token, _) = gateway.sign_in("ann").await;
    let stranger = Sealer::new(&[SecretKey::generate()]).unwrap();
    let foreign = token::Token::generate(&stranger);
    // With the store away, only what needs no query has an answer.
    gateway.store.close().await;
    let mut changed = token.cookie_value().to_owned().into_bytes();
    changed[3] ^= 1;
    for made_up in [
        foreign.cookie_value().as_bytes(),
        &changed,
        b"",
        b"x",
        &[b'A'; 64],
        &[0xff; 64],
    ] {
        assert!(is_none(&gateway.sessions.cached(made_up, NOW)));
        assert!(gateway.sessions.find(made_up, NOW).await.unwrap().is_none());
    }
    let real = token::Token::generate(&gateway.sealer);
    assert!(matches!(gateway.cached(&real, NOW), Cached::Unknown));
    assert!(
        gateway
            .sessions
            .find(real.cookie_value().as_bytes(), NOW)
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_knows_no_token_and_no_provider_token() {
    let place = Place::sqlite();
    let gateway = Gateway::start(&place, RULES).await;
    let (token, _) = gateway.sign_in("ann").await;
    gateway.store.close().await;
    let bytes = std::fs::read(place.file()).unwrap();
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(holds(b"ann@example.com"), "looked into the wrong file");
    assert!(!holds(token.cookie_value().as_bytes()));
    assert!(!holds(b"raw.id.token"));
}

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
async fn no_session_begins_by_an_identity_that_was_taken_away_meanwhile() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let let_in = new_session(&gateway.store, "ann").await;
        let (who, issuer) = (let_in.user.clone(), let_in.issuer.clone());
        let (store, actor) = (&gateway.store, Actor::shell());
        directory::link(store, &actor, who.as_str(), &issuer, "ann-2", NOW)
            .await
            .unwrap();
        directory::unlink(store, &actor, who.as_str(), &issuer, "ann", NOW)
            .await
            .unwrap();
        let begun = gateway.sessions.begin(let_in, None, &Actor::system(), NOW).await;
        assert!(matches!(begun, Err(CannotBegin::NotActive)));
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
async fn an_attempt_counts_once_however_many_try_at_once() {
    for place in places().await {
        let (here, there) = (Gateway::start(&place, RULES).await, Gateway::start(&place, RULES).await);
        let tries: Vec<_> = (0..20)
            .map(|n| {
                let sessions = Arc::clone(if n % 2 == 0 { &here.sessions } else { &there.sessions });
                tokio::spawn(async move { sessions.use_attempt("one", NOW.plus(600)).await.unwrap() })
            })
            .collect();
        let mut counted = 0;
        for one in tries {
            counted += usize::from(one.await.unwrap());
        }
        assert_eq!(counted, 1);
        here.sessions.upkeep(NOW.plus(599)).await.unwrap();
        assert!(!here.sessions.use_attempt("one", NOW.plus(600)).await.unwrap());
        assert!(here.sessions.use_attempt("two", NOW.plus(600)).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_of_all_of_one_and_by_id_while_they_live() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let ann = gateway.sign_in("ann").await.1;
        let later = gateway.sign_in_over("ann", None, NOW.plus(10)).await.1;
        let bob = gateway.sign_in_over("bob", None, NOW.plus(20)).await.1;
        let sids = |listed: Vec<Listed>| listed.into_iter().map(|session| session.sid).collect::<Vec<_>>();
        let [first, second, third] = [&ann, &later, &bob].map(|session| session.claims().sid.clone());
        let (store, now) = (&gateway.store, NOW.plus(30));
        assert_eq!(sids(list(store, None, now).await.unwrap()), [&*third, &second, &first]);
        let user = &ann.claims().sub;
        assert_eq!(sids(list(store, Some(user), now).await.unwrap()), [&*second, &first]);
        let one = one(store, &first, now).await.unwrap().unwrap();
        assert_eq!(
            (one.user, one.email.as_deref()),
            (user.clone(), Some("ann@example.com"))
        );
        let mut both = vec![user.clone(), bob.claims().sub.clone()];
        both.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        assert_eq!(people(store, now).await.unwrap(), both);
        // The first two are over.
        let now = NOW.plus(3615);
        assert_eq!(sids(list(store, None, now).await.unwrap()), [third]);
        assert!(super::one(store, &second, now).await.unwrap().is_none());
        assert_eq!(people(store, now).await.unwrap(), [bob.claims().sub.clone()]);
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
async fn a_damaged_session_is_an_error_and_no_session() {
    for place in places().await {
        for sql in [
            "UPDATE sessions SET provider_groups = '{'",
            "UPDATE sessions SET provider_groups = '[]', method = 'root'",
        ] {
            let gateway = Gateway::start(&place, RULES).await;
            let (token, _) = gateway.sign_in("ann").await;
            damage(&gateway.store, sql).await;
            gateway.sessions.cache.forget_all();
            assert!(
                gateway
                    .sessions
                    .find(token.cookie_value().as_bytes(), NOW)
                    .await
                    .is_err(),
                "{sql}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_token_that_does_not_open_does_not_stop_the_logout() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let (token, session) = gateway.sign_in("ann").await;
        damage(&gateway.store, "UPDATE sessions SET id_token = token_hash").await;
        let tokens = gateway.sessions.end(&session, &Actor::system(), NOW).await.unwrap();
        assert!(tokens.id_token.is_none());
        assert!(gateway.live(&token, NOW).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_groups_are_cut_and_it_is_said() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let new = NewSession {
            groups: (0..5000).map(|n| format!("group-{n}")).collect(),
            ..new_session(&gateway.store, "ann").await
        };
        let (_, session) = gateway.sessions.begin(new, None, &Actor::system(), NOW).await.unwrap();
        assert!(session.claims().groups_truncated);
        assert!(session.claims().groups.len() < 2000);
        session.headers(&gateway.keys, NOW).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_know_their_sessions_again_by_a_bounded_word_on_the_device() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let new = NewSession {
            from: Device {
                user_agent: Some(format!("Browser\n\u{1b}[2J{}", "x".repeat(9000))),
                address: Some([192, 0, 2, 7].into()),
            },
            ..new_session(&gateway.store, "ann").await
        };
        let user = new.user.clone();
        gateway.sessions.begin(new, None, &Actor::system(), NOW).await.unwrap();
        gateway.sign_in("bob").await;
        let listed = list(&gateway.store, Some(&user), NOW).await.unwrap();
        assert_eq!(listed.len(), 1, "only hers");
        let kept = listed[0].user_agent.as_deref().unwrap();
        assert!(kept.starts_with("Browser[2Jxxx") && kept.len() == 256, "{kept:?}");
        assert_eq!(listed[0].address.as_deref(), Some("192.0.2.7"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_signed_once_and_again_when_little_is_left() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let (_, session) = gateway.sign_in("ann").await;
        let first = session.headers(&gateway.keys, NOW).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &session.headers(&gateway.keys, NOW.plus(239)).unwrap()
        ));
        assert!(!Arc::ptr_eq(
            &first,
            &session.headers(&gateway.keys, NOW.plus(240)).unwrap()
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_key_knows_no_token_of_the_old_one() {
    for place in places().await {
        let (token, _) = Gateway::start(&place, RULES).await.sign_in("ann").await;
        damage(&place.open().await, "DELETE FROM signing_keys").await;
        let other = Gateway::with_key(&place, RULES, SecretKey::generate()).await;
        assert!(is_none(&other.cached(&token, NOW)));
        assert!(other.find(&token, NOW).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_due_is_taken_by_one_process_and_again_when_its_time_has_come() {
    for place in places().await {
        let (one, other) = (Gateway::start(&place, RULES).await, Gateway::start(&place, RULES).await);
        for subject in ["a", "b", "c"] {
            let mut new = new_session(&one.store, subject).await;
            new.method = "ldap";
            one.sessions.begin(new, None, &Actor::system(), NOW).await.unwrap();
        }
        one.sign_in("by-oidc").await;
        let interval = Duration::from_mins(10);
        let take = async |gateway: &Gateway, most, now| {
            let due = gateway.sessions.take_due("ldap", interval, most, now).await.unwrap();
            due.into_iter().map(|due| due.subject).collect::<Vec<_>>()
        };
        assert!(take(&one, 9, NOW.plus(599)).await.is_empty(), "not due yet");
        let at = NOW.plus(600);
        let (mut first, second) = tokio::join!(take(&one, 2, at), take(&other, 2, at));
        first.extend(second);
        first.extend(take(&other, 9, at).await);
        first.sort();
        assert_eq!(first, ["a", "b", "c"], "each once, and nobody else");
        // Whoever took them did not come back.
        let due = one.sessions.take_due("ldap", interval, 9, at.plus(60)).await.unwrap();
        assert_eq!(due.len(), 3);
        assert!(due.iter().all(|due| due.vouched == NOW));
        let (vouched, left) = due.split_at(2);
        let vouched: Vec<_> = vouched.iter().collect();
        one.sessions.vouch_for(&vouched, interval, at.plus(60)).await.unwrap();
        let unvouched = other.sessions.unvouched("ldap", at, at.plus(90)).await.unwrap();
        assert_eq!(unvouched.len(), 1);
        assert_eq!(unvouched[0].subject, left[0].subject);
        assert!(take(&one, 9, at.plus(90)).await.is_empty());
        let again = take(&one, 9, at.plus(60 + 600)).await;
        assert_eq!(again.len(), 3);
        // A shorter interval holds for those who were planned by a longer one.
        one.sessions
            .vouch_for(&vouched, Duration::from_hours(25), at.plus(700))
            .await
            .unwrap();
        assert_eq!(take(&other, 9, at.plus(720)).await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_groups_reach_every_process_in_the_live_session_and_an_ended_one_is_out() {
    for place in places().await {
        let (one, other) = (Gateway::start(&place, RULES).await, Gateway::start(&place, RULES).await);
        let mut new = new_session(&one.store, "a").await;
        new.method = "ldap";
        let (token, session) = one.sessions.begin(new, None, &Actor::system(), NOW).await.unwrap();
        assert!(other.live(&token, NOW).await.is_some());
        let later = NOW.plus(600);
        let due = one
            .sessions
            .take_due("ldap", Duration::from_mins(10), 9, later)
            .await
            .unwrap();
        let before = session.claims().groups.clone();
        assert!(!one.sessions.take_groups(&due[0], before, later).await.unwrap());
        assert!(
            one.sessions
                .take_groups(&due[0], vec!["new".to_owned()], later)
                .await
                .unwrap()
        );
        for gateway in [&one, &other] {
            gateway.follow(later).await;
            let live = gateway.live(&token, later).await.unwrap();
            assert_eq!(live.claims().groups, ["new"]);
        }
        assert!(one.sessions.end_due(&due[0], "gone", later).await.unwrap());
        assert!(!one.sessions.end_due(&due[0], "gone", later).await.unwrap());
        other.follow(later).await;
        assert!(other.live(&token, later).await.is_none() && one.live(&token, later).await.is_none());
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
async fn what_is_remembered_of_a_cookie_holds_until_anything_is_forgotten_and_a_second_at_most() {
    for place in places().await {
        let gateway = Gateway::start(&place, RULES).await;
        let (_, session) = gateway.sign_in("ann").await;
        let (_, other) = gateway.sign_in("bob").await;
        let sessions = &gateway.sessions;
        let moment = sessions.moment(NOW);
        assert!(sessions.still(&session, moment, NOW));
        assert!(!sessions.still(&session, moment, NOW.plus(1)));
        assert!(!sessions.still(&session, moment, NOW.plus(-1)));
        // Somebody else's session ends: everybody asks the cache again, and ann's is there.
        sessions.end(&other, &Actor::system(), NOW).await.unwrap();
        assert!(!sessions.still(&session, moment, NOW));
        let moment = sessions.moment(NOW);
        assert!(sessions.still(&session, moment, NOW));
        assert!(
            !sessions.still(&other, moment, NOW),
            "an ended session is never remembered"
        );
        sessions.end(&session, &Actor::system(), NOW).await.unwrap();
        assert!(!sessions.still(&session, sessions.moment(NOW), NOW));
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
