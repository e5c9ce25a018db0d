//! Crash enumeration on SQLite: a process is killed before and after every write to its file, and
//! the next process opens the file again.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

#[path = "../../workflow-engine/tests/scenarios/mod.rs"]
mod scenarios;

use std::sync::Arc;

use workflow_engine::Store;
use workflow_sqlite::{Durability, SqliteStore};
use workflow_testing::{CrashTest, Reopen};

/// Opens one file for each sequence of crashes, again after every crash.
fn file() -> Reopen {
    let folder = tempfile::tempdir().unwrap();
    let mut last: Option<SqliteStore> = None;
    Box::new(move || {
        if let Some(store) = last.take() {
            let closed = store.closed();
            drop(store);
            futures::executor::block_on(closed);
        }
        // This test simulates no loss of power, so the flushes would only cost time.
        let options = SqliteStore::options().durability(Durability::ProcessCrash);
        let store = options.open(folder.path().join("runs.db")).unwrap();
        last = Some(store.clone());
        Arc::new(store) as Arc<dyn Store>
    })
}

/// Runs every second scenario, from the one with the index `first`: the two halves run at once.
fn enumerate(first: usize) {
    for scenario in scenarios::ALL.iter().skip(first).step_by(2) {
        let test = CrashTest::new(file, scenario.build)
            .sinks(scenario.sinks)
            .accepting(scenario.accepting);
        let report = test.run(scenario.script);
        println!("{}: {report}", scenario.name);
        assert_eq!(
            report.crashes,
            2 * report.writes,
            "{}: {report}",
            scenario.name
        );
    }
}

#[test]
fn nothing_is_lost_wherever_a_process_dies() {
    enumerate(0);
}

#[test]
fn nothing_is_lost_wherever_a_process_dies_in_the_other_scenarios() {
    enumerate(1);
}
