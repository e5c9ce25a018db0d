//! The completed steps in a terminal event.

use std::collections::VecDeque;

use crate::bounds::{LISTED_STEPS, LISTED_STEPS_BYTES, json_bytes};

/// The completed steps of a run, as its terminal event lists them: the names of the last ones, and
/// the count of all.
///
/// On the wire these are two fields, `completedSteps` and `completedStepCount`. An event of a
/// version without the count lists all steps.
///
/// # Examples
///
/// ```
/// use workflow_events::CompletedSteps;
///
/// let few = CompletedSteps::from(vec!["reserve".to_owned(), "charge".to_owned()]);
/// assert_eq!((few.names().len(), few.count()), (2, 2));
///
/// let many = CompletedSteps::last_of((1..=40_000).map(|n| format!("step-{n}")));
/// assert_eq!((many.names().len(), many.count()), (1_000, 40_000));
/// assert_eq!(many.names().last().map(String::as_str), Some("step-40000"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompletedSteps {
    names: Vec<String>,
    count: u64,
}

impl CompletedSteps {
    /// Counts all of these steps and lists the last ones: at most [`LISTED_STEPS`] names, and at
    /// most [`LISTED_STEPS_BYTES`] of JSON.
    pub fn last_of<I>(all: I) -> Self
    where
        I: IntoIterator<IntoIter: DoubleEndedIterator>,
        I::Item: AsRef<str> + Into<String>,
    {
        let mut room = LISTED_STEPS_BYTES;
        let mut names = VecDeque::new();
        let mut unlisted = 0_u64;
        for name in all.into_iter().rev() {
            let is_room = unlisted == 0 && names.len() < LISTED_STEPS;
            let bytes = || name.as_ref().chars().map(json_bytes).sum::<usize>() + "\"\",".len();
            match room.checked_sub(if is_room { bytes() } else { usize::MAX }) {
                Some(remaining) => {
                    room = remaining;
                    names.push_front(name.into());
                }
                None => unlisted += 1,
            }
        }
        Self {
            count: unlisted.saturating_add(names.len() as u64),
            names: names.into(),
        }
    }

    /// Creates the value from its fields on the wire. A count that is absent or less than the
    /// number of names is ignored.
    pub(crate) fn read(names: Vec<String>, count: Option<u64>) -> Self {
        let listed = names.len() as u64;
        Self {
            names,
            count: count.unwrap_or(listed).max(listed),
        }
    }

    /// Returns the names of the last completed steps, in order of completion. A name that completed
    /// several times is listed as often.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the number of all completed steps.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns whether every completed step is listed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.names.len() as u64 == self.count
    }

    /// Adds a listed step, without regard to the bounds.
    pub(crate) fn push(&mut self, name: &str) {
        self.names.push(name.to_owned());
        self.count = self.count.saturating_add(1);
    }

    /// Shortens the list to the bounds of an event; the count stays.
    pub(crate) fn bound(&mut self) {
        let count = self.count;
        *self = Self {
            count,
            ..Self::last_of(std::mem::take(&mut self.names))
        };
    }
}

/// Counts all names and lists the last ones; see [`CompletedSteps::last_of`].
impl From<Vec<String>> for CompletedSteps {
    fn from(all: Vec<String>) -> Self {
        Self::last_of(all)
    }
}
