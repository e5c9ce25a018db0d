//! The request that a run be cancelled.

use workflow_events::Timestamp;

/// Asks that a run be cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRequest {
    /// The caller's words.
    pub reason: Option<String>,
    /// Whether the steps that are being executed are dropped; otherwise they finish.
    pub at_once: bool,
    /// When it was asked for.
    pub at: Timestamp,
}
