//! Leases of workers, and the database's clock by which they expire.

use std::collections::HashMap;

use futures::future::join;
use tokio_postgres::types::Type;
use workflow_engine::store::CancelRequest;
use workflow_engine::{RunKey, StoreError, Timestamp};

use crate::db::Db;
use crate::error::OperationError;
use crate::row;
use crate::text::escape;
impl Db {
    pub(crate) async fn renew(
        &self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, OperationError> {
        let worker = escape(worker);
        self.workers.add(&worker);
        let parameters = [
            (&worker as _, Type::TEXT),
            (&until.as_millis() as _, Type::INT8),
            (&self.session as _, Type::INT8),
        ];
        let (renewed, cancels) = join(
            self.query(&self.sql.renew, &parameters),
            self.query(&self.sql.cancels, &parameters[..1]),
        )
        .await;
        if renewed?.is_empty() {
            // The lease had expired, and the runs of the worker must be due before it gets a new
            // lease.
            self.query(&self.sql.expire_runs, &[]).await?;
            if self.query(&self.sql.renew, &parameters).await?.is_empty() {
                let held = "a run of this worker is locked, and must be due before the worker gets a new lease";
                return Err(StoreError::Backend(held.into()).into());
            }
            return Ok(Vec::new());
        }
        let mut found = HashMap::new();
        for row in cancels? {
            // A cancel that cannot be read must not prevent those of other runs.
            match row::cancel(&row, 1) {
                Ok(cancel) => found.extend(
                    cancel
                        .zip(row::unsigned(&row, 0).ok())
                        .map(|(cancel, key)| (RunKey(key), cancel)),
                ),
                Err(error) => {
                    tracing::error!(%error, "failed to read a cancel; the run continues without it")
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    pub(crate) async fn retire(&self, worker: &str, now: Timestamp) -> Result<(), OperationError> {
        let parameters = [
            (&escape(worker) as _, Type::TEXT),
            (&now.as_millis() as _, Type::INT8),
        ];
        let (retired, swept) = join(
            self.query(&self.sql.retire, &parameters),
            self.query(&self.sql.expire_runs, &[]),
        )
        .await;
        retired?;
        swept?;
        self.workers.remove(&escape(worker));
        Ok(())
    }

    pub(crate) async fn now(&self) -> Result<Timestamp, OperationError> {
        let rows = self.query(&self.sql.now, &[]).await?;
        let now = rows
            .first()
            .map(|row| row::column(row, 0))
            .transpose()?
            .unwrap_or_default();
        Ok(row::timestamp(now, || "the database's clock".into())?)
    }

    /// Returns the time at which the lease of a worker expires.
    pub(crate) async fn lease(&self, worker: &str) -> Result<Option<Timestamp>, OperationError> {
        let rows = self
            .query(&self.sql.lease, &[(&escape(worker), Type::TEXT)])
            .await?;
        Ok(rows
            .first()
            .and_then(|row| {
                readable_time(row::optional_timestamp(row, 0, || {
                    format!("worker {worker}: until")
                }))
            })
            .flatten())
    }
}

/// Returns a time. A time that cannot be read is logged and passed over, so that it does not hide
/// the others.
pub(crate) fn readable_time(
    time: Result<Option<Timestamp>, StoreError>,
) -> Option<Option<Timestamp>> {
    time.inspect_err(
        |error| tracing::error!(%error, "failed to read a time; no worker waits for it"),
    )
    .ok()
}
