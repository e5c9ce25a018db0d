//! Loom models of tracker-core: every interleaving of the shipped types, through the public API.
//!
//! Run by `cargo xtask loom` at preemption bound 3, and unbounded by `cargo xtask loom
//! --exhaustive`; the few models that are too large for that keep a bound of their own, and say so.
//! Each model's docs name the mutation of the source that it kills; docs/verification.md has the
//! table.
#![cfg(loom)]

mod support;

mod batches;
mod cancel;
mod push;
mod timelines;
mod waits;

mod reentry;
mod shutdown;
mod tracker;

mod controls;
