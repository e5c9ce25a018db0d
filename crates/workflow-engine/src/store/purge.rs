//! Purges: which ended runs a store removes.

use workflow_events::Timestamp;

use crate::store::status::Status;

/// Which runs are purged: those that ended before these times; `None` keeps all of that status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// For completed runs.
    pub completed: Option<Timestamp>,
    /// For failed runs.
    pub failed: Option<Timestamp>,
    /// For cancelled runs.
    pub cancelled: Option<Timestamp>,
    /// How many runs at most.
    pub limit: usize,
}

impl Purge {
    /// Returns the time before which a run with this status must have ended to be purged.
    pub fn before(&self, status: Status) -> Option<Timestamp> {
        match status {
            Status::Completed => self.completed,
            Status::Failed => self.failed,
            Status::Cancelled => self.cancelled,
            _ => None,
        }
    }
}

/// What a purge removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many runs.
    pub runs: u64,
    /// How many events.
    pub events: u64,
}
