//! The traces of the event contract, as the history has them and as a sink receives them.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod retry;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tracker_core::Clock;
use workflow_engine::{Context, Failure, Outcome, RunOptions, Status, Timestamp, Workflow};
use workflow_events::{Event, EventKind, PauseReason, ResumeReason};

use support::{Fixture, STEPS, drop_after, run_until_done, types};

/// Checks the rules of every trace: sequence, ids, names, and that the sink received the same.
fn check_envelopes(fixture: &Fixture, history: &[Event], id: &str, workflow: &str) {
    for (event, seq) in history.iter().zip(1..) {
        assert_eq!(event.seq, seq);
        assert_eq!(event.workflow_id, id);
        assert_eq!(event.workflow_name, workflow);
        assert_eq!(event.source.as_ref(), "workflow");
        assert_eq!(event.event_id.get_version_num(), 7);
    }
    let ids: HashSet<_> = history.iter().map(|event| event.event_id).collect();
    assert_eq!(ids.len(), history.len());
    assert_eq!(fixture.delivered(), history, "the sink has the history");
}

#[test]
fn run_with_one_step() {
    let fixture = Fixture::new();
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let outcome = engine
            .run(&STEPS, RunOptions::new("r").execution_id("e"), 1)
            .await
            .unwrap();
        assert_eq!(outcome, Outcome::Completed(1));
        assert!(engine.flush().await.is_complete());

        let history = engine.history("r").await.unwrap();
        let expected = [
            "workflow.started",
            "step.started",
            "step.completed",
            "workflow.completed",
        ];
        assert_eq!(types(&history), expected);
        check_envelopes(&fixture, &history, "r", "steps");
        assert!(
            history
                .iter()
                .all(|event| event.execution_id.as_deref() == Some("e"))
        );
        assert_eq!(
            history[0].kind,
            EventKind::WorkflowStarted {
                input: json!(1).into()
            }
        );
        assert_eq!(
            history[1].kind,
            EventKind::StepStarted {
                step_name: "step-1".into(),
                attempt: 1
            }
        );
        let completed = EventKind::WorkflowCompleted {
            completed_steps: vec!["step-1".to_owned()].into(),
            duration_ms: 0,
            output: Some(json!(1).into()),
        };
        assert_eq!(history[3].kind, completed);
    });
}

#[test]
fn run_with_three_steps() {
    let fixture = Fixture::new();
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 3).await.unwrap();
        assert!(engine.flush().await.is_complete());
        let history = engine.history("r").await.unwrap();
        let expected = [
            "workflow.started",
            "step.started",
            "step.completed",
            "step.started",
            "step.completed",
            "step.started",
            "step.completed",
            "workflow.completed",
        ];
        assert_eq!(types(&history), expected);
        check_envelopes(&fixture, &history, "r", "steps");
        assert!(
            history.iter().all(|event| event.execution_id.is_none()),
            "absent when none was given"
        );
        let view = engine.view("r").await.unwrap().unwrap();
        assert!(view.is_complete());
        assert_eq!(view.completed_steps(), ["step-1", "step-2", "step-3"]);
    });
}

#[test]
fn step_fails_without_retry() {
    const REFUSED: Workflow<(), ()> = Workflow::new("refused");
    let fixture = Fixture::new();
    let refused = |ctx: Context, (): ()| async move {
        let charge = || async { Err::<(), _>(Failure::new("card declined").with_kind("declined")) };
        Ok::<_, Failure>(ctx.step("charge", charge).await?)
    };
    let engine = fixture
        .builder()
        .workflow(&REFUSED, refused)
        .build()
        .unwrap();
    fixture.clock.run(async {
        let Outcome::Failed(failure) = engine.run(&REFUSED, "r", ()).await.unwrap() else {
            panic!("a workflow whose step fails, fails");
        };
        assert_eq!(failure.info.message, "card declined");
        assert!(engine.flush().await.is_complete());

        let history = engine.history("r").await.unwrap();
        assert_eq!(
            types(&history),
            [
                "workflow.started",
                "step.started",
                "step.failed",
                "workflow.failed"
            ]
        );
        check_envelopes(&fixture, &history, "r", "refused");
        let EventKind::StepFailed {
            step_name,
            attempt: 1,
            error,
            will_retry: false,
        } = &history[2].kind
        else {
            panic!("{:?}", history[2].kind);
        };
        assert_eq!(
            (
                step_name.as_str(),
                error.message.as_str(),
                error.step_name.as_deref()
            ),
            ("charge", "card declined", None)
        );
        let EventKind::WorkflowFailed {
            error,
            completed_steps,
        } = &history[3].kind
        else {
            panic!("{:?}", history[3].kind);
        };
        assert_eq!(error.kind.as_deref(), Some("declined"));
        assert_eq!(
            (error.step_name.as_deref(), error.attempt),
            (Some("charge"), Some(1))
        );
        assert!(completed_steps.names().is_empty());
    });
}

#[test]
fn the_start_of_a_slow_step_is_delivered_while_it_runs() {
    const SLOW: Workflow<(), u64> = Workflow::new("slow");
    let fixture = Fixture::new();
    let clock = fixture.clock.clone();
    let slow = move |ctx: Context, (): ()| {
        let clock = clock.clone();
        async move {
            let export = || async {
                clock.sleep(Duration::from_secs(60)).await;
                Ok::<u64, Failure>(7)
            };
            Ok::<_, Failure>(ctx.step("export", export).await?)
        }
    };
    let engine = fixture.builder().workflow(&SLOW, slow).build().unwrap();
    fixture.clock.run(async {
        let watch = async {
            fixture.clock.sleep(Duration::from_secs(30)).await;
            assert!(engine.flush().await.is_delivered());
            assert_eq!(
                types(&fixture.delivered()),
                ["workflow.started", "step.started"]
            );
        };
        let (outcome, ()) = futures::future::join(engine.run(&SLOW, "r", ()), watch).await;
        assert_eq!(outcome.unwrap(), Outcome::Completed(7));
        let history = engine.history("r").await.unwrap();
        assert_eq!(
            types(&history),
            [
                "workflow.started",
                "step.started",
                "step.completed",
                "workflow.completed"
            ]
        );
        let EventKind::StepCompleted { duration_ms, .. } = history[2].kind else {
            panic!("{:?}", history[2])
        };
        assert_eq!(duration_ms, 60_000);
        assert_eq!(
            history[2].timestamp.as_millis() - history[1].timestamp.as_millis(),
            60_000
        );
    });
}

#[test]
fn start() {
    let fixture = Fixture::new();
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let handle = engine
            .start(&STEPS, RunOptions::new("r").execution_id("e"), 1)
            .await
            .unwrap();
        assert_eq!(fixture.event_types("r").await, ["workflow.queued"]);
        assert_eq!(handle.status().await.unwrap(), Some(Status::Queued));
        run_until_done(&fixture, &engine).await;
        let expected = [
            "workflow.queued",
            "workflow.started",
            "step.started",
            "step.completed",
            "workflow.completed",
        ];
        assert_eq!(fixture.event_types("r").await, expected);
        assert_eq!(handle.result().await.unwrap(), Outcome::Completed(1));
        assert_eq!(handle.completed_steps().await.unwrap(), ["step-1"]);
        check_envelopes(&fixture, &engine.history("r").await.unwrap(), "r", "steps");
    });
}

#[test]
fn sleep() {
    const SLEEPS: Workflow<(), ()> = Workflow::new("sleeps");
    let fixture = Fixture::new();
    let sleeps = |ctx: Context, (): ()| async move {
        ctx.step("before", || async { Ok::<_, Failure>(()) })
            .await?;
        ctx.sleep(Duration::from_secs(3600)).await;
        ctx.step("after", || async { Ok::<_, Failure>(()) }).await?;
        Ok::<_, Failure>(())
    };
    let engine = fixture.builder().workflow(&SLEEPS, sleeps).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&SLEEPS, "r", ()).await.unwrap();
        let resume_at = Timestamp::from_millis(3_600_000).unwrap();
        let history = engine.history("r").await.unwrap();
        let expected = [
            "workflow.started",
            "step.started",
            "step.completed",
            "sleep.started",
            "workflow.paused",
        ];
        assert_eq!(types(&history), expected);
        assert_eq!(
            history[3].kind,
            EventKind::SleepStarted {
                duration_ms: 3_600_000,
                resume_at
            }
        );
        let paused = EventKind::WorkflowPaused {
            reason: PauseReason::Sleep,
            resume_at: Some(resume_at),
            step_name: None,
        };
        assert_eq!(history[4].kind, paused);

        run_until_done(&fixture, &engine).await;
        let history = engine.history("r").await.unwrap();
        let expected = [
            "workflow.resumed",
            "sleep.completed",
            "step.started",
            "step.completed",
            "workflow.completed",
        ];
        assert_eq!(types(&history)[5..], expected);
        assert_eq!(
            history[5].kind,
            EventKind::WorkflowResumed {
                reason: ResumeReason::Timer
            }
        );
        assert_eq!(
            history[6].kind,
            EventKind::SleepCompleted {
                duration_ms: 3_600_000
            }
        );
        let EventKind::WorkflowCompleted {
            duration_ms,
            completed_steps,
            ..
        } = &history[9].kind
        else {
            panic!()
        };
        assert_eq!(
            (*duration_ms, completed_steps.names().join(" ")),
            (3_600_000, "before after".into()),
            "pauses included"
        );
        check_envelopes(&fixture, &history, "r", "sleeps");
    });
}

#[test]
fn timeout_without_retry() {
    const STUCK: Workflow<(), ()> = Workflow::new("stuck");
    let fixture = Fixture::new();
    let stuck = |ctx: Context, (): ()| async move {
        let body = || std::future::pending::<Result<(), Failure>>();
        Ok::<_, Failure>(
            ctx.step("stuck", body)
                .timeout(Duration::from_millis(50))
                .await?,
        )
    };
    let engine = fixture.builder().workflow(&STUCK, stuck).build().unwrap();
    fixture.clock.run(async {
        let Outcome::Failed(failure) = engine.run(&STUCK, "r", ()).await.unwrap() else {
            panic!("it fails")
        };
        assert_eq!(failure.info.kind.as_deref(), Some("timeout"));
        let history = engine.history("r").await.unwrap();
        let expected = [
            "workflow.started",
            "step.started",
            "timeout.set",
            "timeout.exceeded",
            "step.failed",
            "workflow.failed",
        ];
        assert_eq!(types(&history), expected);
        let step_name = "stuck".to_owned();
        let deadline = Timestamp::from_millis(50).unwrap();
        let set = EventKind::TimeoutSet {
            step_name: step_name.clone(),
            deadline,
            timeout_ms: 50,
            attempt: 1,
        };
        assert_eq!(history[2].kind, set);
        assert_eq!(
            history[3].kind,
            EventKind::TimeoutExceeded {
                step_name,
                timeout_ms: 50,
                attempt: 1
            }
        );
    });
}

#[test]
fn crash_in_a_step() {
    let fixture = Fixture::new();
    let crashed = Arc::new(AtomicBool::new(false));
    let clock = fixture.clock.clone();
    const SLOW: Workflow<(), ()> = Workflow::new("slow");
    let slow = move |ctx: Context, (): ()| {
        let crashed = crashed.clone();
        let clock = clock.clone();
        async move {
            let body = || async {
                if !crashed.swap(true, Ordering::Relaxed) {
                    clock.sleep(Duration::from_secs(3600)).await;
                }
                Ok::<_, Failure>(())
            };
            Ok::<_, Failure>(ctx.step("slow", body).await?)
        }
    };
    let engine = |fixture: &Fixture| {
        fixture
            .builder()
            .workflow(&SLOW, slow.clone())
            .build()
            .unwrap()
    };
    fixture.clock.run(async {
        {
            let engine = engine(&fixture);
            drop_after(&fixture, Duration::from_secs(1), engine.run(&SLOW, "r", ())).await;
        }
        let engine = engine(&fixture);
        run_until_done(&fixture, &engine).await;
        let history = engine.history("r").await.unwrap();
        let expected = [
            "workflow.started",
            "step.started",
            "workflow.resumed",
            "step.started",
            "step.completed",
            "workflow.completed",
        ];
        assert_eq!(types(&history), expected);
        assert_eq!(
            history[2].kind,
            EventKind::WorkflowResumed {
                reason: ResumeReason::Recovery
            }
        );
        assert_eq!(history[3].kind, history[1].kind, "the same attempt again");
        check_envelopes(&fixture, &history, "r", "slow");
    });
}
