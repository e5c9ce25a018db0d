//! What a run is started with, and how it ended.

use serde::de::DeserializeOwned;
use workflow_events::{ErrorInfo, PauseReason, Timestamp};

use crate::execution::ending::{Ending, RecordedFailure, RunResult, is_engine_failure};

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
    /// Options for the run with this id. The id names the run for good: use what identifies the
    /// work, such as the number of an order.
    ///
    /// An id has 1 to 512 bytes and no control characters; the call that uses it checks that.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            execution_id: None,
        }
    }

    /// Sets the `executionId` of every event of the run. The default is none. It has 1 to 512 bytes
    /// and no control characters.
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

/// Outcome of an execution of a run.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a run may have failed"]
#[non_exhaustive]
pub enum Outcome<Output, Error> {
    /// The workflow returned this output.
    Completed(Output),
    /// The run failed.
    Failed(WorkflowError<Error>),
    /// The run was cancelled.
    Cancelled {
        /// The reason that the canceller gave.
        reason: Option<String>,
    },
    /// The run is suspended. A [worker](crate::Engine::work) continues it at `resume_at`.
    Suspended {
        /// What the run waits for.
        reason: PauseReason,
        /// When the run continues.
        resume_at: Timestamp,
    },
}

impl<Output, Error> Outcome<Output, Error> {
    /// Returns the output, or why there is none.
    ///
    /// # Errors
    ///
    /// [`NotCompletedError`] when the run failed, was cancelled, or is suspended.
    pub fn completed(self) -> Result<Output, NotCompletedError<Error>> {
        match self {
            Self::Completed(output) => Ok(output),
            Self::Failed(failure) => Err(NotCompletedError::Failed(failure)),
            Self::Cancelled { reason } => Err(NotCompletedError::Cancelled { reason }),
            Self::Suspended { resume_at, .. } => Err(NotCompletedError::Suspended { resume_at }),
        }
    }
}

/// Why a run has no output.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCompletedError<Error> {
    /// The run failed.
    #[error(transparent)]
    Failed(WorkflowError<Error>),
    /// The run was cancelled.
    #[error("the run was cancelled{}", .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Cancelled {
        /// The reason that the canceller gave.
        reason: Option<String>,
    },
    /// The run is suspended.
    #[error("the run is suspended until {resume_at}")]
    Suspended {
        /// When the run continues.
        resume_at: Timestamp,
    },
}

/// How a run failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the workflow failed: {}", .info.message)]
pub struct WorkflowError<Error> {
    /// The error as the event `workflow.failed` carries it; long text is cut, with a mark.
    pub info: Box<ErrorInfo>,
    /// The error that the workflow returned.
    ///
    /// `None` if the run failed in another way, for instance by a panic, or if the error could not
    /// be recorded as its own type because it is too large, too deep, or has a JSON form that
    /// cannot be read back. [`info`](Self::info) has its text.
    pub error: Option<Error>,
}

/// Reads the outcome of a run from how its execution ended.
pub(crate) fn decode<Output: DeserializeOwned, Error: DeserializeOwned>(
    ending: Ending,
) -> Result<Outcome<Output, Error>, serde_json::Error> {
    Ok(match ending {
        Ending::Returned(RunResult::Completed(output)) => Outcome::Completed(output.decode()?),
        Ending::Returned(RunResult::Failed(RecordedFailure { info, error })) => {
            let error = match error {
                // An earlier version wrote null where the workflow had no error of its own.
                Some(null)
                    if null.is_null() && info.kind.as_deref().is_some_and(is_engine_failure) =>
                {
                    None
                }
                Some(null) if null.is_null() => null.decode().ok(),
                Some(error) => Some(error.decode()?),
                None => None,
            };
            Outcome::Failed(WorkflowError {
                info: Box::new(info),
                error,
            })
        }
        Ending::Cancelled { reason } => Outcome::Cancelled { reason },
        Ending::Suspended {
            reason, resume_at, ..
        } => Outcome::Suspended { reason, resume_at },
    })
}
