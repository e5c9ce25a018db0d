//! The table of steps.

use crate::step::{FAST, Step, When};
use crate::{checks, examples, postgres, readme, release, suite, tidy};

/// Every step, in the order in which `ci` runs them.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "formatting, of the benchmarks too",
        flags: &[],
        when: When::Fast,
        run: checks::fmt,
    },
    Step {
        name: "tidy",
        about: "layering, circles, purity, module docs, file sizes, links",
        flags: &[],
        when: When::Fast,
        run: tidy::run,
    },
    Step {
        name: "clippy",
        about: "lints as errors, with all features and with none",
        flags: &[FAST],
        when: When::Fast,
        run: checks::clippy,
    },
    Step {
        name: "test",
        about: "unit and integration tests",
        flags: &[FAST],
        when: When::Fast,
        run: suite::run,
    },
    Step {
        name: "postgres",
        about: "tests that start a PostgreSQL of their own (long: 10,000 runs, 100 faults)",
        flags: &[postgres::LONG],
        when: When::Full,
        run: postgres::run,
    },
    Step {
        name: "doctest",
        about: "the examples in the documentation",
        flags: &[],
        when: When::Full,
        run: checks::doctest,
    },
    Step {
        name: "rustdoc",
        about: "the documentation, warnings as errors",
        flags: &[],
        when: When::Full,
        run: checks::rustdoc,
    },
    Step {
        name: "loom",
        about: "the loom models with preemption bound 3 (exhaustive: without a bound)",
        flags: &[checks::EXHAUSTIVE],
        when: When::Full,
        run: checks::loom,
    },
    Step {
        name: "quickstart",
        about: "the quickstart, killed and started again",
        flags: &[],
        when: When::Full,
        run: examples::quickstart,
    },
    Step {
        name: "examples",
        about: "every example that needs no server of the user's",
        flags: &[],
        when: When::Full,
        run: examples::all,
    },
    Step {
        name: "readme",
        about: "every command of the README",
        flags: &[],
        when: When::Full,
        run: readme::run,
    },
    Step {
        name: "losses",
        about: "the loss table with 1,000,000 racing shutdowns",
        flags: &[],
        when: When::Alone,
        run: checks::losses,
    },
    Step {
        name: "kills",
        about: "1,000 times SIGKILL over one SQLite file",
        flags: &[],
        when: When::Alone,
        run: checks::kills,
    },
    Step {
        name: "bench",
        about: "the benchmarks beside their peers",
        flags: &[],
        when: When::Alone,
        run: checks::bench,
    },
    Step {
        name: "mutants",
        about: "cargo-mutants on the state machine and the policy",
        flags: &[],
        when: When::Alone,
        run: checks::mutants,
    },
    Step {
        name: "deny",
        about: "licences, advisories, duplicates and sources of all dependencies",
        flags: &[],
        when: When::Alone,
        run: release::deny,
    },
    Step {
        name: "semver",
        about: "breaking changes of public interfaces since the last tag",
        flags: &[],
        when: When::Alone,
        run: release::semver,
    },
];
