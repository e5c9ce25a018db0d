//! A history as a replay uses it: the completions of operations in order, and the operations that
//! have begun.

use std::collections::{HashMap, VecDeque};

use workflow_events::{PauseReason, Timestamp};

use crate::execution::operation::{Begun, Completion, OpKey, OpKind};
use crate::payload::Payload;
use crate::random::Seed;
use crate::store::{Entry, EntryKind, Record, StoreError};

/// A history, read for a replay.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) input: Payload,
    pub(crate) seed: Seed,
    pub(crate) created_at: Timestamp,
    /// When the first execution began; `None` if that was when the run was created, or has not
    /// happened.
    pub(crate) started_at: Option<Timestamp>,
    /// The completions of operations, in order.
    pub(crate) completions: VecDeque<Completion>,
    /// The operations that have begun and not completed, with the last record of each.
    pub(crate) begun: HashMap<OpKey, Begun>,
    pub(crate) completed_steps: Vec<String>,
    /// Why the run was suspended; `None` if anything was recorded since.
    pub(crate) paused: Option<PauseReason>,
    pub(crate) last_seq: u64,
}

impl Replay {
    /// Reads a history.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if it does not begin with the run's input.
    pub(crate) fn read(records: Vec<Record>) -> Result<Self, StoreError> {
        let mut records = records.into_iter();
        let first = records.next();
        let created = first.as_ref().and_then(|record| record.entry.as_ref());
        let input = created
            .filter(|entry| entry.kind == EntryKind::Created)
            .and_then(|entry| entry.payload.clone());
        let (Some(first), Some(input)) = (&first, input) else {
            return Err(StoreError::Corrupt {
                what: "a history that does not begin with an input".into(),
            });
        };
        let mut replay = Self::begin(input, first);
        for record in records {
            replay.last_seq = record.last_seq();
            if let Some(entry) = record.entry {
                replay.apply(entry, record.at);
            }
        }
        Ok(replay)
    }

    /// Returns the replay of a run that has only its first record.
    pub(crate) fn begin(input: Payload, first: &Record) -> Self {
        // The id of an event is random, and the same in every replay.
        let seed = Seed::of(first.events.first().map_or("", |event| event.as_str()));
        Self {
            input,
            seed,
            created_at: first.at,
            started_at: None,
            completions: VecDeque::new(),
            begun: HashMap::new(),
            completed_steps: Vec::new(),
            paused: None,
            last_seq: first.last_seq(),
        }
    }

    fn apply(&mut self, entry: Entry, at: Timestamp) {
        self.paused = None;
        let key = |kind| OpKey {
            kind,
            name: entry.name.as_str().into(),
            occurrence: entry.occurrence,
        };
        match entry.kind {
            EntryKind::Started => self.started_at = Some(at),
            EntryKind::StepCompleted | EntryKind::StepFailed => {
                if entry.kind == EntryKind::StepCompleted {
                    self.completed_steps.push(entry.name.clone());
                }
                self.complete(key(OpKind::Step), entry, at);
            }
            EntryKind::SleepCompleted => self.complete(key(OpKind::Sleep), entry, at),
            EntryKind::RetryScheduled => drop(self.begun.insert(key(OpKind::Step), (entry, at))),
            EntryKind::SleepStarted => drop(self.begun.insert(key(OpKind::Sleep), (entry, at))),
            EntryKind::Suspended => {
                let reason = entry
                    .payload
                    .and_then(|reason| reason.decode::<String>().ok());
                self.paused = reason.map(PauseReason::from);
            }
            _ => {}
        }
    }

    fn complete(&mut self, key: OpKey, entry: Entry, at: Timestamp) {
        self.begun.remove(&key);
        self.completions.push_back(Completion { key, entry, at });
    }
}
