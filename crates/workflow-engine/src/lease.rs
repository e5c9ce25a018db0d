//! The lease of this engine as a worker: one for all the runs that it executes.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tracker_core::Clock;
use uuid::Uuid;
use workflow_events::Timestamp;

use crate::active::{Active, lock};
use crate::store::{Store, StoreError};
use crate::time::{ceil, wall};

/// Renews the lease in time, whoever asks for it.
pub(crate) struct Lease {
    pub(crate) worker: String,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    active: Arc<Active>,
    length: Duration,
    standing: Arc<Mutex<Option<Renewed>>>,
    /// The renewal under way, if there is one: whoever needs it drives it, so that nobody who does not blocks it.
    renewal: Mutex<Option<WeakShared<Renewal>>>,
}

type Renewal = BoxFuture<'static, Result<(), Arc<StoreError>>>;

/// A renewal that has happened.
#[derive(Clone, Copy, Debug)]
struct Renewed {
    /// When, by the monotonic clock.
    at: Duration,
    /// Until when the lease lasts, by the time of day.
    until: Timestamp,
}

impl Lease {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, active: Arc<Active>, length: Duration) -> Self {
        // No two engines are the same worker, whatever process and machine they are in.
        let worker = format!("{}-{}", std::process::id(), Uuid::now_v7().simple());
        Self { worker, store, clock, active, length, standing: Arc::default(), renewal: Mutex::default() }
    }

    /// Renews the lease, unless it was renewed not long ago.
    pub(crate) async fn ensure(&self) -> Result<(), StoreError> {
        // Twice: a renewal that was begun long ago, by a future that nobody has polled since, is not enough.
        for _ in 0..2 {
            if self.is_fresh() {
                break;
            }
            self.renewal().await.map_err(|error| match &*error {
                StoreError::Corrupt { what } => StoreError::Corrupt { what: what.clone() },
                _ => StoreError::Backend(error.into()),
            })?;
        }
        Ok(())
    }

    /// Returns whether the lease needs no renewal, by either clock: a machine that was suspended, or whose time of
    /// day was set, finds that the two disagree.
    fn is_fresh(&self) -> bool {
        let Some(Renewed { at, until }) = *lock(&self.standing) else { return false };
        let left = until.duration_since(wall(&*self.clock));
        let second = Duration::from_secs(1);
        self.clock.now() < at + self.interval() && left + self.interval() >= self.length && left <= self.length + second
    }

    /// Returns the renewal under way, or begins one.
    fn renewal(&self) -> Shared<Renewal> {
        let mut standing = lock(&self.renewal);
        let under_way = standing.as_ref().and_then(WeakShared::upgrade).filter(|renewal| renewal.peek().is_none());
        under_way.unwrap_or_else(|| {
            let (at, until) = (self.clock.now(), self.until());
            let (store, active, renewed) = (self.store.clone(), self.active.clone(), self.standing.clone());
            let worker = self.worker.clone();
            let renewal = async move {
                active.cancel_all(store.renew(&worker, until).await?);
                *lock(&renewed) = Some(Renewed { at, until });
                Ok(())
            };
            let renewal = renewal.boxed().shared();
            *standing = renewal.downgrade();
            renewal
        })
    }

    /// Renews the lease with a write of its own, however long ago that was done last.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        self.active.cancel_all(self.store.renew(&self.worker, self.until()).await?);
        Ok(())
    }

    /// Keeps the lease for as long as it is polled.
    pub(crate) async fn keep(&self) -> ! {
        loop {
            let delay = match self.ensure().await {
                Ok(()) => self.interval(),
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be renewed; it will be tried again");
                    self.interval() / 10
                }
            };
            self.clock.sleep(delay).await;
        }
    }

    fn until(&self) -> Timestamp {
        ceil(wall(&*self.clock).saturating_add(self.length))
    }

    /// A lease outlives two renewals that fail.
    fn interval(&self) -> Duration {
        self.length / 3
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("worker", &self.worker).field("length", &self.length).finish_non_exhaustive()
    }
}
