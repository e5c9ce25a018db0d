//! Cursors of sinks, and claims on their delivery.

use tokio_postgres::types::Type;
use workflow_engine::store::{Cursor, SinkClaim};
use workflow_engine::{StoreError, Timestamp};

use crate::db::Db;
use crate::error::OperationError;
use crate::reader::Reader;
use crate::row::{self, signed};
use crate::text::{escape, unescape};

impl Db {
    pub(crate) async fn open_cursor(&self, sink: &str) -> Result<Cursor, OperationError> {
        let name = escape(sink);
        let parameters = [(&name as _, Type::TEXT)];
        let found = self.query(&self.sql.cursor, &parameters).await?;
        if let Some(row) = found.first() {
            return Ok(row::cursor(row)?);
        }
        self.query(&self.sql.open_cursor, &parameters).await?;
        let found = self.query(&self.sql.cursor, &parameters).await?;
        Ok(found
            .first()
            .map(row::cursor)
            .transpose()?
            .unwrap_or_default())
    }

    pub(crate) async fn claim_sink(
        &self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, OperationError> {
        self.open_cursor(sink).await?;
        let (now, worker, name) = (now.as_millis(), escape(worker), escape(sink));
        self.workers.add(&worker);
        let parameters = [
            (&now as _, Type::INT8),
            (&worker as _, Type::TEXT),
            (&name as _, Type::TEXT),
            (&self.session as _, Type::INT8),
        ];
        let rows = self.query(&self.sql.claim_sink, &parameters).await?;
        let epoch = rows.first().map(|row| row::unsigned(row, 0)).transpose()?;
        Ok(epoch.map(|epoch| SinkClaim {
            sink: sink.to_owned(),
            epoch,
        }))
    }

    pub(crate) async fn release_sink(&self, claim: &SinkClaim) -> Result<(), OperationError> {
        let parameters = [
            (&escape(&claim.sink) as _, Type::TEXT),
            (&signed(claim.epoch) as _, Type::INT8),
            (&self.workers.names() as _, Type::TEXT_ARRAY),
        ];
        self.query(&self.sql.release_sink, &parameters).await?;
        Ok(())
    }

    pub(crate) async fn set_cursor(
        &self,
        claim: &SinkClaim,
        cursor: Cursor,
    ) -> Result<(), OperationError> {
        let parameters = [
            (&escape(&claim.sink) as _, Type::TEXT),
            (&signed(claim.epoch) as _, Type::INT8),
            (&signed(cursor.position.0) as _, Type::INT8),
            (&signed(cursor.delivered) as _, Type::INT8),
            (&signed(cursor.rejected) as _, Type::INT8),
            (&self.workers.names() as _, Type::TEXT_ARRAY),
            (&self.session as _, Type::INT8),
        ];
        if self
            .query(&self.sql.set_cursor, &parameters)
            .await?
            .is_empty()
        {
            let SinkClaim { sink, epoch } = claim.clone();
            return Err(StoreError::SinkFenced { sink, epoch }.into());
        }
        Ok(())
    }

    pub(crate) async fn drop_cursor(&self, sink: &str) -> Result<bool, OperationError> {
        Ok(!self
            .query(&self.sql.drop_cursor, &[(&escape(sink), Type::TEXT)])
            .await?
            .is_empty())
    }
}

pub(crate) async fn cursor(reader: &Reader, sink: &str) -> Result<Option<Cursor>, StoreError> {
    let rows = reader
        .read(&reader.sql.cursor, &[(&escape(sink), Type::TEXT)])
        .await?;
    rows.first().map(row::cursor).transpose()
}

pub(crate) async fn cursors(reader: &Reader) -> Result<Vec<(String, Cursor)>, StoreError> {
    let rows = reader.read(&reader.sql.cursors, &[]).await?;
    let mut cursors = rows
        .iter()
        .map(|row| Ok((unescape(row::column(row, 4)?), row::cursor(row)?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    // The stored names have another order.
    cursors.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(cursors)
}
