//! Cancels are durable at every point, and cancelled code never sees them.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{join, join3};
use tracker_core::Clock;
use workflow_engine::store::{CancelReply, CancelRequest};
use workflow_engine::{
    Cancel, CancelError, Cancelled, Context, Engine, Failure, Outcome, Retry, Status, Store,
    Workflow,
};
use workflow_testing::FaultStore;

use support::{Fixture, STEPS, now, run_until_done};

const WF: Workflow<(), ()> = Workflow::new("wf");

/// Executes two parallel steps of one and two seconds, then a third. Counts the steps that finish.
async fn works(
    ctx: Context,
    clock: Arc<dyn Clock>,
    finished: Arc<AtomicU32>,
) -> Result<(), Failure> {
    let wait = |seconds: u64| {
        let clock = clock.clone();
        let finished = finished.clone();
        move || {
            let clock = clock.clone();
            let finished = finished.clone();
            async move {
                clock.sleep(Duration::from_secs(seconds)).await;
                finished.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Failure>(())
            }
        }
    };
    let (one, two) = join(ctx.step("one", wait(1)), ctx.step("two", wait(2))).await;
    one.and(two)?;
    Ok(ctx.step("three", wait(3)).await?)
}

/// Runs [`works`], cancels it after half a second, and returns the types of its events and the
/// number of steps that finished.
fn cancelled(cancel: Cancel) -> (Vec<String>, u32) {
    let fixture = Fixture::new();
    let finished = Arc::new(AtomicU32::new(0));
    let clock: Arc<dyn Clock> = fixture.clock.clone();
    let counted = finished.clone();
    let builder = fixture.builder().workflow(&WF, move |ctx, ()| {
        works(ctx, clock.clone(), counted.clone())
    });
    let engine = builder.build().unwrap();
    fixture.clock.run(async {
        let stop = async {
            fixture.clock.sleep(Duration::from_millis(500)).await;
            assert_eq!(
                engine.cancel("r", cancel).await.unwrap(),
                Cancelled::Requested
            );
        };
        let (outcome, ()) = join(engine.run(&WF, "r", ()), stop).await;
        assert!(matches!(outcome.unwrap(), Outcome::Cancelled { .. }));
        let event_types = fixture.event_types("r").await;
        (event_types, finished.load(Ordering::Relaxed))
    })
}

#[test]
fn the_steps_under_way_finish_and_nothing_further_begins() {
    let (event_types, finished) = cancelled(Cancel::new("enough"));
    let steps = [
        "step.started",
        "step.started",
        "step.completed",
        "step.completed",
    ];
    assert_eq!(
        event_types,
        [&["workflow.started"], &steps[..], &["workflow.cancelled"]].concat()
    );
    assert_eq!(finished, 2);
}

#[test]
fn an_immediate_cancel_drops_steps_and_their_starts_get_their_ends() {
    let (event_types, finished) = cancelled(Cancel::new("enough").immediate());
    let steps = ["step.started", "step.started", "step.failed", "step.failed"];
    assert_eq!(
        event_types,
        [&["workflow.started"], &steps[..], &["workflow.cancelled"]].concat()
    );
    assert_eq!(finished, 0);
}

#[test]
fn a_waiting_run_is_cancelled_immediately() {
    let fixture = Fixture::new();
    let sleeps = |ctx: Context, (): ()| async move {
        ctx.sleep(Duration::from_secs(3600)).await;
        Ok::<_, Failure>(())
    };
    let engine = fixture.builder().workflow(&WF, sleeps).build().unwrap();
    fixture.clock.run(async {
        engine.start(&STEPS, "queued", 1).await.unwrap();
        assert_eq!(
            engine.cancel("queued", "enough").await.unwrap(),
            Cancelled::Done
        );
        assert_eq!(
            fixture.event_types("queued").await,
            ["workflow.queued", "workflow.cancelled"]
        );

        let _ = engine.run(&WF, "paused", ()).await.unwrap();
        assert_eq!(
            engine.cancel("paused", "enough").await.unwrap(),
            Cancelled::Done
        );
        assert_eq!(
            fixture.event_types("paused").await.last().unwrap(),
            "workflow.cancelled"
        );
        assert_eq!(engine.run_until_idle().await.unwrap().executed, 0);

        let again = engine.cancel("paused", "more").await.unwrap_err();
        assert!(
            matches!(
                again,
                CancelError::Ended {
                    status: Status::Cancelled,
                    ..
                }
            ),
            "{again}"
        );
        let unknown = engine.cancel("nobody", "enough").await.unwrap_err();
        assert!(
            matches!(unknown, CancelError::UnknownRun { .. }),
            "{unknown}"
        );
        let reason = Some("enough".to_owned());
        assert_eq!(
            engine.handle(&WF, "paused").result().await.unwrap(),
            Outcome::Cancelled { reason }
        );
    });
}

#[test]
fn a_cancel_that_was_accepted_before_the_last_commit_wins() {
    let fixture = Fixture::new();
    let store = fixture.store.clone();
    // The cancel is in the store, and the engine that executes the run does not know it yet.
    let wf = move |_: Context, (): ()| {
        let store = store.clone();
        async move {
            let at = workflow_engine::Timestamp::UNIX_EPOCH;
            let request = CancelRequest {
                reason: None,
                immediate: false,
                at,
            };
            let reply = store.request_cancel("r", request).await?;
            assert!(matches!(reply, CancelReply::Accepted(_)));
            Ok::<_, Failure>(())
        }
    };
    let engine = fixture.builder().workflow(&WF, wf).build().unwrap();
    fixture.clock.run(async {
        assert_eq!(
            engine.run(&WF, "r", ()).await.unwrap(),
            Outcome::Cancelled { reason: None }
        );
        assert_eq!(
            fixture.event_types("r").await,
            ["workflow.started", "workflow.cancelled"]
        );
    });
}

#[test]
fn a_cancel_that_was_accepted_survives_its_process() {
    let fixture = Fixture::new();
    fixture.clock.run(async {
        let dies = fixture.builder().build().unwrap();
        dies.start(&STEPS, "r", 1).await.unwrap();
        let request = CancelRequest {
            reason: Some("enough".into()),
            immediate: false,
            at: now(&fixture),
        };
        fixture.store.request_cancel("r", request).await.unwrap();
        drop(dies);
        let engine = fixture.builder().build().unwrap();
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            fixture.event_types("r").await,
            ["workflow.queued", "workflow.cancelled"],
            "not a step was executed"
        );
    });
}

#[test]
fn two_cancels_and_the_end_race_and_there_is_one_end() {
    let fixture = Fixture::new();
    let clock = fixture.clock.clone();
    let finished = Arc::new(AtomicU32::new(0));
    let builder = fixture.builder().workflow(&WF, move |ctx, ()| {
        works(ctx, clock.clone(), finished.clone())
    });
    let engine = builder.build().unwrap();
    fixture.clock.run(async {
        let cancel = async |after: u64, reason: &str| {
            fixture.clock.sleep(Duration::from_millis(after)).await;
            engine.cancel("r", reason).await
        };
        let (outcome, first, second) = join3(
            engine.run(&WF, "r", ()),
            cancel(1_500, "first"),
            cancel(1_600, "second"),
        )
        .await;
        assert_eq!(
            outcome.unwrap(),
            Outcome::Cancelled {
                reason: Some("first".into())
            },
            "the first reason is kept"
        );
        assert!(first.is_ok() && second.is_ok());
    });
}

#[test]
fn a_concurrent_cancel_at_every_write_ends_the_run_once_and_as_it_was_answered() {
    async fn works(ctx: Context, (): ()) -> Result<(), Failure> {
        ctx.step("one", || async { Ok::<_, Failure>(()) }).await?;
        ctx.sleep(Duration::from_millis(10)).await;
        let two = ctx.step("two", || async { Ok::<_, Failure>(()) });
        let (two, ()) = join(two, ctx.sleep(Duration::from_secs(3600))).await;
        two?;
        Ok(ctx.step("three", || async { Ok::<_, Failure>(()) }).await?)
    }
    let mut accepted_at = Vec::new();
    for write in 0..30 {
        let fixture = Fixture::new();
        let reply = Arc::new(Mutex::new(None));
        let answer = reply.clone();
        let at = now(&fixture);
        let store =
            FaultStore::new(fixture.store.clone()).with_action_before(write, move |store| {
                let request = CancelRequest {
                    reason: Some("from beside".into()),
                    immediate: write % 2 == 0,
                    at,
                };
                let reply =
                    futures::executor::block_on(store.request_cancel("r", request)).unwrap();
                *answer.lock().unwrap() = Some(matches!(reply, CancelReply::Accepted(_)));
            });
        let store = Arc::new(store);
        let builder = Engine::builder()
            .store(store.clone())
            .clock(fixture.clock.clone())
            .workflow(&WF, works);
        let engine = builder
            .sink("collector", fixture.sink.clone())
            .build()
            .unwrap();
        fixture.clock.run(async {
            let _ = engine.run(&WF, "r", ()).await.unwrap();
            run_until_done(&fixture, &engine).await;
            let accepted = reply.lock().unwrap().unwrap_or(false);
            let outcome = engine.handle(&WF, "r").result().await.unwrap();
            let expected = match accepted {
                true => Outcome::Cancelled {
                    reason: Some("from beside".to_owned()),
                },
                false => Outcome::Completed(()),
            };
            assert_eq!(outcome, expected, "at write {write}");
            let event_types = fixture.event_types("r").await;
            let ends = [
                "workflow.completed",
                "workflow.failed",
                "workflow.cancelled",
            ];
            assert_eq!(
                event_types
                    .iter()
                    .filter(|kind| ends.contains(&kind.as_str()))
                    .count(),
                1,
                "{event_types:?}"
            );
            assert_eq!(fixture.delivered().len(), event_types.len());
            accepted_at.extend(accepted.then_some(write));
        });
    }
    assert!(
        accepted_at.len() >= 8 && accepted_at.len() < 30,
        "cancels were accepted at the writes {accepted_at:?}"
    );
}

#[test]
fn a_cancel_or_a_shutdown_during_a_replay_does_not_contradict_the_history() {
    async fn long(ctx: Context, (): ()) -> Result<(), Failure> {
        for _ in 0..400 {
            ctx.step("one", || async { Ok::<_, Failure>(()) }).await?;
        }
        let policy = Retry::constant(Duration::from_secs(60)).attempts(9)?;
        Ok(ctx
            .step("begun", || async { Err(Failure::new("no")) })
            .retry(policy)
            .await?)
    }
    for cancels in [true, false] {
        let fixture = Fixture::new();
        let engine = fixture.builder().workflow(&WF, long).build().unwrap();
        fixture.clock.run(async {
            let _ = engine.run(&WF, "r", ()).await.unwrap();
            fixture.clock.sleep(Duration::from_secs(60)).await;
            // A driver yields after some hundred rounds, so this happens during the replay.
            let beside = async {
                if cancels {
                    assert_eq!(
                        engine.cancel("r", "enough").await.unwrap(),
                        Cancelled::Requested
                    );
                } else {
                    let _ = engine.shutdown(Duration::from_secs(5)).await;
                }
            };
            let (outcome, ()) = join(engine.run(&WF, "r", ()), beside).await;
            match cancels {
                true => assert!(matches!(outcome.unwrap(), Outcome::Cancelled { .. })),
                false => assert!(
                    matches!(outcome, Err(workflow_engine::RunError::Closed)),
                    "{outcome:?}"
                ),
            }
        });
    }
}
