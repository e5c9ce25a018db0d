//! The lease of this engine as a worker: one for all the runs that it executes.

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

/// Renews the lease in time, whoever asks for it.
pub(crate) struct Lease {
    pub(crate) worker_id: String,
    store: Arc<dyn Store>,
    clock: Arc<StoreClock>,
    active: Arc<ActiveRuns>,
    length: Duration,
    renewed: Arc<Mutex<Option<Renewed>>>,
    /// The renewal under way, if there is one: whoever needs it drives it, so that nobody who does
    /// not blocks it.
    renewal: Mutex<Option<WeakShared<Renewal>>>,
    /// Whether it has ended in good order, for good.
    retired: AtomicBool,
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
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<StoreClock>,
        active: Arc<ActiveRuns>,
        length: Duration,
    ) -> Self {
        // No two engines are the same worker, whatever process and machine they are in.
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

    /// Renews the lease, unless it was renewed not long ago.
    pub(crate) async fn ensure(&self) -> Result<(), StoreError> {
        // Twice: a renewal that was begun long ago, by a future that nobody has polled since, is
        // not enough.
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

    /// Returns whether the lease needs no renewal, by either clock: a machine that was suspended,
    /// or whose time of day was set, finds that the two disagree.
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
        let mut standing = lock(&self.renewal);
        let under_way = standing
            .as_ref()
            .and_then(WeakShared::upgrade)
            .filter(|renewal| renewal.peek().is_none());
        under_way.unwrap_or_else(|| {
            let (store, clock, worker, length) = (
                self.store.clone(),
                self.clock.clone(),
                self.worker_id.clone(),
                self.length,
            );
            let (active, renewed) = (self.active.clone(), self.renewed.clone());
            let renewal = async move {
                clock.set(&*store).await?;
                let (at, until) = (clock.now(), until(&*clock, length));
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
        self.active.cancel_all(
            self.store
                .renew(&self.worker_id, until(&*self.clock, self.length))
                .await?,
        );
        Ok(())
    }

    /// Ends the lease: what this engine holds can be claimed by others now. It is not renewed any
    /// more.
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
                    tracing::warn!(%error, "the lease could not be renewed; it will be tried again");
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

fn until(clock: &dyn Clock, length: Duration) -> Timestamp {
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
