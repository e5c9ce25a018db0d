//! Where a run is, as its events tell.

use std::fmt;

use crate::reason::PauseReason;
use crate::timestamp::Timestamp;

/// Where a run stands.
///
/// `Display` shows one lower-case word: `unknown`, `queued`, `running`, `paused`, `completed`,
/// `failed`, `cancelled`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RunStatus {
    /// No event seen so far tells.
    #[default]
    Unknown,
    /// Created, not begun.
    Queued,
    /// Executing, or its process died and nobody has taken over yet: events cannot tell these two
    /// apart.
    Running,
    /// Suspended.
    Paused {
        /// What it waits for.
        reason: PauseReason,
        /// When it goes on by itself, if it does.
        resume_at: Option<Timestamp>,
        /// The step that waits, if it is one.
        step_name: Option<String>,
    },
    /// Ended by returning.
    Completed,
    /// Ended by an error.
    Failed,
    /// Ended from outside.
    Cancelled,
}

impl RunStatus {
    /// Whether the run has ended: completed, failed or cancelled.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The word that `Display` shows.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused { .. } => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
