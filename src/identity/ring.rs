//! The key ring: which key signs when, and which are published.
//!
//! A key's life: published as next for ten minutes at least, so that every app has fetched it; signs; then stays
//! published until nothing signed by it is valid. The store has the plan; every gateway reads it when the feed says so and
//! goes by the clock from there, so that all change over at the same second.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::HeaderValue;

use super::key::SigningKey;
use super::{
    AssertionSettings, CannotSign, Claims, HEADER_NAMES, IdentityHeaders, KeyRingError, KeyState, ListedKey, Rotated,
    assertion, plain,
};
use crate::clock::UnixTime;
use crate::config::IdentityField;
use crate::seal::Sealer;
use crate::store::{Change, ChangeKind, KeyRow, Store, StoreError};
use crate::telemetry::audit::{Actor, Event, Kind};
use crate::telemetry::metrics;

/// Published this long before it signs.
const PUBLISHED_AHEAD: i64 = 600;
/// Published this long after it signed: five minutes of validity, and five for a gateway that heard of it late and an
/// app's clock.
const PUBLISHED_AFTER: i64 = 600;

/// Seconds after which another key takes over by itself.
pub const ROTATED_EVERY: i64 = 30 * 86_400;

/// Signs assertions and publishes keys. Cheap to share; the data plane calls `headers`, `whoami` and `jwks` only.
pub struct KeyRing {
    store: Store,
    sealer: Arc<Sealer>,
    settings: AssertionSettings,
    keys: ArcSwap<Keys>,
}

/// The keys as they were last read.
struct Keys {
    /// With the time from which on each signs, earliest first; never empty.
    signing: Vec<(UnixTime, SigningKey)>,
    jwks: Bytes,
}

impl KeyRing {
    /// Opens the ring; makes the first key and the next where there are none.
    ///
    /// # Errors
    /// If a key that signs, or will, does not open.
    pub async fn open(
        store: Store,
        sealer: Arc<Sealer>,
        settings: AssertionSettings,
        now: UnixTime,
    ) -> Result<Self, KeyRingError> {
        // Under the lock row: two gateways that start together make one pair of keys.
        let mut change = store.change(now).await?;
        if make_missing(&mut change, &sealer, now).await? {
            change.publish(ChangeKind::Keys, "").await?;
            change.commit().await?;
        }
        let keys = ArcSwap::from_pointee(Keys::read(&store, &sealer, now).await?);
        Ok(Self {
            store,
            sealer,
            settings,
            keys,
        })
    }

    /// Makes the header values that tell the upstream who this is (CONTRACT, section 4).
    ///
    /// # Errors
    /// If signing fails; then nothing may be forwarded on behalf of the user.
    pub fn headers(&self, claims: &Claims, now: UnixTime) -> Result<IdentityHeaders, CannotSign> {
        let keys = self.keys.load();
        let jws = assertion::sign(keys.signing_at(now)?, claims, &self.settings, now)?;
        let mut signed = HeaderValue::try_from(jws).map_err(|_| CannotSign)?;
        signed.set_sensitive(true);
        let [name, user, email, username, role, groups, teams] = &HEADER_NAMES;
        let mut values = vec![(name.clone(), signed)];
        let ours = [
            (user, IdentityField::Sub),
            (email, IdentityField::Email),
            (username, IdentityField::Username),
            (role, IdentityField::Role),
            (groups, IdentityField::Groups),
            (teams, IdentityField::Teams),
        ];
        let wanted = self
            .settings
            .upstream_headers
            .iter()
            .map(|(name, field)| (name, *field));
        for (name, field) in ours.into_iter().chain(wanted) {
            if let Some(value) = plain::value(claims, field)? {
                values.push((name.clone(), value));
            }
        }
        Ok(IdentityHeaders {
            resign_at: assertion::expires(now).plus(-30),
            not_before: assertion::not_before(now),
            values,
        })
    }

    /// The JWKS document (RFC 7517, section 5), finished.
    #[must_use]
    pub fn jwks(&self) -> Bytes {
        self.keys.load().jwks.clone()
    }

    /// The claims as `whoami` tells them: the assertion's without `nbf`, `exp`, `aud`.
    #[must_use]
    pub fn whoami(&self, claims: &Claims, now: UnixTime) -> serde_json::Value {
        assertion::whoami(claims, &self.settings, now)
    }

    /// Reads the keys anew; on failure the old ones stay. `session` calls it when the feed says so, and now and then, so
    /// that old keys go. Writes nothing, so that it never waits for others who write.
    ///
    /// # Errors
    /// If the store does not answer or a key does not open.
    pub async fn reload(&self, now: UnixTime) -> Result<(), KeyRingError> {
        let keys = Arc::new(Keys::read(&self.store, &self.sealer, now).await?);
        let before = self.keys.swap(Arc::clone(&keys));
        if keys.newest() != before.newest() {
            metrics().key_rotations.inc();
        }
        Ok(())
    }

    /// Takes keys out of the store of which nothing is valid any more, and lets another take over from one that has signed for
    /// its time. The feed says so.
    ///
    /// # Errors
    /// If the store does not answer, or the next key does not open.
    pub async fn tend(&self, now: UnixTime) -> Result<(), KeyRingError> {
        let rows = self.store.reading().await?.keys().await?;
        if rows.iter().any(|row| is_past(row, now)) {
            let mut change = self.store.change(now).await?;
            delete_past(&mut change, now).await?;
            change.commit().await?;
        }
        if is_due(&rows, now) {
            self.rotate_if_due(now).await?;
        }
        Ok(())
    }

    /// Looked at again under the lock row: of several gateways one does it.
    async fn rotate_if_due(&self, now: UnixTime) -> Result<(), KeyRingError> {
        let mut change = self.store.change(now).await?;
        if is_due(&change.keys().await?, now) {
            rotate_in(
                change,
                &self.sealer,
                false,
                ("after thirty days", &Actor::system()),
                now,
            )
            .await?;
        }
        Ok(())
    }
}

/// Whether the key that signs has signed for its time, and no other is about to take over.
fn is_due(rows: &[KeyRow], now: UnixTime) -> bool {
    let newest = rows.iter().filter_map(|row| row.signs_from).max();
    newest.is_some_and(|from| from.plus(ROTATED_EVERY) <= now)
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.load();
        let kids = keys.signing.iter().map(|(from, key)| (from, key.kid.as_str()));
        f.debug_map().entries(kids).finish()
    }
}

impl Keys {
    async fn read(store: &Store, sealer: &Sealer, now: UnixTime) -> Result<Self, KeyRingError> {
        Self::of(&store.reading().await?.keys().await?, sealer, now)
    }

    fn of(rows: &[KeyRow], sealer: &Sealer, now: UnixTime) -> Result<Self, KeyRingError> {
        let mut signing = Vec::new();
        let mut published = Vec::new();
        for row in rows.iter().filter(|row| !is_past(row, now)) {
            match SigningKey::open(sealer, &row.kid, &row.sealed) {
                Some(key) => {
                    published.push(key.jwk.clone());
                    if let Some(from) = row.signs_from {
                        signing.push((from, key));
                    }
                }
                // What it signed is still to be verified; it does not sign any more.
                None if state(row, now) == KeyState::Old => published.push(row.jwk.clone()),
                None => return Err(KeyRingError::DoesNotOpen(row.kid.clone())),
            }
        }
        signing.sort_by_key(|(from, _)| *from);
        if signing.is_empty() {
            return Err(KeyRingError::NoKey);
        }
        Ok(Self {
            signing,
            jwks: Bytes::from(format!(r#"{{"keys":[{}]}}"#, published.join(","))),
        })
    }

    /// The one that signs last, now or as planned.
    fn newest(&self) -> Option<&str> {
        self.signing.last().map(|(_, key)| key.kid.as_str())
    }

    /// The latest that may sign by now. A clock that stepped back before the first one's time does not stop the house.
    fn signing_at(&self, now: UnixTime) -> Result<&SigningKey, CannotSign> {
        let by_now = self.signing.iter().rev().find(|(from, _)| *from <= now);
        by_now
            .or_else(|| self.signing.first())
            .map(|(_, key)| key)
            .ok_or(CannotSign)
    }
}

/// The keys, oldest first.
///
/// # Errors
/// If the store does not answer.
pub async fn list(store: &Store, now: UnixTime) -> Result<Vec<ListedKey>, StoreError> {
    let rows = store.reading().await?.keys().await?;
    let listed = rows.into_iter().filter(|row| !is_past(row, now)).map(|row| ListedKey {
        state: state(&row, now),
        kid: row.kid,
        created: row.created,
        signs_from: row.signs_from,
        signs_until: row.signs_until,
    });
    Ok(listed.collect())
}

/// Whether a gateway with this sealer would have its keys from the store; it makes them where there are none.
///
/// # Errors
/// If a key that signs, or will, does not open.
pub async fn check(store: &Store, sealer: &Sealer, now: UnixTime) -> Result<(), KeyRingError> {
    match Keys::read(store, sealer, now).await {
        Ok(_) | Err(KeyRingError::NoKey) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Names of the keys in the store that this sealer does not open.
///
/// # Errors
/// If the store does not answer.
pub async fn that_do_not_open(store: &Store, sealer: &Sealer) -> Result<Vec<String>, StoreError> {
    let rows = store.reading().await?.keys().await?;
    let closed = rows
        .into_iter()
        .filter(|row| SigningKey::open(sealer, &row.kid, &row.sealed).is_none());
    Ok(closed.map(|row| row.kid).collect())
}

/// Lets the next key take over once it has been published for ten minutes, or at once if `immediately`. A change-over
/// that is planned already stays as it is, unless `immediately`.
///
/// # Errors
/// If the store does not answer, or the next key does not open (unless `immediately`: then a new one is made).
pub async fn rotate(
    store: &Store,
    sealer: &Sealer,
    immediately: bool,
    actor: &Actor,
    now: UnixTime,
) -> Result<Rotated, KeyRingError> {
    let how = if immediately { "at once" } else { "as planned" };
    rotate_in(store.change(now).await?, sealer, immediately, (how, actor), now).await
}

async fn rotate_in(
    mut change: Change,
    sealer: &Sealer,
    immediately: bool,
    (how, actor): (&str, &Actor),
    now: UnixTime,
) -> Result<Rotated, KeyRingError> {
    delete_past(&mut change, now).await?;
    make_missing(&mut change, sealer, now).await?;
    let rows = change.keys().await?;
    let planned = rows.iter().find(|row| row.signs_from.is_some_and(|from| from > now));
    if let (Some(row), false) = (planned, immediately) {
        return Ok(Rotated {
            kid: row.kid.clone(),
            at: row.signs_from.unwrap_or(now),
        });
    }
    let next = planned.or_else(|| rows.iter().find(|row| row.signs_from.is_none()));
    let mut next = next.ok_or(KeyRingError::NoKey)?.clone();
    if SigningKey::open(sealer, &next.kid, &next.sealed).is_none() {
        if !immediately {
            return Err(KeyRingError::DoesNotOpen(next.kid));
        }
        // The secret key that sealed it is gone: whatever it would have signed can never be.
        change.delete_key(&next.kid).await?;
        next = make(&mut change, sealer, now, None).await?;
    }
    let at = if immediately {
        now
    } else {
        now.max(next.created.plus(PUBLISHED_AHEAD))
    };
    for row in &rows {
        let signs = row.signs_from.is_some_and(|from| from <= now) && row.signs_until.is_none_or(|until| until > at);
        if signs {
            let mut row = row.clone();
            row.signs_until = Some(at);
            change.plan_key(&row).await?;
        }
    }
    next.signs_from = Some(at);
    next.signs_until = None;
    change.plan_key(&next).await?;
    for row in rows
        .iter()
        .filter(|row| row.signs_from.is_none() && row.kid != next.kid)
    {
        if SigningKey::open(sealer, &row.kid, &row.sealed).is_none() {
            change.delete_key(&row.kid).await?;
        }
    }
    make_missing(&mut change, sealer, now).await?;
    change.publish(ChangeKind::Keys, "").await?;
    let event = Event::new(Kind::KeyRotation, actor)
        .about("key", &next.kid, "")
        .detail("kid", &next.kid)
        .detail("how", how)
        .detail("signs_from", &at.0.to_string());
    change.record(event, now).await?;
    change.commit().await?;
    Ok(Rotated { kid: next.kid, at })
}

/// Makes the key that signs now, or the next, where there is none; says whether it did.
async fn make_missing(change: &mut Change, sealer: &Sealer, now: UnixTime) -> Result<bool, KeyRingError> {
    let rows = change.keys().await?;
    let none_signs = rows.iter().all(|row| row.signs_from.is_none());
    let none_waits = rows.iter().all(|row| row.signs_from.is_some());
    if none_signs {
        make(change, sealer, now, Some(now)).await?;
    }
    if none_waits {
        make(change, sealer, now, None).await?;
    }
    Ok(none_signs || none_waits)
}

async fn make(
    change: &mut Change,
    sealer: &Sealer,
    now: UnixTime,
    signs_from: Option<UnixTime>,
) -> Result<KeyRow, KeyRingError> {
    let (key, sealed) = SigningKey::make(sealer).ok_or(KeyRingError::CannotMake)?;
    let row = KeyRow {
        kid: key.kid,
        sealed,
        jwk: key.jwk,
        created: now,
        signs_from,
        signs_until: None,
    };
    change.insert_key(&row).await?;
    Ok(row)
}

async fn delete_past(change: &mut Change, now: UnixTime) -> Result<(), StoreError> {
    for row in change.keys().await?.iter().filter(|row| is_past(row, now)) {
        change.delete_key(&row.kid).await?;
    }
    Ok(())
}

fn is_past(row: &KeyRow, now: UnixTime) -> bool {
    row.signs_until.is_some_and(|until| until.plus(PUBLISHED_AFTER) <= now)
}

fn state(row: &KeyRow, now: UnixTime) -> KeyState {
    match (row.signs_from, row.signs_until) {
        (_, Some(until)) if until <= now => KeyState::Old,
        (Some(from), _) if from <= now => KeyState::Signing,
        _ => KeyState::Next,
    }
}
