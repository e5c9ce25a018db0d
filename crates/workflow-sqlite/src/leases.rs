//! Leases: the time for which a worker keeps the runs and sinks that it holds.

use rusqlite::{OptionalExtension, params};
use workflow_engine::store::{CancelRequest, ClaimRequest};
use workflow_engine::{RunKey, Timestamp};

use crate::db::Db;
use crate::due;
use crate::error::OperationError;
use crate::row::{self, RUN_COLUMNS};

impl Db {
    /// Extends the lease of a worker, and returns the cancel requests for the runs that it holds.
    pub(crate) fn renew(
        &mut self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, OperationError> {
        let sql = "INSERT INTO workers (name, until) VALUES (?1, ?2) \
                   ON CONFLICT DO UPDATE SET until = ?2";
        self.connection
            .prepare_cached(sql)?
            .execute(params![worker, until.as_millis()])?;
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs INDEXED BY runs_cancel \
             WHERE worker = ?1 AND cancel_at IS NOT NULL AND due_at IS NULL"
        );
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query([worker])?;
        let mut cancels = Vec::new();
        while let Some(row) = rows.next()? {
            match row::run(row) {
                Ok((run, _)) => cancels.extend(run.cancel.map(|cancel| (run.key, cancel))),
                // A damaged run must not cost the worker its lease.
                Err(OperationError::Refused(error)) => {
                    tracing::error!(%error, "failed to read a cancel request; its run continues")
                }
                Err(error) => return Err(error),
            }
        }
        Ok(cancels)
    }

    /// Ends the lease of a worker, and makes the runs that it held due at `now`.
    pub(crate) fn retire(&mut self, worker: &str, now: Timestamp) -> Result<(), OperationError> {
        let sql = "UPDATE runs SET due_at = ?2, ready = 1, worker = NULL \
                   WHERE worker = ?1 AND due_at IS NULL RETURNING key";
        for key in self.column::<u64>(sql, params![worker, now.as_millis()])? {
            self.held.remove(&RunKey(key));
        }
        self.connection
            .prepare_cached("DELETE FROM workers WHERE name = ?1")?
            .execute([worker])?;
        Ok(())
    }

    /// Returns the end of the lease of a worker; `None` if there is no lease, or if its end is
    /// damaged.
    pub(crate) fn lease_end(&self, worker: &str) -> Result<Option<Timestamp>, OperationError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT until FROM workers WHERE name = ?1")?;
        let until: Option<i64> = select.query_row([worker], |row| row.get(0)).optional()?;
        Ok(until.and_then(|until| Timestamp::from_millis(until).ok()))
    }

    /// Makes every run ready whose worker has let its lease expire.
    ///
    /// The names of those workers stay on the runs, and mark that a worker died with them. The
    /// worker of the request is alive, so its own lease is left alone.
    pub(crate) fn expire_leases(&mut self, request: &ClaimRequest) -> Result<(), OperationError> {
        let now = request.now.as_millis();
        let latest = Timestamp::MAX.as_millis();
        let values = params![now, request.worker, latest];
        let sql = include_str!("sql/expired_leases.sql");
        if self
            .connection
            .prepare_cached(sql)?
            .query_row(values, |_| Ok(()))
            .optional()?
            .is_none()
        {
            return Ok(());
        }
        let sql = include_str!("sql/expire_runs.sql");
        let earliest = Timestamp::MIN.as_millis();
        for key in self.column::<u64>(sql, params![now, request.worker, latest, earliest])? {
            self.held.remove(&RunKey(key));
        }
        self.connection
            .prepare_cached(include_str!("sql/delete_expired.sql"))?
            .execute(values)?;
        Ok(())
    }

    /// Returns the first end of a lease of another worker that holds a wanted run.
    pub(crate) fn first_lease_end(
        &self,
        request: &ClaimRequest,
    ) -> Result<Option<Timestamp>, OperationError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT until, name FROM workers WHERE name <> ?1")?;
        let mut rows = select.query([&request.worker])?;
        let mut leases = Vec::new();
        while let Some(row) = rows.next()? {
            // A lease whose end is damaged counts as expired. A name that cannot be read holds
            // nothing.
            if let (Ok(until), Ok(name)) = (
                Timestamp::from_millis(row.get(0)?),
                row.get_ref(1)?.as_str(),
            ) {
                leases.push((until, name.to_owned()));
            }
        }
        leases.sort_unstable();
        for (until, name) in leases {
            if due::holds_wanted(&self.connection, &name, request)? {
                return Ok(Some(until));
            }
        }
        Ok(None)
    }
}
