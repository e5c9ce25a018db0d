//! Checkpoints off the commit path: a thread copies the write-ahead log into the file while others commit.

use std::path::Path;
use std::sync::mpsc::Receiver;

use rusqlite::Connection;

/// From this size on the log is copied, in bytes.
pub(crate) const WAL_STEP: u64 = 4 << 20;
/// From this size on the writer cuts the log itself, in bytes.
pub(crate) const WAL_LIMIT: u64 = 64 << 20;

/// Copies the log whenever it is told that it has grown, until the writer is gone.
pub(crate) fn work(connection: &Connection, grown: &Receiver<()>, wal: &Path) {
    let mut copied = 0;
    while grown.recv().is_ok() {
        let bytes = std::fs::metadata(wal).map_or(0, |file| file.len());
        // The log does not shrink when it is copied: it is used again from its beginning.
        if bytes >= copied && bytes - copied < WAL_STEP / 4 && copied > 0 {
            copied = 0;
            continue;
        }
        copied = bytes;
        let checkpoint = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            tracing::warn!(%error, "a checkpoint failed; it will be tried again");
        }
    }
}
