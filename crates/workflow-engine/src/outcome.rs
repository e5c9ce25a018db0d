//! What a run is started with, and how it ended.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use workflow_events::{ErrorInfo, EventKind, PauseReason, Timestamp};

use crate::history::Outgoing;
use crate::payload::Payload;
use crate::status::Status;
use crate::store::{EntryKind, Record, StoreError};

/// A run's id, and an optional correlation id.
///
/// # Examples
///
/// ```
/// use workflow_engine::RunOptions;
///
/// let options = RunOptions::new("order-17").execution_id("request-4711");
/// assert_eq!(RunOptions::from("order-17"), RunOptions::new("order-17"));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    pub(crate) id: String,
    pub(crate) execution_id: Option<String>,
}

impl RunOptions {
    /// Options for the run with this id. It names the run for good: use what identifies the work, an order's number.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), execution_id: None }
    }

    /// Sets the `executionId` that stands on every event of the run; absent unless set.
    #[must_use]
    pub fn execution_id(mut self, id: impl Into<String>) -> Self {
        self.execution_id = Some(id.into());
        self
    }
}

impl From<&str> for RunOptions {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for RunOptions {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

/// What an execution of a run came to.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a run may have failed"]
#[non_exhaustive]
pub enum Outcome<Output, Error> {
    /// It returned this output.
    Completed(Output),
    /// It failed.
    Failed(RunFailure<Error>),
    /// It was cancelled.
    Cancelled {
        /// The words of whoever cancelled it.
        reason: Option<String>,
    },
    /// It is suspended, and goes on at `resume_at` where an engine [works](crate::Engine::work).
    Paused {
        /// What it waits for.
        reason: PauseReason,
        /// When it goes on.
        resume_at: Timestamp,
    },
}

impl<Output, Error> Outcome<Output, Error> {
    /// Returns the output, or why there is none.
    ///
    /// # Errors
    ///
    /// [`NotCompleted`] when the run failed, was cancelled, or is suspended.
    pub fn completed(self) -> Result<Output, NotCompleted<Error>> {
        match self {
            Self::Completed(output) => Ok(output),
            Self::Failed(failure) => Err(NotCompleted::Failed(failure)),
            Self::Cancelled { reason } => Err(NotCompleted::Cancelled { reason }),
            Self::Paused { resume_at, .. } => Err(NotCompleted::Paused { resume_at }),
        }
    }
}

/// Why a run has no output.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCompleted<Error> {
    /// It failed.
    #[error(transparent)]
    Failed(RunFailure<Error>),
    /// It was cancelled.
    #[error("the run was cancelled{}", .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Cancelled {
        /// The words of whoever cancelled it.
        reason: Option<String>,
    },
    /// It is suspended.
    #[error("the run is suspended until {resume_at}")]
    Paused {
        /// When it goes on.
        resume_at: Timestamp,
    },
}

/// How a run failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the workflow failed: {}", .info.message)]
pub struct RunFailure<Error> {
    /// What the event `workflow.failed` says.
    pub info: Box<ErrorInfo>,
    /// The workflow's own error; `None` if it ended otherwise, for instance by a panic.
    pub error: Option<Error>,
}

/// What a workflow's function came to, in its recorded form.
#[derive(Clone, Debug)]
pub(crate) enum RunResult {
    Completed(Payload),
    Failed(RecordedFailure),
}

/// A failure as it is recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RecordedFailure {
    pub(crate) info: ErrorInfo,
    pub(crate) error: Option<Payload>,
}

/// What an execution came to.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Returned(RunResult),
    Cancelled { reason: Option<String> },
    Paused { reason: PauseReason, resume_at: Timestamp, step: Option<String> },
}

impl End {
    /// Reads how a run ended from the last record of its history; `None` if it has not ended.
    pub(crate) fn read(last: &Record) -> Option<Result<Self, serde_json::Error>> {
        let entry = last.entry.as_ref()?;
        let payload = entry.payload.clone().unwrap_or_default();
        Some(match entry.kind {
            EntryKind::Completed => Ok(Self::Returned(RunResult::Completed(payload))),
            EntryKind::Failed => payload.decode().map(|failure| Self::Returned(RunResult::Failed(failure))),
            EntryKind::Cancelled => payload.decode().map(|reason| Self::Cancelled { reason }),
            _ => return None,
        })
    }

    /// Returns the record that ends an execution, and what the run is with it.
    pub(crate) fn record(
        &self,
        now: Timestamp,
        completed_steps: Vec<String>,
        duration_ms: u64,
    ) -> Result<(Outgoing, Status, Option<Timestamp>), StoreError> {
        let encoded = |payload: Result<Payload, serde_json::Error>| {
            payload.map(Some).map_err(|error| StoreError::Backend(error.into()))
        };
        Ok(match self {
            Self::Returned(RunResult::Completed(output)) => {
                let event = EventKind::WorkflowCompleted { completed_steps, duration_ms, output: output.decode().ok() };
                (Outgoing::of_run(now, event, EntryKind::Completed, Some(output.clone())), Status::Completed, None)
            }
            Self::Returned(RunResult::Failed(failure)) => {
                let event = EventKind::WorkflowFailed { error: failure.info.clone(), completed_steps };
                let payload = encoded(Payload::encode(failure))?;
                (Outgoing::of_run(now, event, EntryKind::Failed, payload), Status::Failed, None)
            }
            Self::Cancelled { reason } => {
                let event = EventKind::WorkflowCancelled { reason: reason.clone(), completed_steps };
                let payload = encoded(Payload::encode(reason))?;
                (Outgoing::of_run(now, event, EntryKind::Cancelled, payload), Status::Cancelled, None)
            }
            Self::Paused { reason, resume_at, step } => {
                let event = EventKind::WorkflowPaused {
                    reason: reason.clone(),
                    resume_at: Some(*resume_at),
                    step_name: step.clone(),
                };
                let payload = encoded(Payload::encode(reason))?;
                (Outgoing::of_run(now, event, EntryKind::Paused, payload), Status::Paused, Some(*resume_at))
            }
        })
    }

    pub(crate) fn decode<Output: DeserializeOwned, Error: DeserializeOwned>(
        self,
    ) -> Result<Outcome<Output, Error>, serde_json::Error> {
        Ok(match self {
            Self::Returned(RunResult::Completed(output)) => Outcome::Completed(output.decode()?),
            Self::Returned(RunResult::Failed(RecordedFailure { info, error })) => {
                let error = error.map(|error| error.decode()).transpose()?;
                Outcome::Failed(RunFailure { info: Box::new(info), error })
            }
            Self::Cancelled { reason } => Outcome::Cancelled { reason },
            Self::Paused { reason, resume_at, .. } => Outcome::Paused { reason, resume_at },
        })
    }
}
