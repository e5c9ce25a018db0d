//! The engine's benchmarks on SQLite: steps that do nothing, each durable before the next begins.
//!
//! `cargo run --release --manifest-path crates/bench/Cargo.toml --bin engine`
//!
//! The output names the durability. Absolute figures belong to the machine.

mod floor;
mod load;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use workflow_engine::Store;
use workflow_sqlite::{Durability, SqliteStore};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted =
        |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if wanted("floor") {
        println!("durable records/s of the store alone, PowerLoss, by callers");
        for callers in [1, 64, 1_024] {
            let rates = rounds(3, || {
                let (_folder, store) = store(Durability::PowerLoss);
                runtime.block_on(floor::records(store, callers))
            });
            println!("  {callers:>6}  {}", spread(&rates));
        }
    }
    if wanted("steps") {
        println!("steps/s, 64 runs at once");
        for (steps, durability) in [
            (5, Durability::PowerLoss),
            (20, Durability::PowerLoss),
            (5, Durability::ProcessCrash),
        ] {
            let rates = rounds(5, || {
                let (_folder, store) = store(durability);
                runtime.block_on(steps::immediate(store, "run", 64, 2_560, steps))
            });
            println!("  {steps:>3} steps, {durability:?}: {}", spread(&rates));
        }
    }
    if wanted("latency") {
        println!("one run of 5 steps at a time, ms (p50, p99)");
        let (_folder, store) = store(Durability::PowerLoss);
        let (p50, p99) = runtime.block_on(steps::latency(store, 500, 5));
        println!("  PowerLoss: {p50:.2} {p99:.2}");
    }
    if wanted("replay") {
        println!("replay of one run with 10,000 recorded steps, ms");
        let times = rounds(5, || runtime.block_on(load::replay(10_000)));
        println!("  {}", spread(&times));
    }
    if wanted("recover") {
        println!(
            "recover 10,000 half-finished runs, s, from the opening of the file to the last end"
        );
        let time = runtime.block_on(load::recover(10_000));
        println!("  {:.2}", time.as_secs_f64());
    }
    if wanted("sleepers") {
        println!("resident memory of the process with 100,000 sleeping runs, MB (before, after)");
        let (before, after) = runtime.block_on(load::sleepers(100_000));
        println!("  {before:.1} {after:.1}");
    }
}

/// A store in a folder of its own.
fn store(durability: Durability) -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::options()
        .durability(durability)
        .open(folder.path().join("runs.db"))
        .expect("a store");
    (folder, Arc::new(store))
}

fn rounds<T>(rounds: usize, mut run: impl FnMut() -> T) -> Vec<T> {
    (0..rounds).map(|_| run()).collect()
}

fn spread(figures: &[f64]) -> String {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted[sorted.len() / 2];
    format!(
        "{middle:.1} ({:.1} to {:.1})",
        sorted[0],
        sorted[sorted.len() - 1]
    )
}

/// Time in which the last run must have finished.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
