//! The lifecycle events of a step.

use std::time::Duration;

use workflow_events::{ErrorInfo, EventKind, Timestamp};

use crate::clock::{after, millis};
use crate::execution::operation::OpKey;

/// Returns the events of an attempt that begins at `at`.
pub(super) fn started(
    key: &OpKey,
    attempt: u32,
    at: Timestamp,
    timeout: Option<Duration>,
) -> Vec<EventKind> {
    let started = EventKind::StepStarted {
        step_name: key.name.to_string(),
        attempt,
    };
    let timeout = timeout.map(|timeout| EventKind::TimeoutSet {
        step_name: key.name.to_string(),
        deadline: after(at, timeout),
        timeout_ms: millis(timeout),
        attempt,
    });
    std::iter::once(started).chain(timeout).collect()
}

/// Returns the event of an attempt that has returned a result.
pub(super) fn completed(key: &OpKey, attempt: u32, elapsed: Duration) -> EventKind {
    EventKind::StepCompleted {
        step_name: key.name.to_string(),
        attempt,
        duration_ms: millis(elapsed),
        cached: false,
    }
}

/// Returns the event of an attempt whose time has expired.
pub(super) fn timed_out(key: &OpKey, attempt: u32, timeout_ms: u64) -> EventKind {
    EventKind::TimeoutExceeded {
        step_name: key.name.to_string(),
        timeout_ms,
        attempt,
    }
}

/// Returns the event of an attempt that has failed.
pub(super) fn failed(key: &OpKey, attempt: u32, info: ErrorInfo, will_retry: bool) -> EventKind {
    // The event has the step and the attempt in fields of its own.
    let error = ErrorInfo {
        step_name: None,
        attempt: None,
        ..info
    };
    EventKind::StepFailed {
        step_name: key.name.to_string(),
        attempt,
        error,
        will_retry,
    }
}

/// Returns the event of a step that fails after its last attempt.
pub(super) fn retries_exhausted(key: &OpKey, attempts: u32) -> EventKind {
    EventKind::RetryExhausted {
        step_name: key.name.to_string(),
        attempts,
    }
}

/// Returns the event of a step that waits for its next attempt.
pub(super) fn retry_scheduled(
    key: &OpKey,
    attempt: u32,
    next_attempt_at: Timestamp,
    delay: Duration,
) -> EventKind {
    EventKind::RetryScheduled {
        step_name: key.name.to_string(),
        attempt,
        next_attempt_at,
        delay_ms: millis(delay),
    }
}

/// Returns the event of a step whose future was dropped while an attempt was executing.
pub(super) fn dropped(key: &OpKey, attempt: u32) -> EventKind {
    let error = ErrorInfo {
        kind: Some("dropped".into()),
        ..ErrorInfo::new("the step was dropped before it ended")
    };
    failed(key, attempt, error, false)
}
