//! Claims: who works on what.

use rusqlite::{Connection, params};
use workflow_engine::{Claim, ClaimRequest, Claimed, Claims, Due, Run, RunKey, StoreError};

use crate::db::{Db, HeldRun};
use crate::due::{self, DueRuns, Workflows};
use crate::error::OperationError;
use crate::reads;

/// How long a run that cannot be read rests before it is tried again, in milliseconds.
const DAMAGED_RUN_REST_MILLIS: i64 = 60_000;

impl Db {
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
        // Everything that is taken has been read before the first is taken.
        for (RunKey(key), error) in damaged {
            // One that is damaged must not keep the others from being claimed, now and the next
            // time.
            tracing::error!(run = key, %error, "a run cannot be read; it will be tried again");
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

    /// Gives a run to a worker. One that was held when its worker died counts a recovery.
    fn assign(
        &mut self,
        mut run: Run,
        epoch: u64,
        worker: &str,
    ) -> Result<Claimed, OperationError> {
        // A run that is due and still has a worker was held when its lease ran out.
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

    /// Returns what is known of the run, if `claim` is the right to advance it.
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

pub(crate) fn held(connection: &Connection, worker: &str) -> Result<Vec<String>, OperationError> {
    let sql = "SELECT id FROM runs WHERE worker = ?1 AND due_at IS NULL ORDER BY key";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([worker])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        match row.get(0) {
            Ok(id) => ids.push(id),
            // One that is damaged must not hide the others.
            Err(error) => tracing::error!(%error, "the id of a run cannot be read"),
        }
    }
    Ok(ids)
}
