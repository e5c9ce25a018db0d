//! Traces of a step that is retried.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use workflow_engine::{Context, Engine, Failure, Outcome, Retry, Timestamp, Workflow};
use workflow_events::{EventKind, PauseReason, ResumeReason};

use super::check_envelopes;
use super::support::{Fixture, run_until_done, types};

const FLAKY: Workflow<u32, u32> = Workflow::new("flaky");

/// Executes a step that fails `failures` times before it succeeds. It has at most 3 attempts, 60 s
/// apart.
async fn flaky(ctx: Context, failures: u32, calls: Arc<AtomicU32>) -> Result<u32, Failure> {
    let body = || async {
        let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
        if call > failures {
            Ok(call)
        } else {
            Err(Failure::new("not yet"))
        }
    };
    let policy = Retry::constant(Duration::from_secs(60))
        .without_jitter()
        .attempts(3)?;
    Ok(ctx.step("flaky", body).retry(policy).await?)
}

fn with_flaky(fixture: &Fixture) -> (Engine, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let body = move |ctx, failures| flaky(ctx, failures, counted.clone());
    let engine = fixture.builder().workflow(&FLAKY, body);
    (engine.build().unwrap(), calls)
}

#[test]
fn two_failures_then_success() {
    let fixture = Fixture::new();
    let (engine, _) = with_flaky(&fixture);
    fixture.clock.run(async {
        let outcome = engine.run(&FLAKY, "r", 2).await.unwrap();
        let resume_at = Timestamp::from_millis(60_000).unwrap();
        assert_eq!(
            outcome,
            Outcome::Suspended {
                reason: PauseReason::Retry,
                resume_at
            }
        );
        run_until_done(&fixture, &engine).await;
        let history = engine.history("r").await.unwrap();
        let failed = [
            "step.started",
            "step.failed",
            "retry.scheduled",
            "workflow.paused",
            "workflow.resumed",
        ];
        let expected = [&["workflow.started"], &failed[..], &failed[..]].concat();
        let expected = [
            &expected[..],
            &["step.started", "step.completed", "workflow.completed"],
        ]
        .concat();
        assert_eq!(types(&history), expected);
        check_envelopes(&fixture, &history, "r", "flaky");

        let EventKind::StepFailed {
            attempt: 1,
            will_retry: true,
            ..
        } = history[2].kind
        else {
            panic!()
        };
        let retry = EventKind::RetryScheduled {
            step_name: "flaky".into(),
            attempt: 1,
            next_attempt_at: resume_at,
            delay_ms: 60_000,
        };
        assert_eq!(history[3].kind, retry);
        let paused = EventKind::WorkflowPaused {
            reason: PauseReason::Retry,
            resume_at: Some(resume_at),
            step_name: Some("flaky".into()),
        };
        assert_eq!(history[4].kind, paused);
        assert_eq!(
            history[5].kind,
            EventKind::WorkflowResumed {
                reason: ResumeReason::Retry
            }
        );
        assert_eq!(
            history[6].kind,
            EventKind::StepStarted {
                step_name: "flaky".into(),
                attempt: 2
            }
        );
        assert_eq!(
            history[11].kind,
            EventKind::StepStarted {
                step_name: "flaky".into(),
                attempt: 3
            }
        );
    });
}

#[test]
fn exhausted() {
    let fixture = Fixture::new();
    let (engine, calls) = with_flaky(&fixture);
    fixture.clock.run(async {
        let _ = engine.run(&FLAKY, "r", 9).await.unwrap();
        run_until_done(&fixture, &engine).await;
        let history = engine.history("r").await.unwrap();
        let end = [
            "step.started",
            "step.failed",
            "retry.exhausted",
            "workflow.failed",
        ];
        assert_eq!(types(&history)[11..], end);
        assert!(matches!(
            history[12].kind,
            EventKind::StepFailed {
                attempt: 3,
                will_retry: false,
                ..
            }
        ));
        assert_eq!(
            history[13].kind,
            EventKind::RetryExhausted {
                step_name: "flaky".into(),
                attempts: 3
            }
        );
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        let Outcome::Failed(failure) = engine.run(&FLAKY, "r", 9).await.unwrap() else {
            panic!("it failed")
        };
        assert_eq!(
            (failure.info.attempt, failure.info.step_name.as_deref()),
            (Some(3), Some("flaky"))
        );
        assert_eq!(
            calls.load(Ordering::Relaxed),
            3,
            "nothing was executed for the answer"
        );
    });
}

#[test]
fn a_short_retry_is_waited_for_in_memory() {
    let fixture = Fixture::new();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let engine = fixture.builder().suspend_after(Duration::from_secs(61));
    let engine = engine
        .workflow(&FLAKY, move |ctx, failures| {
            flaky(ctx, failures, counted.clone())
        })
        .build()
        .unwrap();
    fixture.clock.run(async {
        assert_eq!(
            engine.run(&FLAKY, "r", 1).await.unwrap(),
            Outcome::Completed(2)
        );
        let expected = [
            "workflow.started",
            "step.started",
            "step.failed",
            "retry.scheduled",
            "step.started",
            "step.completed",
            "workflow.completed",
        ];
        assert_eq!(fixture.event_types("r").await, expected);
    });
}
