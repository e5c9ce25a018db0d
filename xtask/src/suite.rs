//! The tests of the workspace, compiled once for all steps.
//!
//! Cargo compiles dependencies again when another selection of packages asks for other features of
//! them. So every step selects the whole workspace with all features, and a runner (cargo starts
//! each test program through one) leaves out the programs that belong to another step.

use std::process::{Command, ExitCode};

use crate::shell::{Outcome, Shell, cargo};
use crate::step::FAST;

/// The subcommand that cargo starts a test program through.
pub(crate) const RUNNER: &str = "run-if-selected";

/// The package whose tests need a server, and have a step of their own.
pub(crate) const POSTGRES: &str = "workflow-postgres";

/// Integration tests of the fast form, by the names of their files in all packages.
///
/// Each takes less than three seconds. Left out are conformance, crash enumeration, properties,
/// SIGKILL, stress, compile-fail tests, and tests that wait for a timeout of a real connection.
const QUICK: &[&str] = &[
    "bad_input",
    "blocking",
    "cancel",
    "clock",
    "delivery",
    "determinism",
    "earlier",
    "exact",
    "extremes",
    "fault_server",
    "faults_background",
    "faults_config",
    "faults_shutdown",
    "golden",
    "harms",
    "http2",
    "json_events",
    "leases",
    "logs",
    "operations",
    "payload",
    "pool_runtime",
    "post_mortem",
    "reading",
    "replay_order",
    "reports",
    "runs",
    "secrets",
    "sinks",
    "sockets",
    "spans",
    "store_faults",
    "timestamp",
    "tls",
    "tls_client",
    "traces",
    "unrecorded",
    "values",
    "verdicts",
    "workers",
];

/// The selection of packages and features that every step shares.
///
/// The PostgreSQL server for tests is written for Unix, so its package is left out elsewhere.
pub(crate) fn workspace<'a>() -> impl Iterator<Item = &'a str> {
    let everywhere = ["--workspace", "--all-features"];
    let elsewhere = ["--exclude", POSTGRES];
    let without = if cfg!(unix) { &[][..] } else { &elsewhere[..] };
    everywhere.into_iter().chain(without.to_vec())
}

/// Which packages' test programs are run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Selection {
    /// Only those of this package.
    Only(&'static str),
    /// Those of all packages except this one.
    Except(&'static str),
}

/// Runs the unit and integration tests of all packages except those that need PostgreSQL.
pub(crate) fn run(flags: &[&str]) -> Outcome {
    let selection = Selection::Except(POSTGRES);
    if !flags.contains(&FAST) {
        return programs(selection, ["--lib", "--bins", "--tests"]).run();
    }
    let quick = QUICK.iter().flat_map(|test| ["--test", test]);
    programs(selection, ["--lib", "--bins"].into_iter().chain(quick)).run()
}

/// The command that compiles these test programs of the whole workspace, and runs the selected
/// ones.
pub(crate) fn programs<'a>(
    selection: Selection,
    programs: impl IntoIterator<Item = &'a str>,
) -> Shell {
    let (rule, package) = match selection {
        Selection::Only(package) => ("only", package),
        Selection::Except(package) => ("except", package),
    };
    let runner = std::env::current_exe().unwrap_or_default();
    // A literal string of TOML, in which the separators of Windows are no escapes.
    let runner = format!(
        "target.'cfg(all())'.runner=['{}', '{RUNNER}', '{rule}', '{package}']",
        runner.display()
    );
    let test = ["test"].into_iter().chain(workspace());
    cargo(test.chain(programs)).hidden(["--config", &runner])
}

/// Runs a test program if the package that cargo runs it for is selected.
pub(crate) fn run_if_selected(arguments: &[&str]) -> ExitCode {
    let [rule, package, program, arguments @ ..] = arguments else {
        eprintln!("{RUNNER} is for cargo alone");
        return ExitCode::from(2);
    };
    let current = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    if !is_selected(rule, package, &current) {
        println!("  of another step");
        return ExitCode::SUCCESS;
    }
    match Command::new(program).args(arguments).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("{program}: {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_selected(rule: &str, package: &str, current: &str) -> bool {
    (rule == "only") == (package == current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::root;

    #[test]
    fn every_quick_test_exists() {
        let crates = std::fs::read_dir(root().join("crates")).unwrap();
        let tests: Vec<_> = crates.map(|c| c.unwrap().path().join("tests")).collect();
        for name in QUICK {
            let exists = |tests: &std::path::PathBuf| {
                tests.join(format!("{name}.rs")).is_file()
                    || tests.join(name).join("main.rs").is_file()
            };
            assert!(tests.iter().any(exists), "{name}");
        }
    }

    #[test]
    fn packages_are_selected_by_name() {
        assert!(is_selected("only", "a", "a"));
        assert!(!is_selected("only", "a", "b"));
        assert!(is_selected("except", "a", "b"));
        assert!(!is_selected("except", "a", "a"));
    }
}
