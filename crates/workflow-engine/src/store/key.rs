//! The number by which a store knows a run.

use std::fmt;

/// What a store calls a run: a sequential number that is never used again, unlike the id, which is
/// free once the run is purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(pub u64);

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
