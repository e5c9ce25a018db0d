//! The records of a run's history.

use std::fmt;

use serde_json::value::RawValue;
use workflow_events::Timestamp;

use crate::payload::{EncodedEvent, Payload};
use crate::store::error::StoreError;
use crate::store::key::RunKey;

/// A record of a run's history: its lifecycle events, and what a replay needs.
#[derive(Clone, Debug)]
pub struct Record {
    /// The `seq` of its first event.
    pub first_seq: u64,
    /// When the record was written.
    pub at: Timestamp,
    /// The lifecycle events, with consecutive `seq`; at least one.
    pub events: Vec<EncodedEvent>,
    /// What a replay needs; `None` if it needs nothing of this record.
    pub entry: Option<Entry>,
}

impl Record {
    /// Returns the `seq` of its last event.
    pub fn last_seq(&self) -> u64 {
        self.first_seq
            .saturating_add(self.events.len() as u64)
            .saturating_sub(1)
    }

    /// Checks that each of `records` has events, that the first follows `last_seq`, the end of the
    /// history of the run `key`, and that each follows the one before. For stores.
    ///
    /// # Errors
    ///
    /// [`StoreError::Behind`].
    pub fn follow(key: RunKey, last_seq: u64, records: &[Self]) -> Result<(), StoreError> {
        let first_seq = records.first().map_or(0, |record| record.first_seq);
        let end = records.iter().try_fold(last_seq, |end, record| {
            (Some(record.first_seq) == end.checked_add(1) && !record.events.is_empty())
                .then(|| record.last_seq())
        });
        let follows = end.is_some_and(|end| end > last_seq);
        if follows {
            Ok(())
        } else {
            Err(StoreError::Behind {
                key,
                last_seq,
                first_seq,
            })
        }
    }

    /// Returns the events as one JSON array, for a store that keeps them in a form that plain SQL
    /// can read.
    pub fn events_json(&self) -> String {
        let length: usize = self
            .events
            .iter()
            .map(|event| event.as_str().len() + 1)
            .sum();
        let mut json = String::with_capacity(length + 1);
        for (event, separator) in self
            .events
            .iter()
            .zip(std::iter::once('[').chain(std::iter::repeat(',')))
        {
            json.push(separator);
            json.push_str(event.as_str());
        }
        json.push(']');
        json
    }

    /// Returns the events of a JSON array, each with its bytes unchanged.
    ///
    /// # Errors
    ///
    /// When the text is not a JSON array.
    pub fn events_from_json(json: &str) -> Result<Vec<EncodedEvent>, serde_json::Error> {
        let events: Vec<Box<RawValue>> = serde_json::from_str(json)?;
        Ok(events.into_iter().map(EncodedEvent::from).collect())
    }
}

/// What a replay needs of a record. It is flat, so that a store can map it to columns; only the
/// engine interprets it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The kind of the entry.
    pub kind: EntryKind,
    /// The step's name; empty for entries without one.
    pub name: String,
    /// The number of the call among the calls of this kind and name, from 1; 0 for entries that are
    /// not of an operation.
    pub occurrence: u32,
    /// The attempt of a step, from 1; 0 for entries without one.
    pub attempt: u32,
    /// The time of the end of a sleep, or of the next attempt of a step.
    pub due_at: Option<Timestamp>,
    /// The value of the entry.
    pub payload: Option<Payload>,
}

/// The kinds of an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// The run was created; the payload is its input.
    Created,
    /// The first execution began.
    Started,
    /// A step completed; the payload is its result.
    StepCompleted,
    /// The last attempt of a step failed; the payload is the step's error.
    StepFailed,
    /// An attempt of a step failed, and the next one is due at `due_at`.
    RetryScheduled,
    /// A sleep began that ends at `due_at`.
    SleepStarted,
    /// A sleep ended.
    SleepCompleted,
    /// The run was suspended; the payload is the reason.
    Suspended,
    /// The run completed; the payload is its output.
    Completed,
    /// The run failed; the payload is its error.
    Failed,
    /// The run was cancelled; the payload is the caller's reason, or null.
    Cancelled,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Created,
        Self::Started,
        Self::StepCompleted,
        Self::StepFailed,
        Self::RetryScheduled,
        Self::SleepStarted,
        Self::SleepCompleted,
        Self::Suspended,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Returns the name under which stores keep the kind.
    pub fn stored_name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::StepCompleted => "step.completed",
            Self::StepFailed => "step.failed",
            Self::RetryScheduled => "retry.scheduled",
            Self::SleepStarted => "sleep.started",
            Self::SleepCompleted => "sleep.completed",
            Self::Suspended => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the kind with this name.
    pub fn from_stored_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.stored_name() == name)
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.stored_name())
    }
}

/// The records of a history that are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of them.
    All,
    /// The first, which holds the input.
    First,
    /// The last, which holds how the run ended, if it has.
    Last,
}
