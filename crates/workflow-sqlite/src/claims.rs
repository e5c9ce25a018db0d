//! Claims and leases: who works on what.

use rusqlite::{Params, params};
use workflow_engine::{CancelRequest, Claim, ClaimRequest, Claimed, Claims, RunKey, Timestamp};

use crate::reads;
use crate::row::{self, Failure, RUN};
use crate::writer::Db;
use crate::writes::held;

/// A run's workflow is among those asked for; `?1` is their JSON array, or NULL for any.
const WANTED: &str = "(?1 IS NULL OR workflow IN (SELECT value FROM json_each(?1)))";

/// How many names of unknown workflows are told.
const UNKNOWN: usize = 16;

/// How long a run that cannot be read rests before it is tried again, in milliseconds.
const REST: i64 = 60_000;

impl Db {
    pub(crate) fn claim(&mut self, request: &ClaimRequest) -> Result<Claims, Failure> {
        self.expire(request)?;
        if let Some(id) = &request.run {
            return self.claim_one(request, id);
        }
        let wanted = request.workflows.as_ref().map(|names| serde_json::json!(names).to_string());
        let now = request.now.as_millis();
        let limit = i64::try_from(request.limit).unwrap_or(i64::MAX);
        let sql = format!("SELECT key FROM runs WHERE due_at <= ?2 AND {WANTED} ORDER BY due_at, key LIMIT ?3");
        let keys: Vec<u64> = self.column(&sql, params![wanted, now, limit])?;
        let mut claims = Claims::default();
        for key in keys {
            match self.run_by_key(RunKey(key)) {
                Ok(_) => claims.runs.push(self.take(RunKey(key), &request.worker)?),
                Err(Failure::Refused(error)) => {
                    // One that is damaged must not keep the others from being claimed, now and the next time.
                    tracing::error!(run = key, %error, "a run cannot be read; it will be tried again");
                    let sql = "UPDATE runs SET due_at = ?2 WHERE key = ?1";
                    self.connection.prepare_cached(sql)?.execute(params![key, now.saturating_add(REST)])?;
                }
                Err(error) => return Err(error),
            }
        }
        let sql = format!("SELECT due_at FROM runs WHERE due_at IS NOT NULL AND {WANTED} ORDER BY due_at LIMIT 1");
        let due: Vec<i64> = self.column(&sql, params![wanted])?;
        let sql = format!(
            "SELECT until FROM workers WHERE name <> ?2 AND EXISTS \
             (SELECT 1 FROM runs WHERE worker = workers.name AND {WANTED}) ORDER BY until LIMIT 1"
        );
        let leases: Vec<i64> = self.column(&sql, params![wanted, request.worker])?;
        if let Some(next) = due.into_iter().chain(leases).min() {
            claims.next_due = Some(row::timestamp(next, || "runs: due_at".into())?);
        }
        if wanted.is_some() {
            let sql = format!("SELECT DISTINCT workflow FROM runs WHERE due_at <= ?2 AND NOT {WANTED} LIMIT {UNKNOWN}");
            claims.unknown = self.column(&sql, params![wanted, now])?;
        }
        Ok(claims)
    }

    fn claim_one(&mut self, request: &ClaimRequest, id: &str) -> Result<Claims, Failure> {
        let mut claims = Claims::default();
        let Some(run) = reads::run(&self.connection, id)? else { return Ok(claims) };
        let due = run.due_at.is_some_and(|due_at| due_at <= request.now);
        let own = run.due_at.is_none() && run.worker.as_ref() == Some(&request.worker);
        if request.workflows.as_ref().is_some_and(|names| !names.contains(&run.workflow)) {
            claims.unknown.extend(due.then_some(run.workflow));
        } else if (due || own) && request.limit > 0 {
            claims.runs.push(self.take(run.key, &request.worker)?);
        } else if !own {
            claims.next_due = match (run.due_at, &run.worker) {
                (None, Some(holder)) => self.lease(holder)?,
                (due_at, _) => due_at,
            };
        }
        Ok(claims)
    }

    /// Gives a run to a worker. One that was held when its worker died counts a recovery.
    fn take(&mut self, key: RunKey, worker: &str) -> Result<Claimed, Failure> {
        // A run that is due and still has a worker was held when its lease ran out.
        let sql = "SELECT worker IS NOT NULL AND due_at IS NOT NULL FROM runs WHERE key = ?1";
        let died: bool = self.connection.prepare_cached(sql)?.query_row([key.0], |row| row.get(0))?;
        let sql = format!(
            "UPDATE runs SET worker = ?2, due_at = NULL, epoch = epoch + 1, recoveries = recoveries + ?3 \
             WHERE key = ?1 RETURNING {RUN}"
        );
        let mut update = self.connection.prepare_cached(&sql)?;
        let mut rows = update.query(params![key.0, worker, died])?;
        let (run, epoch) = row::run(rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?)?;
        // The statement is done when it has returned its last row.
        while rows.next()?.is_some() {}
        self.held.insert(key, held(&run, epoch));
        Ok(Claimed { claim: Claim { key, epoch }, run, died })
    }

    /// Makes due what dead workers held; they stay on the runs, as the mark that they died with them. Whoever asks
    /// is alive.
    fn expire(&mut self, request: &ClaimRequest) -> Result<(), Failure> {
        let sql = "SELECT name FROM workers WHERE until <= ?1 AND name <> ?2";
        let dead: Vec<String> = self.column(sql, params![request.now.as_millis(), request.worker])?;
        for worker in dead {
            let until = self.lease(&worker)?.map(Timestamp::as_millis);
            self.forget(&worker)?;
            let sql = "UPDATE runs SET due_at = ?2 WHERE worker = ?1 AND due_at IS NULL";
            self.connection.execute(sql, params![worker, until])?;
            self.connection.execute("DELETE FROM workers WHERE name = ?1", [&worker])?;
        }
        Ok(())
    }

    pub(crate) fn renew(&mut self, worker: &str, until: Timestamp) -> Result<Vec<(RunKey, CancelRequest)>, Failure> {
        let sql = "INSERT INTO workers (name, until) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET until = ?2";
        self.connection.prepare_cached(sql)?.execute(params![worker, until.as_millis()])?;
        let sql = format!("SELECT {RUN} FROM runs WHERE worker = ?1 AND due_at IS NULL AND cancel_at IS NOT NULL");
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query([worker])?;
        let mut cancels = Vec::new();
        while let Some(row) = rows.next()? {
            // One that is damaged must not cost the worker its lease.
            let run = match row::run(row) {
                Ok((run, _)) => run,
                Err(Failure::Refused(_)) => continue,
                Err(error) => return Err(error),
            };
            cancels.extend(run.cancel.map(|cancel| (run.key, cancel)));
        }
        Ok(cancels)
    }

    pub(crate) fn retire(&mut self, worker: &str, now: Timestamp) -> Result<(), Failure> {
        if self.lease(worker)?.is_none() {
            return Ok(());
        }
        self.forget(worker)?;
        let sql = "UPDATE runs SET due_at = ?2, worker = NULL WHERE worker = ?1 AND due_at IS NULL";
        self.connection.execute(sql, params![worker, now.as_millis()])?;
        self.connection.execute("DELETE FROM workers WHERE name = ?1", [worker])?;
        Ok(())
    }

    /// Forgets what is remembered of a worker's runs, for they are its no longer.
    fn forget(&mut self, worker: &str) -> Result<(), Failure> {
        for key in self.column::<u64>("SELECT key FROM runs WHERE worker = ?1", [worker])? {
            self.held.remove(&RunKey(key));
        }
        Ok(())
    }

    /// Returns the only column of a query.
    pub(crate) fn column<T: rusqlite::types::FromSql>(
        &self,
        sql: &str,
        values: impl Params,
    ) -> Result<Vec<T>, Failure> {
        let mut select = self.connection.prepare_cached(sql)?;
        let rows = select.query_map(values, |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
