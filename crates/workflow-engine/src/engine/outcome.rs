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
            Outcome::Failed(RunFailure {
                info: Box::new(info),
                error,
            })
        }
        Ending::Cancelled { reason } => Outcome::Cancelled { reason },
        Ending::Paused {
            reason, resume_at, ..
        } => Outcome::Paused { reason, resume_at },
    })
}
