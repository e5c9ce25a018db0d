//! Every type of event and its fields.

use crate::completed_steps::CompletedSteps;
use crate::error_info::ErrorInfo;
use crate::payload::Payload;
use crate::reason::{PauseReason, ResumeReason};
use crate::timestamp::Timestamp;

/// What happened: the `type` of an event and the fields of that type.
///
/// Durations are whole milliseconds, attempts count from 1. The wire names are those of the
/// fields in camelCase.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// `workflow.queued`: the run was created and has not begun.
    WorkflowQueued {
        /// What the run was started with.
        input: Payload,
    },
    /// `workflow.started`: the first execution begins.
    WorkflowStarted {
        /// What the run was started with.
        input: Payload,
    },
    /// `workflow.paused`: the run is suspended, nothing is left to execute now.
    WorkflowPaused {
        /// What it waits for.
        reason: PauseReason,
        /// When it goes on by itself; absent when only a signal wakes it.
        resume_at: Option<Timestamp>,
        /// The step that waits, if it is one.
        step_name: Option<String>,
    },
    /// `workflow.resumed`: a suspended run, or one whose process died, goes on.
    WorkflowResumed {
        /// What woke it.
        reason: ResumeReason,
    },
    /// `workflow.completed`: the run returned.
    WorkflowCompleted {
        /// The completed steps: the last ones, in order of completion, and their count.
        completed_steps: CompletedSteps,
        /// From start to end, pauses included.
        duration_ms: u64,
        /// What it returned. A `null` that it returned is `Some`, `None` is nothing returned.
        output: Option<Payload>,
    },
    /// `workflow.failed`: the run ended with an error.
    WorkflowFailed {
        /// The error that ended it.
        error: ErrorInfo,
        /// The steps that were completed before: the last ones, in order of completion, and their
        /// count.
        completed_steps: CompletedSteps,
    },
    /// `workflow.cancelled`: the run was ended from outside.
    WorkflowCancelled {
        /// The caller's words, if any.
        reason: Option<String>,
        /// The steps that were completed before: the last ones, in order of completion, and their
        /// count.
        completed_steps: CompletedSteps,
    },
    /// `step.started`: a real execution of an attempt begins. Replay emits nothing.
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
        /// How long this attempt took.
        duration_ms: u64,
        /// Whether the result came from elsewhere than this execution; an engine writes false.
        cached: bool,
    },
    /// `step.failed`: an attempt failed, be it the last or not.
    StepFailed {
        /// The step.
        step_name: String,
        /// The attempt that failed.
        attempt: u32,
        /// Why.
        error: ErrorInfo,
        /// Whether another attempt follows.
        will_retry: bool,
    },
    /// `retry.scheduled`: the next attempt of a step has its time.
    RetryScheduled {
        /// The step.
        step_name: String,
        /// The attempt that failed.
        attempt: u32,
        /// When the next attempt is due.
        next_attempt_at: Timestamp,
        /// The wait before it.
        delay_ms: u64,
    },
    /// `retry.exhausted`: a step with a retry policy failed for the last time.
    RetryExhausted {
        /// The step.
        step_name: String,
        /// How many attempts it had.
        attempts: u32,
    },
    /// `sleep.started`: once per sleep.
    SleepStarted {
        /// How long it is meant to last.
        duration_ms: u64,
        /// When it is over.
        resume_at: Timestamp,
    },
    /// `sleep.completed`: a sleep is over.
    SleepCompleted {
        /// How long it really lasted.
        duration_ms: u64,
    },
    /// `timeout.set`: an attempt has a deadline.
    TimeoutSet {
        /// The step.
        step_name: String,
        /// When the attempt is cut.
        deadline: Timestamp,
        /// How long it may take.
        timeout_ms: u64,
        /// The attempt.
        attempt: u32,
    },
    /// `timeout.exceeded`: an attempt was cut by its timeout; its `step.failed` follows.
    TimeoutExceeded {
        /// The step.
        step_name: String,
        /// How long the attempt was allowed to take.
        timeout_ms: u64,
        /// The attempt.
        attempt: u32,
    },
    /// A type this version does not know. Its fields are in [`Event::extra`](crate::Event::extra).
    ///
    /// Reading never puts the name of a known type here; do not write one either, for its fields
    /// would be missing.
    Unknown {
        /// The `type` as read.
        type_name: String,
    },
}

impl EventKind {
    /// Whether the run ends with this event: completed, failed or cancelled.
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
