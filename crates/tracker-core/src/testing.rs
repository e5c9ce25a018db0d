//! For tests: a far end with scripted failures, a clock that skips waits, and the suite every
//! transport must pass.

mod clock;
pub mod conformance;
mod memory;

pub use clock::TestClock;
pub use memory::{Hold, MemoryTransport};
