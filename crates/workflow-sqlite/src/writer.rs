//! The writer: one thread, and group commit.
//!
//! Everything that is queued goes into one transaction; when that is on the disk all who wait are
//! answered. What comes meanwhile is the next group: the slower the disk, the larger the groups.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use futures::channel::oneshot;
use rusqlite::Connection;
use workflow_engine::{CancelRequest, RunKey, Status, StoreError};

use crate::checkpoint::LogWatch;
use crate::purge::Place;
use crate::row::Failure;
use crate::sinks::Sinks;

/// How many writes a group has at most.
const GROUP: usize = 1024;

/// What the writer works on.
pub(crate) struct Db {
    pub(crate) connection: Connection,
    /// The runs that are claimed. The file is ours alone, so what is known of them is true.
    pub(crate) held: HashMap<RunKey, Held>,
    /// Where the outbox ends.
    pub(crate) end: u64,
    pub(crate) sinks: Sinks,
    /// Behind which of the runs that have ended the next purge looks.
    pub(crate) purge_from: Option<Place>,
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

/// A write: done inside a transaction, perhaps more than once, and answered when that is on the
/// disk.
pub(crate) trait Write: Send {
    /// Does it. An error says that the transaction must not be committed.
    fn execute(&mut self, db: &mut Db) -> Result<(), Unfit>;

    /// Answers; with an error instead if the transaction was not committed.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

/// Why a transaction must not be committed.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// A write was refused after it had written something.
    Refused,
    /// SQLite failed.
    Failed(rusqlite::Error),
}

/// A write made of a function.
pub(crate) struct Call<T, F> {
    operation: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Call<T, F> {
    pub(crate) fn new(operation: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self {
            operation,
            result: None,
            reply,
        }
    }
}

impl<T, F> Write for Call<T, F>
where
    T: Send,
    F: FnMut(&mut Db) -> Result<T, Failure> + Send,
{
    fn execute(&mut self, db: &mut Db) -> Result<(), Unfit> {
        let before = db.connection.total_changes();
        match (self.operation)(db) {
            Ok(value) => self.result = Some(Ok(value)),
            Err(Failure::Refused(error)) => {
                self.result = Some(Err(error));
                if db.connection.total_changes() != before {
                    return Err(Unfit::Refused);
                }
            }
            Err(Failure::Sqlite(error)) => return Err(Unfit::Failed(error)),
        }
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let result = match (failed, self.result) {
            (Some(error), _) => Err(error),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Backend("the write was not done".into())),
        };
        // The caller may have gone; the write has happened all the same.
        let _ = self.reply.send(result);
    }
}

/// Works until every handle of the store is gone, and everything that was queued is done.
pub(crate) fn work(
    mut db: Db,
    queue: &Receiver<Box<dyn Write>>,
    end: &AtomicU64,
    mut log: LogWatch,
) {
    while let Ok(first) = queue.recv() {
        let group: Vec<_> = std::iter::once(first)
            .chain(queue.try_iter())
            .take(GROUP)
            .collect();
        settle(&mut db, group, end);
        log.after_commit(&db.connection);
    }
}

/// Why a group was not committed.
enum Undone {
    /// This one of its writes was refused after it had written something; none has happened.
    Refused(usize),
    /// One of its writes failed; none has happened.
    Write(rusqlite::Error),
    /// The transaction could not begin or commit. In the second case it may have happened or not.
    Transaction(rusqlite::Error),
}

/// Commits a group and answers it. A write that is refused leaves nothing of what it has written:
/// the others are done again without it. If one fails, each is done again by itself, so that it
/// fails alone.
fn settle(db: &mut Db, mut group: Vec<Box<dyn Write>>, end: &AtomicU64) {
    let (before, mut refused) = (db.end, Vec::new());
    let failed = loop {
        let Err(undone) = transact(db, &mut group) else {
            end.store(db.end, Ordering::Release);
            break None;
        };
        db.end = before;
        // What is remembered may come from the transaction that was rolled back.
        db.held.clear();
        match undone {
            Undone::Refused(index) => refused.push(group.remove(index)),
            Undone::Write(_) if group.len() > 1 => {
                group
                    .drain(..)
                    .for_each(|write| settle(db, vec![write], end));
                break None;
            }
            Undone::Write(error) | Undone::Transaction(error) => break Some(error.to_string()),
        }
    };
    refused.into_iter().for_each(|write| write.answer(None));
    for write in group {
        write.answer(
            failed
                .clone()
                .map(|error| StoreError::Backend(error.into())),
        );
    }
}

fn transact(db: &mut Db, group: &mut [Box<dyn Write>]) -> Result<(), Undone> {
    let statement = |db: &Db, sql| db.connection.prepare_cached(sql)?.execute([]).map(drop);
    if !db.connection.is_autocommit() {
        // The last one could not be rolled back.
        statement(db, "ROLLBACK").map_err(Undone::Transaction)?;
    }
    statement(db, "BEGIN IMMEDIATE").map_err(Undone::Transaction)?;
    let done = group.iter_mut().enumerate().try_for_each(|(index, write)| {
        // A panic here would leave everybody waiting for ever; it cannot be, and it is an error
        // like any other.
        let panicked = Err(Unfit::Failed(rusqlite::Error::InvalidQuery));
        catch_unwind(AssertUnwindSafe(|| write.execute(db)))
            .unwrap_or(panicked)
            .map_err(|unfit| match unfit {
                Unfit::Refused => Undone::Refused(index),
                Unfit::Failed(error) => Undone::Write(error),
            })
    });
    let done = done.and_then(|()| statement(db, "COMMIT").map_err(Undone::Transaction));
    if done.is_err()
        && !db.connection.is_autocommit()
        && let Err(error) = statement(db, "ROLLBACK")
    {
        return Err(Undone::Transaction(error));
    }
    done
}
