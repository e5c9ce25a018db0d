//! Who holds which run, and when the others are due.

use std::collections::{BTreeMap, BTreeSet};

use workflow_events::Timestamp;

use super::{Kept, KeptRun};
use crate::store::{Claim, ClaimRequest, Claimed, Claims, RunKey};

impl Kept {
    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Claims {
        self.expire(request);
        match &request.run {
            Some(id) => self.claim_one(request, id),
            None => self.claim_any(request),
        }
    }

    fn claim_any(&mut self, request: &ClaimRequest) -> Claims {
        let (mut claims, mut chosen, mut next) = (Claims::default(), Vec::new(), BTreeMap::new());
        for (workflow, due) in &self.due {
            let mut rest = due.iter();
            let Some(first) = rest.next() else { continue };
            if request.wants(workflow) {
                next.insert(first, rest);
            } else if first.0 <= request.now {
                claims.unknown.push(workflow.clone());
            }
        }
        while let Some((&(due_at, key), mut rest)) = next.pop_first() {
            if due_at > request.now || chosen.len() == request.limit {
                claims.next_due = Some(due_at);
                break;
            }
            chosen.push(key);
            next.extend(rest.next().map(|first| (first, rest)));
        }
        let wants = |key: &RunKey| self.runs.get(key).is_some_and(|kept| request.wants(&kept.run.workflow));
        let others = self.workers.iter().filter(|(name, _)| **name != request.worker);
        let leases = others.filter(|(_, (_, held))| held.iter().any(wants)).map(|(_, (until, _))| *until);
        claims.next_due = leases.chain(claims.next_due).min();
        claims.runs = chosen.into_iter().map(|key| self.take(key, &request.worker)).collect();
        claims
    }

    fn claim_one(&mut self, request: &ClaimRequest, id: &str) -> Claims {
        let mut claims = Claims::default();
        let Some(run) = self.keys.get(id).and_then(|key| self.runs.get(key)).map(|kept| &kept.run) else {
            return claims;
        };
        let due = run.due_at.is_some_and(|due_at| due_at <= request.now);
        let own = run.due_at.is_none() && run.worker.as_ref() == Some(&request.worker);
        if !request.wants(&run.workflow) {
            claims.unknown.extend(due.then(|| run.workflow.clone()));
        } else if (due || own) && request.limit > 0 {
            claims.runs.push(self.take(run.key, &request.worker));
        } else if !own {
            let lease = run.worker.as_ref().and_then(|worker| self.workers.get(worker)).map(|(until, _)| *until);
            claims.next_due = run.due_at.or(lease);
        }
        claims
    }

    fn take(&mut self, key: RunKey, worker: &str) -> Claimed {
        // A run that is due and still has a worker was held when its lease ran out.
        let before = &self.runs[&key].run;
        let died = before.due_at.is_some() && before.worker.is_some();
        self.hold(key, worker.to_owned());
        let kept = self.runs.get_mut(&key).expect("the run is there, it has just been held");
        kept.run.recoveries += u32::from(died);
        Claimed { claim: Claim { key, epoch: kept.epoch }, run: kept.run.clone(), died }
    }

    /// Makes due what dead workers held; they stay on the runs, as the mark that they died with them. Whoever asks
    /// is alive.
    fn expire(&mut self, request: &ClaimRequest) {
        let is_over = |worker: &String, until: Timestamp| until <= request.now && *worker != request.worker;
        let expired: Vec<_> = self.workers.extract_if(|worker, (until, _)| is_over(worker, *until)).collect();
        for (_, (until, held)) in expired {
            held.into_iter().for_each(|key| self.set_due(key, Some(until)));
        }
    }

    /// Makes `worker` the holder of a run.
    pub(super) fn hold(&mut self, key: RunKey, worker: String) {
        self.set_due(key, None);
        let Some(kept) = self.runs.get_mut(&key) else { return };
        kept.epoch += 1;
        let held = self.workers.entry(worker.clone()).or_insert_with(|| (kept.run.created_at, BTreeSet::new()));
        held.1.insert(key);
        kept.run.worker = Some(worker);
    }

    /// Ends a claim in good order.
    pub(super) fn let_go(&mut self, key: RunKey, due_at: Option<Timestamp>) {
        self.set_due(key, due_at);
        let worker = self.runs.get_mut(&key).and_then(|kept| kept.run.worker.take());
        if let Some((_, held)) = worker.and_then(|worker| self.workers.get_mut(&worker)) {
            held.remove(&key);
        }
    }

    pub(super) fn set_due(&mut self, key: RunKey, due_at: Option<Timestamp>) {
        let Some(KeptRun { run, .. }) = self.runs.get_mut(&key) else { return };
        let before = std::mem::replace(&mut run.due_at, due_at);
        if !self.due.contains_key(&run.workflow) {
            self.due.insert(run.workflow.clone(), BTreeSet::new());
        }
        let Some(due) = self.due.get_mut(&run.workflow) else { return };
        if let Some(before) = before {
            due.remove(&(before, key));
        }
        due.extend(due_at.map(|due_at| (due_at, key)));
    }
}

impl ClaimRequest {
    fn wants(&self, workflow: &str) -> bool {
        self.workflows.as_ref().is_none_or(|wanted| wanted.iter().any(|name| name == workflow))
    }
}
