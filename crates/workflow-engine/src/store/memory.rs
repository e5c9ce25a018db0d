//! The in-memory store: complete, and gone with the process.

mod claims;
mod sinks;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use workflow_events::Timestamp;

use crate::payload::EncodedEvent;
use crate::status::Status;
use crate::store::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Claims, Commit, Committed, Created, Cursor,
    Due, NewRun, OutboxEnd, Page, Position, Purge, Purged, Record, Run, RunFilter, RunKey,
    SinkClaim, Span, Store, StoreError,
};

/// A [`Store`] in memory: for tests, and for programs whose runs need not outlive them.
///
/// It survives nothing: when the process ends, runs and undelivered events are gone.
#[derive(Default)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    runs: BTreeMap<RunKey, KeptRun>,
    keys: HashMap<String, RunKey>,
    last_key: u64,
    /// The runs that are ready or wait for a time, by workflow.
    due: HashMap<String, Queue>,
    /// The workers, until when their leases last, and what they hold.
    workers: HashMap<String, (Timestamp, BTreeSet<RunKey>)>,
    /// The events that are kept, by place.
    outbox: BTreeMap<Position, EncodedEvent>,
    end: OutboxEnd,
    purged: u64,
    sinks: HashMap<String, KeptSink>,
    sink_claims: u64,
}

/// Runs in the order in which they are claimed.
#[derive(Default)]
struct Queue {
    ready: BTreeSet<(Timestamp, RunKey)>,
    waiting: BTreeSet<(Timestamp, RunKey)>,
}

#[derive(Default)]
struct KeptSink {
    cursor: Cursor,
    epoch: u64,
    holder: Option<String>,
}

struct KeptRun {
    run: Run,
    /// When it is due; the time is that of the run.
    due: Option<Due>,
    epoch: u64,
    records: Vec<Record>,
    /// The places of its events.
    positions: Vec<Position>,
}

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// No critical section can be left half done by a panic, so poisoning says nothing.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, new: NewRun) -> Result<Created, StoreError> {
        self.lock().create(new)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.lock().commit(commit)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claims, StoreError> {
        Ok(self.lock().claim(&request))
    }

    async fn release(&self, claim: Claim, due: Due) -> Result<(), StoreError> {
        let mut kept = self.lock();
        kept.claimed(claim)?;
        kept.let_go(claim.key, Some(due));
        Ok(())
    }

    async fn renew(
        &self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, StoreError> {
        let kept = &mut *self.lock();
        let (lease, held) = kept
            .workers
            .entry(worker.to_owned())
            .or_insert_with(|| (until, BTreeSet::new()));
        *lease = until;
        let cancel = |key: &RunKey| Some((*key, kept.runs.get(key)?.run.cancel.clone()?));
        Ok(held.iter().filter_map(cancel).collect())
    }

    async fn retire(&self, worker: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut kept = self.lock();
        for key in kept
            .workers
            .remove(worker)
            .map(|(_, held)| held)
            .unwrap_or_default()
        {
            kept.let_go(key, Some(Due::Now(now)));
        }
        Ok(())
    }

    async fn request_cancel(
        &self,
        run: &str,
        request: CancelRequest,
    ) -> Result<CancelReply, StoreError> {
        Ok(self.lock().request_cancel(run, request))
    }

    async fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        let kept = self.lock();
        Ok(kept
            .keys
            .get(id)
            .and_then(|key| kept.runs.get(key))
            .map(|kept| kept.run.clone()))
    }

    async fn records(&self, key: RunKey, span: Span) -> Result<Vec<Record>, StoreError> {
        let kept = self.lock();
        let records = kept
            .runs
            .get(&key)
            .map(|kept| kept.records.as_slice())
            .unwrap_or_default();
        Ok(match span {
            Span::All => records.to_vec(),
            Span::First => records.first().cloned().into_iter().collect(),
            Span::Last => records.last().cloned().into_iter().collect(),
        })
    }

    async fn list(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        let kept = self.lock();
        let after = filter.after.map_or(0, |key| key.0);
        let runs = kept
            .runs
            .range(RunKey(after.saturating_add(1))..)
            .map(|(_, kept)| &kept.run);
        let admits = |run: &&Run| {
            (filter.statuses.is_empty() || filter.statuses.contains(&run.status))
                && filter
                    .workflow
                    .as_ref()
                    .is_none_or(|workflow| *workflow == run.workflow)
                && filter
                    .worker
                    .as_ref()
                    .is_none_or(|worker| run.worker.as_ref() == Some(worker))
                && filter
                    .id_prefix
                    .as_ref()
                    .is_none_or(|prefix| run.id.starts_with(prefix))
        };
        Ok(runs.filter(admits).take(filter.limit).cloned().collect())
    }

    async fn held(&self, worker: &str) -> Result<Vec<String>, StoreError> {
        let kept = self.lock();
        let held = kept
            .workers
            .get(worker)
            .into_iter()
            .flat_map(|(_, held)| held);
        Ok(held
            .filter_map(|key| kept.runs.get(key))
            .map(|kept| kept.run.id.clone())
            .collect())
    }

    async fn outbox(
        &self,
        after: Position,
        page: Page,
    ) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
        let kept = self.lock();
        let behind = kept.outbox.range(Position(after.0.saturating_add(1))..);
        page.fill(behind.map(|(position, event)| Ok((*position, event.clone()))))
    }

    async fn outbox_end(&self) -> Result<OutboxEnd, StoreError> {
        Ok(self.lock().end)
    }

    async fn open_cursor(&self, sink: &str) -> Result<Cursor, StoreError> {
        Ok(self.lock().open(sink).cursor)
    }

    async fn cursors(&self) -> Result<Vec<(String, Cursor)>, StoreError> {
        let kept = self.lock();
        let mut cursors: Vec<_> = kept
            .sinks
            .iter()
            .map(|(sink, kept)| (sink.clone(), kept.cursor))
            .collect();
        cursors.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(cursors)
    }

    async fn claim_sink(
        &self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, StoreError> {
        Ok(self.lock().claim_sink(sink, worker, now))
    }

    async fn release_sink(&self, claim: &SinkClaim) -> Result<(), StoreError> {
        if let Ok(sink) = self.lock().claimed_sink(claim) {
            sink.holder = None;
        }
        Ok(())
    }

    async fn set_cursor(&self, claim: &SinkClaim, cursor: Cursor) -> Result<(), StoreError> {
        let mut kept = self.lock();
        let standing = &mut kept.claimed_sink(claim)?.cursor;
        if standing.position < cursor.position {
            *standing = Cursor {
                missed: standing.missed,
                ..cursor
            };
        }
        Ok(())
    }

    async fn drop_cursor(&self, sink: &str) -> Result<bool, StoreError> {
        Ok(self.lock().sinks.remove(sink).is_some())
    }

    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError> {
        Ok(self.lock().purge(&purge))
    }
}

impl Kept {
    fn create(&mut self, new: NewRun) -> Result<Created, StoreError> {
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
            KeptRun {
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
            _ => self.let_go(key, Some(Due::Now(created_at))),
        }
        Ok(Created::New(Claim {
            key,
            epoch: self.runs[&key].epoch,
        }))
    }

    fn commit(&mut self, commit: Commit) -> Result<Committed, StoreError> {
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
        if let Some(KeptRun { run, .. }) = self.runs.get_mut(&claim.key) {
            run.status = status;
            run.ended_at = ended_at;
            run.recoveries = if progress { 0 } else { run.recoveries };
        }
        if status.ends_claim() {
            self.let_go(
                claim.key,
                due_at.filter(|_| status == Status::Paused).map(Due::At),
            );
        }
        Ok(Committed { cancel })
    }

    /// Returns the run, if `claim` is the right to advance it.
    fn claimed(&self, claim: Claim) -> Result<&KeptRun, StoreError> {
        let Claim { key, epoch } = claim;
        let kept = self.runs.get(&key).ok_or(StoreError::UnknownRun { key })?;
        let held = kept.run.due_at.is_none() && kept.run.worker.is_some();
        if held && kept.epoch == epoch {
            Ok(kept)
        } else {
            Err(StoreError::Fenced { key, epoch })
        }
    }

    fn append(&mut self, key: RunKey, records: Vec<Record>) {
        let Some(kept) = self.runs.get_mut(&key) else {
            return;
        };
        for record in records {
            kept.run.last_seq = record.last_seq();
            for event in &record.events {
                let position = Position(self.end.position.0 + 1);
                self.end = OutboxEnd {
                    position,
                    accepted: self.end.accepted + 1,
                    readable: position,
                };
                self.outbox.insert(self.end.position, event.clone());
                kept.positions.push(self.end.position);
            }
            kept.records.push(record);
        }
    }

    fn request_cancel(&mut self, id: &str, request: CancelRequest) -> CancelReply {
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
                at_once: standing.at_once || request.at_once,
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

    fn purge(&mut self, purge: &Purge) -> Purged {
        let settled = self.sinks.values().map(|sink| sink.cursor.position).min();
        let over = |kept: &&KeptRun| {
            let ended_at = kept
                .run
                .ended_at
                .filter(|at| purge.before(kept.run.status).is_some_and(|end| *at < end));
            ended_at.is_some()
                && settled
                    .is_none_or(|settled| kept.positions.iter().all(|event| *event <= settled))
        };
        let mut ended: Vec<_> = self
            .runs
            .values()
            .filter(over)
            .map(|kept| (kept.run.ended_at, kept.run.key))
            .collect();
        ended.sort_unstable();
        let mut purged = Purged::default();
        for (_, key) in ended.into_iter().take(purge.limit) {
            let Some(kept) = self.runs.remove(&key) else {
                continue;
            };
            self.keys.remove(&kept.run.id);
            kept.positions
                .iter()
                .for_each(|position| drop(self.outbox.remove(position)));
            purged.runs += 1;
            purged.events += kept.positions.len() as u64;
        }
        self.purged += purged.events;
        purged
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (runs, events) = {
            let kept = self.lock();
            (kept.runs.len(), kept.outbox.len())
        };
        f.debug_struct("MemoryStore")
            .field("runs", &runs)
            .field("events", &events)
            .finish()
    }
}
