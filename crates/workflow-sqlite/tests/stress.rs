//! Stress test on SQLite, in one process.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

#[path = "../../workflow-engine/tests/scenarios/stress.rs"]
mod stress;
mod support;

use std::sync::Arc;

use support::File;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_run_has_one_end_and_the_one_that_was_promised() {
    let file = File::new();
    stress::stress(&[Arc::new(file.open())]).await;
}
