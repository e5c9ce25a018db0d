//! A worker keeps its lease, whatever its store, clock and callers do.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::future::{Either, join, select};
use tracker_core::Clock;
use tracker_core::testing::TestClock;
use workflow_engine::{Context, Engine, EngineBuilder, Failure, Status, Store, Workflow};
use workflow_testing::FaultStore;

use support::*;

/// A workflow of one step that takes the given number of milliseconds.
const WAIT: Workflow<u64, ()> = Workflow::new("wait");
const HOUR: Duration = Duration::from_secs(3600);
const MS: Duration = Duration::from_millis(1);

/// Makes an engine on a store that answers every write 5 ms late.
fn slow(fixture: &Fixture) -> EngineBuilder {
    let store = FaultStore::new(fixture.store.clone()).with_latency(fixture.clock.clone(), 5 * MS);
    waiting(
        fixture,
        Engine::builder()
            .store(Arc::new(store))
            .clock(fixture.clock.clone())
            .workflow(&STEPS, steps),
    )
}

fn waiting(fixture: &Fixture, builder: EngineBuilder) -> EngineBuilder {
    let clock = fixture.clock.clone();
    builder.workflow(&WAIT, move |ctx: Context, ms: u64| {
        let clock = clock.clone();
        async move {
            let wait = || async {
                clock.sleep(Duration::from_millis(ms)).await;
                Ok::<_, Failure>(())
            };
            ctx.step("wait", wait).await?;
            Ok::<_, Failure>(())
        }
    })
}

/// Works until the run has completed, and returns false if it has not within an hour.
async fn completes(fixture: &Fixture, engine: &Engine, id: &str) -> bool {
    let handle = engine.handle(&WAIT, id);
    let done = async { handle.result().await.is_ok() };
    let work = pin!(engine.work());
    let done = pin!(done);
    matches!(
        select(select(work, done), fixture.clock.sleep(HOUR)).await,
        Either::Left((Either::Right((true, _)), _))
    )
}

/// Every future that needs the lease renews it, and it is renewed every 10 s. Here another run ends
/// around that time, and the worker claims runs, while an execution that the worker does not poll
/// renews the lease.
#[test]
fn a_worker_that_claims_while_its_run_renews_the_lease_does_not_hang() {
    let hangs = |ends: &u64| {
        let fixture = Fixture::new();
        let engine = slow(&fixture)
            .poll_interval(Duration::from_secs(11))
            .build()
            .unwrap();
        fixture.clock.run(async {
            engine.start(&WAIT, "long", 60_000).await.unwrap();
            engine.start(&WAIT, "short", *ends).await.unwrap();
            !completes(&fixture, &engine, "long").await
        })
    };
    let hung: Vec<_> = (9_960..10_040).step_by(2).filter(hangs).collect();
    assert!(
        hung.is_empty(),
        "the worker hung when a run ended after {hung:?} ms"
    );
}

#[test]
fn a_run_that_is_held_and_not_polled_does_not_block_the_engine() {
    let hangs = |at: &u64| {
        let fixture = Fixture::new();
        let engine = slow(&fixture).build().unwrap();
        fixture.clock.run(async {
            let mut held = Box::pin(engine.run(&WAIT, "held", 50_000));
            let _ = select(&mut held, fixture.clock.sleep(Duration::from_millis(*at))).await;
            let others = async {
                engine.start(&STEPS, "other", 1).await.unwrap();
                engine.cancel("held", "enough").await.unwrap();
            };
            matches!(
                select(pin!(others), fixture.clock.sleep(HOUR)).await,
                Either::Right(_)
            )
        })
    };
    let hung: Vec<_> = (10_000..10_030).filter(hangs).collect();
    assert!(
        hung.is_empty(),
        "the engine hung when a run was left unpolled after {hung:?} ms"
    );
}

/// A clock whose wall-clock time can be set.
#[derive(Debug)]
struct Settable(Arc<TestClock>, AtomicU64);

#[async_trait]
impl Clock for Settable {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn wall(&self) -> SystemTime {
        self.0.wall() + Duration::from_secs(self.1.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

/// A machine was suspended or its time was set, so the worker's own lease has expired by its clock.
#[test]
fn a_time_of_day_that_jumps_does_not_make_a_worker_fence_itself() {
    for jump in [3_600, 0] {
        let fixture = Fixture::new();
        let executed = Arc::new(AtomicU32::new(0));
        // Forwards by an hour, or back by one.
        let clock = Arc::new(Settable(
            fixture.clock.clone(),
            AtomicU64::new(3_600 - jump),
        ));
        let sleeps = fixture.clock.clone();
        let counts = executed.clone();
        let workflow = move |ctx: Context, ms: u64| {
            let sleeps = sleeps.clone();
            let counts = counts.clone();
            async move {
                let wait = || async {
                    sleeps.sleep(Duration::from_millis(ms)).await;
                    counts.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Failure>(())
                };
                Ok::<_, Failure>(ctx.step("wait", wait).await?)
            }
        };
        let engine = Engine::builder()
            .store(fixture.store.clone())
            .clock(clock.clone());
        let engine = engine.workflow(&WAIT, workflow).build().unwrap();
        fixture.clock.run(async {
            engine.start(&WAIT, "r", 5_000).await.unwrap();
            let jumps = async {
                fixture.clock.sleep(Duration::from_secs(2)).await;
                clock.1.store(jump, Ordering::Relaxed);
            };
            let (done, ()) = join(completes(&fixture, &engine, "r"), jumps).await;
            assert!(done);
        });
        assert_eq!(
            executed.load(Ordering::Relaxed),
            1,
            "the step was executed more than once"
        );
    }
}

#[test]
fn two_engines_with_short_leases_execute_a_run_once() {
    let fixture = Fixture::new();
    let engine = || {
        waiting(&fixture, fixture.builder().lease(Duration::from_secs(1)))
            .build()
            .unwrap()
    };
    let a = engine();
    let b = engine();
    fixture.clock.run(async {
        a.start(&WAIT, "r", 20_000).await.unwrap();
        let done = async { a.handle(&WAIT, "r").result().await.unwrap() };
        let _ = select(pin!(join(a.work(), b.work())), pin!(done)).await;
        let run = fixture.store.run("r").await.unwrap().unwrap();
        assert_eq!((run.status, run.recoveries), (Status::Completed, 0));
        let event_types = fixture.event_types("r").await;
        assert!(
            !event_types.contains(&"workflow.resumed".to_owned()),
            "{event_types:?}"
        );
    });
}
