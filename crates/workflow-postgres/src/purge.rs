//! Removing runs that have ended.

use tokio_postgres::types::Type;
use workflow_engine::store::Purge;
use workflow_engine::{Purged, Status, StoreError, Timestamp};

use crate::reader::{COUNT_TIMEOUT, Reader, only};
use crate::row::{self, signed};
pub(crate) async fn purge(reader: &Reader, purge: &Purge) -> Result<Purged, StoreError> {
    let before = |status| purge.before(status).map(Timestamp::as_millis);
    let parameters = [
        (&before(Status::Completed) as _, Type::INT8),
        (&before(Status::Failed) as _, Type::INT8),
        (&before(Status::Cancelled) as _, Type::INT8),
        (&signed(purge.limit) as _, Type::INT8),
    ];
    // There is no retry, because the result of the first attempt would be lost.
    let rows = reader
        .read_once(COUNT_TIMEOUT, &reader.sql.purge, &parameters)
        .await
        .map_err(StoreError::from)?;
    let row = only(rows)?;
    Ok(Purged {
        runs: row::unsigned(&row, 0)?,
        events: row::unsigned(&row, 1)?,
    })
}
