//! Checkpoints off the commit path: what is committed is copied from the write-ahead log into the
//! file beside the commits, by a thread of its own.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

/// The log is copied whenever it has grown by so many pages of 4 KiB: 4 MiB.
const STEP: u32 = 1 << 10;
/// A log of so many pages is begun anew, for which the writer must wait: 64 MiB.
const LIMIT: u32 = 16 << 10;
/// How long the writer waits for readers before it leaves the log as long as it is, for the time
/// being.
const PATIENCE: Duration = Duration::from_millis(50);

/// SQLite refuses a second checkpoint at the same time, so those who make them take turns.
pub(crate) type Turn = Arc<Mutex<()>>;

/// Watches the length of the log, on the writer's thread.
#[derive(Debug)]
pub(crate) struct LogWatch {
    checkpoints: SyncSender<()>,
    turn: Turn,
    /// How many pages the log has after the last commit.
    pages: Arc<AtomicU32>,
    /// At how many pages a checkpoint was last asked for.
    asked_at: u32,
    /// From how many pages on the log is begun anew.
    restart_at: u32,
}

impl LogWatch {
    /// Watches what `connection` commits; whoever receives from `checkpoints` makes them.
    pub(crate) fn new(
        connection: &mut Connection,
        checkpoints: SyncSender<()>,
        turn: Turn,
    ) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = pages.clone();
        connection.wal_hook(Some(move |_: &mut Wal, pages: c_int| {
            counted.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            checkpoints,
            turn,
            pages,
            asked_at: 0,
            restart_at: LIMIT,
        })
    }

    /// Has a checkpoint made if it is time; called between transactions.
    pub(crate) fn after_commit(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.asked_at {
            // All of the log was in the file, so SQLite has begun it anew.
            (self.asked_at, self.restart_at) = (0, LIMIT);
        }
        if pages >= self.asked_at + STEP {
            self.asked_at = pages;
            // If one is asked for already, it will find these pages too.
            let _ = self.checkpoints.try_send(());
        }
        if pages >= self.restart_at {
            self.restart_at = pages + LIMIT / 4;
            self.restart(connection);
        }
    }

    /// Makes the next commit begin at the front of the log. With steady writes it is never wholly
    /// copied while others write; between two groups nobody does.
    fn restart(&self, connection: &Connection) {
        let patient = connection.busy_timeout(PATIENCE);
        let restarted = patient.and_then(|()| checkpoint(connection, "RESTART", &self.turn));
        match connection.busy_timeout(crate::open::BUSY).and(restarted) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("a reader holds up the write-ahead log, which grows"),
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be begun anew"),
        }
    }
}

/// Makes a checkpoint whenever one is asked for, until nobody can ask any more.
pub(crate) fn work(connection: &Connection, asked: &Receiver<()>, turn: &Turn) {
    while asked.recv().is_ok() {
        if let Err(error) = checkpoint(connection, "PASSIVE", turn) {
            tracing::warn!(%error, "a checkpoint failed; it will be tried again");
        }
    }
}

/// Makes a checkpoint; returns whether nobody was in its way.
pub(crate) fn checkpoint(
    connection: &Connection,
    mode: &str,
    turn: &Turn,
) -> rusqlite::Result<bool> {
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok(row.get::<_, i64>(0)? == 0)
    })
}
