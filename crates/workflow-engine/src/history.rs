//! Writing a run's history: events get their ids, times and places here, and nowhere else.

use std::sync::Arc;
use std::time::SystemTime;

use futures::lock::Mutex;
use serde_json::Map;
use tracker_core::Clock;
use uuid::{NoContext, Uuid};
use workflow_events::{Event, EventKind, SOURCE, Timestamp};

use crate::gate::Gate;
use crate::payload::EncodedEvent;
use crate::status::Status;
use crate::store::{Commit, Created, NewRun, Record, RunResult, StepRecord, Store, StoreError};

/// Why a run cannot go on; it is left as it is.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The store did not take a record.
    Store(StoreError),
    /// The engine was shut down.
    Stopped,
}

/// Appends to the history of one run. Commits of parallel steps take turns.
pub(crate) struct History {
    store: Arc<dyn Store>,
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    run: NewRun,
    /// Where the history ends; `None` while a commit whose future was dropped may have moved it.
    last_seq: Mutex<Option<u64>>,
}

/// An event before it has its place in the history.
pub(crate) struct Draft {
    pub(crate) at: SystemTime,
    pub(crate) kind: EventKind,
}

impl History {
    pub(crate) fn new(store: Arc<dyn Store>, gate: Arc<Gate>, clock: Arc<dyn Clock>, run: NewRun) -> Self {
        Self { store, gate, clock, run, last_seq: Mutex::new(Some(0)) }
    }

    /// Creates the run, with `kind` as its first event, unless its id is taken.
    pub(crate) async fn create(&self, kind: EventKind) -> Result<Created, Halt> {
        let mut last_seq = self.last_seq.lock().await;
        let record = self.record(0, vec![self.now(kind)], None)?;
        let end = record.last_seq();
        let _pass = self.gate.enter_commit().ok_or(Halt::Stopped)?;
        let created = self.store.create(self.run.clone(), record).await.map_err(Halt::Store)?;
        *last_seq = Some(end);
        Ok(created)
    }

    /// Appends one record while the run goes on.
    pub(crate) async fn append(&self, drafts: Vec<Draft>, step: Option<StepRecord>) -> Result<(), Halt> {
        self.commit(drafts, step, Status::Running, None).await
    }

    /// Appends the last record, and with it the result.
    pub(crate) async fn finish(&self, kind: EventKind, status: Status, result: RunResult) -> Result<(), Halt> {
        self.commit(vec![self.now(kind)], None, status, Some(result)).await
    }

    pub(crate) fn now(&self, kind: EventKind) -> Draft {
        Draft { at: self.clock.wall(), kind }
    }

    /// Returns the run's id, its workflow's name, and its correlation id.
    pub(crate) fn ids(&self) -> (String, String, Option<String>) {
        (self.run.id.clone(), self.run.workflow.clone(), self.run.execution_id.clone())
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    async fn commit(
        &self,
        drafts: Vec<Draft>,
        step: Option<StepRecord>,
        status: Status,
        result: Option<RunResult>,
    ) -> Result<(), Halt> {
        let mut last_seq = self.last_seq.lock().await;
        let begin = match last_seq.take() {
            Some(known) => known,
            None => self.stored_last_seq().await.map_err(Halt::Store)?,
        };
        let record = self.record(begin, drafts, step)?;
        let end = record.last_seq();
        let _pass = self.gate.enter_commit().ok_or(Halt::Stopped)?;
        let commit = Commit { run: self.run.id.clone(), record, status, result };
        self.store.commit(commit).await.map_err(Halt::Store)?;
        *last_seq = Some(end);
        Ok(())
    }

    async fn stored_last_seq(&self) -> Result<u64, StoreError> {
        Ok(self.store.run(&self.run.id).await?.map_or(0, |run| run.last_seq))
    }

    fn record(&self, last_seq: u64, drafts: Vec<Draft>, step: Option<StepRecord>) -> Result<Record, Halt> {
        let numbered = drafts.into_iter().zip(last_seq + 1..);
        let events = numbered.map(|(draft, seq)| EncodedEvent::encode(&self.event(draft, seq)));
        let events =
            events.collect::<Result<Vec<_>, _>>().map_err(|error| Halt::Store(StoreError::Backend(error.into())))?;
        Ok(Record { first_seq: last_seq + 1, events, step })
    }

    fn event(&self, Draft { at, kind }: Draft, seq: u64) -> Event {
        let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = uuid::Timestamp::from_unix(NoContext, since_epoch.as_secs(), since_epoch.subsec_nanos());
        Event {
            event_id: Uuid::new_v7(time),
            timestamp: Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH),
            source: SOURCE.into(),
            workflow_id: self.run.id.clone(),
            workflow_name: self.run.workflow.clone(),
            execution_id: self.run.execution_id.clone(),
            seq,
            kind,
            extra: Map::new(),
        }
    }
}
