//! The lock and the counted handle: std in production, loom under `cfg(loom)`.
//!
//! Nothing else in this crate names a synchronization primitive, so a loom model explores all of
//! them.

#[cfg(loom)]
use loom::sync as imp;
#[cfg(not(loom))]
use std::sync as imp;

pub(crate) use imp::{Arc, MutexGuard};
/// Trait objects are shared by std's `Arc`: loom's cannot hold an unsized value, and no model races
/// their count.
pub(crate) use std::sync::Arc as StdArc;

/// A mutex that ignores poisoning: no critical section of this crate can be left half done by a
/// panic.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
