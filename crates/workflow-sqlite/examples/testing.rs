//! Tests of a workflow: a clock that skips waits, and crash enumeration, which kills the process at
//! every write.
//!
//! CI: run
//!
//! In your own project this code belongs in `tests/`, with `workflow-engine` and its feature
//! `testing` as a dev-dependency.

use std::sync::Arc;
use std::time::Duration;

use workflow_engine::{Context, Engine, Failure, MemoryStore, Outcome, Timestamp, Workflow};
use workflow_testing::{CrashTest, Effects, TestClock};

const TRIAL: Workflow<String, String> = Workflow::new("trial");

/// The workflow under test. Its steps report their effects on the world to `effects`.
async fn trial(ctx: Context, whom: String, effects: Effects) -> Result<String, Failure> {
    let run = ctx.run_id();
    let effects = &effects;
    ctx.step("welcome", || note(effects, run, "welcome"))
        .await?;
    ctx.sleep(Duration::from_secs(30 * 24 * 3600)).await;
    ctx.step("bill", || note(effects, run, "bill")).await?;
    Ok(format!("{whom} was billed at {}", ctx.now()))
}

async fn note(effects: &Effects, run: &str, step: &str) -> Result<(), Failure> {
    effects.record(run, step);
    Ok(())
}

/// Tests the sleep; the thirty days take no time.
fn a_trial_is_billed_after_thirty_days() {
    let clock = Arc::new(TestClock::new());
    let effects = Effects::default();
    let world = effects.clone();
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .clock(clock.clone())
        // No other process creates runs, so the worker need not look for them every second.
        .poll_interval(Duration::from_secs(3_600))
        .workflow(&TRIAL, move |ctx, whom| trial(ctx, whom, world.clone()))
        .build()
        .expect("it has all it needs");
    let outcome = clock.run(async {
        let handle = engine
            .start(&TRIAL, "ada", "Ada".to_owned())
            .await
            .expect("a new run");
        let worker = async {
            engine.work().await;
            unreachable!("the engine is not shut down")
        };
        tokio::select! {
            outcome = handle.result() => outcome.expect("an outcome"),
            () = worker => unreachable!("it never ends"),
        }
    });
    let end = Timestamp::from_millis(30 * 24 * 3600 * 1000).expect("a time");
    assert_eq!(
        outcome,
        Outcome::Completed(format!("Ada was billed at {end}"))
    );
    assert_eq!(
        (
            effects.count("ada", "welcome"),
            effects.count("ada", "bill")
        ),
        (1, 1)
    );
    println!("a trial is billed after thirty days: ok");
}

/// Tests that the outcome and the effects are right, wherever the process is killed.
fn a_trial_survives_a_crash_at_every_point() {
    let test = CrashTest::in_memory(|engine, effects| {
        let effects = effects.clone();
        // A crash changes the time in the output, so the time must not be part of the outcome here.
        engine.workflow(&TRIAL, move |ctx, whom: String| {
            let effects = effects.clone();
            async move { trial(ctx, whom, effects).await.map(|_| "billed".to_owned()) }
        })
    });
    let report = test.crash_recovery().run(|engine| {
        Box::pin(async move { drop(engine.run(&TRIAL, "ada", "Ada".to_owned()).await) })
    });
    println!("a trial survives a crash at every point: ok ({report})");
}

fn main() {
    a_trial_is_billed_after_thirty_days();
    a_trial_survives_a_crash_at_every_point();
}
