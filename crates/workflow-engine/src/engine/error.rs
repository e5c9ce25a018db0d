//! One error per operation of the engine.

use workflow_events::EncodeError;

use crate::execution::determinism::DeterminismError;
use crate::limits::NameError;
use crate::store::{Status, StoreError};

/// An engine that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No store was given.
    #[error("an engine needs a store")]
    NoStore,
    /// No clock was given, and without the feature `http` there is no default.
    #[error("an engine needs a clock: enable the feature http, or give it one")]
    NoClock,
    /// The name of a workflow or of a sink is not accepted.
    #[error("the name of the {what} {name:?} is not accepted: {source}")]
    Name {
        /// What has the name: a workflow, or a sink.
        what: &'static str,
        /// The name, cut, and without its control characters.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// Two workflows have the same name.
    #[error("the workflow {name} is registered twice")]
    DuplicateWorkflow {
        /// The name.
        name: String,
    },
    /// Two sinks have the same name, and so the same cursor.
    #[error("the sink {name} is added twice")]
    DuplicateSink {
        /// The name.
        name: String,
    },
}

/// A run was not executed to its end. A workflow that fails is no such error: that is an
/// [`Outcome`](crate::Outcome).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// No workflow with this name is registered; nothing was recorded.
    #[error("no workflow named {name} is registered")]
    UnknownWorkflow {
        /// The name.
        name: String,
    },
    /// The run's id or the execution id is not accepted; nothing was recorded.
    #[error("the {what} is not accepted: {source}")]
    Id {
        /// Which of the two: the run id, or the execution id.
        what: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
    /// The input has no JSON form, or has a number that is not finite; nothing was recorded.
    #[error("the input cannot be encoded: {0}")]
    Input(#[source] EncodeError),
    /// The input is larger than the engine's limit; nothing was recorded.
    #[error("the input has {bytes} bytes, and the limit is {limit}")]
    InputTooLarge {
        /// The size of its JSON form.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The input is nested deeper than [`VALUE_DEPTH`](crate::limits::VALUE_DEPTH); nothing was
    /// recorded.
    #[error("the input is nested {levels} levels deep, and the limit is {limit}")]
    InputTooDeep {
        /// How deep its JSON form is.
        levels: usize,
        /// The limit.
        limit: usize,
    },
    /// The input's JSON form cannot be read back as the input of the registered workflow; nothing
    /// was recorded.
    #[error("the input's JSON form cannot be read back: {0}")]
    InputUnreadable(#[source] serde_json::Error),
    /// The id is taken by a run of another workflow or with another input; nothing was changed.
    #[error("the run {id} exists with another {what}")]
    Conflict {
        /// The id.
        id: String,
        /// What differs: the workflow, or the input.
        what: &'static str,
    },
    /// There is no run with this id; it may have been purged.
    #[error("there is no run {id}")]
    UnknownRun {
        /// The id.
        id: String,
    },
    /// The code of the workflow cannot be followed. The run is left as it is, and goes on with code
    /// that fits.
    #[error("the run {id} is left as it is: {error}")]
    Determinism {
        /// The id.
        id: String,
        /// What is wrong.
        #[source]
        error: DeterminismError,
    },
    /// What is recorded of the run's end is not of the types given.
    #[error("the recorded result of run {id} is of another type: {source}")]
    Decode {
        /// The id.
        id: String,
        /// What the decoder said.
        source: serde_json::Error,
    },
    /// The engine is shut down. If the run had begun it is left as it is.
    #[error("the engine is shut down")]
    Closed,
    /// The store failed. If the run had begun it is left as it is.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A sink that cannot be forgotten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetSinkError {
    /// The sink is registered in this engine, which would open its cursor again, at the start.
    #[error("the sink {sink} is registered in this engine: build one without it first")]
    Registered {
        /// The sink.
        sink: String,
    },
    /// The store failed; the sink is forgotten or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A run that cannot be cancelled; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// The run's id is not one that a run can have.
    #[error("the run id is not accepted: {0}")]
    Id(#[source] NameError),
    /// The reason is too long.
    #[error("the reason has {bytes} bytes, and the limit is {limit}")]
    Reason {
        /// Its length in bytes of UTF-8.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// There is no run with this id.
    #[error("there is no run {id}")]
    UnknownRun {
        /// The id.
        id: String,
    },
    /// The run has ended before.
    #[error("the run {id} has already ended as {status}")]
    Ended {
        /// The id.
        id: String,
        /// How it ended.
        status: Status,
    },
    /// The store failed; the cancel may stand or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}
