//! The conformance suite of `Store` passes on PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;

use support::{alone, fresh, runtime, server, sized};
use workflow_engine::Store;
use workflow_testing::conformance::{self, model, scale};

#[test]
fn the_store_on_postgres_conforms() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(conformance::all(|| async { fresh(server).await }));
}

#[test]
fn the_store_on_postgres_agrees_with_the_model() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    let store = || async { fresh(server).await as Arc<dyn Store> };
    let sequences = model::Sequences {
        seeds: 0..sized(40, 400),
        operations: 100,
    };
    runtime().block_on(model::agrees(store, sequences));
}

#[test]
fn the_store_on_postgres_takes_many_runs() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        scale::many_runs(fresh(server).await, sized(20_000, scale::DEFAULT_RUNS)).await
    });
}
