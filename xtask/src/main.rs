//! The checks of this repository: `cargo xtask ci` is the one verification, and each step is a
//! subcommand.
//!
//! Std only, so that it compiles in a moment; what a step does is in the table below or in the
//! module it names.

mod examples;
mod postgres;
mod readme;
mod shell;
mod tidy;

use std::process::ExitCode;
use std::time::Instant;

use shell::{Outcome, cargo};

/// A step: its name, what it is for, whether `ci` runs it, and how.
struct Step {
    name: &'static str,
    about: &'static str,
    in_ci: bool,
    run: fn(&[String]) -> Outcome,
}

const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "formatting, of the benchmarks too",
        in_ci: true,
        run: fmt,
    },
    Step {
        name: "tidy",
        about: "layering, purity, module docs, file sizes, links",
        in_ci: true,
        run: tidy::run,
    },
    Step {
        name: "clippy",
        about: "lints as errors, with all features and with none",
        in_ci: true,
        run: clippy,
    },
    Step {
        name: "test",
        about: "unit and integration tests",
        in_ci: true,
        run: test,
    },
    Step {
        name: "postgres",
        about: "the tests that start a PostgreSQL of their own (--long: 10,000 runs, 100 faults)",
        in_ci: true,
        run: postgres::run,
    },
    Step {
        name: "doctest",
        about: "the examples in the documentation",
        in_ci: true,
        run: doctest,
    },
    Step {
        name: "rustdoc",
        about: "the documentation, warnings as errors",
        in_ci: true,
        run: rustdoc,
    },
    Step {
        name: "loom",
        about: "the loom models, preemption bound 3 (--exhaustive: none)",
        in_ci: true,
        run: loom,
    },
    Step {
        name: "quickstart",
        about: "the quickstart, killed and started again",
        in_ci: true,
        run: examples::quickstart,
    },
    Step {
        name: "examples",
        about: "every example that needs no server of the user's",
        in_ci: true,
        run: examples::all,
    },
    Step {
        name: "readme",
        about: "every command of the README",
        in_ci: true,
        run: readme::run,
    },
    Step {
        name: "losses",
        about: "the loss table with 1,000,000 racing shutdowns",
        in_ci: false,
        run: losses,
    },
    Step {
        name: "kills",
        about: "1,000 times SIGKILL over one SQLite file",
        in_ci: false,
        run: kills,
    },
    Step {
        name: "bench",
        about: "the benchmarks beside their peers",
        in_ci: false,
        run: bench,
    },
    Step {
        name: "mutants",
        about: "cargo-mutants on the state machine and the policy",
        in_ci: false,
        run: mutants,
    },
];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() || arguments[0] == "--help" || arguments[0] == "help" {
        println!(
            "usage: cargo xtask <step>\n\n  ci           all steps but the last four (--no-skips: a skip fails)"
        );
        STEPS
            .iter()
            .for_each(|step| println!("  {:<12} {}", step.name, step.about));
        return ExitCode::SUCCESS;
    }
    let name = arguments.remove(0);
    if name == "ci" {
        return match arguments.iter().find(|argument| *argument != "--no-skips") {
            Some(unknown) => usage(&format!("ci does not know {unknown}")),
            None => ci(!arguments.is_empty()),
        };
    }
    let Some(step) = STEPS.iter().find(|step| step.name == name) else {
        return usage(&format!("there is no step {name}"));
    };
    match (step.run)(&arguments) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(missing)) => {
            println!("{name} skipped: {missing}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{name} failed: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("{problem}; cargo xtask --help lists the steps");
    ExitCode::from(2)
}

/// Runs the steps in order up to the first failure; prints what each took.
fn ci(no_skips: bool) -> ExitCode {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut summary = String::new();
    for step in STEPS.iter().filter(|step| step.in_ci) {
        println!("\n=== {}: {}", step.name, step.about);
        let started = Instant::now();
        let outcome = (step.run)(&[]);
        let word = match outcome {
            Ok(None) => {
                passed += 1;
                "ok".to_owned()
            }
            Ok(Some(missing)) if !no_skips => {
                skipped += 1;
                format!("skipped: {missing}")
            }
            Ok(Some(missing)) => {
                failed += 1;
                format!("FAILED: skipped, which --no-skips forbids: {missing}")
            }
            Err(problem) => {
                failed += 1;
                format!("FAILED: {problem}")
            }
        };
        summary += &format!(
            "  {:<12} {:>7.1} s  {word}\n",
            step.name,
            started.elapsed().as_secs_f64()
        );
        if failed > 0 {
            break;
        }
    }
    println!("\n{summary}\n{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn fmt(_: &[String]) -> Outcome {
    cargo(["fmt", "--all", "--check"]).run()?;
    cargo([
        "fmt",
        "--manifest-path",
        "crates/bench/Cargo.toml",
        "--check",
    ])
    .run()?;
    cargo([
        "fmt",
        "--manifest-path",
        "crates/bench/postgres/Cargo.toml",
        "--check",
    ])
    .run()
}

fn clippy(_: &[String]) -> Outcome {
    cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ])
    .run()?;
    cargo([
        "clippy",
        "--workspace",
        "--no-default-features",
        "--",
        "-D",
        "warnings",
    ])
    .run()
}

fn test(_: &[String]) -> Outcome {
    let rest = [
        "--exclude",
        "workflow-postgres",
        "--all-features",
        "--lib",
        "--bins",
        "--tests",
        "--examples",
    ];
    cargo(["test", "--workspace"].into_iter().chain(rest)).run()
}

fn doctest(_: &[String]) -> Outcome {
    cargo(["test", "--workspace", "--all-features", "--doc"]).run()
}

fn rustdoc(_: &[String]) -> Outcome {
    cargo(["doc", "--workspace", "--all-features", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// Plain `cfg(loom)` and the dev profile; a target folder of its own, so that the rest is not built
/// again.
fn loom(arguments: &[String]) -> Outcome {
    let mut command = cargo([
        "test",
        "--package",
        "tracker-core",
        "--test",
        "loom",
        "--target-dir",
        "target/loom",
    ]);
    command = command.env("RUSTFLAGS", "--cfg loom");
    match arguments {
        [] => command.env("LOOM_MAX_PREEMPTIONS", "3").run(),
        [exhaustive] if exhaustive == "--exhaustive" => command.run(),
        _ => Err("loom knows only --exhaustive".into()),
    }
}

fn losses(_: &[String]) -> Outcome {
    cargo([
        "run",
        "--release",
        "--package",
        "tracker-http",
        "--example",
        "loss_table",
        "--",
        "--full",
    ])
    .run()
}

fn kills(_: &[String]) -> Outcome {
    let test = ["--test", "sigkill", "--", "--nocapture"];
    cargo(
        ["test", "--package", "workflow-sqlite", "--all-features"]
            .into_iter()
            .chain(test),
    )
    .env("KILLS", "1000")
    .run()
}

fn bench(_: &[String]) -> Outcome {
    for bin in ["tracker", "engine"] {
        cargo([
            "run",
            "--release",
            "--manifest-path",
            "crates/bench/Cargo.toml",
            "--bin",
            bin,
        ])
        .run()?;
    }
    cargo([
        "run",
        "--release",
        "--manifest-path",
        "crates/bench/postgres/Cargo.toml",
    ])
    .run()
}

fn mutants(_: &[String]) -> Outcome {
    if cargo(["mutants", "--version"]).quiet().run().is_err() {
        return Ok(Some(
            "install it with: cargo install cargo-mutants --locked".into(),
        ));
    }
    let files = ["state.rs", "delivery.rs", "backoff.rs"]
        .map(|file| format!("crates/tracker-core/src/{file}"));
    let files = files.iter().flat_map(|file| ["-f", file]);
    cargo(
        ["mutants", "--package", "tracker-core", "--all-features"]
            .into_iter()
            .chain(files),
    )
    .run()
}
