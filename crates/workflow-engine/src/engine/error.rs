//! One error per operation of the engine.

use workflow_events::EncodeError;

use crate::execution::determinism::DeterminismError;
use crate::limits::NameError;
use crate::store::{Status, StoreError};

/// Error of [`EngineBuilder::build`](crate::EngineBuilder::build).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No store was given.
    #[error("an engine needs a store")]
    NoStore,
    /// No clock was given; there is no default without the feature `http`.
    #[error("an engine needs a clock: enable the feature http, or give it one")]
    NoClock,
    /// The name of a workflow or of a sink is not accepted.
    #[error("the name of the {what} {name:?} is not accepted: {source}")]
    Name {
        /// The owner of the name: a workflow, or a sink.
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
    /// Two sinks have the same name, and so would share one cursor.
    #[error("the sink {name} is added twice")]
    DuplicateSink {
        /// The name.
        name: String,
    },
}

/// Error of a run that was not executed to its end. A workflow that fails is an
/// [`Outcome`](crate::Outcome) instead.
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
        /// The depth of its JSON form.
        levels: usize,
        /// The limit.
        limit: usize,
    },
    /// The input has a JSON form that cannot be read back as the input of the registered workflow;
    /// nothing was recorded.
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
    /// There is no run with this id. A run may have been purged.
    #[error("there is no run {id}")]
    UnknownRun {
        /// The id.
        id: String,
    },
    /// The code of the workflow does not fit the history of the run. The run stays as it is, and
    /// continues with code that fits.
    #[error("the run {id} is left as it is: {error}")]
    Determinism {
        /// The id.
        id: String,
        /// What is wrong.
        #[source]
        error: DeterminismError,
    },
    /// The recorded end of the run is not of the workflow's types.
    #[error("the recorded result of run {id} is of another type: {source}")]
    Decode {
        /// The id.
        id: String,
        /// The message of the decoder.
        source: serde_json::Error,
    },
    /// The engine is shut down. A run that had begun stays as it is.
    #[error("the engine is shut down")]
    Closed,
    /// The store failed. A run that had begun stays as it is.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Error of [`Engine::forget_sink`](crate::Engine::forget_sink).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetSinkError {
    /// The sink is registered in this engine, which would open a new cursor for it.
    #[error("the sink {sink} is registered in this engine: build one without it first")]
    Registered {
        /// The sink.
        sink: String,
    },
    /// The store failed; the sink may have been forgotten or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Error of [`Engine::cancel`](crate::Engine::cancel); nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// The run's id is not accepted.
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
    /// The run has already ended.
    #[error("the run {id} has already ended as {status}")]
    Ended {
        /// The id.
        id: String,
        /// How it ended.
        status: Status,
    },
    /// The store failed; the cancel may have been recorded or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}
