//! The conformance suite of `Store` passes on SQLite.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use tempfile::TempDir;
use workflow_engine::Store;
use workflow_sqlite::{Durability, SqliteStore};
use workflow_testing::conformance::{self, model, scale};

/// Files of stores, which are removed at the end.
#[derive(Default)]
struct Files(Mutex<Vec<TempDir>>);

impl Files {
    fn fresh(&self) -> Arc<dyn Store> {
        let folder = tempfile::tempdir().unwrap();
        // This suite simulates no loss of power, so the flushes would only cost time.
        let options = SqliteStore::options().durability(Durability::ProcessCrash);
        let store = options.open(folder.path().join("runs.db")).unwrap();
        self.0.lock().unwrap().push(folder);
        Arc::new(store)
    }
}

#[test]
fn the_store_on_sqlite_conforms() {
    let files = Files::default();
    block_on(conformance::all(|| async { files.fresh() }));
}

#[test]
fn the_store_on_sqlite_agrees_with_the_model() {
    let files = Files::default();
    block_on(model::agrees(
        || async { files.fresh() },
        model::Sequences::default(),
    ));
}

#[test]
fn the_store_on_sqlite_takes_many_runs() {
    let files = Files::default();
    block_on(async { scale::many_runs(files.fresh(), scale::DEFAULT_RUNS).await });
}
