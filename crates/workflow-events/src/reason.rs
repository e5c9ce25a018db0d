//! The reasons for which a run is suspended or resumed; unknown words are kept.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// The reason for which a run is suspended.
///
/// A word that this version does not know is kept as [`Other`](Self::Other) and written back.
/// Create a reason with `From`, which never stores a known word as `Other`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum PauseReason {
    /// `sleep`: the run waits for the end of a sleep.
    Sleep,
    /// `retry`: the run waits for the next attempt of a step.
    Retry,
    /// `signal`: the cause is a signal from outside.
    Signal,
    /// Any other word, as it was read.
    Other(String),
}

/// The reason for which a run was resumed.
///
/// A word that this version does not know is kept as [`Other`](Self::Other) and written back.
/// Create a reason with `From`, which never stores a known word as `Other`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum ResumeReason {
    /// `timer`: a sleep has ended.
    Timer,
    /// `retry`: the next attempt of a step is due.
    Retry,
    /// `signal`: the cause is a signal from outside.
    Signal,
    /// `recovery`: the process that executed the run died, and another took over.
    Recovery,
    /// Any other word, as it was read.
    Other(String),
}

impl PauseReason {
    /// Returns the word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sleep => "sleep",
            Self::Retry => "retry",
            Self::Signal => "signal",
            Self::Other(word) => word,
        }
    }
}

impl ResumeReason {
    /// Returns the word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Timer => "timer",
            Self::Retry => "retry",
            Self::Signal => "signal",
            Self::Recovery => "recovery",
            Self::Other(word) => word,
        }
    }
}

impl From<String> for PauseReason {
    fn from(word: String) -> Self {
        match word.as_str() {
            "sleep" => Self::Sleep,
            "retry" => Self::Retry,
            "signal" => Self::Signal,
            _ => Self::Other(word),
        }
    }
}

impl From<String> for ResumeReason {
    fn from(word: String) -> Self {
        match word.as_str() {
            "timer" => Self::Timer,
            "retry" => Self::Retry,
            "signal" => Self::Signal,
            "recovery" => Self::Recovery,
            _ => Self::Other(word),
        }
    }
}

impl Serialize for PauseReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for ResumeReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for ResumeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
