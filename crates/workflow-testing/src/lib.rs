#![doc = include_str!("../README.md")]

pub mod conformance;
mod crash;
mod fault_store;

pub use crash::{CrashReport, CrashTest, Effects, Reopen};
pub use fault_store::{Fault, FaultStore};
pub use tracker_core::testing::{MemoryTransport, TestClock};
