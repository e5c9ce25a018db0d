//! Stress on PostgreSQL: three stores on one schema, as three processes have.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

#[path = "../../workflow-engine/tests/scenarios/stress.rs"]
mod stress;
mod support;

use std::sync::Arc;

use support::{runtime, server};
use workflow_engine::Store;
use workflow_postgres::PostgresStore;

#[test]
fn every_run_has_one_end_and_the_one_that_was_promised() {
    let Some(server) = server() else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let mut stores: Vec<Arc<dyn Store>> = Vec::new();
        for _ in 0..3 {
            stores.push(Arc::new(PostgresStore::connect(&url).await.unwrap()));
        }
        stress::stress(&stores).await;
    });
}
