//! Writes that wait for their group, each with the reply to its caller.

use std::sync::mpsc::Receiver;

use workflow_engine::StoreError;

use crate::db::Db;
use crate::error::{ExecuteError, OperationError};
use crate::reply::Reply;

/// Maximum number of writes in a group.
const MAX_GROUP_WRITES: usize = 1024;

/// A write, which is executed inside a transaction, and replied to once the transaction is durable.
pub(crate) trait Write: Send {
    /// Executes the write, perhaps again after a rollback.
    ///
    /// # Errors
    ///
    /// [`ExecuteError`] if the transaction must not be committed.
    fn execute(&mut self, db: &mut Db) -> Result<(), ExecuteError>;

    /// Sends the result to the caller, or the error `failed` if the transaction was not committed.
    fn reply(self: Box<Self>, failed: Option<StoreError>);
}

/// Waits for a write, and returns it with the others that are queued by then.
///
/// Returns `None` once every handle of the store is dropped and the queue is empty.
pub(crate) fn next_group(queue: &Receiver<Box<dyn Write>>) -> Option<Vec<Box<dyn Write>>> {
    let first = queue.recv().ok()?;
    let group = std::iter::once(first)
        .chain(queue.try_iter())
        .take(MAX_GROUP_WRITES);
    Some(group.collect())
}

/// A write that calls a function.
pub(crate) struct WriteFn<T, F> {
    operation: F,
    result: Option<Result<T, StoreError>>,
    reply: Reply<T>,
}

impl<T, F> WriteFn<T, F> {
    pub(crate) fn new(operation: F, reply: Reply<T>) -> Self {
        Self {
            operation,
            result: None,
            reply,
        }
    }
}

impl<T, F> Write for WriteFn<T, F>
where
    T: Send,
    F: FnMut(&mut Db) -> Result<T, OperationError> + Send,
{
    fn execute(&mut self, db: &mut Db) -> Result<(), ExecuteError> {
        let before = db.connection.total_changes();
        match (self.operation)(db) {
            Ok(value) => self.result = Some(Ok(value)),
            Err(OperationError::Refused(error)) => {
                self.result = Some(Err(error));
                if db.connection.total_changes() != before {
                    return Err(ExecuteError::Refused);
                }
            }
            Err(OperationError::Sqlite(error)) => return Err(ExecuteError::Sqlite(error)),
        }
        Ok(())
    }

    fn reply(self: Box<Self>, failed: Option<StoreError>) {
        let result = match (failed, self.result) {
            (Some(error), _) => Err(error),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Backend("the write was not done".into())),
        };
        // The caller may have dropped its future; the write is done all the same.
        let _ = self.reply.send(result);
    }
}
