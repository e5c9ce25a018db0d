//! Steps, attempts, retries and sleeps, from their events.

use std::time::Duration;

use crate::error_info::ErrorInfo;
use crate::timestamp::Timestamp;

/// One step of a run, with its attempts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepView {
    /// The name, which identifies the step within the run.
    pub name: String,
    /// Every start of an attempt, in order. An attempt that a crash interrupted and that was
    /// started again is here twice, with the same number.
    pub attempts: Vec<AttemptView>,
    /// The retry that the step waits for.
    pub next_retry: Option<RetryView>,
    /// Whether the retry policy allows no more attempts.
    pub retries_exhausted: bool,
}

/// One start of one attempt of a step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AttemptView {
    /// The number of the attempt, counted from 1.
    pub number: u32,
    /// The time of the start; absent while the `step.started` has not arrived.
    pub started_at: Option<Timestamp>,
    /// The time at which the attempt completed or failed.
    pub finished_at: Option<Timestamp>,
    /// The time at which the attempt is aborted, if it has a timeout.
    pub deadline: Option<Timestamp>,
    /// The longest duration of the attempt, if it has a timeout.
    pub timeout: Option<Duration>,
    /// Whether the timeout aborted the attempt.
    pub timed_out: bool,
    /// The outcome of the attempt.
    pub outcome: AttemptOutcome,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The attempt has no outcome yet.
    Running,
    /// The result of the attempt is recorded.
    Completed {
        /// The duration of the attempt, measured by the engine.
        duration: Duration,
        /// Whether the result came from elsewhere than this execution.
        cached: bool,
    },
    /// The attempt failed.
    Failed {
        /// The error of the attempt.
        error: ErrorInfo,
        /// Whether another attempt follows.
        will_retry: bool,
    },
    /// The run continued or ended without an outcome of this attempt: its process died, or the
    /// event has not arrived.
    Interrupted,
}

/// A retry that a step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryView {
    /// The step that waits.
    pub step_name: String,
    /// The attempt that failed.
    pub failed_attempt: u32,
    /// The time at which the next attempt is due.
    pub at: Timestamp,
    /// The wait before it.
    pub delay: Duration,
}

/// One sleep of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SleepView {
    /// The time of the start; absent while the `sleep.started` has not arrived.
    pub started_at: Option<Timestamp>,
    /// The planned duration.
    pub planned: Option<Duration>,
    /// The time at which the sleep ends.
    pub resume_at: Option<Timestamp>,
    /// The time at which the run continued.
    pub completed_at: Option<Timestamp>,
    /// The actual duration.
    pub actual: Option<Duration>,
}

impl StepView {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            attempts: Vec::new(),
            next_retry: None,
            retries_exhausted: false,
        }
    }

    /// Returns the last attempt, whose outcome is that of the step.
    #[must_use]
    pub fn latest(&self) -> Option<&AttemptView> {
        self.attempts.last()
    }

    /// Returns whether an attempt has completed.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.attempts
            .iter()
            .any(|attempt| matches!(attempt.outcome, AttemptOutcome::Completed { .. }))
    }

    /// Begins an attempt. Attempts of a step never overlap, so an attempt that still runs was
    /// interrupted.
    pub(crate) fn start(&mut self, number: u32, started_at: Option<Timestamp>) -> &mut AttemptView {
        self.interrupt();
        self.next_retry = None;
        self.attempts.push_mut(AttemptView {
            number,
            started_at,
            finished_at: None,
            deadline: None,
            timeout: None,
            timed_out: false,
            outcome: AttemptOutcome::Running,
        })
    }

    /// Returns the running attempt of this number, or begins one if its start has not arrived.
    pub(crate) fn running(&mut self, number: u32) -> &mut AttemptView {
        let is_running =
            |last: &AttemptView| last.number == number && last.outcome == AttemptOutcome::Running;
        match self.attempts.iter().rposition(is_running) {
            Some(last) => &mut self.attempts[last],
            None => self.start(number, None),
        }
    }

    /// Marks a running attempt as interrupted. Only the last attempt can be running, because a
    /// start interrupts the previous one.
    pub(crate) fn interrupt(&mut self) {
        if let Some(last) = self.attempts.last_mut()
            && last.outcome == AttemptOutcome::Running
        {
            last.outcome = AttemptOutcome::Interrupted;
        }
    }
}

impl AttemptView {
    /// Returns the error, if the attempt failed.
    #[must_use]
    pub fn error(&self) -> Option<&ErrorInfo> {
        match &self.outcome {
            AttemptOutcome::Failed { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Returns whether the attempt failed and another attempt follows.
    #[must_use]
    pub fn will_retry(&self) -> bool {
        matches!(
            self.outcome,
            AttemptOutcome::Failed {
                will_retry: true,
                ..
            }
        )
    }
}
