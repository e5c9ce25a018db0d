//! Checkpoints off the commit path: what is committed is copied from the write-ahead log into the
//! file beside the commits, by a thread of its own.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::connection::BUSY_TIMEOUT;

/// The log is copied whenever it has grown by so many pages of 4 KiB: 4 MiB.
const CHECKPOINT_STEP_PAGES: u32 = 1 << 10;
/// A log of so many pages is begun anew, for which the writer must wait: 64 MiB.
const RESTART_PAGES: u32 = 16 << 10;
/// How long the writer waits for readers before it leaves the log as long as it is, for the time
/// being.
const RESTART_TIMEOUT: Duration = Duration::from_millis(50);

/// SQLite refuses a second checkpoint at the same time, so those who make them take turns.
pub(crate) type CheckpointLock = Arc<Mutex<()>>;

/// Watches the length of the log, on the writer's thread.
#[derive(Debug)]
pub(crate) struct LogWatch {
    checkpoints: SyncSender<()>,
    lock: CheckpointLock,
    /// How many pages the log has after the last commit.
    pages: Arc<AtomicU32>,
    /// At how many pages a checkpoint was last asked for.
    requested_at: u32,
    /// From how many pages on the log is begun anew.
    restart_at: u32,
}

impl LogWatch {
    /// Watches what `connection` commits; whoever receives from `checkpoints` makes them.
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

    /// Has a checkpoint made if it is time; called between transactions.
    pub(crate) fn after_commit(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.requested_at {
            // All of the log was in the file, so SQLite has begun it anew.
            self.requested_at = 0;
            self.restart_at = RESTART_PAGES;
        }
        if pages >= self.requested_at + CHECKPOINT_STEP_PAGES {
            self.requested_at = pages;
            // If one is asked for already, it will find these pages too.
            let _ = self.checkpoints.try_send(());
        }
        if pages >= self.restart_at {
            self.restart_at = pages + RESTART_PAGES / 4;
            self.restart(connection);
        }
    }

    /// Makes the next commit begin at the front of the log. With steady writes it is never wholly
    /// copied while others write; between two groups nobody does.
    fn restart(&self, connection: &Connection) {
        let shortened = connection.busy_timeout(RESTART_TIMEOUT);
        let restarted = shortened.and_then(|()| checkpoint(connection, "RESTART", &self.lock));
        match connection.busy_timeout(BUSY_TIMEOUT).and(restarted) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("a reader holds up the write-ahead log, which grows"),
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be begun anew"),
        }
    }
}

/// Makes a checkpoint whenever one is asked for, until nobody can ask any more.
pub(crate) fn run(connection: &Connection, requests: &Receiver<()>, lock: &CheckpointLock) {
    while requests.recv().is_ok() {
        if let Err(error) = checkpoint(connection, "PASSIVE", lock) {
            tracing::warn!(%error, "a checkpoint failed; it will be tried again");
        }
    }
}

/// Makes a checkpoint; returns whether nobody was in its way.
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
