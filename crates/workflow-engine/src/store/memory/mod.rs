//! The in-memory store: complete, and lost with the process.

mod claims;
mod commits;
mod purge;
mod sinks;

mod state;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use workflow_events::Timestamp;

use state::State;

use crate::payload::EncodedEvent;
use crate::store::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Claims, Commit, Committed, Created, Cursor,
    Due, NewRun, OutboxEnd, Page, Position, Purge, Purged, Record, Run, RunFilter, RunKey,
    SinkClaim, Span, Store, StoreError,
};

/// A [`Store`] in memory, for tests and for programs whose runs need not outlive the process.
///
/// When the process ends, runs and undelivered events are lost.
#[derive(Default)]
pub struct MemoryStore {
    kept: Mutex<State>,
}

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Locks the state. No critical section can be left half done by a panic, so poisoning does not
    /// matter.
    fn lock(&self) -> MutexGuard<'_, State> {
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
        kept.release(claim.key, Some(due));
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
            kept.release(key, Some(Due::Now(now)));
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
