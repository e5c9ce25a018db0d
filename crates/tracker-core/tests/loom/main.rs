//! Loom models of tracker-core: every interleaving of the shipped types, through the public API.
//!
//! Run by `cargo xtask loom` at preemption bound 3, and unbounded by `cargo xtask loom --exhaustive`. Each model's
//! docs name the mutation of the source that it kills; docs/verification.md has the table.
#![cfg(loom)]

mod controls;
mod leases;
mod push;
mod reentry;
mod shutdown;
mod support;
mod timelines;
mod waits;
