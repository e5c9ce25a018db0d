//! Creating runs, appending to their histories, and cancelling them.

use super::state::{State, StoredRun};
use crate::store::{
    CancelReply, CancelRequest, Claim, Commit, Committed, Created, Due, NewRun, Record, Run,
    RunKey, Status, StoreError,
};

impl State {
    pub(super) fn create(&mut self, new: NewRun) -> Result<Created, StoreError> {
        if let Some(existing) = self.keys.get(&new.id).and_then(|key| self.runs.get(key)) {
            return Ok(Created::Exists(Box::new(existing.run.clone())));
        }
        Status::check(None, new.status)?;
        let key = RunKey(self.last_key + 1);
        let NewRun {
            id,
            workflow,
            execution_id,
            status,
            worker,
            record,
        } = new;
        Record::follow(key, 0, std::slice::from_ref(&record))?;
        self.last_key = key.0;
        let run = Run {
            key,
            id: id.clone(),
            workflow,
            execution_id,
            status,
            last_seq: 0,
            created_at: record.at,
            ended_at: None,
            due_at: None,
            worker: None,
            recoveries: 0,
            cancel: None,
        };
        let created_at = record.at;
        self.keys.insert(id, key);
        self.runs.insert(
            key,
            StoredRun {
                run,
                due: None,
                epoch: 0,
                records: Vec::new(),
                positions: Vec::new(),
            },
        );
        self.append(key, vec![record]);
        match status {
            Status::Running => self.hold(key, worker),
            _ => self.release(key, Some(Due::Now(created_at))),
        }
        Ok(Created::New(Claim {
            key,
            epoch: self.runs[&key].epoch,
        }))
    }

    pub(super) fn commit(&mut self, commit: Commit) -> Result<Committed, StoreError> {
        let Commit {
            claim,
            records,
            status,
            due_at,
        } = commit;
        let run = &self.claimed(claim)?.run;
        Record::follow(claim.key, run.last_seq, &records)?;
        Status::check(Some(run.status), status)?;
        let cancel = run.cancel.clone();
        if let Some(cancel) = &cancel
            && status.ends_claim()
            && status != Status::Cancelled
        {
            return Err(StoreError::CancelRequested(Box::new(cancel.clone())));
        }
        let ended_at = records
            .last()
            .map(|record| record.at)
            .filter(|_| status.is_terminal());
        let progress = records.iter().any(|record| record.entry.is_some());
        self.append(claim.key, records);
        if let Some(StoredRun { run, .. }) = self.runs.get_mut(&claim.key) {
            run.status = status;
            run.ended_at = ended_at;
            run.recoveries = if progress { 0 } else { run.recoveries };
        }
        if status.ends_claim() {
            self.release(
                claim.key,
                due_at.filter(|_| status == Status::Suspended).map(Due::At),
            );
        }
        Ok(Committed { cancel })
    }

    pub(super) fn request_cancel(&mut self, id: &str, request: CancelRequest) -> CancelReply {
        let Some(kept) = self.keys.get(id).and_then(|key| self.runs.get_mut(key)) else {
            return CancelReply::Unknown;
        };
        let run = &mut kept.run;
        if run.status.is_terminal() {
            return CancelReply::Ended(run.status);
        }
        let at = request.at;
        run.cancel = Some(match run.cancel.take() {
            Some(standing) => CancelRequest {
                immediate: standing.immediate || request.immediate,
                ..standing
            },
            None => request,
        });
        let key = run.key;
        if kept.due.is_some() || run.worker.is_none() {
            let since = run.due_at.map_or(at, |due_at| due_at.min(at));
            self.set_due(key, Some(Due::Now(since)));
        }
        CancelReply::Accepted(Box::new(self.runs[&key].run.clone()))
    }
}
