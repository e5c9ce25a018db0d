//! Tools for tests: the suite that every store must pass, a store that fails or dies on purpose,
//! crash enumeration.
//!
//! The test clock and the recording transport come from `tracker-core`; the in-memory store is
//! [`MemoryStore`](crate::MemoryStore).

pub mod conformance;
mod crash;
mod fault_store;

pub use crash::{CrashReport, CrashTest, Effects, Reopen};
pub use fault_store::{Fault, FaultStore};
pub use tracker_core::testing::{MemoryTransport, TestClock};
