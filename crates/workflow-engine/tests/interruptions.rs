//! Interruptions inside the process: futures dropped at each poll, shutdowns at each write, two
//! engines with the same runs. In every case the next engine ends the runs correctly.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join, join_all, poll_fn, select};
use tracker_core::Clock;
use workflow_engine::store::EntryKind;
use workflow_engine::{
    Context, Engine, Failure, Outcome, Retry, RunError, Status, Store, Workflow,
};
use workflow_events::RunView;
use workflow_testing::{Fault, FaultStore};

use support::{Fixture, STEPS, drop_after, run_until_done};

const WF: Workflow<u32, u32> = Workflow::new("wf");

/// Executes each kind of operation: steps that wait, parallel steps, a select, a retry, a short and
/// a long sleep.
async fn works(
    ctx: Context,
    input: u32,
    clock: Arc<dyn Clock>,
    tries: Arc<AtomicU32>,
) -> Result<u32, Failure> {
    let wait = |millis: u64, value: u32| {
        let clock = clock.clone();
        async move {
            clock.sleep(Duration::from_millis(millis)).await;
            Ok::<_, Failure>(value)
        }
    };
    let one = ctx.step("one", || wait(150, 1)).await?;
    let (two, three) = join(
        ctx.step("two", || wait(20, 2)),
        ctx.step("three", || wait(10, 3)),
    )
    .await;
    ctx.sleep(Duration::from_millis(5)).await;
    let flaky = || {
        let failed = tries.fetch_add(1, Ordering::Relaxed) % 3 != 2;
        async move {
            if failed {
                Err(Failure::new("not yet"))
            } else {
                Ok(4)
            }
        }
    };
    let policy = Retry::constant(Duration::from_millis(700)).attempts(99)?;
    let four = ctx.step("four", flaky).retry(policy).await?;
    let quick = ctx.step("quick", || wait(1, 5));
    let five = match futures::future::select(quick, ctx.sleep(Duration::from_secs(24 * 3600))).await
    {
        futures::future::Either::Left((five, _)) => five?,
        futures::future::Either::Right(_) => return Err(Failure::new("the longer one won")),
    };
    ctx.sleep(Duration::from_secs(3600)).await;
    Ok(input + one + two? + three? + four + five)
}

fn engine(fixture: &Fixture, tries: &Arc<AtomicU32>) -> workflow_engine::EngineBuilder {
    let clock: Arc<dyn Clock> = fixture.clock.clone();
    let tries = tries.clone();
    fixture.builder().workflow(&WF, move |ctx, input| {
        works(ctx, input, clock.clone(), tries.clone())
    })
}

/// Lets a new engine execute the rest, and checks the run.
async fn finish(fixture: &Fixture, tries: &Arc<AtomicU32>, interrupted: &str) {
    let engine = engine(fixture, tries).build().unwrap();
    let _ = engine.run(&WF, "r", 10).await.unwrap();
    run_until_done(fixture, &engine).await;
    assert_eq!(
        engine.run(&WF, "r", 10).await.unwrap(),
        Outcome::Completed(25),
        "{interrupted}"
    );
    let events = engine.history("r").await.unwrap();
    assert!(RunView::from_events(&events).is_complete(), "{interrupted}");
    let records = fixture.records("r").await;
    let entries = records.iter().filter_map(|record| record.entry.as_ref());
    let mut steps: Vec<_> = entries
        .filter(|entry| entry.kind == EntryKind::StepCompleted)
        .map(|e| &e.name)
        .collect();
    steps.sort_unstable();
    assert_eq!(
        steps,
        ["four", "one", "quick", "three", "two"],
        "{interrupted}: each step is recorded once"
    );
    assert_eq!(fixture.delivered().len(), events.len(), "{interrupted}");
}

#[test]
fn a_run_whose_future_is_dropped_at_any_poll_ends_correctly() {
    for polls in 0..60 {
        let fixture = Fixture::new();
        let tries = Arc::new(AtomicU32::new(0));
        fixture.clock.run(async {
            let dies = engine(&fixture, &tries).build().unwrap();
            {
                let mut run = pin!(dies.run(&WF, "r", 10));
                let mut polled = 0;
                poll_fn(|cx| {
                    polled += 1;
                    if polled > polls || run.as_mut().poll(cx).is_ready() {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
            }
            if polls % 2 == 0 {
                // The same engine continues ...
                run_until_done(&fixture, &dies).await;
            }
            drop(dies);
            // ... or the next one.
            finish(&fixture, &tries, &format!("dropped after {polls} polls")).await;
        });
    }
}

#[test]
fn a_shutdown_at_any_write_leaves_a_run_that_the_next_engine_continues() {
    let mut closed = 0;
    for write in 0..25 {
        let fixture = Fixture::new();
        let tries = Arc::new(AtomicU32::new(0));
        let slot: Arc<std::sync::Mutex<Option<Engine>>> = Arc::default();
        let stops = slot.clone();
        let store = FaultStore::new(fixture.store.clone()).with_action_before(write, move |_| {
            let engine = stops.lock().unwrap().take();
            // The first poll closes the engine and interrupts its runs; the rest happens below.
            let _ = engine.map(|engine| engine.shutdown(Duration::from_secs(5)).now_or_never());
        });
        let stopped = engine(&fixture, &tries)
            .store(Arc::new(store))
            .build()
            .unwrap();
        *slot.lock().unwrap() = Some(stopped.clone());
        fixture.clock.run(async {
            match stopped.run(&WF, "r", 10).await {
                Ok(_) => {}
                Err(RunError::Closed) => closed += 1,
                Err(other) => panic!("{other}"),
            }
            let report = stopped.shutdown(Duration::from_secs(5)).await;
            assert_eq!(report.active_runs, 0);
            finish(&fixture, &tries, &format!("shut down at write {write}")).await;
        });
    }
    assert!(closed > 5, "{closed} runs met the shutdown");
}

#[test]
fn two_engines_that_want_the_same_runs_share_them() {
    let fixture = Fixture::new();
    let tries = Arc::new(AtomicU32::new(0));
    let lease = Duration::from_secs(1);
    let engines = [(); 2].map(|()| {
        engine(&fixture, &tries)
            .lease(lease)
            .max_concurrent_runs(3)
            .build()
            .unwrap()
    });
    fixture.clock.run(async {
        let runs = async {
            let runs = (0..40).map(|n| {
                let engine = &engines[n % 2];
                // Half of the runs go through `run` on both engines, half through `start`.
                async move {
                    let id = format!("r{n}");
                    if n % 4 < 2 {
                        let (one, two) =
                            join(engines_run(engine, &id), engines_run(engine, &id)).await;
                        assert!(one && two);
                    }
                    let handle = engine.start(&WF, id, 10).await.unwrap();
                    assert_eq!(handle.result().await.unwrap(), Outcome::Completed(25));
                }
            });
            join_all(runs).await;
            for engine in &engines {
                assert!(
                    engine
                        .shutdown(Duration::from_secs(60))
                        .await
                        .is_delivered()
                );
            }
        };
        futures::join!(engines[0].work(), engines[1].work(), runs);
        for n in 0..40 {
            let event_types = fixture.event_types(&format!("r{n}")).await;
            let ends = event_types
                .iter()
                .filter(|kind| *kind == "workflow.completed")
                .count();
            let started = event_types
                .iter()
                .filter(|kind| *kind == "workflow.started")
                .count();
            assert_eq!((started, ends), (1, 1), "r{n}: {event_types:?}");
        }
    });
}

async fn engines_run(engine: &Engine, id: &str) -> bool {
    matches!(
        engine.run(&WF, id, 10).await,
        Ok(Outcome::Completed(25) | Outcome::Suspended { .. })
    )
}

/// Claims are answered 10 ms late, and the caller is dropped before the answer, at every point of
/// the protocol.
#[test]
fn a_future_dropped_at_any_time_strands_no_run() {
    let ms = Duration::from_millis(1);
    let mut stranded = Vec::new();
    for what in ["run", "idle", "work", "idle after run"] {
        for at in (5..125).step_by(10) {
            let fixture = Fixture::new();
            let store =
                FaultStore::new(fixture.store.clone()).with_latency(fixture.clock.clone(), 10 * ms);
            let builder = Engine::builder()
                .store(Arc::new(store))
                .clock(fixture.clock.clone());
            let engine = builder.workflow(&STEPS, support::steps).build().unwrap();
            fixture.clock.run(async {
                let kill = fixture.clock.sleep(at * ms);
                match what {
                    "run" => drop(select(pin!(engine.run(&STEPS, "r", 2)), kill).await),
                    "idle after run" => {
                        drop(
                            select(
                                pin!(engine.run(&STEPS, "r", 2)),
                                fixture.clock.sleep(25 * ms),
                            )
                            .await,
                        );
                        drop(select(pin!(engine.run_until_idle()), kill).await);
                    }
                    _ => {
                        engine.start(&STEPS, "r", 2).await.unwrap();
                        match what {
                            "idle" => drop(select(pin!(engine.run_until_idle()), kill).await),
                            _ => drop(select(pin!(engine.work()), kill).await),
                        }
                    }
                }
                let _ = select(
                    pin!(engine.work()),
                    fixture.clock.sleep(Duration::from_secs(600)),
                )
                .await;
                let run = fixture.store.run("r").await.unwrap();
                stranded.extend(
                    run.filter(|run| run.status != Status::Completed)
                        .map(|run| (what, at, run)),
                );
            });
        }
    }
    assert!(stranded.is_empty(), "{stranded:#?}");
}

/// A run is dropped, continued and dropped again, while the store fails at each write in turn.
#[test]
fn a_failure_at_any_write_of_a_worker_strands_no_run() {
    for (write, fault) in
        (2..12).flat_map(|write| [(write, Fault::FailBefore), (write, Fault::FailAfter)])
    {
        let fixture = Fixture::new();
        let store = FaultStore::new(fixture.store.clone()).with_fault(write, fault);
        let builder = Engine::builder()
            .store(Arc::new(store))
            .clock(fixture.clock.clone());
        let clock = fixture.clock.clone();
        let millis = Duration::from_millis;
        let function = move |ctx: Context, input: u32| {
            let clock = clock.clone();
            async move {
                let wait = || async {
                    clock.sleep(millis(50)).await;
                    Ok::<_, Failure>(input)
                };
                Ok::<_, Failure>(ctx.step("wait", wait).await?)
            }
        };
        let engine = builder.workflow(&WF, function).build().unwrap();
        fixture.clock.run(async {
            for id in ["a", "b", "c"] {
                engine.start(&WF, id, 1).await.unwrap();
            }
            drop_after(&fixture, millis(10), engine.run(&WF, "d", 1)).await;
            let _ = select(pin!(engine.work()), fixture.clock.sleep(millis(20))).await;
            let _ = select(
                pin!(engine.work()),
                fixture.clock.sleep(Duration::from_secs(600)),
            )
            .await;
            for id in ["a", "b", "c", "d"] {
                let run = fixture.store.run(id).await.unwrap().unwrap();
                assert_eq!(
                    run.status,
                    Status::Completed,
                    "{fault:?} at write {write}: {run:?}"
                );
            }
        });
    }
}
