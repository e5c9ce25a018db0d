//! One row of the table: the events of a case, and their fates.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use tracker_core::Books;

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: String,
    /// Events that the program tried to emit.
    pub(crate) events: u64,
    /// Different events that the far end has.
    pub(crate) delivered: u64,
    /// Different events that came back to the program, refused by an emit or returned by the
    /// shutdown.
    pub(crate) back: u64,
    /// Events that are at the far end and came back, too: an answer was lost at the very end.
    pub(crate) both: u64,
    /// Events that the far end received, duplicates included.
    pub(crate) received: u64,
    pub(crate) books: Books,
    pub(crate) time: Duration,
    pub(crate) time_of: &'static str,
    /// A note that has no column.
    pub(crate) note: String,
    /// The effects that the case must show, but did not.
    broken: Vec<&'static str>,
}

impl Row {
    pub(crate) const HEADER: &'static str = "\
| case | events | delivered | handed back | lost | duplicates received | after eventId | books | time |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |";

    /// Makes a row from the ids at the far end and those that came back.
    pub(crate) fn new(
        case: &str,
        events: u64,
        received: &[u64],
        back: &[u64],
        books: Books,
    ) -> Self {
        let delivered: HashSet<_> = received.iter().collect();
        let returned: HashSet<_> = back.iter().collect();
        Self {
            case: case.into(),
            events,
            delivered: delivered.len() as u64,
            back: returned.len() as u64,
            both: delivered.intersection(&returned).count() as u64,
            received: received.len() as u64,
            books,
            time: Duration::ZERO,
            time_of: "",
            note: String::new(),
            broken: Vec::new(),
        }
    }

    /// Sets the time, and the name of the measured interval.
    pub(crate) fn took(self, time: Duration, time_of: &'static str) -> Self {
        Self {
            time,
            time_of,
            ..self
        }
    }

    /// Sets the note that is printed below the table.
    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }

    /// Fails the row unless `holds`.
    pub(crate) fn must(mut self, holds: bool, what: &'static str) -> Self {
        self.broken.extend((!holds).then_some(what));
        self
    }

    /// Returns whether the books count as delivered exactly the events that the far end has and the
    /// program does not have.
    pub(crate) fn is_true(&self) -> bool {
        self.books.delivered == self.delivered - self.both
    }

    /// Returns the number of events that neither the far end nor the program has; below zero if the
    /// far end has events that were never emitted.
    pub(crate) fn lost(&self) -> i64 {
        let [emitted, delivered, back, both] = [self.events, self.delivered, self.back, self.both]
            .map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        emitted - (delivered + back - both)
    }

    /// Returns the faults of the row. If there is one, the example fails.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self
            .broken
            .iter()
            .map(|what| format!("it does not hold that {what}"))
            .collect();
        if self.lost() != 0 {
            problems.push(format!("{} events are unaccounted for", self.lost()));
        }
        if !self.books.is_balanced() || self.books.pending() != 0 {
            problems.push(format!("the books are not closed: {}", self.books));
        }
        if !self.is_true() {
            let books = self.books.delivered;
            let far_end = self.delivered - self.both;
            problems.push(format!(
                "the books say {books} delivered, and by its own count the far end has {far_end}"
            ));
        }
        problems
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A far end that keeps one event per eventId keeps the different ones; more than the
        // emitted ones would be duplicates.
        let after_event_id = self.delivered.saturating_sub(self.events);
        let received = self.received - self.delivered;
        let milliseconds = self.time.as_secs_f64() * 1000.0;
        write!(
            f,
            "| {} | {} | {} | {} | {} ",
            self.case,
            self.events,
            self.delivered,
            self.back,
            self.lost()
        )?;
        write!(
            f,
            "| {received} | {after_event_id} | {} | {milliseconds:.1} ms {} |",
            self.books, self.time_of
        )
    }
}
