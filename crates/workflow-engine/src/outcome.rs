//! What a run is started with, and how it ended.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use workflow_events::{CompletedSteps, EncodeError, ErrorInfo, EventKind, PauseReason, Timestamp};

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
    /// Options for the run with this id. It names the run for good: use what identifies the work,
    /// an order's number.
    ///
    /// It has 1 to 512 bytes and no control characters, which is checked when it is used.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            execution_id: None,
        }
    }

    /// Sets the `executionId` that stands on every event of the run; absent unless set. It has 1 to
    /// 512 bytes and no control characters.
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
    /// What the event `workflow.failed` says; what is too long is cut, with a mark.
    pub info: Box<ErrorInfo>,
    /// The workflow's own error; `None` if it ended otherwise, for instance by a panic, or if the
    /// error could not be recorded as its own type: it was too large, too deep, or its JSON form
    /// cannot be read back. [`info`](Self::info) has its words.
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
    /// Absent if the run did not end by an error of its own type, or that could not be recorded.
    /// Earlier versions wrote that as `null`, which is also how an error without fields looks.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) error: Option<Payload>,
}

/// Reads a field that is there, so that a null is a value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(deserializer).map(Some)
}

/// What an execution came to.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Returned(RunResult),
    Cancelled {
        reason: Option<String>,
    },
    Paused {
        reason: PauseReason,
        resume_at: Timestamp,
        step: Option<String>,
    },
}

impl End {
    /// Reads how a run ended from the last record of its history; `None` if it has not ended.
    pub(crate) fn read(last: &Record) -> Option<Result<Self, serde_json::Error>> {
        let entry = last.entry.as_ref()?;
        let payload = entry.payload.clone().unwrap_or_default();
        Some(match entry.kind {
            EntryKind::Completed => Ok(Self::Returned(RunResult::Completed(payload))),
            EntryKind::Failed => payload
                .decode()
                .map(|failure| Self::Returned(RunResult::Failed(failure))),
            EntryKind::Cancelled => payload.decode().map(|reason| Self::Cancelled { reason }),
            _ => return None,
        })
    }

    /// Returns the record that ends an execution, and what the run is with it.
    pub(crate) fn record(
        &self,
        now: Timestamp,
        completed_steps: CompletedSteps,
        duration_ms: u64,
    ) -> Result<(Outgoing, Status, Option<Timestamp>), StoreError> {
        let encoded = |payload: Result<Payload, EncodeError>| {
            payload
                .map(Some)
                .map_err(|error| StoreError::Backend(error.into()))
        };
        Ok(match self {
            Self::Returned(RunResult::Completed(output)) => {
                let (output, recorded) = (Some(output.clone()), Some(output.clone()));
                let event = EventKind::WorkflowCompleted {
                    completed_steps,
                    duration_ms,
                    output,
                };
                (
                    Outgoing::of_run(now, event, EntryKind::Completed, recorded),
                    Status::Completed,
                    None,
                )
            }
            Self::Returned(RunResult::Failed(failure)) => {
                let event = EventKind::WorkflowFailed {
                    error: failure.info.clone(),
                    completed_steps,
                };
                let payload = encoded(Payload::encode(failure))?;
                (
                    Outgoing::of_run(now, event, EntryKind::Failed, payload),
                    Status::Failed,
                    None,
                )
            }
            Self::Cancelled { reason } => {
                let event = EventKind::WorkflowCancelled {
                    reason: reason.clone(),
                    completed_steps,
                };
                let payload = encoded(Payload::encode(reason))?;
                (
                    Outgoing::of_run(now, event, EntryKind::Cancelled, payload),
                    Status::Cancelled,
                    None,
                )
            }
            Self::Paused {
                reason,
                resume_at,
                step,
            } => {
                let event = EventKind::WorkflowPaused {
                    reason: reason.clone(),
                    resume_at: Some(*resume_at),
                    step_name: step.clone(),
                };
                let payload = encoded(Payload::encode(reason))?;
                (
                    Outgoing::of_run(now, event, EntryKind::Paused, payload),
                    Status::Paused,
                    Some(*resume_at),
                )
            }
        })
    }

    pub(crate) fn decode<Output: DeserializeOwned, Error: DeserializeOwned>(
        self,
    ) -> Result<Outcome<Output, Error>, serde_json::Error> {
        Ok(match self {
            Self::Returned(RunResult::Completed(output)) => Outcome::Completed(output.decode()?),
            Self::Returned(RunResult::Failed(RecordedFailure { info, error })) => {
                let error = match error {
                    // An earlier version wrote null where the workflow had no error of its own.
                    Some(null)
                        if null.is_null() && info.kind.as_deref().is_some_and(is_the_engines) =>
                    {
                        None
                    }
                    Some(null) if null.is_null() => null.decode().ok(),
                    Some(error) => Some(error.decode()?),
                    None => None,
                };
                Outcome::Failed(RunFailure {
                    info: Box::new(info),
                    error,
                })
            }
            Self::Cancelled { reason } => Outcome::Cancelled { reason },
            Self::Paused {
                reason, resume_at, ..
            } => Outcome::Paused { reason, resume_at },
        })
    }
}

/// Whether a failure of this kind is the engine's own, and not an error that the workflow returned.
fn is_the_engines(kind: &str) -> bool {
    matches!(
        kind,
        "panic" | "poison" | "input" | "tooLarge" | "tooDeep" | "unencodable"
    )
}
