//! The lease of this engine as a worker: one for all the runs that it executes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::lock::Mutex;
use tracker_core::Clock;
use uuid::Uuid;

use crate::active::Active;
use crate::store::{Store, StoreError};
use crate::time::{ceil, wall};

/// Renews the lease in time, whoever asks for it.
pub(crate) struct Lease {
    pub(crate) worker: String,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    active: Arc<Active>,
    length: Duration,
    /// When it was renewed last, by the monotonic clock; `None` before it began.
    renewed: Mutex<Option<Duration>>,
}

impl Lease {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, active: Arc<Active>, length: Duration) -> Self {
        // No two engines are the same worker, whatever process and machine they are in.
        let worker = format!("{}-{}", std::process::id(), Uuid::now_v7().simple());
        Self { worker, store, clock, active, length, renewed: Mutex::new(None) }
    }

    /// Renews the lease, unless it was renewed not long ago.
    pub(crate) async fn ensure(&self) -> Result<(), StoreError> {
        let mut renewed = self.renewed.lock().await;
        let now = self.clock.now();
        if renewed.is_some_and(|renewed| now < renewed + self.interval()) {
            return Ok(());
        }
        self.renew().await?;
        *renewed = Some(now);
        Ok(())
    }

    /// Renews the lease, however long ago that was done last.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        let until = ceil(wall(&*self.clock).saturating_add(self.length));
        self.active.cancel_all(self.store.renew(&self.worker, until).await?);
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
