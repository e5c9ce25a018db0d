//! Workflows of steps that do nothing, on any store.

use std::sync::Arc;
use std::time::Instant;

use workflow_engine::{Context, Engine, Failure, Outcome, Store, Workflow};

pub const STEPS: Workflow<u32, u32> = Workflow::new("steps");
pub async fn steps(ctx: Context, count: u32) -> Result<u32, Failure> {
    for _ in 0..count {
        ctx.step("step", || async { Ok::<_, Failure>(1_u32) })
            .await?;
    }
    Ok(count)
}

fn engine(store: Arc<dyn Store>) -> Engine {
    Engine::builder()
        .store(store)
        .workflow(&STEPS, steps)
        .build()
        .expect("an engine")
}

/// Steps per second with `immediate` runs at a time.
pub async fn immediate(
    store: Arc<dyn Store>,
    name: &str,
    immediate: usize,
    runs: usize,
    steps: u32,
) -> f64 {
    let engine = engine(store);
    let started = Instant::now();
    // A task for each of the runs at a time, as a server has one for each request.
    let tasks = (0..immediate).map(|task| {
        let engine = engine.clone();
        let name = name.to_owned();
        tokio::spawn(async move {
            for n in 0..runs / immediate {
                let outcome = engine
                    .run(&STEPS, format!("{name}-{task}-{n}"), steps)
                    .await
                    .expect("an outcome");
                assert_eq!(outcome, Outcome::Completed(steps));
            }
        })
    });
    futures::future::join_all(tasks)
        .await
        .into_iter()
        .for_each(|task| task.expect("no panic"));
    (runs * steps as usize) as f64 / started.elapsed().as_secs_f64()
}

/// Milliseconds of one run at a time: the median, and the 99th of a hundred.
pub async fn latency(store: Arc<dyn Store>, runs: usize, steps: u32) -> (f64, f64) {
    let engine = engine(store);
    let mut times = Vec::new();
    for n in 0..runs {
        let started = Instant::now();
        let outcome = engine
            .run(&STEPS, format!("{n}"), steps)
            .await
            .expect("an outcome");
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
        assert_eq!(outcome, Outcome::Completed(steps));
    }
    times.sort_by(f64::total_cmp);
    (times[runs / 2], times[runs * 99 / 100])
}
