//! Replays facts in the order of their `seq`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use uuid::Uuid;

use crate::completed_steps::CompletedSteps;
use crate::kind::EventKind;
use crate::reason::ResumeReason;
use crate::timestamp::Timestamp;
use crate::view::status::RunStatus;
use crate::view::step::{AttemptOutcome, RetryView, SleepView, StepView};

/// The part of an event that a view keeps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fact {
    pub(crate) event_id: Uuid,
    pub(crate) timestamp: Timestamp,
    pub(crate) kind: EventKind,
}

impl Fact {
    /// Returns whether this fact wins over `other`, by a total order of different facts. An id
    /// belongs to one event, so the times and texts are compared only if that contract is broken;
    /// even then the same fact wins in every order of arrival.
    pub(crate) fn precedes(&self, other: &Self) -> bool {
        let ids = self.event_id.cmp(&other.event_id);
        let times = || self.timestamp.cmp(&other.timestamp);
        let texts = || self.kind.text().cmp(&other.kind.text());
        ids.then_with(times).then_with(texts).is_lt()
    }
}

/// The state of a run after a prefix of its facts, in order of `seq`.
///
/// Large values stay in their facts; the fold keeps their `seq`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fold {
    pub(crate) status: RunStatus,
    pub(crate) queued_at: Option<Timestamp>,
    pub(crate) started_at: Option<Timestamp>,
    /// The `seq` of the event that carries the input.
    pub(crate) input_seq: Option<u64>,
    /// The `seq` of the event that ended the run.
    pub(crate) end_seq: Option<u64>,
    pub(crate) completed_steps: CompletedSteps,
    pub(crate) steps: Vec<StepView>,
    pub(crate) step_index: HashMap<String, usize>,
    pub(crate) sleeps: Vec<SleepView>,
}

impl Fold {
    pub(crate) fn replay(facts: &BTreeMap<u64, Fact>) -> Self {
        let mut fold = Self::default();
        for (seq, fact) in facts {
            fold.advance(*seq, fact);
        }
        fold
    }

    /// Applies the next fact. Facts between the previous one and this one may be missing.
    pub(crate) fn advance(&mut self, seq: u64, fact: &Fact) {
        // A run ends once, so later facts change nothing.
        if self.end_seq.is_some() {
            return;
        }
        let at = fact.timestamp;
        match &fact.kind {
            EventKind::WorkflowQueued { .. } => {
                self.queued_at.get_or_insert(at);
                self.input_seq.get_or_insert(seq);
                if self.status == RunStatus::Unknown {
                    self.status = RunStatus::Queued;
                }
                return;
            }
            EventKind::WorkflowStarted { .. } => {
                self.started_at.get_or_insert(at);
                self.input_seq.get_or_insert(seq);
            }
            EventKind::WorkflowPaused {
                reason,
                resume_at,
                step_name,
            } => {
                self.status = RunStatus::Paused {
                    reason: reason.clone(),
                    resume_at: *resume_at,
                    step_name: step_name.clone(),
                };
                return;
            }
            EventKind::WorkflowResumed { reason } => {
                if *reason == ResumeReason::Recovery {
                    self.interrupt_attempts();
                }
            }
            EventKind::WorkflowCompleted {
                completed_steps, ..
            } => {
                return self.finish(seq, RunStatus::Completed, completed_steps);
            }
            EventKind::WorkflowFailed {
                completed_steps, ..
            } => {
                return self.finish(seq, RunStatus::Failed, completed_steps);
            }
            EventKind::WorkflowCancelled {
                completed_steps, ..
            } => {
                return self.finish(seq, RunStatus::Cancelled, completed_steps);
            }
            EventKind::StepStarted { step_name, attempt } => {
                self.step(step_name).start(*attempt, Some(at));
            }
            EventKind::StepCompleted {
                step_name,
                attempt,
                duration_ms,
                cached,
            } => {
                let step = self.step(step_name);
                let first = !step.is_completed();
                let attempt = step.running(*attempt);
                attempt.finished_at = Some(at);
                attempt.outcome = AttemptOutcome::Completed {
                    duration: Duration::from_millis(*duration_ms),
                    cached: *cached,
                };
                if first {
                    self.completed_steps.push(step_name);
                }
            }
            EventKind::StepFailed {
                step_name,
                attempt,
                error,
                will_retry,
            } => {
                let attempt = self.step(step_name).running(*attempt);
                attempt.finished_at = Some(at);
                attempt.outcome = AttemptOutcome::Failed {
                    error: error.clone(),
                    will_retry: *will_retry,
                };
            }
            EventKind::RetryScheduled {
                step_name,
                attempt,
                next_attempt_at,
                delay_ms,
            } => {
                self.step(step_name).next_retry = Some(RetryView {
                    step_name: step_name.clone(),
                    failed_attempt: *attempt,
                    at: *next_attempt_at,
                    delay: Duration::from_millis(*delay_ms),
                });
            }
            EventKind::RetryExhausted { step_name, .. } => {
                let step = self.step(step_name);
                step.next_retry = None;
                step.retries_exhausted = true;
            }
            EventKind::SleepStarted {
                duration_ms,
                resume_at,
            } => self.sleeps.push(SleepView {
                started_at: Some(at),
                planned: Some(Duration::from_millis(*duration_ms)),
                resume_at: Some(*resume_at),
                completed_at: None,
                actual: None,
            }),
            EventKind::SleepCompleted { duration_ms } => {
                let sleep = self.open_sleep();
                sleep.completed_at = Some(at);
                sleep.actual = Some(Duration::from_millis(*duration_ms));
            }
            EventKind::TimeoutSet {
                step_name,
                deadline,
                timeout_ms,
                attempt,
            } => {
                let attempt = self.step(step_name).running(*attempt);
                attempt.deadline = Some(*deadline);
                attempt.timeout = Some(Duration::from_millis(*timeout_ms));
            }
            EventKind::TimeoutExceeded {
                step_name,
                timeout_ms,
                attempt,
            } => {
                let attempt = self.step(step_name).running(*attempt);
                attempt.timeout = Some(Duration::from_millis(*timeout_ms));
                attempt.timed_out = true;
            }
            EventKind::Unknown { .. } => return,
        }
        // All facts that reach this line happen only while a run executes, even if the event that
        // started the execution is missing.
        self.status = RunStatus::Running;
    }

    fn finish(&mut self, seq: u64, status: RunStatus, completed_steps: &CompletedSteps) {
        self.end_seq = Some(seq);
        self.status = status;
        // The terminal event has the full list; with missing events, fewer completed steps were
        // seen.
        self.completed_steps = completed_steps.clone();
        self.interrupt_attempts();
        for step in &mut self.steps {
            step.next_retry = None;
        }
    }

    fn interrupt_attempts(&mut self) {
        for step in &mut self.steps {
            step.interrupt();
        }
    }

    fn step(&mut self, name: &str) -> &mut StepView {
        let index = match self.step_index.get(name) {
            Some(index) => *index,
            None => {
                self.step_index.insert(name.to_owned(), self.steps.len());
                self.steps.push(StepView::new(name));
                self.steps.len() - 1
            }
        };
        &mut self.steps[index]
    }

    /// Returns the sleep that a completion ends. A completion does not name its sleep, so the open
    /// sleep that is due first is taken.
    fn open_sleep(&mut self) -> &mut SleepView {
        let open = self
            .sleeps
            .iter()
            .enumerate()
            .filter(|(_, sleep)| sleep.completed_at.is_none());
        match open.min_by_key(|(_, sleep)| sleep.resume_at) {
            Some((index, _)) => &mut self.sleeps[index],
            None => self.sleeps.push_mut(SleepView {
                started_at: None,
                planned: None,
                resume_at: None,
                completed_at: None,
                actual: None,
            }),
        }
    }
}
