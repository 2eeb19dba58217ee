//! The provider's keys, kept fresh: every hour, and when none fits a token. A refetch that fails leaves the old keys.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Mutex;
use url::Url;

use super::discovery::{NotDiscovered, document, json_request};
use super::http::ProviderClient;
use crate::clock::UnixTime;
use crate::jose::{self, KeySet, Refused, Verified};

/// Refetches because no key fits come from a bucket of this size: whoever sends made-up tokens must not make us hammer the
/// provider, and a rotation must be noticed at once.
const BUCKET: NonZeroU32 = NonZeroU32::new(8).unwrap();
/// One more refetch in this time.
const REFILL: Duration = Duration::from_mins(1);

/// The keys of one provider.
pub(super) struct Keys {
    current: ArcSwap<KeySet>,
    /// One refetch at a time.
    flight: Mutex<()>,
    /// How many refetches have ended, well or not: who waited for one does not begin another.
    ended: AtomicU64,
    bucket: DefaultDirectRateLimiter,
}

impl Keys {
    /// No keys yet.
    pub(super) fn new() -> Self {
        Self {
            current: ArcSwap::default(),
            flight: Mutex::new(()),
            ended: AtomicU64::new(0),
            bucket: RateLimiter::direct(Quota::with_period(REFILL).map_or_else(
                // Only a period of zero is none.
                || Quota::per_minute(BUCKET),
                |quota| quota.allow_burst(BUCKET),
            )),
        }
    }

    /// The keys as they are known.
    pub(super) fn current(&self) -> Arc<KeySet> {
        self.current.load_full()
    }

    /// Fetches the keys; the old ones stay if that fails.
    pub(super) async fn fetch(&self, client: &ProviderClient, url: &Url) -> Result<(), NotDiscovered> {
        let answer = client.ask(json_request(url)).await?;
        let keys = KeySet::read(&document(url, &answer)?).ok_or_else(|| NotDiscovered::NoKeys(url.to_string()))?;
        self.current.store(Arc::new(keys));
        Ok(())
    }

    /// Verifies a token, with fetched keys if the known ones don't fit: an unknown `kid`, or a signature that fails under a
    /// known one (a provider that reuses ids).
    pub(super) async fn verify(
        &self,
        token: &str,
        client: &ProviderClient,
        url: &Url,
        now: UnixTime,
    ) -> Result<Verified, Refused> {
        let ended = self.ended.load(Ordering::Acquire);
        match jose::verify(token, &self.current(), now) {
            Err(refused) if refused.may_be_the_keys() => {
                self.refetch(client, url, ended).await;
                jose::verify(token, &self.current(), now)
            }
            settled => settled,
        }
    }

    /// Fetches the keys unless a refetch has ended since `ended` was read, or the bucket is empty.
    async fn refetch(&self, client: &ProviderClient, url: &Url, ended: u64) {
        let _one = self.flight.lock().await;
        if self.ended.load(Ordering::Acquire) != ended {
            return;
        }
        if self.bucket.check().is_err() {
            tracing::warn!(
                "no key of the provider fits a token, and the keys were fetched too often to do it again now"
            );
            return;
        }
        if let Err(error) = self.fetch(client, url).await {
            tracing::warn!(%error, "the provider's keys can't be fetched; the old ones stay");
        }
        self.ended.fetch_add(1, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.current().len())
    }
}
