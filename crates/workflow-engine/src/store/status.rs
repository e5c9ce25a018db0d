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
    Paused,
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
        Self::Paused,
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
        (Some(Self::Running), Self::Paused),
        (Some(Self::Running), Self::Completed),
        (Some(Self::Running), Self::Failed),
        (Some(Self::Running), Self::Cancelled),
        (Some(Self::Paused), Self::Running),
        (Some(Self::Paused), Self::Cancelled),
    ];

    /// Checks a transition. A `Running` run that stays `Running` makes one too.
    ///
    /// # Errors
    ///
    /// [`IllegalTransition`], whose message has the legal transitions.
    pub fn check(from: Option<Self>, to: Self) -> Result<(), IllegalTransition> {
        if Self::LEGAL.contains(&(from, to)) {
            return Ok(());
        }
        Err(IllegalTransition { from, to })
    }

    /// Returns whether no transition can follow.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Returns whether a commit with this status ends the claim on its run.
    pub fn ends_claim(self) -> bool {
        self.is_terminal() || self == Self::Paused
    }

    /// Returns the name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the status with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Error of a transition that is not legal; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalTransition {
    /// The current status; `None` if there is no such run.
    pub from: Option<Status>,
    /// The status that was requested.
    pub to: Status,
}

impl fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |status: Option<Status>| status.map_or("none", Status::as_str);
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

impl std::error::Error for IllegalTransition {}

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
                .all(|status| Status::parse(status.as_str()) == Some(status))
        );
        assert_eq!(Status::parse("done"), None);
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
