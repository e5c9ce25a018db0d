//! What is written of runs and cursors. Each operation checks everything before it writes anything.

use rusqlite::params;
use workflow_engine::{
    CancelReply, CancelRequest, Claim, Commit, Committed, Created, Due, NewRun, Record, Run,
    RunKey, Status, StoreError, Timestamp,
};

use crate::reads;
use crate::row::Failure;
use crate::writer::{Db, Held};

impl Db {
    pub(crate) fn create(&mut self, new: &NewRun) -> Result<Created, Failure> {
        let NewRun {
            id,
            workflow,
            execution_id,
            status,
            worker,
            record,
        } = new;
        if let Some(existing) = reads::run(&self.connection, id)? {
            return Ok(Created::Exists(Box::new(existing)));
        }
        Status::check(None, *status).map_err(StoreError::from)?;
        let records = std::slice::from_ref(record);
        Record::follow(RunKey(0), 0, records)?;
        let held = (*status == Status::Running).then_some(worker);
        let (epoch, at) = (u64::from(held.is_some()), record.at.as_millis());
        let due_at = if held.is_some() { None } else { Some(at) };
        let sql = "INSERT INTO runs (id, workflow, execution_id, status, epoch, created_at, due_at, ready, worker, \
                   recoveries) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7 IS NOT NULL, ?8, 0)";
        let values = params![
            id,
            workflow,
            execution_id,
            status.as_str(),
            epoch,
            at,
            due_at,
            held
        ];
        self.connection.prepare_cached(sql)?.execute(values)?;
        let key = RunKey(self.connection.last_insert_rowid().unsigned_abs());
        self.append(key, records)?;
        if held.is_some() {
            let held = Held {
                epoch,
                status: *status,
                last_seq: record.last_seq(),
                recoveries: 0,
                cancel: None,
            };
            self.held.insert(key, held);
        }
        Ok(Created::New(Claim { key, epoch }))
    }

    pub(crate) fn commit(&mut self, commit: &Commit) -> Result<Committed, Failure> {
        let Commit {
            claim,
            records,
            status,
            due_at,
        } = commit;
        let held = self.claimed(*claim)?;
        Record::follow(claim.key, held.last_seq, records)?;
        Status::check(Some(held.status), *status).map_err(StoreError::from)?;
        if let Some(cancel) = &held.cancel
            && status.ends_claim()
            && *status != Status::Cancelled
        {
            return Err(StoreError::CancelRequested(Box::new(cancel.clone())).into());
        }
        self.append(claim.key, records)?;
        let progress = records.iter().any(|record| record.entry.is_some());
        let recoveries = if progress { 0 } else { held.recoveries };
        let last_seq = records.last().map_or(held.last_seq, Record::last_seq);
        if status.ends_claim() {
            let ended_at = records
                .last()
                .map(|record| record.at.as_millis())
                .filter(|_| status.is_terminal());
            let due_at = due_at
                .filter(|_| *status == Status::Paused)
                .map(Timestamp::as_millis);
            let sql = "UPDATE runs SET status = ?2, ended_at = ?3, due_at = ?4, worker = NULL, recoveries = ?5 \
                       WHERE key = ?1";
            let values = params![claim.key.0, status.as_str(), ended_at, due_at, recoveries];
            self.connection.prepare_cached(sql)?.execute(values)?;
            self.held.remove(&claim.key);
            return Ok(Committed {
                cancel: held.cancel,
            });
        }
        // The row of a run that just goes on is not written.
        if (held.status, held.recoveries) != (*status, recoveries) {
            let sql = "UPDATE runs SET status = ?2, recoveries = ?3 WHERE key = ?1";
            self.connection.prepare_cached(sql)?.execute(params![
                claim.key.0,
                status.as_str(),
                recoveries
            ])?;
        }
        let cancel = held.cancel.clone();
        self.held.insert(
            claim.key,
            Held {
                status: *status,
                last_seq,
                recoveries,
                ..held
            },
        );
        Ok(Committed { cancel })
    }

    /// Returns what is known of the run, if `claim` is the right to advance it.
    pub(crate) fn claimed(&self, claim: Claim) -> Result<Held, Failure> {
        let Claim { key, epoch } = claim;
        if let Some(held) = self.held.get(&key).filter(|held| held.epoch == epoch) {
            return Ok(held.clone());
        }
        let (run, last) =
            reads::run_by_key(&self.connection, key)?.ok_or(StoreError::UnknownRun { key })?;
        if run.due_at.is_some() || run.worker.is_none() || last != epoch {
            return Err(StoreError::Fenced { key, epoch }.into());
        }
        Ok(held(&run, epoch))
    }

    fn append(&mut self, key: RunKey, records: &[Record]) -> Result<(), Failure> {
        let sql = "INSERT INTO history (position, run, seq, last_seq, at, events, kind, name, occurrence, attempt, \
                   due_at, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        let mut insert = self.connection.prepare_cached(sql)?;
        for record in records {
            let (entry, last_seq) = (record.entry.as_ref(), record.last_seq());
            insert.execute(params![
                self.end + 1,
                key.0,
                record.first_seq,
                last_seq,
                record.at.as_millis(),
                record.events_json(),
                entry.map(|entry| entry.kind.as_str()),
                entry.map(|entry| entry.name.as_str()),
                entry.map(|entry| entry.occurrence),
                entry.map(|entry| entry.attempt),
                entry
                    .and_then(|entry| entry.due_at)
                    .map(Timestamp::as_millis),
                entry
                    .and_then(|entry| entry.payload.as_ref())
                    .map(|payload| payload.as_str()),
            ])?;
            self.end += record.events.len() as u64;
        }
        Ok(())
    }

    pub(crate) fn release(&mut self, claim: Claim, due: Due) -> Result<(), Failure> {
        self.claimed(claim)?;
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

    pub(crate) fn request_cancel(
        &mut self,
        id: &str,
        request: &CancelRequest,
    ) -> Result<CancelReply, Failure> {
        let Some(mut run) = reads::run(&self.connection, id)? else {
            return Ok(CancelReply::Unknown);
        };
        if run.status.is_terminal() {
            return Ok(CancelReply::Ended(run.status));
        }
        let cancel = match run.cancel.take() {
            Some(standing) => CancelRequest {
                at_once: standing.at_once || request.at_once,
                ..standing
            },
            None => request.clone(),
        };
        let ready = run.due_at.is_some() || run.worker.is_none();
        if ready {
            run.due_at = Some(
                run.due_at
                    .map_or(request.at, |due_at| due_at.min(request.at)),
            );
        }
        let sql = "UPDATE runs SET cancel_reason = ?2, cancel_at_once = ?3, cancel_at = ?4, due_at = ?5, \
                   ready = ?5 IS NOT NULL WHERE key = ?1";
        let due_at = run.due_at.map(Timestamp::as_millis);
        let values = params![
            run.key.0,
            cancel.reason,
            cancel.at_once,
            cancel.at.as_millis(),
            due_at
        ];
        self.connection.prepare_cached(sql)?.execute(values)?;
        if let Some(held) = self.held.get_mut(&run.key) {
            held.cancel = Some(cancel.clone());
        }
        run.cancel = Some(cancel);
        Ok(CancelReply::Accepted(Box::new(run)))
    }
}

/// What a commit must know of a run that is claimed.
pub(crate) fn held(run: &Run, epoch: u64) -> Held {
    Held {
        epoch,
        status: run.status,
        last_seq: run.last_seq,
        recoveries: run.recoveries,
        cancel: run.cancel.clone(),
    }
}
