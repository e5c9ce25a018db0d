//! The settings of an engine, with their defaults.

use std::time::Duration;

use workflow_events::Timestamp;

use crate::limits::VALUE_BYTES;
use crate::store::Purge;

/// How long runs are kept after their end, by how they ended. The default, `None`, keeps them for
/// ever.
///
/// A run is never purged before its events have a fate at every sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// For completed runs.
    pub completed: Option<Duration>,
    /// For failed runs.
    pub failed: Option<Duration>,
    /// For cancelled runs.
    pub cancelled: Option<Duration>,
}

impl Retention {
    /// Keeps every run for the same time after its end.
    pub fn all(time: Duration) -> Self {
        Self {
            completed: Some(time),
            failed: Some(time),
            cancelled: Some(time),
        }
    }

    pub(crate) fn is_limited(&self) -> bool {
        *self != Self::default()
    }

    pub(crate) fn purge(&self, now: Timestamp, limit: usize) -> Purge {
        let before = |time: Duration| now.saturating_sub(time);
        Purge {
            completed: self.completed.map(before),
            failed: self.failed.map(before),
            cancelled: self.cancelled.map(before),
            limit,
        }
    }
}

/// The settings of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) max_value_bytes: usize,
    pub(crate) suspend_after: Duration,
    pub(crate) lease: Duration,
    pub(crate) max_recoveries: u32,
    pub(crate) poll_interval: Duration,
    pub(crate) max_concurrent_runs: usize,
    pub(crate) retention: Retention,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_value_bytes: VALUE_BYTES,
            suspend_after: Duration::from_secs(1),
            lease: Duration::from_secs(30),
            max_recoveries: 10,
            poll_interval: Duration::from_secs(1),
            max_concurrent_runs: 256,
            retention: Retention::default(),
        }
    }
}
