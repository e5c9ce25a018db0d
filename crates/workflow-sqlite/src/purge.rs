//! Purging: runs that have ended long enough ago, and whose events every sink has settled.

use rusqlite::params;
use workflow_engine::{Purge, Purged, Status, Timestamp};

use crate::row::Failure;
use crate::writer::Db;

impl Db {
    pub(crate) fn purge(&mut self, purge: &Purge) -> Result<Purged, Failure> {
        let before = |status| purge.before(status).map(Timestamp::as_millis);
        // A run's last event decides: the others stand before it.
        let sql = "SELECT key FROM runs WHERE ended_at IS NOT NULL AND ( \
                   status = 'completed' AND ended_at < ?1 OR status = 'failed' AND ended_at < ?2 \
                   OR status = 'cancelled' AND ended_at < ?3) \
                   AND (SELECT position + last_seq - seq FROM history WHERE run = runs.key ORDER BY last_seq DESC LIMIT 1) \
                   <= coalesce((SELECT min(position) FROM cursors), 9223372036854775807) \
                   ORDER BY ended_at, key LIMIT ?4";
        let limit = i64::try_from(purge.limit).unwrap_or(i64::MAX);
        let (completed, failed, cancelled) =
            (before(Status::Completed), before(Status::Failed), before(Status::Cancelled));
        let keys: Vec<u64> = self.column(sql, params![completed, failed, cancelled, limit])?;
        let mut purged = Purged::default();
        for key in keys {
            let sql = "SELECT coalesce(sum(last_seq - seq + 1), 0) FROM history WHERE run = ?1";
            purged.events += self.column::<u64>(sql, [key])?.into_iter().sum::<u64>();
            self.connection.prepare_cached("DELETE FROM history WHERE run = ?1")?.execute([key])?;
            self.connection.prepare_cached("DELETE FROM runs WHERE key = ?1")?.execute([key])?;
            purged.runs += 1;
        }
        if purged.runs > 0 {
            // Places are counted on from here, also if the last ones are gone when the file is opened again.
            let sql = "UPDATE outbox SET position = ?1, purged = purged + ?2";
            self.connection.execute(sql, params![self.end, purged.events])?;
        }
        Ok(purged)
    }
}
