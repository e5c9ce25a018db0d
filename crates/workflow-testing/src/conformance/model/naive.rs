//! The model: the rules of the documentation of [`Store`](workflow_engine::Store), in the simplest
//! code.

use workflow_engine::store::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Commit, Cursor, Due, NewRun, OutboxEnd, Page,
    Position, Purge, Record, Span,
};
use workflow_engine::{Purged, Run, RunFilter, RunKey, Status};
use workflow_events::Timestamp;

use super::super::snapshot::Written;
use super::answer::{Answer, Refusal};
use super::op::Op;

/// A store that is slow and obviously correct.
#[derive(Debug, Default)]
pub(super) struct Naive {
    runs: Vec<NaiveRun>,
    last_key: u64,
    leases: Vec<(String, Timestamp)>,
    /// Every event; `None` where it was purged. The first has the position 1.
    log: Vec<Option<(RunKey, String)>>,
    cursors: Vec<(String, Cursor)>,
}

#[derive(Debug)]
struct NaiveRun {
    run: Run,
    /// Whether the run waits for its time when it is not claimed.
    waits: bool,
    epoch: u64,
    records: Vec<Record>,
}

impl Naive {
    pub(super) fn apply(&mut self, op: Op) -> Answer {
        match op {
            Op::Create(new) => self.create(new),
            Op::Commit(commit) => self.commit(commit),
            Op::Claim(request) => self.claim(&request),
            Op::Release(claim, due) => self.release(claim, due),
            Op::Renew(worker, until) => self.renew(&worker, until),
            Op::Retire(worker, now) => self.retire(&worker, now),
            Op::Cancel(id, request) => Answer::Cancel(self.cancel(&id, request)),
            Op::Run(id) => Answer::Run(self.runs().into_iter().find(|run| run.id == id)),
            Op::Records(key, span) => Answer::Records(self.records(key, span)),
            Op::List(filter) => Answer::Runs(self.list(&filter)),
            Op::Outbox(after, page) => {
                let mut events = self.events(after);
                events.truncate(page.events);
                while events.len() > 1
                    && events
                        .iter()
                        .map(|(_, event)| event.len() + 1)
                        .sum::<usize>()
                        > page.bytes
                {
                    events.pop();
                }
                Answer::Events(events)
            }
            Op::Cursors => {
                let mut cursors = self.cursors.clone();
                cursors.sort_by(|(one, _), (other, _)| one.cmp(other));
                Answer::Cursors(cursors)
            }
            Op::Open(sink) => Answer::Cursor(self.open(&sink)),
            Op::Set(sink, cursor) => self.set(&sink, cursor),
            Op::Drop(sink) => {
                let before = self.cursors.len();
                self.cursors.retain(|(name, _)| *name != sink);
                Answer::Dropped(self.cursors.len() < before)
            }
            Op::Purge(purge) => Answer::Purged(self.purge(purge)),
        }
    }

    fn create(&mut self, new: NewRun) -> Answer {
        if let Some(taken) = self.runs().into_iter().find(|run| run.id == new.id) {
            return Answer::Exists(taken);
        }
        if new.status != Status::Queued && new.status != Status::Running {
            return Answer::Refused(Refusal::Transition);
        }
        if new.record.first_seq != 1 || new.record.events.is_empty() {
            return Answer::Refused(Refusal::Behind);
        }
        self.last_key += 1;
        let key = RunKey(self.last_key);
        let held = new.status == Status::Running;
        let run = Run {
            key,
            id: new.id,
            workflow: new.workflow,
            execution_id: new.execution_id,
            status: new.status,
            last_seq: 0,
            created_at: new.record.at,
            ended_at: None,
            due_at: if held { None } else { Some(new.record.at) },
            worker: if held { Some(new.worker) } else { None },
            recoveries: 0,
            cancel: None,
        };
        let epoch = u64::from(held);
        self.runs.push(NaiveRun {
            run,
            waits: false,
            epoch,
            records: Vec::new(),
        });
        self.append(key, vec![new.record]);
        Answer::Created(Claim { key, epoch })
    }

    fn commit(&mut self, commit: Commit) -> Answer {
        let key = commit.claim.key;
        let Some(index) = self.index(key) else {
            return Answer::Refused(Refusal::Unknown);
        };
        if !self.valid_claims().contains(&commit.claim) {
            return Answer::Refused(Refusal::Fenced);
        }
        let run = self.runs[index].run.clone();
        let mut next = run.last_seq + 1;
        for record in &commit.records {
            if record.first_seq != next || record.events.is_empty() {
                return Answer::Refused(Refusal::Behind);
            }
            next += record.events.len() as u64;
        }
        let Some(last) = commit.records.last() else {
            return Answer::Refused(Refusal::Behind);
        };
        let ended_at = last.at;
        if Status::check(Some(run.status), commit.status).is_err() {
            return Answer::Refused(Refusal::Transition);
        }
        let refused_by_cancel = matches!(
            commit.status,
            Status::Suspended | Status::Completed | Status::Failed
        );
        if let (true, Some(cancel)) = (refused_by_cancel, &run.cancel) {
            return Answer::Refused(Refusal::Cancel(cancel.clone()));
        }
        let progress = commit.records.iter().any(|record| record.entry.is_some());
        self.append(key, commit.records);
        let NaiveRun { run, waits, .. } = &mut self.runs[index];
        run.status = commit.status;
        if progress {
            run.recoveries = 0;
        }
        if run.status == Status::Suspended {
            (run.due_at, run.worker) = (commit.due_at, None);
            *waits = true;
        }
        if matches!(
            run.status,
            Status::Completed | Status::Failed | Status::Cancelled
        ) {
            (run.ended_at, run.worker) = (Some(ended_at), None);
        }
        Answer::Committed(run.cancel.clone())
    }

    fn claim(&mut self, request: &ClaimRequest) -> Answer {
        self.expire(request);
        let considered = |run: &Run| request.run.is_none() || request.run.as_ref() == Some(&run.id);
        let wanted = |run: &Run| {
            request.workflows.is_none()
                || request
                    .workflows
                    .iter()
                    .flatten()
                    .any(|w| *w == run.workflow)
        };
        let mut due = Vec::new();
        let mut times = Vec::new();
        let mut unknown = Vec::new();
        for (index, NaiveRun { run, waits, .. }) in self
            .runs
            .iter()
            .enumerate()
            .filter(|(_, kept)| considered(&kept.run))
        {
            let is_due = run
                .due_at
                .is_some_and(|due_at| !waits || due_at <= request.now);
            let its_own = request.run.is_some()
                && run.due_at.is_none()
                && run.worker.as_ref() == Some(&request.worker);
            if is_due && !wanted(run) && !unknown.contains(&run.workflow) {
                unknown.push(run.workflow.clone());
            }
            if wanted(run) && (is_due || its_own) {
                due.push((run.due_at, run.key, index));
            } else if wanted(run) {
                times.extend(run.due_at);
                let another = run
                    .worker
                    .iter()
                    .filter(|worker| **worker != request.worker);
                times.extend(another.filter_map(|worker| self.lease(worker)));
            }
        }
        due.sort();
        unknown.sort();
        for (due_at, _, _) in due.iter().skip(request.limit) {
            // A due run can be claimed now, even if the time since which it is ready lies ahead.
            times.extend(due_at.map(|due_at| due_at.min(request.now)));
        }
        let mut runs = Vec::new();
        for (due_at, _, index) in due.into_iter().take(request.limit) {
            let NaiveRun { run, epoch, .. } = &mut self.runs[index];
            let died = due_at.is_some() && run.worker.is_some();
            *epoch += 1;
            run.recoveries += u32::from(died);
            (run.due_at, run.worker) = (None, Some(request.worker.clone()));
            runs.push((
                Claim {
                    key: run.key,
                    epoch: *epoch,
                },
                run.clone(),
                died,
            ));
        }
        Answer::Claims {
            runs,
            next_due: times.into_iter().min(),
            unknown,
        }
    }

    /// Makes the runs of workers whose leases have expired ready.
    fn expire(&mut self, request: &ClaimRequest) {
        let expired = |(worker, until): &&(String, Timestamp)| {
            *until <= request.now && *worker != request.worker
        };
        for (worker, until) in self.leases.iter().filter(expired) {
            for NaiveRun { run, waits, .. } in &mut self.runs {
                if run.due_at.is_none() && run.worker.as_ref() == Some(worker) {
                    (run.due_at, *waits) = (Some(*until), false);
                }
            }
        }
        self.leases.retain(|lease| !expired(&lease));
    }

    fn release(&mut self, claim: Claim, due: Due) -> Answer {
        let Some(index) = self.index(claim.key) else {
            return Answer::Refused(Refusal::Unknown);
        };
        if !self.valid_claims().contains(&claim) {
            return Answer::Refused(Refusal::Fenced);
        }
        let NaiveRun { run, waits, .. } = &mut self.runs[index];
        (run.due_at, *waits) = match due {
            Due::Now(since) => (Some(since), false),
            Due::At(time) => (Some(time), true),
        };
        run.worker = None;
        Answer::Done
    }

    fn renew(&mut self, worker: &str, until: Timestamp) -> Answer {
        self.leases.retain(|(name, _)| name != worker);
        self.leases.push((worker.to_owned(), until));
        let held = self
            .runs
            .iter()
            .map(|kept| &kept.run)
            .filter(|run| holds(worker, run));
        Answer::Cancels(
            held.filter_map(|run| Some((run.key, run.cancel.clone()?)))
                .collect(),
        )
    }

    fn retire(&mut self, worker: &str, now: Timestamp) -> Answer {
        self.leases.retain(|(name, _)| name != worker);
        for NaiveRun { run, waits, .. } in
            self.runs.iter_mut().filter(|kept| holds(worker, &kept.run))
        {
            (run.due_at, run.worker, *waits) = (Some(now), None, false);
        }
        Answer::Done
    }

    fn cancel(&mut self, id: &str, request: CancelRequest) -> CancelReply {
        let Some(NaiveRun { run, waits, .. }) = self.runs.iter_mut().find(|kept| kept.run.id == id)
        else {
            return CancelReply::Unknown;
        };
        if run.ended_at.is_some() {
            return CancelReply::Ended(run.status);
        }
        let is_held = run.due_at.is_none() && run.worker.is_some();
        if !is_held {
            (run.due_at, *waits) = (
                Some(run.due_at.unwrap_or(request.at).min(request.at)),
                false,
            );
        }
        match &mut run.cancel {
            Some(earlier) => earlier.immediate |= request.immediate,
            none => *none = Some(request),
        }
        CancelReply::Accepted(Box::new(run.clone()))
    }

    fn records(&self, key: RunKey, span: Span) -> Vec<Written> {
        let Some(index) = self.index(key) else {
            return Vec::new();
        };
        let records: Vec<_> = self.runs[index].records.iter().map(Written::from).collect();
        let last = records.len() - 1;
        let in_span = |n: usize| match span {
            Span::First => n == 0,
            Span::Last => n == last,
            Span::All => true,
        };
        records
            .into_iter()
            .enumerate()
            .filter(|(n, _)| in_span(*n))
            .map(|(_, record)| record)
            .collect()
    }

    fn list(&self, filter: &RunFilter) -> Vec<Run> {
        let mut runs = self.runs();
        runs.retain(|run| filter.statuses.is_empty() || filter.statuses.contains(&run.status));
        runs.retain(|run| {
            filter.workflow.is_none() || filter.workflow.as_ref() == Some(&run.workflow)
        });
        runs.retain(|run| {
            filter
                .id_prefix
                .iter()
                .all(|prefix| run.id.starts_with(prefix))
        });
        runs.retain(|run| Some(run.key) > filter.after);
        runs.truncate(filter.limit);
        runs
    }

    fn open(&mut self, sink: &str) -> Cursor {
        if let Some(cursor) = self.cursor(sink) {
            return cursor;
        }
        let missed = self.log.iter().filter(|event| event.is_none()).count() as u64;
        let cursor = Cursor {
            missed,
            ..Cursor::default()
        };
        self.cursors.push((sink.to_owned(), cursor));
        cursor
    }

    fn set(&mut self, sink: &str, cursor: Cursor) -> Answer {
        self.open(sink);
        for (_, current) in self.cursors.iter_mut().filter(|(name, _)| name == sink) {
            if cursor.position > current.position {
                *current = Cursor {
                    missed: current.missed,
                    ..cursor
                };
            }
        }
        Answer::Done
    }

    fn purge(&mut self, purge: Purge) -> Purged {
        let mut purged = Vec::new();
        for NaiveRun { run, .. } in &self.runs {
            let before = match run.status {
                Status::Completed => purge.completed,
                Status::Failed => purge.failed,
                Status::Cancelled => purge.cancelled,
                _ => None,
            };
            let (Some(ended_at), Some(before)) = (run.ended_at, before) else {
                continue;
            };
            let theirs = self
                .log
                .iter()
                .zip(1..)
                .filter(|(event, _)| matches!(event, Some((key, _)) if *key == run.key));
            let last = theirs.map(|(_, place)| Position(place)).max();
            if ended_at < before
                && self
                    .cursors
                    .iter()
                    .all(|(_, cursor)| Some(cursor.position) >= last)
            {
                purged.push((ended_at, run.key));
            }
        }
        purged.sort();
        purged.truncate(purge.limit);
        let is_purged = |key| purged.iter().any(|(_, purged)| *purged == key);
        let mut events = 0;
        for event in &mut self.log {
            if event.take_if(|(key, _)| is_purged(*key)).is_some() {
                events += 1;
            }
        }
        self.runs.retain(|kept| !is_purged(kept.run.key));
        Purged {
            runs: purged.len() as u64,
            events,
        }
    }

    fn append(&mut self, key: RunKey, records: Vec<Record>) {
        let Some(index) = self.index(key) else { return };
        for record in records {
            self.log.extend(
                record
                    .events
                    .iter()
                    .map(|event| Some((key, event.as_str().to_owned()))),
            );
            self.runs[index].run.last_seq += record.events.len() as u64;
            self.runs[index].records.push(record);
        }
    }

    /// Returns an operation for everything that can be read.
    pub(super) fn final_reads(&self) -> Vec<Op> {
        let histories = (1..=self.last_key).map(|key| Op::Records(RunKey(key), Span::All));
        let cursors = self.cursors.iter().map(|(sink, _)| Op::Open(sink.clone()));
        histories
            .chain(cursors)
            .chain([
                Op::Outbox(Position(0), Page::events(usize::MAX)),
                Op::Cursors,
            ])
            .collect()
    }

    pub(super) fn runs(&self) -> Vec<Run> {
        self.runs.iter().map(|kept| kept.run.clone()).collect()
    }

    /// Returns the valid claims.
    pub(super) fn valid_claims(&self) -> Vec<Claim> {
        let held = self
            .runs
            .iter()
            .filter(|kept| kept.run.due_at.is_none() && kept.run.worker.is_some());
        held.map(|kept| Claim {
            key: kept.run.key,
            epoch: kept.epoch,
        })
        .collect()
    }

    /// Returns the events after a position, with their positions.
    pub(super) fn events(&self, after: Position) -> Vec<(Position, String)> {
        let places = (1..).map(Position);
        let events = places
            .zip(&self.log)
            .filter_map(|(place, event)| Some((place, event.as_ref()?.1.clone())));
        events.filter(|(place, _)| *place > after).collect()
    }

    pub(super) fn end(&self) -> OutboxEnd {
        let position = Position(self.accepted());
        OutboxEnd {
            position,
            accepted: self.accepted(),
            readable: position,
        }
    }

    pub(super) fn accepted(&self) -> u64 {
        self.log.len() as u64
    }

    pub(super) fn last_key(&self) -> u64 {
        self.last_key
    }

    pub(super) fn last_seq(&self, key: RunKey) -> u64 {
        self.index(key)
            .map_or(0, |index| self.runs[index].run.last_seq)
    }

    pub(super) fn epoch(&self, key: RunKey) -> u64 {
        self.index(key).map_or(0, |index| self.runs[index].epoch)
    }

    pub(super) fn cursor(&self, sink: &str) -> Option<Cursor> {
        self.cursors
            .iter()
            .find(|(name, _)| name == sink)
            .map(|(_, cursor)| *cursor)
    }

    fn lease(&self, worker: &str) -> Option<Timestamp> {
        self.leases
            .iter()
            .find(|(name, _)| name == worker)
            .map(|(_, until)| *until)
    }

    fn index(&self, key: RunKey) -> Option<usize> {
        self.runs.iter().position(|kept| kept.run.key == key)
    }
}

/// Returns whether `worker` holds a run.
fn holds(worker: &str, run: &Run) -> bool {
    run.due_at.is_none() && run.worker.as_deref() == Some(worker)
}
