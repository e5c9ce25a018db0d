//! The in-memory store: complete, and gone with the process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::payload::EncodedEvent;
use crate::status::Status;
use crate::store::{Commit, Created, Cursor, NewRun, Position, Record, Run, Store, StoreError};

/// A [`Store`] in memory: for tests, and for programs whose runs need not outlive them.
///
/// It survives nothing: when the process ends, runs and undelivered events are gone.
#[derive(Default)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    runs: HashMap<String, (Run, Vec<Record>)>,
    /// Every event of every run, in the order of the commits; a position is an index here.
    outbox: Vec<EncodedEvent>,
    cursors: HashMap<String, Cursor>,
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
    async fn create(&self, run: NewRun, record: Record) -> Result<Created, StoreError> {
        let mut kept = self.lock();
        if let Some((existing, _)) = kept.runs.get(&run.id) {
            return Ok(Created::Exists(Box::new(existing.clone())));
        }
        follows(&run.id, 0, &record)?;
        kept.outbox.extend(record.events.iter().cloned());
        let id = run.id.clone();
        let run = Run { created: run, status: Status::Running, last_seq: record.last_seq(), result: None };
        kept.runs.insert(id, (run, vec![record]));
        Ok(Created::New)
    }

    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let Commit { run: id, record, status, result } = commit;
        let kept = &mut *self.lock();
        let Some((run, history)) = kept.runs.get_mut(&id) else {
            return Err(StoreError::UnknownRun { run: id });
        };
        Status::check(Some(run.status), status)?;
        follows(&id, run.last_seq, &record)?;
        run.status = status;
        run.last_seq = record.last_seq();
        run.result = result;
        kept.outbox.extend(record.events.iter().cloned());
        history.push(record);
        Ok(())
    }

    async fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        Ok(self.lock().runs.get(id).map(|(run, _)| run.clone()))
    }

    async fn history(&self, id: &str) -> Result<Vec<Record>, StoreError> {
        Ok(self.lock().runs.get(id).map(|(_, history)| history.clone()).unwrap_or_default())
    }

    async fn outbox(&self, after: Position, limit: usize) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
        let kept = self.lock();
        let start = usize::try_from(after.0).unwrap_or(usize::MAX).min(kept.outbox.len());
        let numbered = (after.0 + 1..).zip(&kept.outbox[start..]);
        Ok(numbered.take(limit).map(|(position, event)| (Position(position), event.clone())).collect())
    }

    async fn outbox_end(&self) -> Result<(Position, u64), StoreError> {
        let events = self.lock().outbox.len() as u64;
        Ok((Position(events), events))
    }

    async fn cursor(&self, sink: &str) -> Result<Cursor, StoreError> {
        Ok(self.lock().cursors.get(sink).copied().unwrap_or_default())
    }

    async fn set_cursor(&self, sink: &str, cursor: Cursor) -> Result<(), StoreError> {
        let mut kept = self.lock();
        let standing = kept.cursors.entry(sink.to_owned()).or_default();
        if standing.position < cursor.position {
            *standing = cursor;
        }
        Ok(())
    }
}

/// Checks that `record` has events and that they follow on `last_seq`.
fn follows(run: &str, last_seq: u64, record: &Record) -> Result<(), StoreError> {
    if record.first_seq == last_seq + 1 && !record.events.is_empty() {
        return Ok(());
    }
    Err(StoreError::Behind { run: run.to_owned(), last_seq, first_seq: record.first_seq })
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (runs, events) = {
            let kept = self.lock();
            (kept.runs.len(), kept.outbox.len())
        };
        f.debug_struct("MemoryStore").field("runs", &runs).field("events", &events).finish()
    }
}
