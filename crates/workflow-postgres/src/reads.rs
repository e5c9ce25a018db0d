//! What is read, and purged: on the connections of the pool.

use std::future::poll_fn;
use std::pin::pin;

use deadpool_postgres::Object;
use tokio_postgres::types::Type;
use workflow_engine::{
    Cursor, EncodedEvent, OutboxEnd, Position, Purge, Purged, Record, Run, RunFilter, RunKey, Span, Status, StoreError,
    Timestamp,
};

use crate::row::{self, backend, signed};
use crate::store::PostgresStore;
use crate::text::escape;

/// How many rows of the outbox are counted anew each time, at most, before what was counted is written down.
const COUNTED: u64 = 10_000;

impl PostgresStore {
    /// Returns a connection of the pool.
    async fn reader(&self) -> Result<Object, StoreError> {
        let mut object = pin!(self.inner.pool.get());
        // The pool has timers, which belong to the runtime that drives the connections; the caller may be elsewhere.
        let entered = poll_fn(|poller| {
            let _entered = self.inner.runtime.enter();
            object.as_mut().poll(poller)
        });
        entered.await.map_err(backend)
    }

    pub(crate) async fn read_run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        let client = self.reader().await?;
        let row = client.query_typed_opt(&self.inner.sql.run, &[(&escape(id), Type::TEXT)]).await.map_err(backend)?;
        Ok(row.as_ref().map(row::run).transpose()?.map(|(run, _)| run))
    }

    pub(crate) async fn read_records(&self, key: RunKey, span: Span) -> Result<Vec<Record>, StoreError> {
        let sql = match span {
            Span::First => &self.inner.sql.first_record,
            Span::Last => &self.inner.sql.last_record,
            _ => &self.inner.sql.records,
        };
        let client = self.reader().await?;
        let rows = client.query_typed(sql, &[(&signed(key.0), Type::INT8)]).await.map_err(backend)?;
        rows.iter().map(row::record).collect()
    }

    pub(crate) async fn read_list(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        let RunFilter { statuses, workflow, id_prefix, worker, after, limit } = filter;
        let after = after.map_or(0, |key| signed(key.0));
        let statuses: Vec<_> = statuses.iter().map(|status| status.as_str()).collect();
        let statuses = (!statuses.is_empty()).then_some(statuses);
        let escaped = |text: &Option<String>| text.as_deref().map(escape).map(String::from);
        let client = self.reader().await?;
        let parameters = [
            (&after as _, Type::INT8),
            (&statuses as _, Type::TEXT_ARRAY),
            (&escaped(workflow) as _, Type::TEXT),
            (&escaped(worker) as _, Type::TEXT),
            (&escaped(id_prefix) as _, Type::TEXT),
            (&signed(*limit) as _, Type::INT8),
        ];
        let rows = client.query_typed(&self.inner.sql.list, &parameters).await.map_err(backend)?;
        rows.iter().map(|row| row::run(row).map(|(run, _)| run)).collect()
    }

    pub(crate) async fn read_outbox(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let client = self.reader().await?;
        // One row more than there are events: of the first one all may be known already.
        let rows = signed(limit).saturating_add(1);
        let parameters = [(&signed(after.0) as _, Type::INT8), (&rows as _, Type::INT8)];
        let mut found = Vec::new();
        for row in client.query_typed(&self.inner.sql.outbox, &parameters).await.map_err(backend)? {
            let position = row::unsigned(&row, 0)?;
            let events = (position..).map(Position).zip(row::events(row::column(&row, 1)?, position)?);
            found.extend(events.filter(|(position, _)| *position > after));
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    pub(crate) async fn read_end(&self) -> Result<OutboxEnd, StoreError> {
        let client = self.reader().await?;
        let row = client.query_typed_one(&self.inner.sql.outbox_end, &[]).await.map_err(backend)?;
        let (accepted, position, gate) = (row::unsigned(&row, 0)?, row::unsigned(&row, 1)?, row::unsigned(&row, 2)?);
        if row::unsigned(&row, 3)? > COUNTED {
            // Should it fail, the next one does it.
            let _ = client.query_typed(&self.inner.sql.count, &[]).await;
        }
        Ok(OutboxEnd { position: Position(position), accepted, readable: Position(position.min(gate)) })
    }

    pub(crate) async fn read_cursor(&self, sink: &str) -> Result<Option<Cursor>, StoreError> {
        let client = self.reader().await?;
        let name = escape(sink);
        let row = client.query_typed_opt(&self.inner.sql.cursor, &[(&name, Type::TEXT)]).await.map_err(backend)?;
        row.as_ref().map(row::cursor).transpose()
    }

    pub(crate) async fn read_now(&self) -> Result<Timestamp, StoreError> {
        let client = self.reader().await?;
        let row = client.query_typed_one(&self.inner.sql.now, &[]).await.map_err(backend)?;
        row::timestamp(row::column(&row, 0)?, || "the database's clock".into())
    }

    pub(crate) async fn remove(&self, purge: &Purge) -> Result<Purged, StoreError> {
        let client = self.reader().await?;
        let before = |status| purge.before(status).map(Timestamp::as_millis);
        let parameters = [
            (&before(Status::Completed) as _, Type::INT8),
            (&before(Status::Failed) as _, Type::INT8),
            (&before(Status::Cancelled) as _, Type::INT8),
            (&signed(purge.limit) as _, Type::INT8),
        ];
        let row = client.query_typed_one(&self.inner.sql.purge, &parameters).await.map_err(backend)?;
        Ok(Purged { runs: row::unsigned(&row, 0)?, events: row::unsigned(&row, 1)? })
    }
}
