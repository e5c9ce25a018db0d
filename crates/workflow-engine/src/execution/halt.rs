//! Why the execution of a run stops before the run ends.

use crate::execution::determinism::DeterminismError;
use crate::store::StoreError;

/// Why an execution stops; the run stays as it is.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The store did not accept a record.
    Store(StoreError),
    /// Another worker has the run.
    Fenced,
    /// The engine was shut down.
    Stopped,
    /// The code of the workflow does not fit its history.
    Determinism(DeterminismError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced { .. } | StoreError::UnknownRun { .. } => Self::Fenced,
            other => Self::Store(other),
        }
    }
}
