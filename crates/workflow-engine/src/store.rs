//! The seam to storage: the history of every run, and the outbox, which is the same history read across runs.

use std::fmt::Debug;

use async_trait::async_trait;
use workflow_events::ErrorInfo;

use crate::payload::{EncodedEvent, Payload};
use crate::status::{IllegalTransition, Status};

/// Keeps runs, their histories, and the cursors of the sinks.
///
/// Every method is atomic: it happens as a whole or not at all, and what it did is kept, as durably as the store
/// says, when it returns. Object safe: hold it as `Arc<dyn Store>`.
///
/// # Cancel safety
///
/// A future that is dropped may have happened or not; no method leaves anything half done.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Creates a run with the first record of its history, unless its id is taken; then returns that run.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when the storage fails.
    async fn create(&self, run: NewRun, record: Record) -> Result<Created, StoreError>;

    /// Appends a record to a run's history and sets its status, and its result with a terminal one, in one write.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownRun`], [`StoreError::Behind`], [`StoreError::Transition`]: nothing was changed.
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;

    /// Returns a run; `None` if there is none with this id.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when the storage fails.
    async fn run(&self, id: &str) -> Result<Option<Run>, StoreError>;

    /// Returns a run's history in order; empty if there is no such run.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when the storage fails.
    async fn history(&self, id: &str) -> Result<Vec<Record>, StoreError>;

    /// Returns events of all runs that stand behind `after` in the outbox, in order, at most `limit`.
    ///
    /// The events of one run are in the order of their `seq`. Once an event has been returned, none will ever appear
    /// before it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when the storage fails.
    async fn outbox(&self, after: Position, limit: usize) -> Result<Vec<(Position, EncodedEvent)>, StoreError>;

    /// Returns the end of the outbox, and how many events stand before it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when the storage fails.
    async fn outbox_end(&self) -> Result<(Position, u64), StoreError>;

    /// Returns a sink's cursor; that of a sink never heard of stands at the start.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when the storage fails.
    async fn cursor(&self, sink: &str) -> Result<Cursor, StoreError>;

    /// Moves a sink's cursor forward; one that stands further already stays where it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`] when the storage fails.
    async fn set_cursor(&self, sink: &str, cursor: Cursor) -> Result<(), StoreError>;
}

/// A place in the outbox; the store gives it its meaning, and only the order counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// How far a sink has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Every event up to this place has a fate.
    pub position: Position,
    /// How many of them the sink took.
    pub delivered: u64,
    /// How many of them the sink refused for good.
    pub rejected: u64,
}

/// A run to be created.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The run's id.
    pub id: String,
    /// The name of the workflow's definition.
    pub workflow: String,
    /// The correlation id given at the start.
    pub execution_id: Option<String>,
    /// The input.
    pub input: Payload,
}

/// A run as it is kept.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it was created with.
    pub created: NewRun,
    /// Where it is in its life.
    pub status: Status,
    /// The `seq` of the last event in its history.
    pub last_seq: u64,
    /// How it ended, once it has.
    pub result: Option<RunResult>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum RunResult {
    /// With this output.
    Completed(Payload),
    /// With this error.
    Failed {
        /// What the event says of it.
        info: ErrorInfo,
        /// The workflow's own error; `None` if it ended otherwise, for instance by a panic.
        error: Option<Payload>,
    },
}

/// One entry of a run's history: the events that it is, and for the end of a step its result.
#[derive(Clone, Debug)]
pub struct Record {
    /// The `seq` of its first event.
    pub first_seq: u64,
    /// Its lifecycle events, with consecutive `seq`.
    pub events: Vec<EncodedEvent>,
    /// The result of a step, where the record ends one.
    pub step: Option<StepRecord>,
}

impl Record {
    /// Returns the `seq` of its last event.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.events.len() as u64 - 1
    }
}

/// The recorded result of a step.
#[derive(Clone, Debug)]
pub struct StepRecord {
    /// The step's name.
    pub name: String,
    /// How many steps of this name the run had called before, plus one.
    pub occurrence: u32,
    /// The attempt that decided, from 1.
    pub attempt: u32,
    /// What it returned: the value, or the step's own error (`None` if it ended otherwise, for instance by a panic).
    pub result: Result<Payload, Option<Payload>>,
}

/// One atomic write.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The run.
    pub run: String,
    /// What is appended to its history; it must follow on the last record.
    pub record: Record,
    /// The status from now on.
    pub status: Status,
    /// The result, with a terminal status.
    pub result: Option<RunResult>,
}

/// The answer to [`Store::create`].
#[derive(Clone, Debug)]
pub enum Created {
    /// The run was created.
    New,
    /// The id was taken, by this run; nothing was changed.
    Exists(Box<Run>),
}

/// A store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no run with this id.
    #[error("there is no run {run}")]
    UnknownRun {
        /// The id.
        run: String,
    },
    /// The record does not follow on the history: somebody else has advanced the run.
    #[error("the history of run {run} ends at {last_seq}, and a record starting with {first_seq} does not follow")]
    Behind {
        /// The run's id.
        run: String,
        /// Where its history ends.
        last_seq: u64,
        /// Where the record starts.
        first_seq: u64,
    },
    /// The run cannot have that status now.
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    /// The storage itself failed.
    #[error("the store failed: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}
