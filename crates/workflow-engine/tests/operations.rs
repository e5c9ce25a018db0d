//! Details of operations: which failures are retried, sleeps of no time, and the start of delays.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tracker_core::Clock;
use workflow_engine::{Context, Failure, Outcome, Retry, StepFailure, Timestamp, Workflow};
use workflow_events::EventKind;

use support::{Fixture, run_until_done};

const WF: Workflow<bool, u32> = Workflow::new("wf");

#[test]
fn a_panic_is_retried_only_on_request() {
    for (asked, attempts) in [(false, 1), (true, 3)] {
        let fixture = Fixture::new();
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let panics = move |ctx: Context, asked: bool| {
            let calls = counted.clone();
            async move {
                let body = || async {
                    assert!(
                        calls.fetch_add(1, Ordering::Relaxed) == 2,
                        "it panics twice"
                    );
                    Ok::<_, Failure>(3)
                };
                let step = ctx
                    .step("panics", body)
                    .retry(Retry::constant(Duration::from_millis(1)));
                if asked {
                    return Ok::<_, Failure>(
                        step.retry_if(|failure| matches!(failure, StepFailure::Panicked(_)))
                            .await?,
                    );
                }
                Ok(step.await?)
            }
        };
        let engine = fixture.builder().workflow(&WF, panics).build().unwrap();
        fixture.clock.run(async {
            let outcome = engine.run(&WF, "r", asked).await.unwrap();
            assert_eq!(
                matches!(outcome, Outcome::Completed(3)),
                asked,
                "{outcome:?}"
            );
            assert_eq!(calls.load(Ordering::Relaxed), attempts);
        });
    }
}

#[test]
fn a_timeout_is_retried_unless_the_policy_refuses() {
    for (refused, attempts) in [(false, 3), (true, 1)] {
        let fixture = Fixture::new();
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let hangs = move |ctx: Context, refused: bool| {
            let calls = counted.clone();
            async move {
                let body = || {
                    calls.fetch_add(1, Ordering::Relaxed);
                    std::future::pending::<Result<u32, Failure>>()
                };
                let step = ctx.step("hangs", body).timeout(Duration::from_millis(40));
                let step = step.retry(Retry::constant(Duration::from_millis(1)));
                let step = step.retry_if(move |failure| {
                    !(refused && matches!(failure, StepFailure::TimedOut { .. }))
                });
                match step.await {
                    Err(error) => match error.cause {
                        StepFailure::TimedOut {
                            timeout_ms: 40,
                            elapsed_ms,
                        } if elapsed_ms >= 40 => Ok(error.attempt),
                        other => Err(Failure::new(other.to_string())),
                    },
                    Ok(never) => Ok(never),
                }
            }
        };
        let engine = fixture.builder().workflow(&WF, hangs).build().unwrap();
        fixture.clock.run(async {
            assert_eq!(
                engine.run(&WF, "r", refused).await.unwrap(),
                Outcome::Completed(attempts)
            );
            assert_eq!(calls.load(Ordering::Relaxed), attempts);
        });
    }
}

#[test]
fn a_sleep_of_no_time_returns_immediately_and_is_not_recorded() {
    let fixture = Fixture::new();
    let sleeps = |ctx: Context, _: bool| async move {
        ctx.sleep(Duration::ZERO).await;
        ctx.sleep_until(Timestamp::UNIX_EPOCH).await;
        ctx.sleep_until(ctx.now()).await;
        Ok::<_, Failure>(0)
    };
    let engine = fixture.builder().workflow(&WF, sleeps).build().unwrap();
    fixture.clock.run(async {
        fixture.clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(
            engine.run(&WF, "r", true).await.unwrap(),
            Outcome::Completed(0)
        );
        assert_eq!(
            fixture.event_types("r").await,
            ["workflow.started", "workflow.completed"]
        );
    });
}

#[test]
fn a_sleep_until_a_time_ends_then_and_is_replayed() {
    let fixture = Fixture::new();
    let at = Timestamp::from_millis(90_000_000).unwrap();
    let sleeps = move |ctx: Context, _: bool| async move {
        ctx.sleep_until(at).await;
        ctx.sleep_until(at).await;
        ctx.sleep(Duration::from_secs(2)).await;
        Ok::<_, Failure>(u32::try_from(ctx.now().duration_since(at).as_secs())?)
    };
    let engine = fixture.builder().workflow(&WF, sleeps).build().unwrap();
    fixture.clock.run(async {
        let first = engine.run(&WF, "r", true).await.unwrap();
        assert!(matches!(first, Outcome::Suspended { resume_at, .. } if resume_at == at));
        run_until_done(&fixture, &engine).await;
        assert_eq!(
            engine.run(&WF, "r", true).await.unwrap(),
            Outcome::Completed(2)
        );
    });
}

#[test]
fn the_delay_of_a_retry_counts_from_the_failure() {
    let fixture = Fixture::new();
    let clock = fixture.clock.clone();
    let slow = move |ctx: Context, _: bool| {
        let clock = clock.clone();
        async move {
            let body = || async {
                clock.sleep(Duration::from_secs(20)).await;
                Err::<u32, _>(Failure::new("no"))
            };
            let policy = Retry::constant(Duration::from_secs(30))
                .without_jitter()
                .attempts(2)?;
            Ok::<_, Failure>(ctx.step("slow", body).retry(policy).await?)
        }
    };
    let engine = fixture.builder().workflow(&WF, slow).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", true).await.unwrap();
        let events = engine.history("r").await.unwrap();
        let due = events.iter().find_map(|event| match event.kind {
            EventKind::RetryScheduled {
                next_attempt_at,
                delay_ms: 30_000,
                ..
            } => Some(next_attempt_at.as_millis()),
            _ => None,
        });
        assert_eq!(due, Some(50_000));
    });
}
