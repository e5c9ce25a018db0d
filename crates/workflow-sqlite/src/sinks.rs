//! The cursors of the sinks, and who delivers to them.

use std::collections::HashMap;

use rusqlite::params;
use workflow_engine::{Cursor, Position, SinkClaim, StoreError, Timestamp};

use crate::reads;
use crate::row::Failure;
use crate::writer::Db;

/// Who has which sink. The file is ours alone, so nobody outside of this process needs to know.
#[derive(Debug, Default)]
pub(crate) struct Sinks {
    holders: HashMap<String, (String, u64)>,
    last_epoch: u64,
}

impl Sinks {
    /// Returns whether `claim` is the right to deliver to its sink.
    fn is_held(&self, claim: &SinkClaim) -> bool {
        self.holders
            .get(&claim.sink)
            .is_some_and(|(_, epoch)| *epoch == claim.epoch)
    }

    pub(crate) fn release(&mut self, claim: &SinkClaim) {
        if self.is_held(claim) {
            self.holders.remove(&claim.sink);
        }
    }
}

impl Db {
    pub(crate) fn claim_sink(
        &mut self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, Failure> {
        self.open_cursor(sink)?;
        let holder = self
            .sinks
            .holders
            .get(sink)
            .map(|(holder, _)| holder)
            .filter(|holder| *holder != worker);
        if let Some(holder) = holder
            && self.lease(holder)?.is_some_and(|until| until > now)
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

    pub(crate) fn open_cursor(&mut self, sink: &str) -> Result<Cursor, Failure> {
        let sql = "INSERT INTO cursors (sink, position, delivered, rejected, missed) \
                   SELECT ?1, 0, 0, 0, purged FROM outbox WHERE true ON CONFLICT DO NOTHING";
        self.connection.prepare_cached(sql)?.execute([sink])?;
        let cursor = reads::cursor(&self.connection, sink)?;
        Ok(cursor.unwrap_or_default())
    }

    pub(crate) fn set_cursor(&mut self, claim: &SinkClaim, cursor: Cursor) -> Result<(), Failure> {
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
        let sql = "UPDATE cursors SET position = ?2, delivered = ?3, rejected = ?4 WHERE sink = ?1 AND position < ?2";
        self.connection
            .prepare_cached(sql)?
            .execute(params![sink, position, delivered, rejected])?;
        Ok(())
    }

    pub(crate) fn drop_cursor(&mut self, sink: &str) -> Result<bool, Failure> {
        self.sinks.holders.remove(sink);
        Ok(self
            .connection
            .execute("DELETE FROM cursors WHERE sink = ?1", [sink])?
            > 0)
    }
}
