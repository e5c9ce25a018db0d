//! Crash enumeration on PostgreSQL: a process is killed at every write to the database, before and
//! after it, and the next one connects to what is there.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

#[path = "../../workflow-engine/tests/scenarios/mod.rs"]
mod scenarios;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use support::{alone, options, started, wait};
use workflow_engine::Store;
use workflow_postgres::testing::Server;
use workflow_testing::{CrashTest, Reopen};

/// A new schema for each sequence of crashes, with a new connection after each crash.
fn schema(server: &Arc<Server>) -> Reopen {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "crash {} {}",
        std::process::id(),
        LAST.fetch_add(1, Ordering::Relaxed)
    );
    let server = server.clone();
    Box::new(move || {
        let connect = options().schema(name.clone()).listen(false);
        Arc::new(wait(async {
            connect.connect(&server.url_of("postgres")).await.unwrap()
        })) as Arc<dyn Store>
    })
}

/// Half of the scenarios, so that two threads share them.
fn enumerate(first: usize) {
    // A server each: what one of them writes delays what the other may read, and the clock of these
    // tests does not wait.
    let Some(server) = started(&["autovacuum=off"]).map(Arc::new) else {
        return;
    };
    let _alone = server.address().is_none().then(alone);
    for scenario in scenarios::ALL.iter().skip(first).step_by(2) {
        let server = server.clone();
        let test = CrashTest::new(move || schema(&server), scenario.build);
        let report = test
            .sinks(scenario.sinks)
            .accepting(scenario.accepting)
            .run(scenario.script);
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
