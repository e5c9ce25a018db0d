//! The writer: one thread, and group commit.
//!
//! All queued writes go into one transaction. When it is durable, every caller gets its reply.
//! Writes that arrive meanwhile form the next group: the slower the disk, the larger the groups.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use workflow_engine::StoreError;

use crate::checkpoint::LogWatch;
use crate::db::Db;
use crate::error::ExecuteError;
use crate::queue::{self, Write};

/// Commits groups until every handle of the store is dropped and the queue is empty.
pub(crate) fn run(
    mut db: Db,
    writes: &Receiver<Box<dyn Write>>,
    outbox_end: &AtomicU64,
    mut log: LogWatch,
) {
    while let Some(group) = queue::next_group(writes) {
        commit_group(&mut db, group, outbox_end);
        log.after_commit(&db.connection);
    }
}

/// Reason why a group was not committed.
enum GroupError {
    /// The write with this index was refused after it had changed rows; no write took effect.
    Refused(usize),
    /// A write failed; no write took effect.
    Write(rusqlite::Error),
    /// The transaction could not begin or commit. After a failed commit it is unknown whether the
    /// writes took effect.
    Transaction(rusqlite::Error),
}

/// Commits a group, and replies to every caller.
///
/// If a write is refused after it has changed rows, the transaction is rolled back, and the others
/// are executed again without it. If a write fails, each is executed again in a transaction of its
/// own, so that only the failing ones fail.
fn commit_group(db: &mut Db, mut group: Vec<Box<dyn Write>>, outbox_end: &AtomicU64) {
    let before = db.outbox_end;
    let mut refused = Vec::new();
    let failed = loop {
        let Err(error) = execute_group(db, &mut group) else {
            outbox_end.store(db.outbox_end, Ordering::Release);
            break None;
        };
        db.outbox_end = before;
        // The remembered runs may come from the transaction that was rolled back.
        db.held.clear();
        match error {
            GroupError::Refused(index) => refused.push(group.remove(index)),
            GroupError::Write(_) if group.len() > 1 => {
                group
                    .drain(..)
                    .for_each(|write| commit_group(db, vec![write], outbox_end));
                break None;
            }
            GroupError::Write(error) | GroupError::Transaction(error) => {
                break Some(error.to_string());
            }
        }
    };
    refused.into_iter().for_each(|write| write.reply(None));
    for write in group {
        let failed = failed.clone();
        write.reply(failed.map(|error| StoreError::Backend(error.into())));
    }
}

/// Executes every write of a group in one transaction.
fn execute_group(db: &mut Db, group: &mut [Box<dyn Write>]) -> Result<(), GroupError> {
    if !db.connection.is_autocommit() {
        // The last transaction could not be rolled back.
        statement(db, "ROLLBACK").map_err(GroupError::Transaction)?;
    }
    statement(db, "BEGIN IMMEDIATE").map_err(GroupError::Transaction)?;
    let executed = group.iter_mut().enumerate().try_for_each(|(index, write)| {
        // No write panics. If one did, the thread would end, and with it the store; the panic is
        // treated as an error instead.
        let panicked = Err(ExecuteError::Sqlite(rusqlite::Error::InvalidQuery));
        catch_unwind(AssertUnwindSafe(|| write.execute(db)))
            .unwrap_or(panicked)
            .map_err(|error| match error {
                ExecuteError::Refused => GroupError::Refused(index),
                ExecuteError::Sqlite(error) => GroupError::Write(error),
            })
    });
    let committed =
        executed.and_then(|()| statement(db, "COMMIT").map_err(GroupError::Transaction));
    if committed.is_err()
        && !db.connection.is_autocommit()
        && let Err(error) = statement(db, "ROLLBACK")
    {
        return Err(GroupError::Transaction(error));
    }
    committed
}

/// Executes a statement without parameters.
fn statement(db: &Db, sql: &str) -> rusqlite::Result<()> {
    db.connection.prepare_cached(sql)?.execute([]).map(drop)
}
