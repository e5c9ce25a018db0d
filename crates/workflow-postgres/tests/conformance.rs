//! The conformance suite of `Store` passes on PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;

use support::{fresh, runtime, server};
use workflow_engine::Store;
use workflow_engine::testing::conformance::{self, model, scale};

#[test]
fn the_store_on_postgres_conforms() {
    let Some(server) = server() else { return };
    runtime().block_on(conformance::all(|| async { fresh(server).await }));
}

#[test]
fn the_store_on_postgres_agrees_with_the_model() {
    let Some(server) = server() else { return };
    let store = || async { fresh(server).await as Arc<dyn Store> };
    runtime().block_on(model::agrees(store, model::Sequences::default()));
}

#[test]
fn the_store_on_postgres_takes_many_runs() {
    let Some(server) = server() else { return };
    runtime().block_on(async { scale::many_runs(fresh(server).await, scale::MANY).await });
}
