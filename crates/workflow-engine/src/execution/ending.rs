//! How an execution of a run ends, and the record that says so.

use serde::{Deserialize, Deserializer, Serialize};
use workflow_events::{CompletedSteps, EncodeError, ErrorInfo, EventKind, PauseReason, Timestamp};

use crate::execution::outgoing::Outgoing;
use crate::payload::Payload;
use crate::store::{EntryKind, Record, Status, StoreError};

/// Result of a workflow's function, in its recorded form.
#[derive(Clone, Debug)]
pub(crate) enum RunResult {
    Completed(Payload),
    Failed(RecordedFailure),
}

/// A failure in its recorded form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RecordedFailure {
    pub(crate) info: ErrorInfo,
    /// The workflow's own error. It is absent if the run failed in another way, or if the error
    /// could not be recorded. Earlier versions wrote `null` then, which is also the form of an
    /// error without fields.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) error: Option<Payload>,
}

/// Reads a field that is present, so that null is a value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(deserializer).map(Some)
}

/// How an execution of a run ended.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Returned(RunResult),
    Cancelled {
        reason: Option<String>,
    },
    Suspended {
        reason: PauseReason,
        resume_at: Timestamp,
        step: Option<String>,
    },
}

impl Ending {
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

    /// Returns the record that ends an execution, and the status and due time of the run with it.
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
            Self::Suspended {
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
                    Outgoing::of_run(now, event, EntryKind::Suspended, payload),
                    Status::Suspended,
                    Some(*resume_at),
                )
            }
        })
    }
}

/// Makes a failure of the engine's own, which is not an error that the workflow returned.
pub(crate) fn engine_failure(kind: &str, message: String) -> RunResult {
    let info = ErrorInfo {
        kind: Some(kind.into()),
        ..ErrorInfo::new(message)
    };
    RunResult::Failed(RecordedFailure {
        info: info.bounded(),
        error: None,
    })
}

/// Returns whether a recorded failure of this kind was made by [`engine_failure`].
pub(crate) fn is_engine_failure(kind: &str) -> bool {
    matches!(
        kind,
        "panic" | "poison" | "input" | "tooLarge" | "tooDeep" | "unencodable"
    )
}
