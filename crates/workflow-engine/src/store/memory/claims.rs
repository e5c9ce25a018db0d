//! Claims of runs, and the queues of the runs that are due.

use std::collections::{BTreeMap, BTreeSet};

use workflow_events::Timestamp;

use super::state::{Queue, State};
use crate::store::{Claim, ClaimRequest, Claimed, Claims, Due, RunKey};

impl State {
    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Claims {
        self.expire(request);
        match &request.run {
            Some(id) => self.claim_one(request, id),
            None => self.claim_any(request),
        }
    }

    fn claim_any(&mut self, request: &ClaimRequest) -> Claims {
        let (mut claims, mut chosen, mut next) = (Claims::default(), Vec::new(), BTreeMap::new());
        let mut times = Vec::new();
        for (workflow, Queue { ready, waiting }) in &self.due {
            if request.wants(workflow) {
                for (runs, due) in [(ready, Due::Now as fn(_) -> _), (waiting, Due::At)] {
                    let mut rest = runs.iter();
                    next.extend(rest.next().map(|first| (first, (rest, due))));
                }
            } else if !ready.is_empty()
                || waiting
                    .first()
                    .is_some_and(|(due_at, _)| *due_at <= request.now)
            {
                claims.unknown.push(workflow.clone());
            }
        }
        while let Some((&(due_at, key), (mut rest, due))) = next.pop_first() {
            if chosen.len() == request.limit || !request.is_due(due(due_at)) {
                times.push(request.next(due(due_at)));
                continue;
            }
            chosen.push(key);
            next.extend(rest.next().map(|first| (first, (rest, due))));
        }
        let wants = |key: &RunKey| {
            self.runs
                .get(key)
                .is_some_and(|kept| request.wants(&kept.run.workflow))
        };
        let others = self
            .workers
            .iter()
            .filter(|(name, _)| **name != request.worker);
        let leases = others
            .filter(|(_, (_, held))| held.iter().any(wants))
            .map(|(_, (until, _))| *until);
        claims.next_due = leases.chain(times).min();
        claims.runs = chosen
            .into_iter()
            .map(|key| self.take(key, &request.worker))
            .collect();
        claims
    }

    fn claim_one(&mut self, request: &ClaimRequest, id: &str) -> Claims {
        let mut claims = Claims::default();
        let Some(kept) = self.keys.get(id).and_then(|key| self.runs.get(key)) else {
            return claims;
        };
        let run = &kept.run;
        let due = kept.due.is_some_and(|due| request.is_due(due));
        let own = run.due_at.is_none() && run.worker.as_ref() == Some(&request.worker);
        if !request.wants(&run.workflow) {
            claims.unknown.extend(due.then(|| run.workflow.clone()));
        } else if (due || own) && request.limit > 0 {
            claims.runs.push(self.take(run.key, &request.worker));
        } else if !own {
            let lease = run
                .worker
                .as_ref()
                .and_then(|worker| self.workers.get(worker))
                .map(|(until, _)| *until);
            claims.next_due = kept.due.map(|due| request.next(due)).or(lease);
        }
        claims
    }

    fn take(&mut self, key: RunKey, worker: &str) -> Claimed {
        // A run that is due and still has a worker was held when the worker's lease expired.
        let before = &self.runs[&key].run;
        let died = before.due_at.is_some() && before.worker.is_some();
        self.hold(key, worker.to_owned());
        let kept = self
            .runs
            .get_mut(&key)
            .expect("the run is there, it has just been held");
        kept.run.recoveries += u32::from(died);
        Claimed {
            claim: Claim {
                key,
                epoch: kept.epoch,
            },
            run: kept.run.clone(),
            died,
        }
    }

    /// Makes the runs of workers whose lease has expired ready. The name of the worker stays on the
    /// run, which marks the next claim as a recovery. The worker that claims counts as alive.
    fn expire(&mut self, request: &ClaimRequest) {
        let is_over =
            |worker: &String, until: Timestamp| until <= request.now && *worker != request.worker;
        let expired: Vec<_> = self
            .workers
            .extract_if(|worker, (until, _)| is_over(worker, *until))
            .collect();
        for (_, (until, held)) in expired {
            held.into_iter()
                .for_each(|key| self.set_due(key, Some(Due::Now(until))));
        }
    }

    /// Makes `worker` the holder of a run.
    pub(super) fn hold(&mut self, key: RunKey, worker: String) {
        self.set_due(key, None);
        let Some(kept) = self.runs.get_mut(&key) else {
            return;
        };
        kept.epoch += 1;
        let held = self
            .workers
            .entry(worker.clone())
            .or_insert_with(|| (kept.run.created_at, BTreeSet::new()));
        held.1.insert(key);
        kept.run.worker = Some(worker);
    }

    /// Ends a claim, without a recovery.
    pub(super) fn release(&mut self, key: RunKey, due: Option<Due>) {
        self.set_due(key, due);
        let worker = self
            .runs
            .get_mut(&key)
            .and_then(|kept| kept.run.worker.take());
        if let Some((_, held)) = worker.and_then(|worker| self.workers.get_mut(&worker)) {
            held.remove(&key);
        }
    }

    pub(super) fn set_due(&mut self, key: RunKey, due: Option<Due>) {
        let Some(kept) = self.runs.get_mut(&key) else {
            return;
        };
        let before = std::mem::replace(&mut kept.due, due);
        kept.run.due_at = due.map(Due::time);
        let workflow = &kept.run.workflow;
        if !self.due.contains_key(workflow) {
            self.due.insert(workflow.clone(), Queue::default());
        }
        let Some(queue) = self.due.get_mut(workflow) else {
            return;
        };
        if let Some(before) = before {
            queue.of(before).remove(&(before.time(), key));
        }
        if let Some(due) = due {
            queue.of(due).insert((due.time(), key));
        }
    }
}

impl Queue {
    fn of(&mut self, due: Due) -> &mut BTreeSet<(Timestamp, RunKey)> {
        match due {
            Due::Now(_) => &mut self.ready,
            Due::At(_) => &mut self.waiting,
        }
    }
}

impl ClaimRequest {
    fn is_due(&self, due: Due) -> bool {
        match due {
            Due::Now(_) => true,
            Due::At(time) => time <= self.now,
        }
    }

    /// Returns when a run that was not claimed can be.
    fn next(&self, due: Due) -> Timestamp {
        match due {
            Due::Now(since) => since.min(self.now),
            Due::At(time) => time,
        }
    }

    fn wants(&self, workflow: &str) -> bool {
        self.workflows
            .as_ref()
            .is_none_or(|wanted| wanted.iter().any(|name| name == workflow))
    }
}
