//! A schedule: values in the order of their times.

use std::collections::BTreeMap;

/// Values by the time at which each is due; those of one time in the order in which they came.
#[derive(Debug)]
pub(crate) struct Schedule<T, V> {
    values: BTreeMap<Ticket<T>, V>,
    last_number: u64,
}

/// The place of a value in a [`Schedule`].
pub(crate) type Ticket<T> = (T, u64);

impl<T: Copy + Ord, V> Schedule<T, V> {
    pub(crate) fn new() -> Self {
        Self {
            values: BTreeMap::new(),
            last_number: 0,
        }
    }

    /// Adds a value that is due at `at`.
    pub(crate) fn insert(&mut self, at: T, value: V) -> Ticket<T> {
        self.last_number += 1;
        let ticket = (at, self.last_number);
        self.values.insert(ticket, value);
        ticket
    }

    /// Removes a value before it is due.
    pub(crate) fn remove(&mut self, ticket: Ticket<T>) {
        self.values.remove(&ticket);
    }

    /// Returns the first value and its time.
    pub(crate) fn first(&self) -> Option<(T, &V)> {
        let ((at, _), value) = self.values.first_key_value()?;
        Some((*at, value))
    }

    /// Takes the first value, if it is due at `now`.
    pub(crate) fn pop_due(&mut self, now: T) -> Option<V> {
        let first = self.values.first_entry()?;
        let (at, _) = *first.key();
        (at <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_due_in_the_order_of_their_times_and_then_of_their_arrival() {
        let mut schedule = Schedule::new();
        let late = schedule.insert(30, "late");
        schedule.insert(10, "first");
        schedule.insert(10, "second");
        let removed = schedule.insert(5, "removed");
        schedule.remove(removed);
        assert_eq!(schedule.first(), Some((10, &"first")));
        assert_eq!(schedule.pop_due(9), None);
        assert_eq!(schedule.pop_due(10), Some("first"));
        assert_eq!(schedule.pop_due(29), Some("second"));
        assert_eq!(schedule.pop_due(29), None);
        schedule.remove(late);
        assert_eq!(schedule.first(), None);
    }
}
