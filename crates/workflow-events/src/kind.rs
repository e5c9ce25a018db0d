//! All types of events, and their fields.

use crate::completed_steps::CompletedSteps;
use crate::error_info::ErrorInfo;
use crate::payload::Payload;
use crate::reason::{PauseReason, ResumeReason};
use crate::timestamp::Timestamp;

/// The `type` of an event, and the fields of that type.
///
/// Durations are whole milliseconds, and attempts count from 1. The names on the wire are those of
/// the fields, in camelCase.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// `workflow.queued`: the run was created and has not begun.
    WorkflowQueued {
        /// The input of the run.
        input: Payload,
    },
    /// `workflow.started`: the first execution begins.
    WorkflowStarted {
        /// The input of the run.
        input: Payload,
    },
    /// `workflow.paused`: the run is suspended, because it has nothing to execute now.
    WorkflowPaused {
        /// The reason for the wait.
        reason: PauseReason,
        /// The time at which the run resumes by itself; absent if only a signal can wake the run.
        resume_at: Option<Timestamp>,
        /// The step that waits, if a step waits.
        step_name: Option<String>,
    },
    /// `workflow.resumed`: a run resumes that was suspended, or whose process died.
    WorkflowResumed {
        /// The reason for the resumption.
        reason: ResumeReason,
    },
    /// `workflow.completed`: the run returned.
    WorkflowCompleted {
        /// The completed steps: the last ones, in order of completion, and their count.
        completed_steps: CompletedSteps,
        /// The time from start to end, including suspensions.
        duration_ms: u64,
        /// The output of the run. A `null` on the wire is `Some`; `None` means that the field is
        /// absent.
        output: Option<Payload>,
    },
    /// `workflow.failed`: the run ended with an error.
    WorkflowFailed {
        /// The error that ended the run.
        error: ErrorInfo,
        /// The completed steps: the last ones, in order of completion, and their count.
        completed_steps: CompletedSteps,
    },
    /// `workflow.cancelled`: the run was cancelled from outside.
    WorkflowCancelled {
        /// The caller's reason, if one was given.
        reason: Option<String>,
        /// The completed steps: the last ones, in order of completion, and their count.
        completed_steps: CompletedSteps,
    },
    /// `step.started`: the execution of an attempt begins. Replay emits no event.
    StepStarted {
        /// The step.
        step_name: String,
        /// The attempt that begins.
        attempt: u32,
    },
    /// `step.completed`: the result of a step is recorded.
    StepCompleted {
        /// The step.
        step_name: String,
        /// The attempt that succeeded.
        attempt: u32,
        /// The duration of this attempt.
        duration_ms: u64,
        /// Whether the result came from elsewhere than this execution; the engine writes false.
        cached: bool,
    },
    /// `step.failed`: an attempt failed, the last one or an earlier one.
    StepFailed {
        /// The step.
        step_name: String,
        /// The attempt that failed.
        attempt: u32,
        /// The error of the attempt.
        error: ErrorInfo,
        /// Whether another attempt follows.
        will_retry: bool,
    },
    /// `retry.scheduled`: the time of a step's next attempt is decided.
    RetryScheduled {
        /// The step.
        step_name: String,
        /// The attempt that failed.
        attempt: u32,
        /// The time at which the next attempt is due.
        next_attempt_at: Timestamp,
        /// The wait before it.
        delay_ms: u64,
    },
    /// `retry.exhausted`: a step with a retry policy failed for the last time.
    RetryExhausted {
        /// The step.
        step_name: String,
        /// The number of attempts.
        attempts: u32,
    },
    /// `sleep.started`: a sleep begins; written once per sleep.
    SleepStarted {
        /// The planned duration of the sleep.
        duration_ms: u64,
        /// The time at which the sleep ends.
        resume_at: Timestamp,
    },
    /// `sleep.completed`: a sleep has ended.
    SleepCompleted {
        /// The actual duration of the sleep.
        duration_ms: u64,
    },
    /// `timeout.set`: an attempt has a deadline.
    TimeoutSet {
        /// The step.
        step_name: String,
        /// The time at which the attempt is aborted.
        deadline: Timestamp,
        /// The longest duration of the attempt.
        timeout_ms: u64,
        /// The attempt.
        attempt: u32,
    },
    /// `timeout.exceeded`: an attempt was aborted by its timeout; its `step.failed` follows.
    TimeoutExceeded {
        /// The step.
        step_name: String,
        /// The longest duration that the attempt was allowed.
        timeout_ms: u64,
        /// The attempt.
        attempt: u32,
    },
    /// A type that this version does not know. The fields are in
    /// [`Event::extra`](crate::Event::extra).
    ///
    /// Reading never stores the name of a known type here. Do not write one either, because its
    /// fields would be missing.
    Unknown {
        /// The `type` as it was read.
        type_name: String,
    },
}

impl EventKind {
    /// Returns whether this event ends the run: completed, failed or cancelled.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::WorkflowCompleted { .. }
                | Self::WorkflowFailed { .. }
                | Self::WorkflowCancelled { .. }
        )
    }
}
