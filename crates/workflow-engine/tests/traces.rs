//! The traces of the event contract, as the history has them and as a sink receives them.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Bench, STEPS, types};
use tracker_core::Clock;
use workflow_engine::{Context, Failure, Outcome, RunOptions, Workflow};
use workflow_events::{Event, EventKind};

/// Checks what holds of every trace: places, ids, names, and that the sink received just this.
fn check_envelopes(bench: &Bench, history: &[Event], id: &str, workflow: &str) {
    for (event, seq) in history.iter().zip(1..) {
        assert_eq!((event.seq, event.workflow_id.as_str(), event.workflow_name.as_str()), (seq, id, workflow));
        assert_eq!((event.source.as_ref(), event.event_id.get_version_num()), ("workflow", 7));
    }
    let mut ids: Vec<_> = history.iter().map(|event| event.event_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), history.len(), "every event has an id of its own");
    assert_eq!(bench.delivered(), history, "the sink receives the history, to the letter");
}

#[test]
fn run_with_one_step() {
    let bench = Bench::new();
    let engine = bench.builder().build().unwrap();
    bench.clock.run(async {
        let outcome = engine.run(&STEPS, RunOptions::new("r").execution_id("e"), 1).await.unwrap();
        assert_eq!(outcome, Outcome::Completed(1));
        assert!(engine.flush().await.is_complete());

        let history = engine.history("r").await.unwrap();
        let expected = ["workflow.started", "step.started", "step.completed", "workflow.completed"];
        assert_eq!(types(&history), expected);
        check_envelopes(&bench, &history, "r", "steps");
        assert!(history.iter().all(|event| event.execution_id.as_deref() == Some("e")));
        assert_eq!(history[0].kind, EventKind::WorkflowStarted { input: json!(1) });
        assert_eq!(history[1].kind, EventKind::StepStarted { step_name: "step-1".into(), attempt: 1 });
        let completed = EventKind::WorkflowCompleted {
            completed_steps: vec!["step-1".into()],
            duration_ms: 0,
            output: Some(json!(1)),
        };
        assert_eq!(history[3].kind, completed);
    });
}

#[test]
fn run_with_three_steps() {
    let bench = Bench::new();
    let engine = bench.builder().build().unwrap();
    bench.clock.run(async {
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
        check_envelopes(&bench, &history, "r", "steps");
        assert!(history.iter().all(|event| event.execution_id.is_none()), "absent when none was given");
        let view = engine.view("r").await.unwrap().unwrap();
        assert!(view.is_complete());
        assert_eq!(view.completed_steps(), ["step-1", "step-2", "step-3"]);
    });
}

#[test]
fn step_fails_without_retry() {
    const REFUSED: Workflow<(), ()> = Workflow::new("refused");
    let bench = Bench::new();
    let refused = |ctx: Context, (): ()| async move {
        let charge = || async { Err::<(), _>(Failure::new("card declined").with_kind("declined")) };
        Ok::<_, Failure>(ctx.step("charge", charge).await?)
    };
    let engine = bench.builder().workflow(&REFUSED, refused).build().unwrap();
    bench.clock.run(async {
        let Outcome::Failed(failure) = engine.run(&REFUSED, "r", ()).await.unwrap() else {
            panic!("a workflow whose step fails, fails");
        };
        assert_eq!(failure.info.message, "card declined");
        assert!(engine.flush().await.is_complete());

        let history = engine.history("r").await.unwrap();
        assert_eq!(types(&history), ["workflow.started", "step.started", "step.failed", "workflow.failed"]);
        check_envelopes(&bench, &history, "r", "refused");
        let EventKind::StepFailed { step_name, attempt: 1, error, will_retry: false } = &history[2].kind else {
            panic!("{:?}", history[2].kind);
        };
        assert_eq!(
            (step_name.as_str(), error.message.as_str(), error.step_name.as_deref()),
            ("charge", "card declined", None)
        );
        let EventKind::WorkflowFailed { error, completed_steps } = &history[3].kind else {
            panic!("{:?}", history[3].kind);
        };
        assert_eq!(error.kind.as_deref(), Some("declined"));
        assert_eq!((error.step_name.as_deref(), error.attempt), (Some("charge"), Some(1)));
        assert!(completed_steps.is_empty());
    });
}

#[test]
fn the_start_of_a_slow_step_is_delivered_while_it_runs() {
    const SLOW: Workflow<(), u64> = Workflow::new("slow");
    let bench = Bench::new();
    let clock = bench.clock.clone();
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
    let engine = bench.builder().workflow(&SLOW, slow).build().unwrap();
    bench.clock.run(async {
        let watch = async {
            bench.clock.sleep(Duration::from_secs(30)).await;
            assert!(engine.flush().await.is_delivered());
            assert_eq!(types(&bench.delivered()), ["workflow.started", "step.started"]);
        };
        let (outcome, ()) = futures::future::join(engine.run(&SLOW, "r", ()), watch).await;
        assert_eq!(outcome.unwrap(), Outcome::Completed(7));
        let history = engine.history("r").await.unwrap();
        assert_eq!(types(&history), ["workflow.started", "step.started", "step.completed", "workflow.completed"]);
        let EventKind::StepCompleted { duration_ms, .. } = history[2].kind else { panic!("{:?}", history[2]) };
        assert_eq!(duration_ms, 60_000);
        assert_eq!(history[2].timestamp.as_millis() - history[1].timestamp.as_millis(), 60_000);
    });
}
