//! The readers: two threads beside the writer, each with its own connection.

use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

/// Number of reader threads.
pub(crate) const READER_THREADS: usize = 2;

/// A read, which sends its result to the caller itself.
pub(crate) type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Executes reads until every handle of the store is dropped and the queue is empty.
pub(crate) fn run(connection: &Connection, queue: &Mutex<Receiver<Read>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(read) = next else { return };
        read(connection);
    }
}
