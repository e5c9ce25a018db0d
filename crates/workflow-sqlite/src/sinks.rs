//! Sinks: their cursors, and the claims of the workers that deliver to them.

use rusqlite::{Connection, OptionalExtension, Row, params};
use workflow_engine::store::{Cursor, Position, SinkClaim};
use workflow_engine::{StoreError, Timestamp};

use crate::db::{Db, SinkHolders};
use crate::error::OperationError;

impl SinkHolders {
    /// Returns whether `claim` is the current claim of its sink.
    fn is_held(&self, claim: &SinkClaim) -> bool {
        self.holders
            .get(&claim.sink)
            .is_some_and(|(_, epoch)| *epoch == claim.epoch)
    }

    /// Ends the claim of a sink, unless another worker has claimed the sink since.
    pub(crate) fn release(&mut self, claim: &SinkClaim) {
        if self.is_held(claim) {
            self.holders.remove(&claim.sink);
        }
    }
}

impl Db {
    /// Claims a sink, unless another worker with a valid lease holds it.
    pub(crate) fn claim_sink(
        &mut self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, OperationError> {
        self.open_cursor(sink)?;
        let holder = self
            .sinks
            .holders
            .get(sink)
            .map(|(holder, _)| holder)
            .filter(|holder| *holder != worker);
        if let Some(holder) = holder
            && self.lease_end(holder)?.is_some_and(|until| until > now)
        {
            return Ok(None);
        }
        self.sinks.last_epoch += 1;
        let epoch = self.sinks.last_epoch;
        self.sinks
            .holders
            .insert(sink.to_owned(), (worker.to_owned(), epoch));
        Ok(Some(SinkClaim {
            sink: sink.to_owned(),
            epoch,
        }))
    }

    /// Returns the cursor of a sink, which begins at the start of the outbox if it is new.
    ///
    /// Events that were purged before count as missed.
    pub(crate) fn open_cursor(&mut self, sink: &str) -> Result<Cursor, OperationError> {
        let sql = "INSERT INTO cursors (sink, position, delivered, rejected, missed) \
                   SELECT ?1, 0, 0, 0, purged FROM outbox WHERE true ON CONFLICT DO NOTHING";
        self.connection.prepare_cached(sql)?.execute([sink])?;
        let cursor = cursor(&self.connection, sink)?;
        Ok(cursor.unwrap_or_default())
    }

    /// Moves the cursor of a claimed sink forwards; a position that is not ahead is ignored.
    pub(crate) fn set_cursor(
        &mut self,
        claim: &SinkClaim,
        cursor: Cursor,
    ) -> Result<(), OperationError> {
        let SinkClaim { sink, epoch } = claim.clone();
        if !self.sinks.is_held(claim) {
            return Err(StoreError::SinkFenced { sink, epoch }.into());
        }
        let Cursor {
            position: Position(position),
            delivered,
            rejected,
            ..
        } = cursor;
        let sql = "UPDATE cursors SET position = ?2, delivered = ?3, rejected = ?4 \
                   WHERE sink = ?1 AND position < ?2";
        self.connection
            .prepare_cached(sql)?
            .execute(params![sink, position, delivered, rejected])?;
        Ok(())
    }

    /// Deletes the cursor of a sink, and returns whether there was one.
    pub(crate) fn drop_cursor(&mut self, sink: &str) -> Result<bool, OperationError> {
        self.sinks.holders.remove(sink);
        Ok(self
            .connection
            .execute("DELETE FROM cursors WHERE sink = ?1", [sink])?
            > 0)
    }
}

/// Returns the cursors of all sinks, by name.
pub(crate) fn cursors(connection: &Connection) -> Result<Vec<(String, Cursor)>, OperationError> {
    let sql = "SELECT position, delivered, rejected, missed, sink FROM cursors ORDER BY sink";
    let mut select = connection.prepare_cached(sql)?;
    let cursors = select.query_map([], |row| Ok((row.get(4)?, read_cursor(row)?)))?;
    Ok(cursors.collect::<Result<_, _>>()?)
}

/// Returns the cursor of a sink.
pub(crate) fn cursor(
    connection: &Connection,
    sink: &str,
) -> Result<Option<Cursor>, OperationError> {
    let sql = "SELECT position, delivered, rejected, missed FROM cursors WHERE sink = ?1";
    Ok(connection
        .prepare_cached(sql)?
        .query_row([sink], read_cursor)
        .optional()?)
}

fn read_cursor(row: &Row<'_>) -> rusqlite::Result<Cursor> {
    let position = Position(row.get(0)?);
    Ok(Cursor {
        position,
        delivered: row.get(1)?,
        rejected: row.get(2)?,
        missed: row.get(3)?,
    })
}
