//! The statuses of a run, and the table of legal transitions.

use std::fmt;

/// Status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// The run was created and has not begun.
    Queued,
    /// The run is being executed, or the process that executed it has died.
    Running,
    /// The run waits for a time, and nothing of it is in memory.
    Suspended,
    /// The workflow returned its output. Terminal.
    Completed,
    /// The workflow returned an error or panicked, or the engine failed the run. Terminal.
    Failed,
    /// The run was cancelled. Terminal.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Suspended,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Every legal transition; `None` is a run that does not exist yet.
    const LEGAL: &'static [(Option<Self>, Self)] = &[
        (None, Self::Queued),
        (None, Self::Running),
        (Some(Self::Queued), Self::Running),
        (Some(Self::Queued), Self::Cancelled),
        (Some(Self::Running), Self::Running),
        (Some(Self::Running), Self::Suspended),
        (Some(Self::Running), Self::Completed),
        (Some(Self::Running), Self::Failed),
        (Some(Self::Running), Self::Cancelled),
        (Some(Self::Suspended), Self::Running),
        (Some(Self::Suspended), Self::Cancelled),
    ];

    /// Checks a transition. A `Running` run that stays `Running` makes one too.
    ///
    /// # Errors
    ///
    /// [`TransitionError`], whose message has the legal transitions.
    pub fn check(from: Option<Self>, to: Self) -> Result<(), TransitionError> {
        if Self::LEGAL.contains(&(from, to)) {
            return Ok(());
        }
        Err(TransitionError { from, to })
    }

    /// Returns whether no transition can follow.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Returns whether a commit with this status ends the claim on its run.
    pub fn ends_claim(self) -> bool {
        self.is_terminal() || self == Self::Suspended
    }

    /// Returns the name under which stores keep the status. That of [`Suspended`](Self::Suspended)
    /// is `paused`, the word of the wire, and differs from the name that `Display` shows.
    pub fn stored_name(self) -> &'static str {
        match self {
            Self::Suspended => "paused",
            other => other.name(),
        }
    }

    /// Returns the status that stores keep under this name.
    pub fn from_stored_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|status| status.stored_name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Shows the name of the status, in lower case.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Error of a transition that is not legal; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransitionError {
    /// The current status; `None` if there is no such run.
    pub from: Option<Status>,
    /// The status that was requested.
    pub to: Status,
}

impl fmt::Display for TransitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |status: Option<Status>| status.map_or("none", Status::name);
        write!(
            f,
            "a run cannot go from {} to {}; legal from there:",
            name(self.from),
            self.to
        )?;
        let mut legal = Status::LEGAL
            .iter()
            .filter(|(from, _)| *from == self.from)
            .peekable();
        if legal.peek().is_none() {
            return f.write_str(" nothing");
        }
        legal.try_for_each(|(_, to)| write!(f, " {to}"))
    }
}

impl std::error::Error for TransitionError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_a_terminal_status() {
        for from in Status::ALL {
            let any = Status::ALL
                .into_iter()
                .any(|to| Status::check(Some(from), to).is_ok());
            assert_eq!(any, !from.is_terminal(), "{from}");
        }
    }

    #[test]
    fn a_name_is_read_back_as_its_status() {
        assert!(
            Status::ALL
                .into_iter()
                .all(|status| Status::from_stored_name(status.stored_name()) == Some(status))
        );
        assert_eq!(Status::from_stored_name("done"), None);
    }

    #[test]
    fn an_illegal_transition_lists_the_legal_ones() {
        let refused = Status::check(None, Status::Completed).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a run cannot go from none to completed; legal from there: queued running"
        );
        let refused = Status::check(Some(Status::Failed), Status::Running).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a run cannot go from failed to running; legal from there: nothing"
        );
    }
}
