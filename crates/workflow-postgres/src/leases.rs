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
            // Its lease had run out, and what it held is to be created due before it has another one.
            self.query(&self.sql.expire_runs, &[]).await?;
            if self.query(&self.sql.renew, &parameters).await?.is_empty() {
                let held = "a run is locked that is to be created due before this worker has a lease again";
                return Err(StoreError::Backend(held.into()).into());
            }
            return Ok(Vec::new());
        }
        let mut found = HashMap::new();
        for row in cancels? {
            // Whatever cannot be read of one run, the others are cancelled.
            match row::cancel(&row, 1) {
                Ok(cancel) => found.extend(
                    cancel
                        .zip(row::unsigned(&row, 0).ok())
                        .map(|(cancel, key)| (RunKey(key), cancel)),
                ),
                Err(error) => tracing::error!(%error, "a cancel cannot be read"),
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

    /// Returns until when the lease of a worker lasts.
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

/// Returns a time, unless it cannot be read: that must not hide the others.
pub(crate) fn readable_time(
    time: Result<Option<Timestamp>, StoreError>,
) -> Option<Option<Timestamp>> {
    time.inspect_err(|error| tracing::error!(%error, "a time cannot be read; nobody waits for it"))
        .ok()
}
