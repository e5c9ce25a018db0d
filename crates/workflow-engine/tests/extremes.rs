//! Durations at the limits of their range: no panic, no overflow, and no run is due too early.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use workflow_engine::{Context, Failure, Outcome, Retention, Retry, Timestamp, Workflow};
use workflow_events::EventKind;

use support::{Fixture, run_until_done};

const WF: Workflow<u32, String> = Workflow::new("extremes");

/// Returns the last time that a history can record.
fn last() -> Timestamp {
    Timestamp::from_millis(Timestamp::MAX.as_millis()).unwrap()
}

async fn waits(ctx: Context, way: u32, executed: Arc<AtomicU32>) -> Result<String, Failure> {
    match way {
        0 => ctx.sleep(Duration::MAX).await,
        1 => ctx.sleep_until(Timestamp::MAX).await,
        2 => ctx.sleep_until(Timestamp::MIN).await,
        3 => ctx.sleep(Duration::from_nanos(1)).await,
        6 => ctx.sleep(Duration::from_secs(3600)).await,
        _ => {
            let policy = if way == 4 {
                Retry::constant(Duration::MAX).without_jitter()
            } else {
                Retry::function(|_| Duration::MAX)
            };
            let body = || {
                let again = executed.fetch_add(1, Ordering::Relaxed) > 0;
                async move {
                    if again {
                        Ok(())
                    } else {
                        Err(Failure::new("busy"))
                    }
                }
            };
            ctx.step("busy", body)
                .retry(policy.within(Duration::MAX))
                .timeout(Duration::MAX)
                .await?;
        }
    }
    Ok(ctx.now().to_string())
}

#[test]
fn a_wait_without_end_is_over_at_the_end_of_time() {
    for (way, suspended) in [
        (0, true),
        (1, true),
        (2, false),
        (3, false),
        (4, true),
        (5, true),
    ] {
        let fixture = Fixture::new();
        let executed = Arc::new(AtomicU32::new(0));
        let function = move |ctx, way| waits(ctx, way, executed.clone());
        let engine = fixture.builder().workflow(&WF, function).build().unwrap();
        fixture.clock.run(async {
            match engine.run(&WF, "r", way).await.unwrap() {
                Outcome::Suspended { resume_at, .. } => {
                    assert_eq!((resume_at, suspended), (last(), true), "{way}")
                }
                Outcome::Completed(_) => assert!(!suspended, "{way}"),
                other => panic!("{way}: {other:?}"),
            }
            run_until_done(&fixture, &engine).await;
            let Outcome::Completed(end) = engine.run(&WF, "r", way).await.unwrap() else {
                panic!("{way} has no end")
            };
            if suspended && way < 4 {
                assert_eq!(end, last().to_string(), "{way}");
            }
            for event in engine.history("r").await.unwrap() {
                let time = match event.kind {
                    EventKind::SleepStarted { resume_at, .. } => resume_at,
                    EventKind::RetryScheduled {
                        next_attempt_at, ..
                    } => next_attempt_at,
                    EventKind::TimeoutSet { deadline, .. } => deadline,
                    _ => continue,
                };
                assert_eq!(
                    Timestamp::from_millis(time.as_millis()),
                    Ok(time),
                    "{way}: whole milliseconds"
                );
            }
        });
    }
}

#[test]
fn a_retention_without_end_keeps_every_run() {
    let fixture = Fixture::new();
    let function = |ctx, way| waits(ctx, way, Arc::default());
    let engine = fixture
        .builder()
        .workflow(&WF, function)
        .retention(Retention::all(Duration::MAX))
        .build()
        .unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&WF, "r", 3).await.unwrap();
        assert!(engine.flush().await.is_complete());
        assert_eq!(engine.purge().await.unwrap().runs, 0);
    });
}

#[test]
fn settings_at_the_ends_of_their_domains_execute_runs() {
    for (duration, number) in [(Duration::MAX, usize::MAX), (Duration::ZERO, 0)] {
        let fixture = Fixture::new();
        let function = |ctx, way| waits(ctx, way, Arc::default());
        let builder = fixture
            .builder()
            .workflow(&WF, function)
            .lease(duration)
            .poll_interval(duration);
        let builder = builder
            .suspend_after(duration)
            .max_concurrent_runs(number)
            .max_recoveries(u32::MAX);
        let engine = builder.retention(Retention::all(duration)).build().unwrap();
        fixture.clock.run(async {
            engine.start(&WF, "r", 3).await.unwrap();
            run_until_done(&fixture, &engine).await;
            assert_eq!(
                fixture.delivered().last().unwrap().kind.type_name(),
                "workflow.completed",
                "{duration:?}"
            );
            let _ = engine.run(&WF, "sleeps", 6).await.unwrap();
        });
    }
}
