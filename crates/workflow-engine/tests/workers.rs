//! Workers execute due runs, release the runs that they leave, and never advance a run that another
//! worker has claimed.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::{join, join_all, join3, select};
use tracker_core::Clock;
use workflow_engine::{
    Context, Engine, Failure, Outcome, Retention, RunError, RunFilter, Status, StepFailure, Store,
    Workflow,
};
use workflow_events::EventKind;
use workflow_testing::{Fault, FaultStore};

use support::{Fixture, STEPS, drop_after, run_until_done};

const WF: Workflow<(), u32> = Workflow::new("wf");
const HOUR: Duration = Duration::from_secs(3600);

/// A workflow of one step that takes an hour of the test's clock, and counts how often it has
/// begun.
fn slow(fixture: &Fixture, begun: &Arc<AtomicU32>) -> Engine {
    let clock = fixture.clock.clone();
    let begun = begun.clone();
    let function = move |ctx: Context, (): ()| {
        let clock = clock.clone();
        let begun = begun.clone();
        async move {
            let body = || async {
                let before = begun.fetch_add(1, Ordering::Relaxed);
                clock.sleep(HOUR).await;
                Ok::<_, Failure>(before)
            };
            Ok::<_, Failure>(ctx.step("slow", body).await?)
        }
    };
    fixture.builder().workflow(&WF, function).build().unwrap()
}

#[test]
fn a_worker_executes_started_runs_and_wakes_sleeping_ones() {
    let fixture = Fixture::new();
    let sleeps = |ctx: Context, (): ()| async move {
        ctx.sleep(HOUR).await;
        Ok::<_, Failure>(7)
    };
    let engine = fixture
        .builder()
        .workflow(&WF, sleeps)
        .max_concurrent_runs(4)
        .build()
        .unwrap();
    fixture.clock.run(async {
        let work = async {
            let handles = join_all((0..50).map(|n| engine.start(&WF, format!("r{n}"), ()))).await;
            for handle in handles {
                assert_eq!(
                    handle.unwrap().result().await.unwrap(),
                    Outcome::Completed(7)
                );
            }
            engine.shutdown(Duration::from_secs(5)).await
        };
        let ((), (), report) = join3(engine.work(), engine.work(), work).await;
        assert!(report.is_complete(), "{report}");
        assert_eq!(fixture.delivered().len(), 50 * 7);
    });
}

#[test]
fn a_worker_that_was_frozen_advances_nothing_that_another_has_taken() {
    let fixture = Fixture::new();
    let begun = Arc::new(AtomicU32::new(0));
    let first = slow(&fixture, &begun);
    let second = slow(&fixture, &begun);
    fixture.clock.run(async {
        let takes_over = async {
            fixture.clock.sleep(Duration::from_secs(60)).await;
            // The lease is cut short, as if the worker had been frozen for longer.
            let run = fixture.store.run("r").await.unwrap().unwrap();
            fixture
                .store
                .renew(run.worker.as_deref().unwrap(), support::now(&fixture))
                .await
                .unwrap();
            second.run(&WF, "r", ()).await
        };
        let (one, two) = join(first.run(&WF, "r", ()), takes_over).await;
        assert_eq!(two.unwrap(), Outcome::Completed(1));
        assert_eq!(
            one.unwrap(),
            Outcome::Completed(1),
            "the first gave way, and waited for the second"
        );
        let event_types = fixture.event_types("r").await;
        assert_eq!(
            event_types
                .iter()
                .filter(|kind| *kind == "step.completed")
                .count(),
            1,
            "{event_types:?}"
        );
        assert_eq!(
            begun.load(Ordering::Relaxed),
            2,
            "at least once: the frozen one had begun"
        );
    });
}

#[test]
fn a_worker_continues_a_run_whose_future_was_dropped() {
    let fixture = Fixture::new();
    let begun = Arc::new(AtomicU32::new(0));
    let engine = slow(&fixture, &begun);
    fixture.clock.run(async {
        let stop = async {
            drop_after(&fixture, Duration::from_secs(60), engine.run(&WF, "r", ())).await;
            let outcome = engine.handle(&WF, "r").result().await;
            let report = engine.shutdown(Duration::from_secs(5)).await;
            (outcome, report)
        };
        let ((), (outcome, report)) = join(engine.work(), stop).await;
        assert_eq!(outcome.unwrap(), Outcome::Completed(1));
        assert!(report.is_complete());
        let run = fixture.store.run("r").await.unwrap().unwrap();
        assert_eq!(run.recoveries, 0);
    });
}

#[test]
fn a_shutdown_releases_its_runs_immediately() {
    let fixture = Fixture::new();
    let begun = Arc::new(AtomicU32::new(0));
    let first = slow(&fixture, &begun);
    let second = slow(&fixture, &begun);
    fixture.clock.run(async {
        let stop = async {
            fixture.clock.sleep(Duration::from_secs(60)).await;
            first.shutdown(Duration::from_secs(5)).await
        };
        let (outcome, report) = join(first.run(&WF, "r", ()), stop).await;
        assert!(matches!(outcome, Err(RunError::Closed)), "{outcome:?}");
        assert!(report.is_delivered());
        let before = fixture.clock.now();
        assert_eq!(
            second.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed(1)
        );
        assert!(
            fixture.clock.now() - before < HOUR + Duration::from_secs(10),
            "no lease had to run out"
        );
        assert_eq!(
            fixture.store.run("r").await.unwrap().unwrap().recoveries,
            0,
            "nothing has died"
        );
    });
}

#[test]
fn a_run_stops_after_the_step_that_a_shutdown_interrupted() {
    let fixture = Fixture::new();
    let clock = fixture.clock.clone();
    let function = move |ctx: Context, (): ()| {
        let clock = clock.clone();
        async move {
            for n in 0..100 {
                let body = || async {
                    clock.sleep(Duration::from_secs(60)).await;
                    Ok::<_, Failure>(n)
                };
                ctx.step("minute", body).await?;
            }
            Ok::<_, Failure>(100)
        }
    };
    let engine = |fixture: &Fixture| {
        fixture
            .builder()
            .workflow(&WF, function.clone())
            .build()
            .unwrap()
    };
    fixture.clock.run(async {
        let first = engine(&fixture);
        let stop = async {
            fixture.clock.sleep(Duration::from_secs(90)).await;
            first.shutdown(HOUR).await
        };
        let (outcome, report) = join(first.run(&WF, "r", ()), stop).await;
        assert!(matches!(outcome, Err(RunError::Closed)));
        assert_eq!(
            (report.active_runs, fixture.clock.now()),
            (0, Duration::from_secs(120)),
            "the shutdown waits only until the step has finished"
        );
        let second = engine(&fixture);
        assert_eq!(
            second.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed(100)
        );
        assert_eq!(
            fixture.clock.now(),
            Duration::from_secs(6_000),
            "no minute was spent twice"
        );
    });
}

#[test]
fn a_run_of_an_unregistered_workflow_stays_unchanged_and_is_reported() {
    let fixture = Fixture::new();
    fixture.clock.run(async {
        let knows = fixture
            .builder()
            .workflow(&WF, |_: Context, (): ()| async { Ok::<_, Failure>(1) })
            .build()
            .unwrap();
        knows.start(&WF, "r", ()).await.unwrap();
        let does_not = fixture.builder().build().unwrap();
        does_not.start(&STEPS, "s", 1).await.unwrap();
        let idle = does_not.run_until_idle().await.unwrap();
        assert_eq!((idle.executed, idle.unknown), (1, vec!["wf".to_owned()]));
        assert_eq!(
            knows.handle(&WF, "r").status().await.unwrap(),
            Some(Status::Queued)
        );
        run_until_done(&fixture, &knows).await;
        assert_eq!(
            knows.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed(1)
        );
    });
}

#[test]
fn runs_are_purged_when_their_retention_has_expired_and_every_sink_has_their_events() {
    let fixture = Fixture::new();
    let engine = fixture.builder().retention(Retention {
        completed: Some(HOUR),
        ..Retention::default()
    });
    let engine = engine
        .workflow(&WF, |_: Context, (): ()| async { Err(Failure::new("no")) })
        .build()
        .unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        let _ = engine.run(&WF, "failed", ()).await.unwrap();
        fixture.clock.sleep(HOUR * 2).await;
        assert_eq!(
            engine.purge().await.unwrap().runs,
            0,
            "the sink has not received its events"
        );
        assert!(engine.flush().await.is_complete());
        let purged = engine.purge().await.unwrap();
        assert_eq!(
            (purged.runs, purged.events),
            (1, 4),
            "and the failed run is kept"
        );
        assert_eq!(engine.list(&RunFilter::default()).await.unwrap().len(), 1);
        let again = engine.run(&STEPS, "r", 2).await.unwrap();
        assert_eq!(
            again,
            Outcome::Completed(2),
            "the id is free, and nothing of the old run is seen"
        );
        let report = engine.flush().await;
        assert!(
            report.is_complete() && report.sink("collector").unwrap().books.is_balanced(),
            "{report}"
        );
    });
}

#[test]
fn a_step_that_loses_a_select_after_its_start_was_recorded_gets_its_end() {
    let fixture = Fixture::new();
    let function = |ctx: Context, (): ()| async move {
        let hangs = ctx.step("hangs", std::future::pending::<Result<(), Failure>>);
        futures::future::select(hangs, ctx.sleep(Duration::from_millis(500))).await;
        Ok::<_, Failure>(ctx.step("next", || async { Ok::<_, Failure>(1) }).await?)
    };
    let engine = fixture.builder().workflow(&WF, function).build().unwrap();
    fixture.clock.run(async {
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed(1)
        );
        let history = engine.history("r").await.unwrap();
        let started = history
            .iter()
            .filter(|event| matches!(event.kind, EventKind::StepStarted { .. }))
            .count();
        let ended = history.iter().filter(|event| {
            matches!(
                event.kind,
                EventKind::StepCompleted { .. } | EventKind::StepFailed { .. }
            )
        });
        assert_eq!(
            (started, ended.count()),
            (2, 2),
            "{:?}",
            support::types(&history)
        );
    });
}

#[test]
fn values_beyond_the_limit_are_typed_failures_that_name_the_step() {
    let fixture = Fixture::new();
    const LARGE: Workflow<String, String> = Workflow::new("large");
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let function = move |ctx: Context, text: String| {
        let calls = counted.clone();
        async move {
            let body = || async {
                calls.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Failure>(text.repeat(10))
            };
            let policy = workflow_engine::Retry::constant(Duration::from_millis(1));
            match ctx.step("repeat", body).retry(policy).await {
                Err(error)
                    if matches!(
                        error.cause,
                        StepFailure::TooLarge {
                            bytes: 1_002,
                            limit: 1_000
                        }
                    ) =>
                {
                    Ok(text)
                }
                other => Ok::<_, Failure>(other?.repeat(2)),
            }
        }
    };
    let engine = fixture
        .builder()
        .max_value_bytes(1_000)
        .workflow(&LARGE, function)
        .build()
        .unwrap();
    fixture.clock.run(async {
        let text = "x".repeat(100);
        assert_eq!(
            engine.run(&LARGE, "r", text.clone()).await.unwrap(),
            Outcome::Completed(text)
        );
        assert_eq!(
            calls.load(Ordering::Relaxed),
            1,
            "another attempt would be as large"
        );
        let refused = engine.run(&LARGE, "input", "x".repeat(2_000)).await;
        assert!(
            matches!(
                refused,
                Err(RunError::InputTooLarge {
                    bytes: 2_002,
                    limit: 1_000
                })
            ),
            "{refused:?}"
        );
        let Outcome::Failed(failure) = engine.run(&LARGE, "output", "x".repeat(60)).await.unwrap()
        else {
            panic!()
        };
        assert_eq!(failure.info.kind.as_deref(), Some("tooLarge"), "{failure}");
    });
}

#[test]
fn ten_thousand_parallel_operations_are_recorded_and_replayed() {
    let fixture = Fixture::new();
    let function = |ctx: Context, (): ()| async move {
        let steps =
            (0..10_000_u32).map(|n| ctx.step("one", move || async move { Ok::<_, Failure>(n) }));
        let sum = futures::future::try_join_all(steps)
            .await?
            .iter()
            .sum::<u32>();
        futures::future::join_all((0..1_000).map(|_| ctx.sleep(HOUR))).await;
        Ok::<_, Failure>(sum)
    };
    let engine = fixture.builder().workflow(&WF, function).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", ()).await.unwrap();
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Completed((0..10_000).sum())
        );
    });
}

#[test]
fn a_run_whose_claim_was_not_answered_is_executed_later() {
    let fixture = Fixture::new();
    // Write 0 is the lease, 1 creates the run, 2 claims it.
    let store = FaultStore::new(fixture.store.clone()).with_fault(2, Fault::FailAfter);
    let builder = Engine::builder()
        .store(Arc::new(store))
        .clock(fixture.clock.clone());
    let engine = builder.workflow(&STEPS, support::steps).build().unwrap();
    fixture.clock.run(async {
        engine.start(&STEPS, "r", 1).await.unwrap();
        assert!(engine.run_until_idle().await.is_err());
        assert_eq!(
            fixture.store.run("r").await.unwrap().unwrap().due_at,
            None,
            "this engine holds it, unknowingly"
        );
        assert_eq!(engine.run_until_idle().await.unwrap().executed, 1);
        assert_eq!(
            engine.run(&STEPS, "r", 1).await.unwrap(),
            Outcome::Completed(1)
        );
    });
}

#[test]
fn an_engine_that_is_shut_down_refuses_work_immediately() {
    let fixture = Fixture::new();
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        engine.start(&STEPS, "r", 1).await.unwrap();
        assert!(engine.shutdown(Duration::from_secs(1)).await.is_delivered());
        assert_eq!(engine.run_until_idle().await.unwrap().executed, 0);
        engine.work().await;
        let refused = engine.start(&STEPS, "s", 1).await;
        assert!(matches!(refused, Err(RunError::Closed)));
        assert_eq!(
            fixture.store.run("r").await.unwrap().unwrap().status,
            Status::Queued,
            "the next engine takes it"
        );
    });
}

#[test]
fn a_sink_added_after_a_purge_knows_how_many_events_it_missed() {
    let fixture = Fixture::new();
    let engine = fixture
        .builder()
        .retention(Retention::all(HOUR))
        .build()
        .unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "old", 1).await.unwrap();
        assert!(engine.flush().await.is_complete());
        fixture.clock.sleep(HOUR * 2).await;
        assert_eq!(engine.purge().await.unwrap().events, 4);
        let late = Arc::new(support::Sink::new());
        let next = fixture
            .builder()
            .sink("late", late.clone())
            .build()
            .unwrap();
        let _ = next.run(&STEPS, "new", 1).await.unwrap();
        let report = next.flush().await;
        let books = report.sink("late").unwrap().books;
        assert_eq!(
            (
                books.accepted,
                books.delivered,
                books.dropped,
                books.pending()
            ),
            (8, 4, 4, 0)
        );
        assert!(
            books.is_balanced() && report.is_delivered() && !report.is_complete(),
            "{report}"
        );
        assert_eq!(late.delivered().len(), 4);
    });
}

#[test]
fn a_shutdown_lets_steps_finish_also_where_there_is_no_sink() {
    let fixture = Fixture::new();
    let clock = fixture.clock.clone();
    let function = move |ctx: Context, (): ()| {
        let clock = clock.clone();
        async move {
            let wait = || async {
                clock.sleep(Duration::from_secs(5)).await;
                Ok::<_, Failure>(1)
            };
            Ok::<_, Failure>(ctx.step("long", wait).await?)
        }
    };
    let builder = Engine::builder()
        .store(fixture.store.clone())
        .clock(fixture.clock.clone());
    let engine = builder.workflow(&WF, function).build().unwrap();
    fixture.clock.run(async {
        engine.start(&WF, "r", ()).await.unwrap();
        let stop = async {
            fixture.clock.sleep(Duration::from_secs(1)).await;
            engine.shutdown(Duration::from_secs(60)).await
        };
        let (idle, report) = join(engine.run_until_idle(), stop).await;
        assert_eq!((idle.unwrap().executed, report.active_runs), (1, 0));
        let event_types = fixture.event_types("r").await;
        assert_eq!(
            event_types.last().unwrap(),
            "step.completed",
            "{event_types:?}"
        );
    });
}

#[test]
fn a_store_that_is_down_does_not_make_a_worker_spin() {
    let fixture = Fixture::new();
    let down = (3..3_000).fold(FaultStore::new(fixture.store.clone()), |s, write| {
        s.with_fault(write, Fault::FailBefore)
    });
    let store = Arc::new(down);
    let clock = fixture.clock.clone();
    let function = move |ctx: Context, (): ()| {
        let clock = clock.clone();
        async move {
            let wait = || async {
                clock.sleep(Duration::from_millis(50)).await;
                Ok::<_, Failure>(1)
            };
            Ok::<_, Failure>(ctx.step("s", wait).await?)
        }
    };
    let builder = Engine::builder()
        .store(store.clone())
        .clock(fixture.clock.clone());
    let engine = builder.workflow(&WF, function).build().unwrap();
    fixture.clock.run(async {
        drop_after(
            &fixture,
            Duration::from_millis(10),
            engine.run(&WF, "r", ()),
        )
        .await;
        let before = store.writes();
        let _ = select(
            pin!(engine.work()),
            fixture.clock.sleep(Duration::from_secs(10)),
        )
        .await;
        let writes = store.writes() - before;
        assert!(writes < 200, "{writes} writes in ten seconds");
    });
}
