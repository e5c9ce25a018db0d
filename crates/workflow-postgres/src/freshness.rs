//! Which connections lead to the server that is written to.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// When the connection that writes was opened. One that was opened before may lead to another
/// server, which nothing must be read from any more.
#[derive(Debug)]
pub(crate) struct Freshness(Mutex<Instant>);

impl Freshness {
    pub(crate) fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Has every connection that was opened before be closed instead of used again.
    pub(crate) fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns whether a connection that was opened then leads to the server that is written to.
    pub(crate) fn is_before(&self, then: Instant) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) <= then
    }
}
