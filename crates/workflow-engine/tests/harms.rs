//! The faults of the engine that inspired this one (`docs/determinism.md`, and the italics of its
//! design), each as a test named after the harm it did. `docs/verification.md` says how each fault
//! was put in to see its test fail.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{Either, join, join3, select};
use tracker_core::Clock;
use workflow_engine::store::EntryKind;
use workflow_engine::{
    Cancel, Cancelled, Context, Engine, Failure, Outcome, Retry, RunError, Status, Workflow,
};
use workflow_events::{EventKind, RunView};

use support::{Fixture, STEPS, drop_after, now, run_until_done, types};

const WF: Workflow<(), String> = Workflow::new("harm");
const HOUR: Duration = Duration::from_secs(3600);

async fn ok<T>(value: T) -> Result<T, Failure> {
    Ok(value)
}

#[test]
fn select_swaps_the_results_of_two_steps_of_one_name() {
    let fixture = Fixture::new();
    let executions = Arc::new(AtomicU32::new(0));
    let swaps = move |ctx: Context, (): ()| {
        // tokio's `select!` polls in a random order. The two executions poll in different orders.
        let first_first = executions.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        async move {
            let first = ctx.step("pick", || ok("first".to_owned()));
            let second = ctx.step("pick", || ok("second".to_owned()));
            let (first, second) = if first_first {
                join(first, second).await
            } else {
                let (second, first) = join(second, first).await;
                (first, second)
            };
            ctx.sleep(HOUR).await;
            Ok::<_, Failure>(format!("{} {}", first?, second?))
        }
    };
    let engine = fixture.builder().workflow(&WF, swaps).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", ()).await.unwrap();
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed("first second".into())
        );
    });
}

#[test]
fn a_replay_lets_the_other_branch_of_select_win() {
    let fixture = Fixture::new();
    let clock = fixture.clock.clone();
    let races = move |ctx: Context, (): ()| {
        let clock = clock.clone();
        async move {
            let slow = || async {
                clock.sleep(Duration::from_millis(20)).await;
                Ok::<_, Failure>("slow".to_owned())
            };
            // Polled first, finished second; both are recorded, for the winner is awaited beside
            // the loser.
            let slow = ctx.step("slow", slow);
            let fast = ctx.step("fast", || ok("fast".to_owned()));
            let won = match select(slow, fast).await {
                Either::Left((won, fast)) => (won?, fast.await?),
                Either::Right((won, slow)) => (won?, slow.await?),
            };
            ctx.sleep(HOUR).await;
            Ok::<_, Failure>(format!("{} then {}", won.0, won.1))
        }
    };
    let engine = fixture.builder().workflow(&WF, races).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", ()).await.unwrap();
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed("fast then slow".into())
        );
    });
}

#[test]
fn the_wrong_sleep_is_resumed() {
    let fixture = Fixture::new();
    let sleeps = |ctx: Context, (): ()| async move {
        let branch = async |name: &'static str, hours: u32| {
            ctx.sleep(HOUR * hours).await;
            let at = ctx
                .step(name, || ok(ctx.now().as_millis() / 3_600_000))
                .await?;
            Ok::<_, Failure>(format!("{name} after {at} h"))
        };
        let (three, one, two) = join3(branch("three", 3), branch("one", 1), branch("two", 2)).await;
        Ok::<_, Failure>([three?, one?, two?].join(", "))
    };
    let engine = fixture.builder().workflow(&WF, sleeps).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", ()).await.unwrap();
        run_until_done(&fixture, &engine).await;
        let expected = "three after 3 h, one after 1 h, two after 2 h";
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed(expected.into())
        );
        let history = engine.history("r").await.unwrap();
        let steps = history.iter().filter_map(|event| match &event.kind {
            EventKind::StepCompleted { step_name, .. } => Some(step_name.as_str()),
            _ => None,
        });
        assert_eq!(steps.collect::<Vec<_>>(), ["one", "two", "three"]);
    });
}

#[test]
fn status_and_events_drift_apart() {
    let fixture = Fixture::new();
    let engine = fixture
        .builder()
        .workflow(&WF, sleeps_then_fails)
        .build()
        .unwrap();
    fixture.clock.run(async {
        engine.start(&WF, "r", ()).await.unwrap();
        let mut next_wake = Some(now(&fixture));
        while let Some(at) = next_wake {
            fixture.clock.sleep(at.duration_since(now(&fixture))).await;
            next_wake = engine.run_until_idle().await.unwrap().next_wake;
            let events = engine.history("r").await.unwrap();
            let status = engine.handle(&WF, "r").status().await.unwrap().unwrap();
            assert_eq!(
                RunView::from_events(&events).status().as_str(),
                status.stored_name()
            );
        }
        assert_eq!(
            types(&engine.history("r").await.unwrap()).last(),
            Some(&"workflow.failed")
        );
    });
}

async fn sleeps_then_fails(ctx: Context, (): ()) -> Result<String, Failure> {
    ctx.sleep(HOUR).await;
    Err(Failure::new("the card was declined"))
}

#[test]
fn a_failed_run_resolves_as_a_success_and_the_output_is_discarded() {
    let fixture = Fixture::new();
    let engine = fixture.builder().workflow(&WF, |_: Context, (): ()| async {
        Err(Failure::new("declined"))
    });
    let engine = engine.build().unwrap();
    fixture.clock.run(async {
        let Outcome::Failed(failure) = engine.run(&WF, "r", ()).await.unwrap() else {
            panic!("it failed")
        };
        assert_eq!(failure.error, Some(Failure::new("declined")));
        assert_eq!(
            engine.run(&STEPS, "s", 2).await.unwrap(),
            Outcome::Completed(2)
        );
        assert_eq!(
            engine.handle(&STEPS, "s").result().await.unwrap(),
            Outcome::Completed(2)
        );
    });
}

#[test]
fn a_run_that_was_started_is_stuck_for_ever_after_a_crash() {
    let fixture = Fixture::new();
    fixture.clock.run(async {
        let dies = fixture.builder().build().unwrap();
        dies.start(&STEPS, "r", 1).await.unwrap();
        drop(dies);
        let engine = fixture.builder().build().unwrap();
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            engine.handle(&STEPS, "r").status().await.unwrap(),
            Some(Status::Completed)
        );
    });
}

#[test]
fn another_input_under_a_known_id_silently_gets_the_first_result() {
    let fixture = Fixture::new();
    let engine = fixture
        .builder()
        .workflow(&WF, sleeps_then_fails)
        .build()
        .unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        let input = engine.start(&STEPS, "r", 2).await.unwrap_err();
        assert!(
            matches!(input, RunError::Conflict { what: "input", .. }),
            "{input}"
        );
        let workflow = engine.start(&WF, "r", ()).await.unwrap_err();
        assert!(
            matches!(
                workflow,
                RunError::Conflict {
                    what: "workflow",
                    ..
                }
            ),
            "{workflow}"
        );
    });
}

#[test]
fn a_run_takes_the_fallback_first_and_the_late_success_after_a_sleep() {
    let fixture = Fixture::new();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let falls_back = move |ctx: Context, (): ()| {
        let calls = counted.clone();
        async move {
            // It fails the first time it is executed, and would succeed the second time.
            let body = || async {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                if call == 0 {
                    Err(Failure::new("down"))
                } else {
                    Ok("primary".to_owned())
                }
            };
            let way = match ctx.step("primary", body).await {
                Ok(way) => way,
                Err(error) => format!("fallback, for {error}"),
            };
            ctx.sleep(HOUR).await;
            Ok::<_, Failure>(way)
        }
    };
    let engine = fixture.builder().workflow(&WF, falls_back).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", ()).await.unwrap();
        run_until_done(&fixture, &engine).await;
        let expected = "fallback, for step primary failed: down";
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed(expected.into())
        );
        assert_eq!(
            calls.load(Ordering::Relaxed),
            1,
            "a failure is as final as a success"
        );
    });
}

#[test]
fn of_three_parallel_steps_one_is_left() {
    let fixture = Fixture::new();
    let executed = Arc::new(AtomicU32::new(0));
    let counted = executed.clone();
    let parallel = move |ctx: Context, (): ()| {
        let executed = counted.clone();
        async move {
            let body = || ok(executed.fetch_add(1, Ordering::Relaxed));
            let (one, two, three) = join3(
                ctx.step("one", body),
                ctx.step("two", body),
                ctx.step("three", body),
            )
            .await;
            ctx.sleep(HOUR).await;
            Ok::<_, Failure>(format!("{} {} {}", one?, two?, three?))
        }
    };
    let engine = fixture.builder().workflow(&WF, parallel).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", ()).await.unwrap();
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed("0 1 2".into())
        );
        let entries = fixture
            .records("r")
            .await
            .into_iter()
            .filter_map(|record| record.entry);
        let steps: Vec<_> = entries
            .filter(|entry| entry.kind == EntryKind::StepCompleted)
            .collect();
        assert_eq!((steps.len(), executed.load(Ordering::Relaxed)), (3, 3));
    });
}

#[test]
fn a_retry_after_a_timeout_never_runs() {
    let fixture = Fixture::new();
    let calls = Arc::new(AtomicU32::new(0));
    let clock = fixture.clock.clone();
    let times_out = move |ctx: Context, (): ()| {
        let calls = calls.clone();
        let clock = clock.clone();
        async move {
            let body = || async {
                if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                    std::future::pending::<()>().await;
                }
                clock.sleep(Duration::from_secs(9)).await;
                Ok::<_, Failure>("second attempt".to_owned())
            };
            let step = ctx.step("hangs", body).timeout(Duration::from_secs(10));
            Ok::<_, Failure>(step.retry(Retry::constant(Duration::from_secs(60))).await?)
        }
    };
    let engine = fixture.builder().workflow(&WF, times_out).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", ()).await.unwrap();
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed("second attempt".into())
        );
    });
}

#[test]
fn a_status_query_turns_an_hour_of_sleep_into_ninety_minutes() {
    let fixture = Fixture::new();
    let sleeps = |ctx: Context, (): ()| async move {
        ctx.sleep(HOUR).await;
        Ok::<_, Failure>(ctx.now().to_string())
    };
    let engine = fixture.builder().workflow(&WF, sleeps).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", ()).await.unwrap();
        for _ in 0..5 {
            fixture.clock.sleep(HOUR / 6).await;
            assert_eq!(engine.handle(&WF, "r").status().await.unwrap(), Some(Status::Suspended));
            let again = engine.run(&WF, "r", ()).await.unwrap();
            assert!(matches!(again, Outcome::Suspended { resume_at, .. } if resume_at.as_millis() == 3_600_000));
            assert_eq!(engine.run_until_idle().await.unwrap().executed, 0);
        }
        run_until_done(&fixture, &engine).await;
        let end = Outcome::Completed("1970-01-01T01:00:00.000Z".into());
        assert_eq!(engine.run(&WF, "r", ()).await.unwrap(), end, "an hour is an hour");
        let event_types = fixture.event_types("r").await;
        assert_eq!(event_types.iter().filter(|kind| *kind == "workflow.paused").count(), 1, "{event_types:?}");
    });
}

#[test]
fn code_that_catches_everything_skips_a_sleep_and_defeats_a_cancel() {
    let fixture = Fixture::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    let logged = log.clone();
    let catches = move |ctx: Context, (): ()| {
        let log = logged.clone();
        async move {
            let work = async {
                let _ = ctx.step("one", || ok(())).await;
                ctx.sleep(HOUR).await;
                log.lock().unwrap().push("slept");
            };
            let caught = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work)).await;
            log.lock().unwrap().push(if caught.is_ok() {
                "went on"
            } else {
                "caught something"
            });
            Ok::<_, Failure>(String::new())
        }
    };
    let engine = fixture.builder().workflow(&WF, catches).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", ()).await.unwrap();
        assert!(
            log.lock().unwrap().is_empty(),
            "suspension did not pass through the code"
        );
        assert_eq!(
            engine.cancel("r", "no longer wanted").await.unwrap(),
            Cancelled::Done
        );
        run_until_done(&fixture, &engine).await;
        let reason = Some("no longer wanted".to_owned());
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Cancelled { reason }
        );
        assert!(log.lock().unwrap().is_empty(), "and neither did the cancel");
    });
}

#[test]
fn the_event_of_a_cancel_is_never_delivered_or_has_the_name_of_a_step_as_its_reason() {
    let fixture = Fixture::new();
    let clock = fixture.clock.clone();
    let slow = move |ctx: Context, (): ()| {
        let clock = clock.clone();
        async move {
            let body = || async {
                clock.sleep(HOUR).await;
                Ok::<_, Failure>(())
            };
            ctx.step("charge the card", body).await?;
            ctx.step("next", || ok(())).await?;
            Ok::<_, Failure>(String::new())
        }
    };
    let engine: Engine = fixture.builder().workflow(&WF, slow).build().unwrap();
    fixture.clock.run(async {
        let cancel = async {
            fixture.clock.sleep(HOUR / 2).await;
            assert_eq!(
                engine.cancel("r", Cancel::new("called off")).await.unwrap(),
                Cancelled::Requested
            );
        };
        let (outcome, ()) = join(engine.run(&WF, "r", ()), cancel).await;
        assert_eq!(
            outcome.unwrap(),
            Outcome::Cancelled {
                reason: Some("called off".into())
            }
        );
        assert!(engine.flush().await.is_complete());
        let delivered = fixture.delivered();
        let completed_steps = vec!["charge the card".to_owned()].into();
        let kind = EventKind::WorkflowCancelled {
            reason: Some("called off".into()),
            completed_steps,
        };
        assert_eq!(delivered.last().unwrap().kind, kind);
        assert!(
            !fixture
                .event_types("r")
                .await
                .iter()
                .any(|kind| kind == "workflow.completed")
        );
    });
}

#[test]
fn a_run_that_kills_its_process_is_tried_for_ever_or_stranded_by_an_early_crash() {
    let fixture = Fixture::new();
    // A process that dies within a second of each start.
    let poison = |ctx: Context, (): ()| async move {
        Ok::<_, Failure>(
            ctx.step("dies", std::future::pending::<Result<String, Failure>>)
                .await?,
        )
    };
    fixture.clock.run(async {
        let mut deaths = 0;
        let outcome = loop {
            let engine = fixture
                .builder()
                .max_recoveries(3)
                .workflow(&WF, poison)
                .build()
                .unwrap();
            let run = pin!(engine.run(&WF, "r", ()));
            let life = Duration::from_secs(if deaths == 0 { 1 } else { 40 });
            match select(run, fixture.clock.sleep(life)).await {
                Either::Left((outcome, _)) => break outcome.unwrap(),
                Either::Right(_) => deaths += 1,
            }
            assert!(deaths < 20, "it is tried without end");
        };
        let Outcome::Failed(failure) = outcome else {
            panic!("it fails")
        };
        assert_eq!(
            (failure.info.kind.as_deref(), deaths),
            (Some("poison"), 4),
            "{}",
            failure.info.message
        );
        assert!(
            failure.info.message.contains("3 times"),
            "{}",
            failure.info.message
        );
    });
    fixture.clock.run(async {
        // One crash right after the start does not strand the run.
        const EARLY: Workflow<(), ()> = Workflow::new("early");
        let first = Arc::new(AtomicU32::new(0));
        let early = move |ctx: Context, (): ()| {
            let first = first.clone();
            async move {
                let body = || async {
                    if first.fetch_add(1, Ordering::Relaxed) == 0 {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Failure>(())
                };
                Ok::<_, Failure>(ctx.step("hangs", body).await?)
            }
        };
        let engine = || {
            fixture
                .builder()
                .workflow(&EARLY, early.clone())
                .build()
                .unwrap()
        };
        drop_after(
            &fixture,
            Duration::from_millis(1),
            engine().run(&EARLY, "early", ()),
        )
        .await;
        let engine = engine();
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            engine.run(&EARLY, "early", ()).await.unwrap(),
            Outcome::Completed(())
        );
    });
}
