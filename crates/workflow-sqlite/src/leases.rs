//! Leases: how long a worker keeps what it holds.

use rusqlite::{OptionalExtension, params};
use workflow_engine::{CancelRequest, RunKey, Timestamp};

use crate::row::{self, Failure, RUN};
use crate::writer::Db;

impl Db {
    pub(crate) fn renew(
        &mut self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, Failure> {
        let sql = "INSERT INTO workers (name, until) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET until = ?2";
        self.connection
            .prepare_cached(sql)?
            .execute(params![worker, until.as_millis()])?;
        let sql = format!(
            "SELECT {RUN} FROM runs INDEXED BY runs_cancel WHERE worker = ?1 AND cancel_at IS NOT NULL AND due_at IS NULL"
        );
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query([worker])?;
        let mut cancels = Vec::new();
        while let Some(row) = rows.next()? {
            match row::run(row) {
                Ok((run, _)) => cancels.extend(run.cancel.map(|cancel| (run.key, cancel))),
                // One that is damaged must not cost the worker its lease.
                Err(Failure::Refused(error)) => {
                    tracing::error!(%error, "the cancel of a run cannot be read")
                }
                Err(error) => return Err(error),
            }
        }
        Ok(cancels)
    }

    pub(crate) fn retire(&mut self, worker: &str, now: Timestamp) -> Result<(), Failure> {
        let sql = "UPDATE runs SET due_at = ?2, ready = 1, worker = NULL WHERE worker = ?1 AND due_at IS NULL \
                   RETURNING key";
        for key in self.column::<u64>(sql, params![worker, now.as_millis()])? {
            self.held.remove(&RunKey(key));
        }
        self.connection
            .prepare_cached("DELETE FROM workers WHERE name = ?1")?
            .execute([worker])?;
        Ok(())
    }

    /// Returns until when the lease of a worker lasts; one that ends at no time is over.
    pub(crate) fn lease(&self, worker: &str) -> Result<Option<Timestamp>, Failure> {
        let mut select = self
            .connection
            .prepare_cached("SELECT until FROM workers WHERE name = ?1")?;
        let until: Option<i64> = select.query_row([worker], |row| row.get(0)).optional()?;
        Ok(until.and_then(|until| Timestamp::from_millis(until).ok()))
    }
}
