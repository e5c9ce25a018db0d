//! Formatting, lints, documentation, loom, and the long checks.

use crate::shell::{Outcome, cargo};
use crate::step::FAST;
use crate::suite;

/// The flag of loom without a bound on preemptions.
pub(crate) const EXHAUSTIVE: &str = "--exhaustive";

/// Packages outside of the workspace.
const BENCHMARKS: [&str; 2] = [
    "crates/bench/Cargo.toml",
    "crates/bench-postgres/Cargo.toml",
];

pub(crate) fn fmt(_: &[&str]) -> Outcome {
    cargo(["fmt", "--all", "--check"]).run()?;
    for manifest in BENCHMARKS {
        cargo(["fmt", "--manifest-path", manifest, "--check"]).run()?;
    }
    Ok(None)
}

/// Lints with all features and, unless `--fast`, with none.
///
/// Cargo unites the features of the packages that are selected together, and the stores ask for the
/// engine's default features. So the crates below them have a pass of their own.
pub(crate) fn clippy(flags: &[&str]) -> Outcome {
    let warnings = ["--", "-D", "warnings"];
    let all = ["clippy"].into_iter().chain(suite::workspace());
    cargo(all.chain(["--all-targets"]).chain(warnings)).run()?;
    if flags.contains(&FAST) {
        return Ok(None);
    }
    let below = [
        "--package",
        "tracker-core",
        "--package",
        "tracker-http",
        "--package",
        "workflow-engine",
    ];
    let none = ["clippy", "--no-default-features"];
    cargo(none.into_iter().chain(below).chain(warnings)).run()?;
    let stores = [
        "--package",
        "workflow-sqlite",
        "--package",
        "workflow-postgres",
    ];
    cargo(none.into_iter().chain(stores).chain(warnings)).run()
}

pub(crate) fn doctest(_: &[&str]) -> Outcome {
    let test = ["test"].into_iter().chain(suite::workspace());
    cargo(test.chain(["--doc"])).run()
}

pub(crate) fn rustdoc(_: &[&str]) -> Outcome {
    let doc = ["doc"].into_iter().chain(suite::workspace());
    cargo(doc.chain(["--no-deps"]))
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// Plain `cfg(loom)` and the dev profile; a target folder of its own, so that the rest is not built
/// again.
pub(crate) fn loom(flags: &[&str]) -> Outcome {
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
    if !flags.contains(&EXHAUSTIVE) {
        command = command.env("LOOM_MAX_PREEMPTIONS", "3");
    }
    command.run()
}

pub(crate) fn losses(_: &[&str]) -> Outcome {
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

pub(crate) fn kills(_: &[&str]) -> Outcome {
    let test = ["--test", "sigkill", "--", "--nocapture"];
    cargo(
        ["test", "--package", "workflow-sqlite", "--all-features"]
            .into_iter()
            .chain(test),
    )
    .env("KILLS", "1000")
    .run()
}

pub(crate) fn bench(_: &[&str]) -> Outcome {
    let [trackers, postgres] = BENCHMARKS;
    let run = ["run", "--release", "--manifest-path"];
    for bin in ["tracker", "engine"] {
        cargo(run.into_iter().chain([trackers, "--bin", bin])).run()?;
    }
    cargo(run.into_iter().chain([postgres])).run()
}

pub(crate) fn mutants(_: &[&str]) -> Outcome {
    if cargo(["mutants", "--version"]).quiet().run().is_err() {
        return Ok(Some(
            "install it with: cargo install cargo-mutants --locked".into(),
        ));
    }
    let files = [
        "buffer/state.rs",
        "delivery/policy.rs",
        "delivery/backoff.rs",
    ]
    .map(|file| format!("crates/tracker-core/src/{file}"));
    let files = files.iter().flat_map(|file| ["-f", file]);
    cargo(
        ["mutants", "--package", "tracker-core", "--all-features"]
            .into_iter()
            .chain(files),
    )
    .run()
}
