//! Purge: removal of runs whose retention has expired, once every sink has settled their events.

use rusqlite::{OptionalExtension, params};
use workflow_engine::store::Purge;
use workflow_engine::{Purged, Status, Timestamp};

use crate::db::{Db, IndexKey};
use crate::error::OperationError;

/// Number of records after which a purge removes no further run, because other writes wait for it.
///
/// Runs are removed whole, so the last one may exceed this number.
pub(crate) const MAX_PURGED_RECORDS: u64 = 10_000;

/// Maximum number of runs that one search considers.
pub(crate) const MAX_PURGE_CANDIDATES: usize = 1_000;

impl Db {
    /// Removes runs whose retention has expired, the earliest end first.
    ///
    /// If a sink has not settled the events of very many runs, each call considers some of them,
    /// and the next call continues after those.
    pub(crate) fn purge(&mut self, purge: &Purge) -> Result<Purged, OperationError> {
        let sql = "SELECT coalesce(min(position), 9223372036854775807) FROM cursors";
        let settled: i64 = self
            .connection
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))?;
        let first: Option<i64> = self.first_position()?;
        if first.is_none_or(|first| first > settled) {
            return Ok(Purged::default());
        }
        let after = self.purge_after.take();
        let mut purged = self.purge_ended(purge, settled, after)?;
        if after.is_some() && purged.runs == 0 && self.purge_after.is_none() {
            purged = self.purge_ended(purge, settled, None)?;
        }
        if purged.runs > 0 {
            // The next process counts positions from here, even if the last events are purged.
            let sql = "UPDATE outbox SET position = ?1, purged = purged + ?2";
            self.connection
                .prepare_cached(sql)?
                .execute(params![self.outbox_end, purged.events])?;
        }
        Ok(purged)
    }

    /// Removes runs that ended after the place `after`, and remembers where the next search begins.
    fn purge_ended(
        &mut self,
        purge: &Purge,
        settled: i64,
        after: Option<IndexKey>,
    ) -> Result<Purged, OperationError> {
        let candidates = self.ended_runs(purge, after.unwrap_or((i64::MIN, 0)))?;
        let is_last_page = candidates.len() < MAX_PURGE_CANDIDATES;
        let last = candidates.last().copied();
        let mut purged = Purged::default();
        let mut records = 0;
        for (_, key) in candidates {
            if purged.runs >= purge.limit as u64 || records >= MAX_PURGED_RECORDS {
                self.purge_after = after;
                return Ok(purged);
            }
            // The last event of the run decides, because the others lie before it.
            let sql = "SELECT CAST(position + last_seq - seq AS INTEGER) FROM history \
                       WHERE run = ?1 ORDER BY last_seq DESC LIMIT 1";
            let end: Option<i64> = self
                .connection
                .prepare_cached(sql)?
                .query_row([key], |row| row.get(0))
                .optional()?;
            if end.is_some_and(|end| end > settled) {
                continue;
            }
            // `total` adds floats, so that a damaged number cannot overflow and stop the purge.
            let sql =
                "SELECT CAST(total(last_seq - seq + 1) AS INTEGER) FROM history WHERE run = ?1";
            let events: i64 = self
                .connection
                .prepare_cached(sql)?
                .query_row([key], |row| row.get(0))?;
            purged.events += u64::try_from(events).unwrap_or(0);
            records += self
                .connection
                .prepare_cached("DELETE FROM history WHERE run = ?1")?
                .execute([key])? as u64;
            self.connection
                .prepare_cached("DELETE FROM runs WHERE key = ?1")?
                .execute([key])?;
            purged.runs += 1;
        }
        self.purge_after = last.filter(|_| !is_last_page);
        Ok(purged)
    }

    /// Returns the position of the first event that is kept.
    fn first_position(&self) -> Result<Option<i64>, OperationError> {
        let sql = "SELECT position FROM history ORDER BY position LIMIT 1";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))
            .optional()?)
    }

    /// Returns runs whose retention has expired, after a place in the index and in its order.
    fn ended_runs(
        &self,
        purge: &Purge,
        (ended_at, key): IndexKey,
    ) -> Result<Vec<IndexKey>, OperationError> {
        let before = |status| purge.before(status).map(Timestamp::as_millis);
        let sql = include_str!("sql/ended.sql");
        let sql = format!("{sql} LIMIT {MAX_PURGE_CANDIDATES}");
        let mut select = self.connection.prepare_cached(&sql)?;
        let values = params![
            before(Status::Completed),
            before(Status::Failed),
            before(Status::Cancelled),
            ended_at,
            key
        ];
        let rows = select.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
