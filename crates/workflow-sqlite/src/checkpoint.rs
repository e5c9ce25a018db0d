//! Checkpoints off the commit path: a thread of its own copies committed pages from the write-ahead
//! log into the database while commits continue.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::connection::BUSY_TIMEOUT;

/// Growth of the log after which a checkpoint is requested, in pages of 4 KiB: 4 MiB.
const CHECKPOINT_STEP_PAGES: u32 = 1 << 10;
/// Length of the log from which the writer restarts it, in pages of 4 KiB: 64 MiB. The writer waits
/// for the restart.
const RESTART_PAGES: u32 = 16 << 10;
/// Time that the writer waits for readers when it restarts the log. After this time the writer
/// leaves the log as it is, and tries again when the log has grown further.
const RESTART_TIMEOUT: Duration = Duration::from_millis(50);

/// Held during a checkpoint, because SQLite refuses a second one at the same time.
pub(crate) type CheckpointLock = Arc<Mutex<()>>;

/// Watches the length of the write-ahead log, on the writer's thread.
#[derive(Debug)]
pub(crate) struct LogWatch {
    checkpoints: SyncSender<()>,
    lock: CheckpointLock,
    /// Length of the log after the last commit, in pages.
    pages: Arc<AtomicU32>,
    /// Length of the log when the last checkpoint was requested, in pages.
    requested_at: u32,
    /// Length of the log from which the writer restarts it, in pages.
    restart_at: u32,
}

impl LogWatch {
    /// Watches the commits of `connection`, and requests checkpoints through `checkpoints`.
    pub(crate) fn new(
        connection: &mut Connection,
        checkpoints: SyncSender<()>,
        lock: CheckpointLock,
    ) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let counter = pages.clone();
        connection.wal_hook(Some(move |_: &mut Wal, pages: c_int| {
            counter.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            checkpoints,
            lock,
            pages,
            requested_at: 0,
            restart_at: RESTART_PAGES,
        })
    }

    /// Requests a checkpoint, or restarts the log, if the log is long enough.
    ///
    /// The writer calls this between transactions.
    pub(crate) fn after_commit(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.requested_at {
            // The whole log was in the database, so SQLite has restarted it.
            self.requested_at = 0;
            self.restart_at = RESTART_PAGES;
        }
        if pages >= self.requested_at + CHECKPOINT_STEP_PAGES {
            self.requested_at = pages;
            // A request that waits already will include these pages.
            let _ = self.checkpoints.try_send(());
        }
        if pages >= self.restart_at {
            self.restart_at = pages + RESTART_PAGES / 4;
            self.restart(connection);
        }
    }

    /// Makes the next commit begin at the front of the log.
    ///
    /// Under steady writes the checkpoint thread never copies the whole log, because new commits
    /// arrive meanwhile. Between two groups there are none.
    fn restart(&self, connection: &Connection) {
        let shortened = connection.busy_timeout(RESTART_TIMEOUT);
        let restarted = shortened.and_then(|()| checkpoint(connection, "RESTART", &self.lock));
        match connection.busy_timeout(BUSY_TIMEOUT).and(restarted) {
            Ok(true) => {}
            Ok(false) => tracing::warn!(
                "a reader blocks the restart of the write-ahead log; it will be retried"
            ),
            Err(error) => {
                tracing::warn!(%error, "failed to restart the write-ahead log; it will be retried");
            }
        }
    }
}

/// Makes a checkpoint for each request, until the sender of the requests is dropped.
pub(crate) fn run(connection: &Connection, requests: &Receiver<()>, lock: &CheckpointLock) {
    while requests.recv().is_ok() {
        if let Err(error) = checkpoint(connection, "PASSIVE", lock) {
            tracing::warn!(%error, "a checkpoint failed; it will be retried");
        }
    }
}

/// Makes a checkpoint, and returns whether no other connection blocked it.
pub(crate) fn checkpoint(
    connection: &Connection,
    mode: &str,
    lock: &CheckpointLock,
) -> rusqlite::Result<bool> {
    let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok(row.get::<_, i64>(0)? == 0)
    })
}
