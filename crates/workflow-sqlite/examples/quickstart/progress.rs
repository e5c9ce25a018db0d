//! A progress line, which is shown only on a terminal.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr};

/// Counter on standard error.
pub(crate) struct Progress {
    total: usize,
    done: Cell<usize>,
    shown: bool,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            done: Cell::new(0),
            shown: stderr().is_terminal(),
        }
    }

    /// Counts one more order.
    pub(crate) fn advance(&self) {
        self.done.set(self.done.get() + 1);
        if self.shown && (self.done.get().is_multiple_of(10) || self.done.get() == self.total) {
            // If the terminal is gone, the program continues without it.
            let _ = write!(stderr(), "\r{} of {} orders", self.done.get(), self.total);
        }
    }

    /// Clears the line.
    pub(crate) fn finish(&self) {
        if self.shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
