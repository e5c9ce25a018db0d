//! The readers: two threads beside the writer, each with a connection of its own.

use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

/// How many there are.
pub(crate) const READER_THREADS: usize = 2;

/// A read, which answers by itself.
pub(crate) type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Works until every handle of the store is gone.
pub(crate) fn run(connection: &Connection, queue: &Mutex<Receiver<Read>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(read) = next else { return };
        read(connection);
    }
}
