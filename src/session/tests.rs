//! Each test runs on SQLite, and on PostgreSQL where there is one.

mod following;
mod rechecks;
mod time;

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
