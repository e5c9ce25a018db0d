//! Which connections lead to the server of the writer.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The time at which the writer's connection was opened. A connection that was opened earlier may
/// lead to another server, from which nothing must be read.
#[derive(Debug)]
pub(crate) struct Freshness(Mutex<Instant>);

impl Freshness {
    pub(crate) fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Marks every connection that is open now as one that must not be used again.
    pub(crate) fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns whether a connection that was opened at `then` leads to the server of the writer.
    pub(crate) fn is_before(&self, then: Instant) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) <= then
    }
}
