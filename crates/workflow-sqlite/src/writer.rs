//! The writer: one thread, and group commit.
//!
//! Everything that is queued goes into one transaction; when that is on the disk all who wait are answered. What
//! comes meanwhile is the next group: the slower the disk, the larger the groups.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use futures::channel::oneshot;
use rusqlite::Connection;
use workflow_engine::{CancelRequest, RunKey, Status, StoreError};

use crate::checkpoint::WAL_LIMIT;
use crate::row::Failure;

/// How many writes a group has at most.
const GROUP: usize = 1024;

/// What the writer works on.
pub(crate) struct Db {
    pub(crate) connection: Connection,
    /// The runs that are claimed. The file is ours alone, so what is known of them is true.
    pub(crate) held: HashMap<RunKey, Held>,
    /// Where the outbox ends.
    pub(crate) end: u64,
}

/// What a commit must know of a claimed run.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) epoch: u64,
    pub(crate) status: Status,
    pub(crate) last_seq: u64,
    pub(crate) recoveries: u32,
    pub(crate) cancel: Option<CancelRequest>,
}

/// A write: done inside a transaction, perhaps more than once, and answered when that is on the disk.
pub(crate) trait Write: Send {
    /// Does it. An error says that SQLite failed, so that the transaction must not be committed.
    fn execute(&mut self, db: &mut Db) -> Result<(), rusqlite::Error>;

    /// Answers; with an error instead if the transaction was not committed.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

/// A write made of a function.
pub(crate) struct Call<T, F> {
    operation: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Call<T, F> {
    pub(crate) fn new(operation: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { operation, result: None, reply }
    }
}

impl<T, F> Write for Call<T, F>
where
    T: Send,
    F: FnMut(&mut Db) -> Result<T, Failure> + Send,
{
    fn execute(&mut self, db: &mut Db) -> Result<(), rusqlite::Error> {
        match (self.operation)(db) {
            Ok(value) => self.result = Some(Ok(value)),
            Err(Failure::Refused(error)) => self.result = Some(Err(error)),
            Err(Failure::Sqlite(error)) => return Err(error),
        }
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let result = match (failed, self.result) {
            (Some(error), _) => Err(error),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Backend("the write was not done".into())),
        };
        // Whoever asked may have gone; the write has happened all the same.
        let _ = self.reply.send(result);
    }
}

/// Works until every handle of the store is gone, and everything that was queued is done.
pub(crate) fn work(mut db: Db, queue: &Receiver<Box<dyn Write>>, end: &Arc<AtomicU64>, wal: &Wal) {
    while let Ok(first) = queue.recv() {
        let group: Vec<_> = std::iter::once(first).chain(queue.try_iter()).take(GROUP).collect();
        commit(&mut db, group, end);
        wal.look(&db.connection);
    }
    let truncated = db.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = truncated {
        tracing::debug!(%error, "the last checkpoint was not complete; the next opening goes on with it");
    }
}

/// Commits a group; if SQLite fails, each of its writes by itself, so that only the guilty one fails.
fn commit(db: &mut Db, mut group: Vec<Box<dyn Write>>, end: &AtomicU64) {
    let before = db.end;
    match transact(db, &mut group) {
        Ok(()) => {
            end.store(db.end, Ordering::Release);
            group.into_iter().for_each(|write| write.answer(None));
        }
        Err(error) => {
            db.end = before;
            // What is remembered may come from the transaction that was rolled back.
            db.held.clear();
            if let [_] = group.as_slice() {
                let message = error.to_string();
                group.into_iter().for_each(|write| write.answer(Some(StoreError::Backend(message.clone().into()))));
            } else {
                group.into_iter().for_each(|write| commit(db, vec![write], end));
            }
        }
    }
}

fn transact(db: &mut Db, group: &mut [Box<dyn Write>]) -> Result<(), rusqlite::Error> {
    db.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = group.iter_mut().try_for_each(|write| {
        // A panic here would leave everybody waiting for ever; it cannot be, and it is an error like any other.
        catch_unwind(AssertUnwindSafe(|| write.execute(db))).unwrap_or(Err(rusqlite::Error::InvalidQuery))
    });
    let done = done.and_then(|()| db.connection.prepare_cached("COMMIT")?.execute([]).map(drop));
    if done.is_err() && !db.connection.is_autocommit() {
        db.connection.execute_batch("ROLLBACK")?;
    }
    done
}

/// The write-ahead log, which the checkpoint thread keeps short, and the writer if that does not suffice.
pub(crate) struct Wal {
    pub(crate) path: PathBuf,
    /// Wakes the checkpoint thread.
    pub(crate) grown: SyncSender<()>,
}

impl Wal {
    fn look(&self, connection: &Connection) {
        let bytes = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        if bytes > WAL_LIMIT {
            // With steady writes the log is never wholly copied while others write; between groups nobody does.
            let restarted = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            if let Err(error) = restarted {
                tracing::warn!(%error, bytes, "the write-ahead log could not be cut");
            }
        } else if bytes > crate::checkpoint::WAL_STEP {
            // If it is awake already it will see this growth too.
            let _ = self.grown.try_send(());
        }
    }
}
