//! The status of a run, from its events.

use std::fmt;

use crate::reason::PauseReason;
use crate::timestamp::Timestamp;

/// The status of a run.
///
/// `Display` shows one lower-case word: `unknown`, `queued`, `running`, `paused`, `completed`,
/// `failed`, `cancelled`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RunStatus {
    /// No event seen so far shows the status.
    #[default]
    Unknown,
    /// The run was created, and has not begun.
    Queued,
    /// The run executes, or its process died and no other has taken over yet. Events cannot tell
    /// these two apart.
    Running,
    /// The run is suspended.
    Paused {
        /// The reason for the wait.
        reason: PauseReason,
        /// The time at which the run resumes by itself, if it does.
        resume_at: Option<Timestamp>,
        /// The step that waits, if a step waits.
        step_name: Option<String>,
    },
    /// The run returned.
    Completed,
    /// The run ended with an error.
    Failed,
    /// The run was cancelled from outside.
    Cancelled,
}

impl RunStatus {
    /// Returns whether the run has ended: completed, failed or cancelled.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Returns the word that `Display` shows.
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
