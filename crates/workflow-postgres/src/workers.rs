//! The workers in whose names a store writes.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The workers in whose names this store writes, because they have renewed a lease or claimed a
/// sink here. This store may write under the claims of these workers only.
#[derive(Debug, Default)]
pub(crate) struct Workers(Mutex<HashSet<String>>);

impl Workers {
    pub(crate) fn add(&self, worker: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(worker.to_owned());
    }

    pub(crate) fn remove(&self, worker: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(worker);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}
