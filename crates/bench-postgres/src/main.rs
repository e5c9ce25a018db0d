//! The engine's benchmarks on PostgreSQL: steps that do nothing, each durable
//! (`synchronous_commit=on`) before the next begins.
//!
//! `cargo run --release --manifest-path crates/bench-postgres/Cargo.toml`
//!
//! The server is one of our own on the same machine, or that of `WF_TEST_PG_URL`. Each worker is a
//! process with 64 runs at a time.

#[path = "../../bench/src/engine/floor.rs"]
mod floor;
#[path = "../../bench/src/engine/steps.rs"]
mod steps;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use workflow_engine::store::{Page, Position, Purge};
use workflow_engine::{Store, Timestamp};
use workflow_postgres::PostgresStore;
use workflow_postgres::testing::Server;

const RUNS: usize = 2_560;

/// Number of completed runs in the store while the cost of kept runs is measured. Each has the
/// records of a run of five steps.
const KEPT_RUNS: usize = 1_000_000;
const INSERT_KEPT_RUNS: &str = "
    INSERT INTO workflow.runs (id, workflow, status, last_seq, epoch, recoveries, created_at, ended_at)
    SELECT 'kept-' || n, 'steps', 'completed', 14, 1, 0, 0, 1 FROM generate_series(1, 1000000) n;
    INSERT INTO workflow.history (position, run, seq, last_seq, at, events, kind, name, occurrence, attempt, payload, epoch)
    SELECT (r.key >> 24) * 16 + 2 * n, r.key, 2 * n + 1, 2 * n + 2, 0, '[' || repeat('1', 398) || ']', 'step', 'step', 1, 1, '1', 1
    FROM workflow.runs r, generate_series(0, 6) n WHERE r.id LIKE 'kept-%'";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if let [role, url, name] = &arguments[..]
        && role == "worker"
    {
        runtime.block_on(async {
            let store: Arc<dyn Store> =
                Arc::new(PostgresStore::connect(url).await.expect("a store"));
            // Each worker waits until all have started.
            println!("ready");
            std::io::stdin()
                .read_line(&mut String::new())
                .expect("a line");
            steps::immediate(store, name, 64, RUNS, 5).await;
        });
        return;
    }
    let wanted =
        |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    let server = runtime
        .block_on(Server::start_with(&[
            "shared_buffers=512MB",
            "max_wal_size=4GB",
        ]))
        .expect("a server");
    let store = || -> Arc<dyn Store> {
        runtime.block_on(async {
            let url = server.database().await.expect("a database");
            Arc::new(PostgresStore::connect(&url).await.expect("a store"))
        })
    };
    if wanted("floor") {
        println!("durable records/s of the store alone, by callers");
        for callers in [1, 64, 1_024] {
            let rates = rounds(3, || runtime.block_on(floor::records(store(), callers)));
            println!("  {callers:>6}  {}", spread(&rates));
        }
    }
    if wanted("steps") {
        println!("steps/s, 5 steps, 64 runs at once in each worker");
        for workers in [1, 2, 4] {
            let rates = rounds(5, || {
                together(
                    &runtime.block_on(server.database()).expect("a database"),
                    workers,
                )
            });
            println!("  {workers} workers: {}", spread(&rates));
        }
    }
    if wanted("peer") {
        let url = runtime.block_on(server.database()).expect("a database");
        let peer = |immediate: usize, runs: usize| runtime.block_on(peer(&url, immediate, runs));
        println!("steps/s, 5 steps, 64 runs at once, in one process");
        let ours = rounds(3, || {
            runtime.block_on(steps::immediate(store(), "beside", 64, RUNS, 5))
        });
        println!("  ours       {}", spread(&ours));
        let theirs = rounds(3, || peer(64, 640));
        println!("  durare 0.5 {}", spread(&theirs));
        println!("  ratio {:.1}", middle(&ours) / middle(&theirs));
    }
    if wanted("kept") {
        runtime.block_on(async {
            let url = server.database().await.expect("a database");
            let store = Arc::new(PostgresStore::connect(&url).await.expect("a store"));
            println!("steps/s, 5 steps, 64 runs at once, by how many runs are kept");
            println!(
                "  none       {:.0}",
                steps::immediate(store.clone(), "before", 64, RUNS, 5).await
            );
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
                .await
                .expect("a connection");
            tokio::spawn(connection);
            client
                .batch_execute(INSERT_KEPT_RUNS)
                .await
                .expect("kept runs");
            for round in ["at once", "later"] {
                println!(
                    "  {KEPT_RUNS} {:.0}",
                    steps::immediate(store.clone(), round, 64, RUNS, 5).await
                );
            }
            let began = Instant::now();
            let _ = store
                .outbox(Position(1), Page::events(512))
                .await
                .expect("a page");
            println!("a page of the outbox: {:?}", began.elapsed());
            // The first one counts what was written past the store.
            let _ = store.outbox_end().await.expect("an end");
            let began = Instant::now();
            let _ = store.outbox_end().await.expect("an end");
            println!("what a report reads: {:?}", began.elapsed());
            let all = Purge {
                completed: Some(Timestamp::MAX),
                limit: 256,
                ..Purge::default()
            };
            let began = Instant::now();
            let mut purged = 0;
            while began.elapsed().as_secs() < 5 {
                purged += store.purge(all).await.expect("a purge").runs;
            }
            println!(
                "runs/s purged, in batches of 256: {:.0}",
                purged as f64 / began.elapsed().as_secs_f64()
            );
        });
    }
    if wanted("latency") {
        println!("one run of 5 steps at a time, ms (p50, p99)");
        let (p50, p99) = runtime.block_on(steps::latency(store(), 500, 5));
        println!("  {p50:.2} {p99:.2}");
    }
}

/// Steps per second of several processes together.
fn together(url: &str, workers: usize) -> f64 {
    use std::io::{BufRead, BufReader};
    let mut processes: Vec<_> = (0..workers)
        .map(|n| {
            Command::new(std::env::current_exe().expect("this program"))
                .args(["worker", url, &n.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a process")
        })
        .collect();
    for process in &mut processes {
        let output = process.stdout.take().expect("its output");
        BufReader::new(output)
            .read_line(&mut String::new())
            .expect("a line");
    }
    let began = Instant::now();
    processes
        .iter_mut()
        .for_each(|process| drop(process.stdin.take()));
    processes
        .iter_mut()
        .for_each(|process| assert!(process.wait().expect("an end").success()));
    (workers * RUNS * 5) as f64 / began.elapsed().as_secs_f64()
}

/// Steps per second of the peer: the same workload, one start and one wait for each run.
async fn peer(url: &str, immediate: usize, runs: usize) -> f64 {
    use durare::{DurableContext, DurableEngine, Error, PostgresProvider, WorkflowOptions};
    static LAST: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let url = url
        .split(' ')
        .fold(String::new(), |url, part| match part.split_once('=') {
            Some(("host", host)) => format!("postgres://wf@{host}"),
            Some(("port", port)) => format!("{url}:{port}"),
            Some(("dbname", name)) => format!("{url}/{name}"),
            _ => url,
        });
    let provider = PostgresProvider::connect(&url)
        .await
        .expect("the peer's database");
    let mut engine = DurableEngine::new(Arc::new(provider))
        .await
        .expect("the peer");
    engine.register("steps", |ctx: DurableContext, count: u32| async move {
        for _ in 0..count {
            ctx.step("step", async || Ok::<u32, Error>(1)).await?;
        }
        Ok(count)
    });
    engine.launch().await.expect("the peer is launched");
    let engine = Arc::new(engine);
    let began = Instant::now();
    let tasks = (0..immediate).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for _ in 0..runs / immediate {
                let id = LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let options = WorkflowOptions::with_id(format!("run-{id}"));
                let handle = engine
                    .start::<u32, u32>("steps", 5, options)
                    .await
                    .expect("a start");
                assert_eq!(handle.await.expect("an outcome"), 5);
            }
        })
    });
    futures::future::join_all(tasks)
        .await
        .into_iter()
        .for_each(|task| task.expect("no panic"));
    (runs * 5) as f64 / began.elapsed().as_secs_f64()
}

fn middle(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn rounds(rounds: usize, mut run: impl FnMut() -> f64) -> Vec<f64> {
    (0..rounds).map(|_| run()).collect()
}

fn spread(figures: &[f64]) -> String {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted[sorted.len() / 2];
    format!(
        "{middle:.0} ({:.0} to {:.0})",
        sorted[0],
        sorted[sorted.len() - 1]
    )
}
