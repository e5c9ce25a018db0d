//! The request that a run be cancelled.

use workflow_events::Timestamp;

/// Request to cancel a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRequest {
    /// The caller's reason.
    pub reason: Option<String>,
    /// Whether the steps under way are dropped; otherwise they finish.
    pub immediate: bool,
    /// When the cancel was requested.
    pub at: Timestamp,
}
