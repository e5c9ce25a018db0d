//! What is interrupted from inside the process: futures dropped at every poll, shutdowns at every write, two engines
//! that want the same runs. Whatever happens, the next engine comes to the right end.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join, join_all, poll_fn};
use support::{Bench, work_off};
use tracker_core::Clock;
use workflow_engine::testing::FaultStore;
use workflow_engine::{Context, Engine, EntryKind, Failure, Outcome, Retry, RunError, Workflow};
use workflow_events::RunView;

const WF: Workflow<u32, u32> = Workflow::new("wf");

/// A bit of everything: steps that wait, parallel steps, a select, a retry, a short and a long sleep.
async fn works(ctx: Context, input: u32, clock: Arc<dyn Clock>, tries: Arc<AtomicU32>) -> Result<u32, Failure> {
    let wait = |millis: u64, value: u32| {
        let clock = clock.clone();
        async move {
            clock.sleep(Duration::from_millis(millis)).await;
            Ok::<_, Failure>(value)
        }
    };
    let one = ctx.step("one", || wait(150, 1)).await?;
    let (two, three) = join(ctx.step("two", || wait(20, 2)), ctx.step("three", || wait(10, 3))).await;
    ctx.sleep(Duration::from_millis(5)).await;
    let flaky = || {
        let failed = tries.fetch_add(1, Ordering::Relaxed) % 3 != 2;
        async move { if failed { Err(Failure::new("not yet")) } else { Ok(4) } }
    };
    let policy = Retry::constant(Duration::from_millis(700)).attempts(99)?;
    let four = ctx.step("four", flaky).retry(policy).await?;
    let quick = ctx.step("quick", || wait(1, 5));
    let five = match futures::future::select(quick, ctx.sleep(Duration::from_secs(24 * 3600))).await {
        futures::future::Either::Left((five, _)) => five?,
        futures::future::Either::Right(_) => return Err(Failure::new("the longer one won")),
    };
    ctx.sleep(Duration::from_secs(3600)).await;
    Ok(input + one + two? + three? + four + five)
}

fn engine(bench: &Bench, tries: &Arc<AtomicU32>) -> workflow_engine::EngineBuilder {
    let (clock, tries): (Arc<dyn Clock>, _) = (bench.clock.clone(), tries.clone());
    bench.builder().workflow(&WF, move |ctx, input| works(ctx, input, clock.clone(), tries.clone()))
}

/// Lets a new engine do the rest, and checks what has come of the run.
async fn finish(bench: &Bench, tries: &Arc<AtomicU32>, interrupted: &str) {
    let engine = engine(bench, tries).build().unwrap();
    let _ = engine.run(&WF, "r", 10).await.unwrap();
    work_off(bench, &engine).await;
    assert_eq!(engine.run(&WF, "r", 10).await.unwrap(), Outcome::Completed(25), "{interrupted}");
    let events = engine.history("r").await.unwrap();
    assert!(RunView::from_events(&events).is_complete(), "{interrupted}");
    let records = bench.records("r").await;
    let entries = records.iter().filter_map(|record| record.entry.as_ref());
    let mut steps: Vec<_> = entries.filter(|entry| entry.kind == EntryKind::StepCompleted).map(|e| &e.name).collect();
    steps.sort_unstable();
    assert_eq!(steps, ["four", "one", "quick", "three", "two"], "{interrupted}: each step is recorded once");
    assert_eq!(bench.delivered().len(), events.len(), "{interrupted}");
}

#[test]
fn a_run_that_is_dropped_at_any_poll_comes_to_its_end() {
    for polls in 0..60 {
        let (bench, tries) = (Bench::new(), Arc::new(AtomicU32::new(0)));
        bench.clock.run(async {
            let dies = engine(&bench, &tries).build().unwrap();
            {
                let mut run = pin!(dies.run(&WF, "r", 10));
                let mut polled = 0;
                poll_fn(|cx| {
                    polled += 1;
                    if polled > polls || run.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
            if polls % 2 == 0 {
                // The same engine goes on ...
                work_off(&bench, &dies).await;
            }
            drop(dies);
            // ... or the next one.
            finish(&bench, &tries, &format!("dropped after {polls} polls")).await;
        });
    }
}

#[test]
fn a_shutdown_at_any_write_leaves_what_the_next_engine_goes_on_with() {
    let mut closed = 0;
    for write in 0..25 {
        let (bench, tries) = (Bench::new(), Arc::new(AtomicU32::new(0)));
        let slot: Arc<std::sync::Mutex<Option<Engine>>> = Arc::default();
        let stops = slot.clone();
        let store = FaultStore::new(bench.store.clone()).with_meddle(write, move |_| {
            let engine = stops.lock().unwrap().take();
            // The first poll closes the engine and tells its runs; the rest is done below.
            let _ = engine.map(|engine| engine.shutdown(Duration::from_secs(5)).now_or_never());
        });
        let stopped = engine(&bench, &tries).store(Arc::new(store)).build().unwrap();
        *slot.lock().unwrap() = Some(stopped.clone());
        bench.clock.run(async {
            match stopped.run(&WF, "r", 10).await {
                Ok(_) => {}
                Err(RunError::Closed) => closed += 1,
                Err(other) => panic!("{other}"),
            }
            let report = stopped.shutdown(Duration::from_secs(5)).await;
            assert_eq!(report.active_runs, 0);
            finish(&bench, &tries, &format!("shut down at write {write}")).await;
        });
    }
    assert!(closed > 5, "{closed} runs met the shutdown");
}

#[test]
fn two_engines_that_want_the_same_runs_share_them() {
    let (bench, tries) = (Bench::new(), Arc::new(AtomicU32::new(0)));
    let lease = Duration::from_secs(1);
    let engines = [(); 2].map(|()| engine(&bench, &tries).lease(lease).runs_at_once(3).build().unwrap());
    bench.clock.run(async {
        let runs = async {
            let runs = (0..40).map(|n| {
                let engine = &engines[n % 2];
                // Half of them through `run` on both engines at once, half through `start`.
                async move {
                    let id = format!("r{n}");
                    if n % 4 < 2 {
                        let (one, two) = join(engines_run(engine, &id), engines_run(engine, &id)).await;
                        assert!(one && two);
                    }
                    let handle = engine.start(&WF, id, 10).await.unwrap();
                    assert_eq!(handle.result().await.unwrap(), Outcome::Completed(25));
                }
            });
            join_all(runs).await;
            for engine in &engines {
                assert!(engine.shutdown(Duration::from_secs(60)).await.is_delivered());
            }
        };
        futures::join!(engines[0].work(), engines[1].work(), runs);
        for n in 0..40 {
            let told = bench.told(&format!("r{n}")).await;
            let ends = told.iter().filter(|told| *told == "workflow.completed").count();
            let started = told.iter().filter(|told| *told == "workflow.started").count();
            assert_eq!((started, ends), (1, 1), "r{n}: {told:?}");
        }
    });
}

async fn engines_run(engine: &Engine, id: &str) -> bool {
    matches!(engine.run(&WF, id, 10).await, Ok(Outcome::Completed(25) | Outcome::Paused { .. }))
}
