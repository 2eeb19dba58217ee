//! The cache and the ways in and out of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache as Moka;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::cache::Cache;
use super::live::{Life, Registry, Session};
use super::records::method_of;
use super::token::{Token, TokenHash, hash_of, is_ours};
use super::{Cached, CannotBegin, Moment, NewSession, ProviderTokens, SessionRules, Unavailable};
use crate::clock::UnixTime;
use crate::identity::Claims;
use crate::person::Role;
use crate::seal::{self, Sealer};
use crate::store::{ChangeKind, SessionRow, SessionWithUser, Store, StoreError};
use crate::telemetry::audit::{Actor, Event, Kind, Who};
use crate::telemetry::metrics;

/// The one method by which somebody comes without an identity.
const RESTORE: &str = "restore";
/// How long a session goes on that a newer one of the same browser replaced: requests under way still bring its cookie.
const REPLACED: i64 = 30;
/// How long cached sessions go on while the store is away.
const PATIENCE_WITH_STORE: i64 = 60;
/// More groups than this (bytes of JSON) serve nobody: an assertion holds 6 kB.
const LONGEST_GROUPS: usize = 16 * 1024;
/// The longest session by a one-time link.
const RESTORED: i64 = 3_600;
/// Characters of a `User-Agent` that are kept.
const LONGEST_USER_AGENT: usize = 256;
const ID_TOKEN: &str = "id token";
const REFRESH_TOKEN: &str = "refresh token";

/// All sessions of the instance.
pub struct Sessions {
    pub(super) store: Store,
    pub(super) sealer: Arc<Sealer>,
    pub(super) rules: SessionRules,
    pub(super) cache: Cache,
    /// Tokens of ours that the store does not know (any more).
    pub(super) gone: Moka<TokenHash, ()>,
    pub(super) registry: Registry,
    /// The number of the newest change that the cache has heard of.
    pub(super) applied: AtomicI64,
    /// Counts how often the cache was dropped whole.
    pub(super) drops: AtomicU64,
    /// When the store last answered the follower.
    pub(super) contact: AtomicI64,
    /// Whether changes may have been missed, so that everything must be looked at again.
    pub(super) lost: AtomicBool,
    /// Held by whoever reads the feed.
    pub(super) following: tokio::sync::Mutex<()>,
}

impl Sessions {
    /// Takes up the store's feed where it stands.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn open(
        store: Store,
        sealer: Arc<Sealer>,
        rules: SessionRules,
        now: UnixTime,
    ) -> Result<Arc<Self>, Unavailable> {
        let feed = store.reading().await?.feed().await?;
        Ok(Arc::new(Self {
            store,
            sealer,
            rules,
            cache: Cache::new(rules.cache),
            gone: Moka::builder()
                .max_capacity(10_000)
                .time_to_live(Duration::from_mins(1))
                .build(),
            registry: Registry::default(),
            applied: AtomicI64::new(feed),
            drops: AtomicU64::new(0),
            contact: AtomicI64::new(now.0),
            lost: AtomicBool::new(false),
            following: tokio::sync::Mutex::default(),
        }))
    }

    /// Data plane: what is known of a cookie's value without asking anybody.
    #[must_use]
    pub fn cached(&self, cookie: &[u8], now: UnixTime) -> Cached {
        let Some(hash) = hash_of(cookie) else {
            return Cached::None;
        };
        let away = self.away_for(now) > PATIENCE_WITH_STORE;
        let Some(session) = self.cache.get(&hash) else {
            // The keyed check costs more than the look into the cache, which only holds what passed it.
            return if !is_ours(cookie, &self.sealer) {
                Cached::None
            } else if away {
                Cached::Unavailable
            } else if self.gone.contains_key(&hash) {
                Cached::None
            } else {
                Cached::Unknown
            };
        };
        if session.life.is_expired(now) {
            return Cached::None;
        }
        if away {
            return Cached::Unavailable;
        }
        // Another process may have seen it more lately.
        if session.life.is_idle(now, self.rules.idle) {
            return Cached::Unknown;
        }
        session.life.touch(now);
        Cached::Live(session)
    }

    /// Data plane: what somebody who looks a session up now must ask [`Sessions::still`] with. Taken before the look.
    #[must_use]
    pub fn moment(&self, now: UnixTime) -> Moment {
        Moment {
            forgotten: self.cache.forgotten(),
            now,
        }
    }

    /// Data plane: whether [`Sessions::cached`] would find `session`, found at `moment`, again: nothing was taken out of the
    /// cache since, and it is the same second, so that it counts as used. In another second the cache is asked, and hears
    /// that the session is not one of those that nobody uses.
    #[must_use]
    pub fn still(&self, session: &Session, moment: Moment, now: UnixTime) -> bool {
        self.moment(now) == moment && !session.life.is_expired(now) && self.away_for(now) <= PATIENCE_WITH_STORE
    }

    /// Control plane: asks the store for a cookie's value and remembers the answer.
    ///
    /// # Errors
    /// If the store does not answer: 503, never 401.
    pub async fn find(&self, cookie: &[u8], now: UnixTime) -> Result<Option<Arc<Session>>, Unavailable> {
        let Some(hash) = hash_of(cookie).filter(|_| is_ours(cookie, &self.sealer)) else {
            return Ok(None);
        };
        let mut found = None;
        // Read again if a change was heard of between the reading and the remembering; twice is unlikely already.
        for _ in 0..3 {
            let drops = self.drops.load(Ordering::SeqCst);
            let mut reading = self.store.reading().await?;
            let (row, feed) = reading.session(&hash).await?;
            let Some(row) = row else {
                self.gone.insert(hash, ());
                return Ok(None);
            };
            // As of a later moment than `feed`, if anything: what changed in between is read again, never passed over.
            let teams = reading.teams_of(&row.user.id).await?;
            let Some(session) = self.live(row, teams, hash, now)? else {
                return Ok(None);
            };
            session.life.touch(now);
            found = Some(Arc::clone(&session));
            if self.remember(hash, session, feed, drops) {
                break;
            }
        }
        Ok(found)
    }

    /// Begins a session, and writes the sign-in down in the same transaction: without its row in the audit log there is none.
    /// `door` says from where. The one whose cookie the browser still has, `replaces`, ends 30 s later.
    ///
    /// # Errors
    /// If the account is no longer active, or the store does not answer.
    pub async fn begin(
        &self,
        new: NewSession,
        replaces: Option<&[u8]>,
        door: &Actor,
        now: UnixTime,
    ) -> Result<(Token, Arc<Session>), CannotBegin> {
        let how = new.how;
        let token = Token::generate(&self.sealer);
        let hash = seal::sha256(token.cookie_value().as_bytes());
        let row = self.row_of(new, hash, now)?;
        let drops = self.drops.load(Ordering::SeqCst);
        // Under the lock row: whoever deactivates the account now ends this session, or it does not begin.
        let mut change = self.store.change(now).await?;
        // The identity may have been taken away, or moved, since it was let in.
        let user = match row.method.as_str() {
            RESTORE => change.user(row.user.as_str()).await?,
            _ => change.user_by_identity(&row.issuer, &row.subject).await?,
        };
        let user = user.filter(|user| user.id == row.user && !user.deactivated);
        let user = user.ok_or(CannotBegin::NotActive)?;
        change.insert_session(&row).await?;
        let ends = now.plus(REPLACED);
        let replaced = match replaces.filter(|old| is_ours(old, &self.sealer)).and_then(hash_of) {
            Some(old) => change.shorten_session(&old, ends).await?,
            None => None,
        };
        if let Some(sid) = &replaced {
            change.publish(ChangeKind::Session, sid).await?;
        }
        let event = Event::new(Kind::SignIn, &door.with(user.as_actor()))
            .about("user", user.id.as_str(), user.called())
            .detail("role", user.role.as_str())
            .detail("how", how)
            .detail("method", &row.method)
            .detail("issuer", &row.issuer)
            .detail("subject", &row.subject)
            .detail("sid", &row.sid);
        change.record(event, now).await?;
        let teams = change.teams_of(&user.id).await?;
        let feed = change.number();
        change.commit().await?;
        if let Some(life) = replaced.and_then(|sid| self.registry.life(&sid)) {
            life.shorten(ends, now);
        }
        let session = self.live(SessionWithUser { session: row, user }, teams, hash, now)?;
        // It was made a moment ago; only a length of nothing makes it end at once.
        let session = session.ok_or(CannotBegin::NotActive)?;
        self.remember(hash, Arc::clone(&session), feed, drops);
        metrics().sessions_begun.inc();
        Ok((token, session))
    }

    /// Ends a session here, and writes the logout down in the same transaction; hands out the provider's tokens, so that it can be ended there.
    ///
    /// # Errors
    /// If the store does not answer; then it has not ended.
    pub async fn end(&self, session: &Session, door: &Actor, now: UnixTime) -> Result<ProviderTokens, Unavailable> {
        let claims = session.claims();
        let sid = &claims.sid;
        let mut change = self.store.change(now).await?;
        let (id_token, refresh_token) = change.provider_tokens(sid).await?;
        if change.delete_session(sid).await? {
            change.publish(ChangeKind::Session, sid).await?;
            let name = claims.email.as_deref().unwrap_or(&claims.username);
            let who = Who::Person {
                user: claims.sub.clone(),
                name: name.to_owned(),
            };
            let event = Event::new(Kind::Logout, &door.with(who))
                .about("user", claims.sub.as_str(), name)
                .detail("sid", sid);
            change.record(event, now).await?;
            change.commit().await?;
        }
        self.end_here(sid);
        session.life.end();
        Ok(ProviderTokens {
            id_token: self.unsealed(ID_TOKEN, sid, id_token),
            refresh_token: self.unsealed(REFRESH_TOKEN, sid, refresh_token),
        })
    }

    /// Marks the attempt of this id as used; false if it was used before. Kept until `until`.
    ///
    /// # Errors
    /// If the store does not answer; then the attempt must not count.
    pub async fn use_attempt(&self, id: &str, until: UnixTime) -> Result<bool, Unavailable> {
        let mut writing = self.store.writing().await?;
        let first = writing.use_attempt(id, until).await?;
        writing.commit().await?;
        Ok(first)
    }

    /// Seconds since the store last answered; for readiness.
    #[must_use]
    pub fn away_for(&self, now: UnixTime) -> i64 {
        now.since(UnixTime(self.contact.load(Ordering::Relaxed))).max(0)
    }

    /// How many live sessions this process knows; for the metric.
    #[must_use]
    pub fn known(&self) -> usize {
        self.registry.len()
    }

    /// Takes a session out of everything here, and fires its signal.
    pub(super) fn end_here(&self, sid: &str) {
        if let Some(life) = self.registry.remove(sid) {
            life.end();
            metrics().sessions_ended.inc();
            self.cache.forget(&life.hash);
            self.gone.insert(life.hash, ());
        }
    }

    /// Puts a session into the cache, unless a change that it may not show was heard of meanwhile.
    ///
    /// The follower raises `applied` first and then drops what the change concerns. So either it finds the entry here and
    /// drops it, or we find `applied` raised.
    pub(super) fn remember(&self, hash: TokenHash, session: Arc<Session>, feed: i64, drops: u64) -> bool {
        self.cache.insert(hash, session);
        let fresh = self.applied.load(Ordering::SeqCst) <= feed && self.drops.load(Ordering::SeqCst) == drops;
        if !fresh {
            self.cache.forget(&hash);
        }
        fresh
    }

    /// A session of a row, if it may be used now.
    pub(super) fn live(
        &self,
        row: SessionWithUser,
        teams: Vec<(String, Role)>,
        hash: TokenHash,
        now: UnixTime,
    ) -> Result<Option<Arc<Session>>, StoreError> {
        let SessionWithUser { session: row, user } = row;
        // A length that was made shorter counts for those who signed in before, too.
        let expires = row.expires.min(row.created.plus(seconds(self.rules.length)));
        if user.deactivated || expires <= now {
            return Ok(None);
        }
        let unreadable = |_| StoreError::Unreadable(format!("session {}", row.sid));
        let claims = Claims {
            sub: user.id,
            email: user.email.map(|(shown, _)| shown),
            username: user.username.map(|(shown, _)| shown).unwrap_or_default(),
            name: user.name,
            role: user.role,
            teams,
            groups: serde_json::from_str(&row.groups).map_err(unreadable)?,
            groups_truncated: row.groups_truncated,
            sid: row.sid.clone(),
            method: method_of(&row.method)?,
            amr: row
                .amr
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(unreadable)?,
            auth_time: row
                .auth_time
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(unreadable)?,
        };
        let life = self
            .registry
            .adopt(&row.sid, Life::new(claims.sub.clone(), hash, expires, row.last_seen));
        life.seen_elsewhere(row.last_seen);
        life.shorten(expires, now);
        if life.is_expired(now) || life.is_idle(now, self.rules.idle) {
            return Ok(None);
        }
        Ok(Some(Arc::new(Session::new(claims, life))))
    }

    fn row_of(&self, new: NewSession, hash: TokenHash, now: UnixTime) -> Result<SessionRow, Unavailable> {
        let sid = seal::random_name();
        let seal = |purpose, token: Option<SecretString>| {
            token.map(|token| self.sealer.seal(purpose, &sid, token.expose_secret().as_bytes()))
        };
        let (id_token, refresh_token) = (seal(ID_TOKEN, new.id_token), seal(REFRESH_TOKEN, new.refresh_token));
        let written = |error: serde_json::Error| Unavailable(StoreError::Unreadable(error.to_string()));
        let json = |value: Option<serde_json::Value>| value.as_ref().map(serde_json::to_string).transpose();
        let (groups, groups_truncated) = cut(new.groups);
        Ok(SessionRow {
            token_hash: hash.to_vec(),
            user: new.user,
            created: now,
            expires: now.plus(match new.method {
                "restore" => seconds(self.rules.length).min(RESTORED),
                _ => seconds(self.rules.length),
            }),
            last_seen: now,
            method: new.method.to_owned(),
            issuer: new.issuer,
            subject: new.subject,
            // One that holds what no id holds could not be asked for again.
            provider_sid: new
                .provider_sid
                .filter(|sid| !sid.is_empty() && !sid.chars().any(char::is_control)),
            groups: serde_json::to_string(&groups).map_err(written)?,
            groups_truncated,
            amr: json(new.amr).map_err(written)?,
            auth_time: json(new.auth_time).map_err(written)?,
            id_token,
            refresh_token,
            user_agent: new.from.user_agent.as_deref().and_then(shown),
            address: new.from.address.map(|address| address.to_string()),
            sid,
        })
    }

    /// None, with a log line, for one that does not open: logging out works without.
    fn unsealed(&self, purpose: &str, sid: &str, sealed: Option<Vec<u8>>) -> Option<SecretString> {
        let plain = self.sealer.open(purpose, sid, &sealed?);
        let text = plain.ok().and_then(|plain| String::from_utf8(plain.to_vec()).ok());
        if text.is_none() {
            tracing::warn!(sid, purpose, "what the provider gave at sign-in does not open");
        }
        text.map(|text| SecretString::from(Zeroizing::new(text).as_str()))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("known", &self.registry.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// What is kept of text that is only shown: a bounded beginning, without controls.
fn shown(text: &str) -> Option<String> {
    let kept: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_USER_AGENT)
        .collect();
    (!kept.is_empty()).then_some(kept)
}

/// The first groups, as many as may serve; and whether that is not all.
pub(super) fn cut(mut groups: Vec<String>) -> (Vec<String>, bool) {
    let mut length = 0;
    let fitting = groups
        .iter()
        .take_while(|group| {
            length += group.len() + 3;
            length <= LONGEST_GROUPS
        })
        .count();
    let truncated = fitting < groups.len();
    groups.truncate(fitting);
    (groups, truncated)
}
