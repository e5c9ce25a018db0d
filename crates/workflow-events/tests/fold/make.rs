//! Short functions to write the events of a run.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use workflow_events::{
    CompletedSteps, ErrorInfo, Event, EventKind, PauseReason, ResumeReason, SOURCE, Timestamp,
};

/// Returns the events of one run: `seq` from 1, each a second after the previous one.
pub(crate) fn run(kinds: impl IntoIterator<Item = EventKind>) -> Vec<Event> {
    (1..)
        .zip(kinds)
        .map(|(seq, kind)| event(seq, kind))
        .collect()
}

pub(crate) fn event(seq: u64, kind: EventKind) -> Event {
    Event {
        event_id: Uuid::from_u128(u128::from(seq)),
        timestamp: at(seq),
        source: SOURCE.into(),
        workflow_id: "run-1".into(),
        workflow_name: "order".into(),
        execution_id: Some("exec-9".into()),
        seq,
        kind,
        extra: Default::default(),
    }
}

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(second))
}

pub(crate) fn queued() -> EventKind {
    EventKind::WorkflowQueued {
        input: json!({"order": 7}).into(),
    }
}

pub(crate) fn started() -> EventKind {
    EventKind::WorkflowStarted {
        input: json!({"order": 7}).into(),
    }
}

pub(crate) fn paused(
    reason: PauseReason,
    resume_at: Option<Timestamp>,
    step: Option<&str>,
) -> EventKind {
    EventKind::WorkflowPaused {
        reason,
        resume_at,
        step_name: step.map(Into::into),
    }
}

pub(crate) fn resumed(reason: ResumeReason) -> EventKind {
    EventKind::WorkflowResumed { reason }
}

pub(crate) fn completed(steps: &[&str]) -> EventKind {
    EventKind::WorkflowCompleted {
        completed_steps: names(steps),
        duration_ms: 4321,
        output: Some(json!("done").into()),
    }
}

pub(crate) fn failed(steps: &[&str]) -> EventKind {
    EventKind::WorkflowFailed {
        error: ErrorInfo::new("boom"),
        completed_steps: names(steps),
    }
}

pub(crate) fn cancelled(steps: &[&str]) -> EventKind {
    EventKind::WorkflowCancelled {
        reason: Some("enough".into()),
        completed_steps: names(steps),
    }
}

pub(crate) fn step_started(step: &str, attempt: u32) -> EventKind {
    EventKind::StepStarted {
        step_name: step.into(),
        attempt,
    }
}

pub(crate) fn step_completed(step: &str, attempt: u32) -> EventKind {
    EventKind::StepCompleted {
        step_name: step.into(),
        attempt,
        duration_ms: 900,
        cached: false,
    }
}

pub(crate) fn step_failed(step: &str, attempt: u32, will_retry: bool) -> EventKind {
    EventKind::StepFailed {
        step_name: step.into(),
        attempt,
        error: ErrorInfo::new("boom"),
        will_retry,
    }
}

pub(crate) fn retry_scheduled(step: &str, attempt: u32, due: u64) -> EventKind {
    EventKind::RetryScheduled {
        step_name: step.into(),
        attempt,
        next_attempt_at: at(due),
        delay_ms: 2000,
    }
}

pub(crate) fn retry_exhausted(step: &str, attempts: u32) -> EventKind {
    EventKind::RetryExhausted {
        step_name: step.into(),
        attempts,
    }
}

pub(crate) fn sleep_started(due: u64) -> EventKind {
    EventKind::SleepStarted {
        duration_ms: 60_000,
        resume_at: at(due),
    }
}

pub(crate) fn sleep_completed() -> EventKind {
    EventKind::SleepCompleted {
        duration_ms: 60_042,
    }
}

pub(crate) fn timeout_set(step: &str, attempt: u32, deadline: u64) -> EventKind {
    EventKind::TimeoutSet {
        step_name: step.into(),
        deadline: at(deadline),
        timeout_ms: 1500,
        attempt,
    }
}

pub(crate) fn timeout_exceeded(step: &str, attempt: u32) -> EventKind {
    EventKind::TimeoutExceeded {
        step_name: step.into(),
        timeout_ms: 1500,
        attempt,
    }
}

pub(crate) fn unknown() -> EventKind {
    EventKind::Unknown {
        type_name: "workflow.archived".into(),
    }
}

fn names(steps: &[&str]) -> CompletedSteps {
    CompletedSteps::last_of(steps.iter().copied())
}
