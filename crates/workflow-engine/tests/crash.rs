//! Crash enumeration: a process, and the process that recovers, are killed before and after each
//! write to the store, and every run ends correctly.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod scenarios;

use workflow_testing::CrashTest;

/// Runs every second scenario from the index `first`, so that the two halves run in parallel.
fn enumerate(first: usize) {
    for scenario in scenarios::ALL.iter().skip(first).step_by(2) {
        let test = CrashTest::in_memory(scenario.build)
            .sinks(scenario.sinks)
            .accepting(scenario.accepting)
            .crash_recovery();
        let report = test.run(scenario.script);
        println!("{}: {report}", scenario.name);
        assert!(
            report.crashes > 2 * report.writes,
            "{}: {report}",
            scenario.name
        );
    }
}

#[test]
fn nothing_is_lost_wherever_a_process_dies_and_wherever_the_next_one_does() {
    enumerate(0);
}

#[test]
fn nothing_is_lost_wherever_two_processes_die_in_the_other_scenarios() {
    enumerate(1);
}
