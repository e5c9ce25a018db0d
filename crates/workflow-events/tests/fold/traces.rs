//! Every trace of the contract, folded to the view that a person expects.

use std::time::Duration;

use serde_json::json;
use workflow_events::PauseReason::{Retry, Sleep};
use workflow_events::ResumeReason::{self, Recovery, Timer};
use workflow_events::{AttemptOutcome, EventKind, RunStatus, RunView};

use crate::make::*;

#[test]
fn run_with_one_step() {
    let view = view([
        started(),
        step_started("a", 1),
        step_completed("a", 1),
        completed(&["a"]),
    ]);
    assert_eq!(view.run_id(), Some("run-1"));
    assert_eq!(view.workflow_name(), Some("order"));
    assert_eq!(view.execution_id(), Some("exec-9"));
    assert_eq!(*view.status(), RunStatus::Completed);
    assert_eq!(view.input(), Some(&json!({"order": 7}).into()));
    assert_eq!(view.output(), Some(&json!("done").into()));
    assert_eq!(view.error(), None);
    assert_eq!(
        (view.queued_at(), view.started_at(), view.finished_at()),
        (None, Some(at(1)), Some(at(4)))
    );
    assert_eq!(view.duration(), Some(Duration::from_millis(4321)));
    assert_eq!(view.completed_steps(), ["a"]);
    assert_eq!(attempts(&view, "a"), ["1: 2..3 completed"]);
    assert!(view.is_complete());
}

#[test]
fn run_with_three_steps() {
    let steps = ["a", "b", "c"];
    let kinds = steps
        .iter()
        .flat_map(|step| [step_started(step, 1), step_completed(step, 1)]);
    let view = view(
        [started()]
            .into_iter()
            .chain(kinds)
            .chain([completed(&steps)]),
    );
    assert_eq!(view.last_seq(), 8);
    assert_eq!(view.completed_steps(), steps);
    assert_eq!(
        view.steps()
            .iter()
            .map(|step| step.name.as_str())
            .collect::<Vec<_>>(),
        steps
    );
    assert!(
        view.steps()
            .iter()
            .all(|step| step.is_completed() && step.attempts.len() == 1)
    );
    assert!(view.is_complete());
}

#[test]
fn asynchronous_start() {
    let kinds = [queued(), started(), completed(&[])];
    let queue_only = view(kinds[..1].iter().cloned());
    assert_eq!(*queue_only.status(), RunStatus::Queued);
    assert_eq!(queue_only.input(), Some(&json!({"order": 7}).into()));
    assert_eq!(
        (queue_only.queued_at(), queue_only.started_at()),
        (Some(at(1)), None)
    );
    assert!(!queue_only.is_complete());

    assert_eq!(
        *view(kinds[..2].iter().cloned()).status(),
        RunStatus::Running
    );

    let view = view(kinds);
    assert_eq!(
        (view.queued_at(), view.started_at(), view.finished_at()),
        (Some(at(1)), Some(at(2)), Some(at(3)))
    );
    assert!(view.is_complete());
}

#[test]
fn step_fails_without_a_retry() {
    let view = view([
        started(),
        step_started("a", 1),
        step_failed("a", 1, false),
        failed(&[]),
    ]);
    assert_eq!(*view.status(), RunStatus::Failed);
    assert_eq!(view.error().unwrap().message, "boom");
    assert_eq!(view.output(), None);
    assert_eq!(view.duration(), Some(Duration::from_secs(3)));
    assert_eq!(attempts(&view, "a"), ["1: 2..3 failed"]);
    let attempt = view.step("a").unwrap().latest().unwrap();
    assert_eq!(attempt.error().unwrap().message, "boom");
    assert!(!attempt.will_retry());
    assert!(!view.step("a").unwrap().retries_exhausted);
    assert!(view.is_complete());
}

#[test]
fn two_failures_then_success() {
    let kinds = [
        started(),
        step_started("a", 1),
        step_failed("a", 1, true),
        retry_scheduled("a", 1, 6),
        paused(Retry, Some(at(6)), Some("a")),
        resumed(ResumeReason::Retry),
        step_started("a", 2),
        step_failed("a", 2, true),
        retry_scheduled("a", 2, 11),
        paused(Retry, Some(at(11)), Some("a")),
        resumed(ResumeReason::Retry),
        step_started("a", 3),
        step_completed("a", 3),
        completed(&["a"]),
    ];

    let waiting = view(kinds[..5].iter().cloned());
    let status = RunStatus::Paused {
        reason: Retry,
        resume_at: Some(at(6)),
        step_name: Some("a".into()),
    };
    assert_eq!(*waiting.status(), status);
    let retry = waiting.next_retry().unwrap();
    assert_eq!((retry.step_name.as_str(), retry.failed_attempt), ("a", 1));
    assert_eq!((retry.at, retry.delay), (at(6), Duration::from_secs(2)));
    assert!(waiting.step("a").unwrap().latest().unwrap().will_retry());

    let again = view(kinds[..7].iter().cloned());
    assert_eq!(*again.status(), RunStatus::Running);
    assert_eq!(again.next_retry(), None);
    assert_eq!(
        attempts(&again, "a"),
        ["1: 2..3 failed, retried", "2: 7.. running"]
    );

    let view = view(kinds);
    assert_eq!(
        attempts(&view, "a"),
        [
            "1: 2..3 failed, retried",
            "2: 7..8 failed, retried",
            "3: 12..13 completed"
        ],
    );
    assert_eq!(*view.status(), RunStatus::Completed);
    assert!(view.is_complete());
}

#[test]
fn exhausted() {
    let view = view([
        started(),
        step_started("a", 1),
        step_failed("a", 1, true),
        retry_scheduled("a", 1, 4),
        step_started("a", 2),
        step_failed("a", 2, false),
        retry_exhausted("a", 2),
        failed(&[]),
    ]);
    assert_eq!(
        attempts(&view, "a"),
        ["1: 2..3 failed, retried", "2: 5..6 failed"]
    );
    assert!(view.step("a").unwrap().retries_exhausted);
    assert_eq!(view.next_retry(), None);
    assert!(view.is_complete());
}

#[test]
fn sleep() {
    let kinds = [
        started(),
        step_started("a", 1),
        step_completed("a", 1),
        sleep_started(65),
        paused(Sleep, Some(at(65)), None),
        resumed(Timer),
        sleep_completed(),
        step_started("b", 1),
        step_completed("b", 1),
        completed(&["a", "b"]),
    ];

    let asleep = view(kinds[..5].iter().cloned());
    assert_eq!(
        *asleep.status(),
        RunStatus::Paused {
            reason: Sleep,
            resume_at: Some(at(65)),
            step_name: None
        }
    );
    assert_eq!(asleep.completed_steps(), ["a"]);
    assert_eq!(asleep.sleeps()[0].completed_at, None);

    let view = view(kinds);
    let [sleep] = view.sleeps() else {
        panic!("{:?}", view.sleeps())
    };
    assert_eq!(
        (sleep.started_at, sleep.resume_at, sleep.completed_at),
        (Some(at(4)), Some(at(65)), Some(at(7)))
    );
    assert_eq!(sleep.planned, Some(Duration::from_secs(60)));
    assert_eq!(sleep.actual, Some(Duration::from_millis(60_042)));
    assert_eq!(view.completed_steps(), ["a", "b"]);
    assert!(view.is_complete());
}

#[test]
fn timeout_without_a_retry() {
    let view = view([
        started(),
        step_started("a", 1),
        timeout_set("a", 1, 4),
        timeout_exceeded("a", 1),
        step_failed("a", 1, false),
        failed(&[]),
    ]);
    assert_eq!(attempts(&view, "a"), ["1: 2..5 failed, timed out"]);
    let attempt = view.step("a").unwrap().latest().unwrap();
    assert_eq!(
        (attempt.deadline, attempt.timeout),
        (Some(at(4)), Some(Duration::from_millis(1500)))
    );
    assert!(view.is_complete());
}

#[test]
fn crash_in_a_step() {
    let kinds = [
        started(),
        step_started("a", 1),
        resumed(Recovery),
        step_started("a", 1),
        step_completed("a", 1),
        completed(&["a"]),
    ];
    let crashed = view(kinds[..2].iter().cloned());
    assert_eq!(attempts(&crashed, "a"), ["1: 2.. running"]);
    let recovered = view(kinds[..3].iter().cloned());
    assert_eq!(attempts(&recovered, "a"), ["1: 2.. interrupted"]);
    let view = view(kinds);
    assert_eq!(
        attempts(&view, "a"),
        ["1: 2.. interrupted", "1: 4..5 completed"]
    );
    assert_eq!(view.completed_steps(), ["a"]);
    assert!(view.is_complete());
}

#[test]
fn cancelled_in_a_step() {
    let view = view([started(), step_started("a", 1), cancelled(&[])]);
    assert_eq!(*view.status(), RunStatus::Cancelled);
    assert_eq!(view.cancel_reason(), Some("enough"));
    assert_eq!(view.duration(), Some(Duration::from_secs(2)));
    assert_eq!(attempts(&view, "a"), ["1: 2.. interrupted"]);
    assert!(view.is_complete());
}

fn view(kinds: impl IntoIterator<Item = EventKind>) -> RunView {
    RunView::from_events(run(kinds))
}

/// Returns the attempts of a step, one line each: number, seconds, outcome.
fn attempts(view: &RunView, step: &str) -> Vec<String> {
    let second = |at: Option<workflow_events::Timestamp>| {
        at.map_or(String::new(), |at| (at.as_millis() / 1000).to_string())
    };
    let line = |attempt: &workflow_events::AttemptView| {
        let outcome = match &attempt.outcome {
            AttemptOutcome::Running => "running",
            AttemptOutcome::Completed {
                duration,
                cached: false,
            } if *duration == Duration::from_millis(900) => "completed",
            AttemptOutcome::Failed {
                will_retry: true, ..
            } => "failed, retried",
            AttemptOutcome::Failed { .. } => "failed",
            AttemptOutcome::Interrupted => "interrupted",
            other => panic!("{other:?}"),
        };
        let timed_out = if attempt.timed_out { ", timed out" } else { "" };
        let from = second(attempt.started_at);
        let to = second(attempt.finished_at);
        format!("{}: {from}..{to} {outcome}{timed_out}", attempt.number)
    };
    view.step(step)
        .into_iter()
        .flat_map(|step| &step.attempts)
        .map(line)
        .collect()
}
