//! The store in memory passes the conformance suite.

use std::sync::Arc;

use futures::executor::block_on;
use workflow_engine::{MemoryStore, Store};
use workflow_testing::conformance::{self, model, scale};

async fn fresh() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

#[test]
fn the_store_in_memory_conforms() {
    block_on(conformance::all(fresh));
}

#[test]
fn the_store_in_memory_agrees_with_the_model() {
    block_on(model::agrees(fresh, model::Sequences::default()));
}

#[test]
fn the_store_in_memory_takes_many_runs() {
    block_on(async { scale::many_runs(fresh().await, scale::DEFAULT_RUNS).await });
}
