//! Writing a run's history: events get their ids, times and places here, and nowhere else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tracker_core::Clock;
use uuid::{NoContext, Uuid};
use workflow_events::{EncodeError, Event, EventKind, SOURCE, Timestamp};

use crate::determinism::DeterminismError;
use crate::gate::Gate;
use crate::operation::OpKey;
use crate::payload::{EncodedEvent, Payload};
use crate::status::Status;
use crate::store::{
    CancelRequest, Claim, Commit, Committed, Entry, EntryKind, Record, Span, Store, StoreError,
};

/// How long to wait before a commit that the storage failed is tried again; then the run is left as
/// it is.
pub(crate) const RETRY_DELAYS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(160),
    Duration::from_millis(640),
    Duration::from_millis(2_560),
];

/// Why a run cannot go on here; it is left as it is.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The store did not take a record.
    Store(StoreError),
    /// Another worker has the run.
    Fenced,
    /// The engine was shut down.
    Stopped,
    /// The code of the workflow cannot be followed.
    Determinism(DeterminismError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced { .. } | StoreError::UnknownRun { .. } => Self::Fenced,
            other => Self::Store(other),
        }
    }
}

/// What every event of a run says of it.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    pub(crate) run: String,
    pub(crate) workflow: String,
    pub(crate) execution: Option<String>,
}

/// An event before it has its place in the history.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) at: Timestamp,
    pub(crate) kind: EventKind,
}

/// A record before it has its place in the history.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) at: Timestamp,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) entry: Option<Entry>,
    /// The operation that it ends.
    pub(crate) ends: Option<OpKey>,
}

impl Outgoing {
    /// A record that is its events and nothing else.
    pub(crate) fn events(drafts: Vec<Draft>) -> Self {
        let at = drafts
            .last()
            .map_or(Timestamp::UNIX_EPOCH, |draft| draft.at);
        Self {
            at,
            drafts,
            entry: None,
            ends: None,
        }
    }

    /// A record of the run itself, not of an operation.
    pub(crate) fn of_run(
        at: Timestamp,
        event: EventKind,
        kind: EntryKind,
        payload: Option<Payload>,
    ) -> Self {
        let entry = Entry {
            kind,
            name: String::new(),
            occurrence: 0,
            attempt: 0,
            due_at: None,
            payload,
        };
        Self {
            at,
            drafts: vec![Draft { at, kind: event }],
            entry: Some(entry),
            ends: None,
        }
    }
}

impl Ids {
    /// Gives records their places behind `last_seq`, and their events ids.
    ///
    /// # Errors
    ///
    /// [`Halt::Store`] if an event has no JSON form, which cannot be: all of it was JSON before.
    pub(crate) fn records(
        &self,
        last_seq: u64,
        outgoing: &[Outgoing],
    ) -> Result<Vec<Record>, Halt> {
        let mut next_seq = last_seq + 1;
        let mut record = |outgoing: &Outgoing| {
            let first_seq = next_seq;
            next_seq += outgoing.drafts.len() as u64;
            let numbered = outgoing.drafts.iter().zip(first_seq..);
            let events = numbered.map(|(draft, seq)| EncodedEvent::encode(&self.event(draft, seq)));
            let events = events.collect::<Result<_, EncodeError>>()?;
            Ok(Record {
                first_seq,
                at: outgoing.at,
                events,
                entry: outgoing.entry.clone(),
            })
        };
        let records = outgoing.iter().map(&mut record).collect::<Result<_, _>>();
        records.map_err(|error: EncodeError| Halt::Store(StoreError::Backend(error.into())))
    }

    fn event(&self, draft: &Draft, seq: u64) -> Event {
        let since_epoch = SystemTime::try_from(draft.at)
            .ok()
            .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let since_epoch = since_epoch.unwrap_or_default();
        let time = uuid::Timestamp::from_unix(
            NoContext,
            since_epoch.as_secs(),
            since_epoch.subsec_nanos(),
        );
        Event {
            event_id: Uuid::new_v7(time),
            timestamp: draft.at,
            source: SOURCE.into(),
            workflow_id: self.run.clone(),
            workflow_name: self.workflow.clone(),
            execution_id: self.execution.clone(),
            seq,
            kind: draft.kind.clone().bounded(),
            extra: Default::default(),
        }
    }
}

/// Appends to the history of one run under one claim. There is one commit at a time.
pub(crate) struct History {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) claim: Claim,
    pub(crate) status: Status,
    pub(crate) last_seq: u64,
}

/// What a commit came to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is in the history; a cancel may have been asked for.
    Committed(Committed),
    /// It would have ended the run, but it is to be cancelled. Nothing was changed.
    Cancel(CancelRequest),
}

impl History {
    /// Prepares a commit; the future does it, and tries again where the storage fails.
    pub(crate) fn commit(
        &self,
        outgoing: &[Outgoing],
        status: Status,
        due_at: Option<Timestamp>,
    ) -> Result<impl Future<Output = Result<Answer, Halt>> + Send + 'static, Halt> {
        let records = self.ids.records(self.last_seq, outgoing)?;
        let commit = Commit {
            claim: self.claim,
            records,
            status,
            due_at,
        };
        let (store, gate, clock) = (self.store.clone(), self.gate.clone(), self.clock.clone());
        Ok(async move {
            let mut delays = RETRY_DELAYS.into_iter();
            let mut repeated = false;
            loop {
                let answer = {
                    let _pass = gate.enter_commit().ok_or(Halt::Stopped)?;
                    store.commit(commit.clone()).await
                };
                match answer {
                    Ok(committed) => return Ok(Answer::Committed(committed)),
                    Err(StoreError::CancelRequested(cancel)) => return Ok(Answer::Cancel(*cancel)),
                    Err(error) if error.is_transient() => {
                        let Some(delay) = delays.next() else {
                            return Err(error.into());
                        };
                        tracing::warn!(run = %commit.claim.key, "the store failed; the commit is tried again");
                        clock.sleep(delay).await;
                        repeated = true;
                    }
                    // The try before this one may have happened, though the store failed.
                    Err(_) if repeated && has_happened(&*store, &commit).await => {
                        return Ok(Answer::Committed(Committed::default()));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        })
    }

    /// Notes that records were committed.
    pub(crate) fn committed(&mut self, outgoing: &[Outgoing], status: Status) {
        self.last_seq += outgoing
            .iter()
            .map(|outgoing| outgoing.drafts.len() as u64)
            .sum::<u64>();
        self.status = status;
    }
}

/// Returns whether a history ends with what `commit` was to append. Event ids are unique, so that
/// is proof.
async fn has_happened(store: &dyn Store, commit: &Commit) -> bool {
    let Ok(last) = store.records(commit.claim.key, Span::Last).await else {
        return false;
    };
    let text = |record: &Record| record.events.last().map(|event| event.as_str().to_owned());
    last.last()
        .and_then(text)
        .is_some_and(|last| commit.records.last().and_then(text) == Some(last))
}
