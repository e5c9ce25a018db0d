//! Properties of the buffer and of the delivery policy, over random operations and against
//! independent oracles.
//!
//! `cargo test -p tracker-core --all-features --test properties`; `PROPTEST_CASES` runs more of
//! each.
#![cfg(not(loom))]

mod reference;
mod world;

mod laws;
mod model;
mod order;
mod wakeups;

mod backoff;
mod policy;
mod retrying;
mod splitting;

#[cfg(feature = "testing")]
mod cancel;

/// The default number of cases, and no files of past failures: a failure worth keeping becomes a
/// named test.
fn cases() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        failure_persistence: None,
        ..Default::default()
    }
}
