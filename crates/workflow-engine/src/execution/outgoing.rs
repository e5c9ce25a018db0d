//! Records on their way into a run's history: events get their ids, times and places here, and
//! nowhere else.

use std::time::SystemTime;

use uuid::{NoContext, Uuid};
use workflow_events::{EncodeError, Event, EventKind, SOURCE, Timestamp};

use crate::execution::operation::OpKey;
use crate::payload::{EncodedEvent, Payload};
use crate::store::{Entry, EntryKind, Record, StoreError};

/// The identity of a run, which every event of the run carries.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    pub(crate) run: String,
    pub(crate) workflow: String,
    pub(crate) execution: Option<String>,
}

/// An event that has no place in the history yet.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) at: Timestamp,
    pub(crate) kind: EventKind,
}

/// A record that has no place in the history yet.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) at: Timestamp,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) entry: Option<Entry>,
    /// The operation that this record completes.
    pub(crate) completes: Option<OpKey>,
}

impl Outgoing {
    /// A record that consists of its events and has nothing for a replay.
    pub(crate) fn events(drafts: Vec<Draft>) -> Self {
        let at = drafts
            .last()
            .map_or(Timestamp::UNIX_EPOCH, |draft| draft.at);
        Self {
            at,
            drafts,
            entry: None,
            completes: None,
        }
    }

    /// A record of the run itself and not of an operation.
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
            completes: None,
        }
    }
}

impl Ids {
    /// Gives records their places after `last_seq`, and their events ids.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] if an event has no JSON form. Every event has one, because each value
    /// in it was JSON before.
    pub(crate) fn records(
        &self,
        last_seq: u64,
        outgoing: &[Outgoing],
    ) -> Result<Vec<Record>, StoreError> {
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
        records.map_err(|error: EncodeError| StoreError::Backend(error.into()))
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
