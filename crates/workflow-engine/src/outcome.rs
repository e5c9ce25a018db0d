//! What a run is started with, and how it ended.

use serde::de::DeserializeOwned;
use workflow_events::ErrorInfo;

use crate::store::RunResult;

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

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a run may have failed"]
#[non_exhaustive]
pub enum Outcome<Output, Error> {
    /// It returned this output.
    Completed(Output),
    /// It failed.
    Failed(RunFailure<Error>),
}

impl<Output, Error> Outcome<Output, Error> {
    /// Returns the output, or how the run failed.
    ///
    /// # Errors
    ///
    /// [`RunFailure`] when the run failed.
    pub fn completed(self) -> Result<Output, RunFailure<Error>> {
        match self {
            Self::Completed(output) => Ok(output),
            Self::Failed(failure) => Err(failure),
        }
    }
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

impl<Output: DeserializeOwned, Error: DeserializeOwned> TryFrom<RunResult> for Outcome<Output, Error> {
    type Error = serde_json::Error;

    fn try_from(result: RunResult) -> Result<Self, serde_json::Error> {
        Ok(match result {
            RunResult::Completed(output) => Self::Completed(output.decode()?),
            RunResult::Failed { info, error } => {
                let error = error.map(|error| error.decode()).transpose()?;
                Self::Failed(RunFailure { info: Box::new(info), error })
            }
        })
    }
}
