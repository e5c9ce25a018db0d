//! Steps, attempts, retries and sleeps, as their events tell.

use std::time::Duration;

use crate::error_info::ErrorInfo;
use crate::timestamp::Timestamp;

/// One step of a run, with its attempts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepView {
    /// Its name, which is its identity within the run.
    pub name: String,
    /// Every start of an attempt, in order. An attempt that a crash cut short and that was started
    /// again is here twice, with the same number.
    pub attempts: Vec<AttemptView>,
    /// The retry it waits for.
    pub next_retry: Option<RetryView>,
    /// Whether its retry policy gave up.
    pub retries_exhausted: bool,
}

/// One start of one attempt of a step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AttemptView {
    /// Which attempt, counted from 1.
    pub number: u32,
    /// When it began; absent while its `step.started` has not arrived.
    pub started_at: Option<Timestamp>,
    /// When it completed or failed.
    pub finished_at: Option<Timestamp>,
    /// When it is cut, if it has a timeout.
    pub deadline: Option<Timestamp>,
    /// How long it may take, if it has a timeout.
    pub timeout: Option<Duration>,
    /// Whether it was cut by its timeout.
    pub timed_out: bool,
    /// What became of it.
    pub outcome: AttemptOutcome,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// Nothing yet.
    Running,
    /// Its result is recorded.
    Completed {
        /// How long it took, as the engine measured it.
        duration: Duration,
        /// Whether the result came from elsewhere than this execution.
        cached: bool,
    },
    /// It failed.
    Failed {
        /// Why.
        error: ErrorInfo,
        /// Whether another attempt follows.
        will_retry: bool,
    },
    /// The run went on or ended without a word on it: its process died, or the event that tells
    /// has not arrived.
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
    /// When the next attempt is due.
    pub at: Timestamp,
    /// The wait before it.
    pub delay: Duration,
}

/// One sleep of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SleepView {
    /// When it began; absent while its `sleep.started` has not arrived.
    pub started_at: Option<Timestamp>,
    /// How long it was meant to last.
    pub planned: Option<Duration>,
    /// When it is over.
    pub resume_at: Option<Timestamp>,
    /// When the run went on.
    pub completed_at: Option<Timestamp>,
    /// How long it really lasted.
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

    /// The attempt that counts: the last one.
    #[must_use]
    pub fn latest(&self) -> Option<&AttemptView> {
        self.attempts.last()
    }

    /// Whether an attempt completed.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.attempts
            .iter()
            .any(|attempt| matches!(attempt.outcome, AttemptOutcome::Completed { .. }))
    }

    /// Begins an attempt. Attempts of a step never overlap, so one still running was cut short.
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

    /// The running attempt of that number; a new one if its start has not arrived.
    pub(crate) fn running(&mut self, number: u32) -> &mut AttemptView {
        let is_running =
            |last: &AttemptView| last.number == number && last.outcome == AttemptOutcome::Running;
        match self.attempts.iter().rposition(is_running) {
            Some(last) => &mut self.attempts[last],
            None => self.start(number, None),
        }
    }

    /// Only the last attempt can be running, for a start ends the one before.
    pub(crate) fn interrupt(&mut self) {
        if let Some(last) = self.attempts.last_mut()
            && last.outcome == AttemptOutcome::Running
        {
            last.outcome = AttemptOutcome::Interrupted;
        }
    }
}

impl AttemptView {
    /// Why it failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&ErrorInfo> {
        match &self.outcome {
            AttemptOutcome::Failed { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Whether it failed and another attempt follows.
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
