//! The engine under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use workflow_engine::{Context, Engine, Failure, Outcome, RunFilter, Status, Workflow};
use workflow_sqlite::{Durability, SqliteStore};

use crate::IDLE_TIMEOUT;
use crate::steps::{STEPS, steps};

const SLEEPS: Workflow<u32, u32> = Workflow::new("sleeps");

async fn sleeps(ctx: Context, n: u32) -> Result<u32, Failure> {
    ctx.sleep(Duration::from_secs(24 * 3600)).await;
    Ok(n)
}

fn engine(store: SqliteStore) -> Engine {
    let builder = Engine::builder()
        .store(Arc::new(store))
        .workflow(&STEPS, steps)
        .workflow(&SLEEPS, sleeps);
    builder.build().expect("an engine")
}

/// Milliseconds from the claim of a run with `records` recorded steps to its end, one step later.
pub async fn replay(records: u32) -> f64 {
    static LAST: AtomicBool = AtomicBool::new(false);
    const LONG: Workflow<u32, u32> = Workflow::new("long");
    async fn long(ctx: Context, count: u32) -> Result<u32, Failure> {
        for _ in 0..count {
            ctx.step("step", || async { Ok::<_, Failure>(1_u32) })
                .await?;
        }
        let last = || async {
            while !LAST.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok::<_, Failure>(1)
        };
        ctx.step("last", last).await.map_err(Failure::from)
    }
    LAST.store(false, Ordering::Relaxed);
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::options()
        .durability(Durability::ProcessCrash)
        .open(folder.path().join("runs.db"));
    let builder = Engine::builder()
        .store(Arc::new(store.expect("a store")))
        .workflow(&LONG, long);
    let engine = builder.build().expect("an engine");
    let recorded = async {
        let handle = engine.handle(&LONG, "r");
        while handle
            .run()
            .await
            .expect("a run")
            .is_none_or(|run| run.last_seq < u64::from(records) * 2 + 1)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        outcome = engine.run(&LONG, "r", records) => panic!("{outcome:?}"),
        () = recorded => {}
    }
    LAST.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let outcome = engine.run(&LONG, "r", records).await.expect("an outcome");
    assert_eq!(outcome, Outcome::Completed(1));
    started.elapsed().as_secs_f64() * 1_000.0
}

/// The time to open a file with `runs` half-finished runs and to finish them all.
pub async fn recover(runs: usize) -> Duration {
    static GO_ON: AtomicBool = AtomicBool::new(false);
    const HALF: Workflow<u32, u32> = Workflow::new("half");
    async fn half(ctx: Context, n: u32) -> Result<u32, Failure> {
        ctx.step("one", || async { Ok::<_, Failure>(1) }).await?;
        ctx.step("two", || async { Ok::<_, Failure>(2) }).await?;
        let three = || async {
            if !GO_ON.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            Ok::<_, Failure>(3)
        };
        ctx.step("three", three).await?;
        ctx.step("four", || async { Ok::<_, Failure>(4) }).await?;
        Ok(n)
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runs.db");
    let open = || {
        let store = SqliteStore::open(&path).expect("a store");
        let builder = Engine::builder()
            .store(Arc::new(store.clone()))
            .workflow(&HALF, half)
            .max_concurrent_runs(1_024);
        (store, builder.build().expect("an engine"))
    };
    let (store, engine) = open();
    {
        let all = stream::iter(0..runs).map(|n| {
            let engine = engine.clone();
            async move { engine.run(&HALF, format!("{n}"), n as u32).await }
        });
        let all = all.buffer_unordered(runs);
        let stuck = async {
            let last = RunFilter {
                id_prefix: Some(format!("{}", runs - 1)),
                ..RunFilter::default()
            };
            while engine
                .list(&last)
                .await
                .expect("a list")
                .iter()
                .all(|run| run.last_seq < 5)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // The others have begun before it.
            tokio::time::sleep(Duration::from_secs(2)).await;
        };
        tokio::select! {
            _ = all.collect::<Vec<_>>() => panic!("they ended"),
            () = stuck => {}
        }
    }
    let closed = store.closed();
    drop((store, engine));
    closed.await;
    GO_ON.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let (_store, engine) = open();
    let idle = tokio::time::timeout(IDLE_TIMEOUT, engine.run_until_idle())
        .await
        .expect("in time")
        .expect("idle");
    let time = started.elapsed();
    assert_eq!((idle.executed, idle.next_wake), (runs, None));
    let filter = RunFilter {
        statuses: vec![Status::Completed],
        limit: runs + 1,
        ..RunFilter::default()
    };
    assert_eq!(engine.list(&filter).await.expect("a list").len(), runs);
    time
}

/// Megabytes of resident memory before and after `runs` runs have gone to sleep.
pub async fn sleepers(runs: usize) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine(SqliteStore::open(folder.path().join("runs.db")).expect("a store"));
    let before = resident();
    let all = stream::iter(0..runs).map(|n| {
        let engine = engine.clone();
        async move {
            let outcome = engine
                .run(&SLEEPS, format!("{n}"), n as u32)
                .await
                .expect("an outcome");
            assert!(matches!(outcome, Outcome::Suspended { .. }));
        }
    });
    all.buffer_unordered(256).for_each(|()| async {}).await;
    let idle = engine.run_until_idle().await.expect("idle");
    assert!(idle.next_wake.is_some());
    (before, resident())
}

/// Resident memory of this process, in megabytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok())
        .unwrap_or(f64::NAN)
        / 1_024.0
}
