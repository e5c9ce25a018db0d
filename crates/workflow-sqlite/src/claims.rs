//! Claims: the right of one worker to advance a run, fenced by an epoch.

use rusqlite::{Connection, params};
use workflow_engine::store::{Claim, ClaimRequest, Claimed, Claims, Due};
use workflow_engine::{Run, RunKey, StoreError};

use crate::db::{Db, HeldRun};
use crate::due::{self, DueRuns, Workflows};
use crate::error::OperationError;
use crate::reads;

/// Delay before a run that cannot be read becomes due again, in milliseconds.
const DAMAGED_RUN_REST_MILLIS: i64 = 60_000;

impl Db {
    /// Claims the run that the request names, or runs that are due, up to its limit.
    pub(crate) fn claim(&mut self, request: &ClaimRequest) -> Result<Claims, OperationError> {
        self.expire_leases(request)?;
        if let Some(id) = &request.run {
            return self.claim_one(request, id);
        }
        let Workflows { wanted, unknown } = due::workflows(&self.connection, request)?;
        let DueRuns {
            runs,
            damaged,
            next_due,
        } = due::runs(&self.connection, &wanted, request)?;
        for (RunKey(key), error) in damaged {
            // A damaged run must not keep the others from being claimed, now or by the next claim.
            tracing::error!(run = key, %error, "failed to read a due run; it will be retried");
            let sql = "UPDATE runs SET due_at = ?2, ready = 0 WHERE key = ?1";
            let due_at = request
                .now
                .as_millis()
                .saturating_add(DAMAGED_RUN_REST_MILLIS);
            self.connection
                .prepare_cached(sql)?
                .execute(params![key, due_at])?;
        }
        let mut claims = Claims {
            unknown,
            ..Claims::default()
        };
        // Every run was read before the first is claimed, so a read that fails leaves none claimed.
        for (run, epoch) in runs {
            claims.runs.push(self.assign(run, epoch, &request.worker)?);
        }
        let next = due::next_due(&self.connection, &wanted, request.now)?;
        claims.next_due = next_due
            .into_iter()
            .chain(next)
            .chain(self.first_lease_end(request)?)
            .min();
        Ok(claims)
    }

    /// Claims one run by its id, if the run is due or this worker holds it.
    fn claim_one(&mut self, request: &ClaimRequest, id: &str) -> Result<Claims, OperationError> {
        let mut claims = Claims::default();
        let Some((run, epoch)) = reads::run_by_id(&self.connection, id)? else {
            return Ok(claims);
        };
        let sql = "SELECT ready FROM runs WHERE key = ?1";
        let ready: bool = self
            .connection
            .prepare_cached(sql)?
            .query_row([run.key.0], |row| row.get(0))?;
        let due = run
            .due_at
            .is_some_and(|due_at| ready || due_at <= request.now);
        let own = run.due_at.is_none() && run.worker.as_ref() == Some(&request.worker);
        if request
            .workflows
            .as_ref()
            .is_some_and(|names| !names.contains(&run.workflow))
        {
            claims.unknown.extend(due.then_some(run.workflow));
        } else if (due || own) && request.limit > 0 {
            claims.runs.push(self.assign(run, epoch, &request.worker)?);
        } else if !own {
            claims.next_due = match (run.due_at, &run.worker) {
                (None, Some(holder)) => self.lease_end(holder)?,
                (due_at, _) => {
                    due_at.map(|due_at| if due { due_at.min(request.now) } else { due_at })
                }
            };
        }
        Ok(claims)
    }

    /// Assigns a run to a worker under the next epoch, and counts a recovery if the last worker
    /// died.
    fn assign(
        &mut self,
        mut run: Run,
        epoch: u64,
        worker: &str,
    ) -> Result<Claimed, OperationError> {
        // A due run that still names a worker was held when the lease of that worker expired.
        let died = run.worker.is_some() && run.due_at.is_some();
        let claim = Claim {
            key: run.key,
            epoch: epoch + 1,
        };
        run.recoveries = run.recoveries.saturating_add(u32::from(died));
        run.worker = Some(worker.to_owned());
        run.due_at = None;
        let sql = "UPDATE runs SET worker = ?2, due_at = NULL, ready = 0, epoch = ?3, \
                   recoveries = ?4 WHERE key = ?1";
        let values = params![run.key.0, worker, claim.epoch, run.recoveries];
        self.connection.prepare_cached(sql)?.execute(values)?;
        self.held.insert(run.key, HeldRun::new(&run, claim.epoch));
        Ok(Claimed { claim, run, died })
    }

    /// Ends a claim, and makes the run due at `due`.
    pub(crate) fn release(&mut self, claim: Claim, due: Due) -> Result<(), OperationError> {
        self.check_claim(claim)?;
        let sql = "UPDATE runs SET worker = NULL, due_at = ?2, ready = ?3 WHERE key = ?1";
        let values = params![
            claim.key.0,
            due.time().as_millis(),
            matches!(due, Due::Now(_))
        ];
        self.connection.prepare_cached(sql)?.execute(values)?;
        self.held.remove(&claim.key);
        Ok(())
    }

    /// Returns the state of a held run.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownRun`] if there is no such run, and [`StoreError::Fenced`] if the claim
    /// is no longer valid.
    pub(crate) fn check_claim(&self, claim: Claim) -> Result<HeldRun, OperationError> {
        let Claim { key, epoch } = claim;
        if let Some(held) = self.held.get(&key).filter(|held| held.epoch == epoch) {
            return Ok(held.clone());
        }
        let (run, last_epoch) =
            reads::run_by_key(&self.connection, key)?.ok_or(StoreError::UnknownRun { key })?;
        if run.due_at.is_some() || run.worker.is_none() || last_epoch != epoch {
            return Err(StoreError::Fenced { key, epoch }.into());
        }
        Ok(HeldRun::new(&run, epoch))
    }
}

/// Returns the ids of the runs that a worker holds, in the order of their keys.
pub(crate) fn held(connection: &Connection, worker: &str) -> Result<Vec<String>, OperationError> {
    let sql = "SELECT id FROM runs WHERE worker = ?1 AND due_at IS NULL ORDER BY key";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([worker])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        match row.get(0) {
            Ok(id) => ids.push(id),
            // A damaged id must not hide the others.
            Err(error) => {
                tracing::error!(%error, "failed to read the id of a held run; it is left out")
            }
        }
    }
    Ok(ids)
}
