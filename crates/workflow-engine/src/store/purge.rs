//! Purges: which ended runs a store removes.

use workflow_events::Timestamp;

use crate::store::status::Status;

/// Argument of [`Store::purge`](crate::Store::purge): runs that ended before these times are
/// removed; `None` keeps all runs of that status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// For completed runs.
    pub completed: Option<Timestamp>,
    /// For failed runs.
    pub failed: Option<Timestamp>,
    /// For cancelled runs.
    pub cancelled: Option<Timestamp>,
    /// The most runs that are removed.
    pub limit: usize,
}

impl Purge {
    /// Returns the time before which a run with this status must have ended to be removed.
    pub fn before(&self, status: Status) -> Option<Timestamp> {
        match status {
            Status::Completed => self.completed,
            Status::Failed => self.failed,
            Status::Cancelled => self.cancelled,
            _ => None,
        }
    }
}

/// Result of a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// The number of runs that were removed.
    pub runs: u64,
    /// The number of events that were removed.
    pub events: u64,
}
