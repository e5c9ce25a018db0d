//! What a worker does beside its runs: it purges, and follows what other processes have written.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use tracker_core::Clock;

use crate::clock::wall;
use crate::store::{Purged, StoreError, Woken};
use crate::worker::Worker;

/// How often runs whose retention has expired are purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
/// The most runs that a purge removes in one write.
const MAX_RUNS_PER_PURGE: usize = 256;

impl Worker {
    /// Follows what other processes have written, until the engine is closed.
    pub(crate) async fn follow_store(&self) {
        while let Either::Left((woken, _)) =
            select(pin!(self.store.woken()), pin!(self.shutdown.closed())).await
        {
            match woken {
                Woken::Due => self.active.work_available.notify_one(),
                Woken::Cancel => {
                    if let Err(error) = self.lease.renew().await {
                        tracing::warn!(
                            %error,
                            "failed to ask for cancels; they come with the next renewal"
                        );
                    }
                }
            }
        }
    }

    /// Purges from time to time, until the engine is closed.
    pub(crate) async fn purge_periodically(&self) {
        while self.settings.retention.is_limited() && !self.shutdown.is_closed() {
            if let Err(error) = self.purge().await {
                tracing::error!(%error, "failed to purge runs; it will be retried");
            }
            select(
                self.clock.sleep(PURGE_INTERVAL),
                pin!(self.shutdown.closed()),
            )
            .await;
        }
    }

    /// Purges runs whose retention has expired.
    pub(crate) async fn purge(&self) -> Result<Purged, StoreError> {
        let mut total = Purged::default();
        if !self.settings.retention.is_limited() {
            return Ok(total);
        }
        self.lease.ensure().await?;
        // A sink without a cursor would not hold up the purge.
        for sink in &self.sinks {
            self.store.open_cursor(sink).await?;
        }
        let now = wall(&*self.clock);
        let purge = self.settings.retention.purge(now, MAX_RUNS_PER_PURGE);
        loop {
            let purged = self.store.purge(purge).await?;
            total.runs += purged.runs;
            total.events += purged.events;
            if purged.runs == 0 {
                return Ok(total);
            }
        }
    }
}
