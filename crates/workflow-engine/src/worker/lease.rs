//! The lease of this worker: one for all the runs that it executes.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Either, Shared, WeakShared, select};
use tracker_core::Clock;
use uuid::Uuid;
use workflow_events::Timestamp;

use crate::clock::{ceil, wall};
use crate::store::{Store, StoreError};
use crate::sync::lock;
use crate::worker::active::ActiveRuns;
use crate::worker::store_clock::StoreClock;

/// The lease of a worker, renewed by the futures that need it.
pub(crate) struct Lease {
    pub(crate) worker_id: String,
    store: Arc<dyn Store>,
    clock: Arc<StoreClock>,
    active: Arc<ActiveRuns>,
    length: Duration,
    renewed: Arc<Mutex<Option<Renewed>>>,
    /// The renewal under way. Every future that needs the renewal polls it, so that none can block
    /// it by not being polled.
    renewal: Mutex<Option<WeakShared<Renewal>>>,
    /// Whether the lease was ended for good.
    retired: AtomicBool,
}

type Renewal = BoxFuture<'static, Result<(), Arc<StoreError>>>;

/// A renewal that has succeeded.
#[derive(Clone, Copy, Debug)]
struct Renewed {
    /// When, by the monotonic clock.
    at: Duration,
    /// The time of day at which the lease expires.
    until: Timestamp,
}

impl Lease {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<StoreClock>,
        active: Arc<ActiveRuns>,
        length: Duration,
    ) -> Self {
        // No two engines are the same worker, also in different processes and on different
        // machines.
        let worker_id = format!("{}-{}", std::process::id(), Uuid::now_v7().simple());
        Self {
            worker_id,
            store,
            clock,
            active,
            length,
            renewed: Arc::default(),
            renewal: Mutex::default(),
            retired: AtomicBool::new(false),
        }
    }

    /// Renews the lease, unless it was renewed recently.
    pub(crate) async fn ensure(&self) -> Result<(), StoreError> {
        // Twice, because a renewal that a future began long ago and has not polled since is not
        // enough.
        for _ in 0..2 {
            if self.retired.load(Ordering::Acquire) || self.is_fresh() {
                break;
            }
            self.renewal().await.map_err(|error| match &*error {
                StoreError::Corrupt { what } => StoreError::Corrupt { what: what.clone() },
                StoreError::Refused { why } => StoreError::Refused { why: why.clone() },
                _ => StoreError::Backend(error.into()),
            })?;
        }
        Ok(())
    }

    /// Returns whether the lease needs no renewal, by both clocks. They disagree after a machine
    /// was suspended, or its time of day was set.
    fn is_fresh(&self) -> bool {
        let Some(Renewed { at, until }) = *lock(&self.renewed) else {
            return false;
        };
        let left = until.duration_since(wall(&*self.clock));
        let second = Duration::from_secs(1);
        self.clock.now() < at + self.interval()
            && left + self.interval() >= self.length
            && left <= self.length + second
    }

    /// Returns the renewal under way, or begins one.
    fn renewal(&self) -> Shared<Renewal> {
        let mut renewal_under_way = lock(&self.renewal);
        let under_way = renewal_under_way
            .as_ref()
            .and_then(WeakShared::upgrade)
            .filter(|renewal| renewal.peek().is_none());
        under_way.unwrap_or_else(|| {
            let store = self.store.clone();
            let clock = self.clock.clone();
            let worker_id = self.worker_id.clone();
            let length = self.length;
            let active = self.active.clone();
            let renewed = self.renewed.clone();
            let renewal = async move {
                clock.set(&*store).await?;
                let at = clock.now();
                let until = expiry(&*clock, length);
                active.cancel_all(store.renew(&worker_id, until).await?);
                *lock(&renewed) = Some(Renewed { at, until });
                Ok(())
            };
            let renewal = renewal.boxed().shared();
            *renewal_under_way = renewal.downgrade();
            renewal
        })
    }

    /// Renews the lease with a write of its own, even if it was renewed recently.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        self.active.cancel_all(
            self.store
                .renew(&self.worker_id, expiry(&*self.clock, self.length))
                .await?,
        );
        Ok(())
    }

    /// Ends the lease for good: other workers can claim what this worker holds now.
    pub(crate) async fn retire(&self) -> Result<(), StoreError> {
        self.retired.store(true, Ordering::Release);
        self.store.retire(&self.worker_id, wall(&*self.clock)).await
    }

    /// Keeps the lease while `future` is polled.
    pub(crate) async fn keep_during<F: Future>(&self, future: F) -> F::Output {
        match select(pin!(future), pin!(self.keep())).await {
            Either::Left((output, _)) => output,
            Either::Right((never, _)) => match never {},
        }
    }

    async fn keep(&self) -> ! {
        loop {
            let delay = match self.ensure().await {
                Ok(()) => self.interval(),
                Err(error) => {
                    tracing::warn!(%error, "failed to renew the lease; it will be retried");
                    self.interval() / 10
                }
            };
            self.clock.sleep(delay).await;
        }
    }

    /// A lease outlives two renewals that fail.
    fn interval(&self) -> Duration {
        self.length / 3
    }
}

fn expiry(clock: &dyn Clock, length: Duration) -> Timestamp {
    ceil(wall(clock).saturating_add(length))
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("worker", &self.worker_id)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
