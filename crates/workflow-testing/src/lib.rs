#![doc = include_str!("../README.md")]

pub mod conformance;
mod crash;
mod effects;
mod fault_store;

pub use crash::{CrashReport, CrashTest, Reopen};
pub use effects::Effects;
pub use fault_store::{Fault, FaultStore};
pub use tracker_core::testing::{MemoryTransport, TestClock};
