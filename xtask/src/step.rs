//! A step, and when it runs.

use crate::shell::Outcome;

/// A step: its name, its purpose, the flags it knows, when `ci` runs it, and how.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [&'static str],
    pub(crate) when: When,
    pub(crate) run: fn(&[&str]) -> Outcome,
}

/// When a step runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    /// In `ci` and in `ci --fast`, there with the flag `--fast` if the step knows it.
    Fast,
    /// In `ci`, but not in its fast form.
    Full,
    /// By its own name only.
    Alone,
}

/// The flag of a step that has a short form.
pub(crate) const FAST: &str = "--fast";
