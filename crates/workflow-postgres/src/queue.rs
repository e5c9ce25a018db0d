//! Writes that wait for their group, each with the reply to its caller.

use futures::FutureExt;
use futures::future::BoxFuture;
use workflow_engine::StoreError;
use workflow_engine::store::{Commit, Committed, Created, NewRun};

use crate::db::{Db, MAX_COLLISION_RETRIES};
use crate::error::OperationError;
use crate::error::store::{backend, closed};
use crate::reply::Reply;

/// A write, with the reply to its caller.
pub(crate) enum Write {
    Create(NewRun, Reply<Created>),
    Commit(Commit, Reply<Committed>),
    Other(Box<dyn Other>),
}

impl Write {
    pub(crate) fn fail(self, error: &str) {
        match self {
            Self::Create(_, reply) => drop(reply.send(Err(backend(error.to_owned())))),
            Self::Commit(_, reply) => drop(reply.send(Err(backend(error.to_owned())))),
            Self::Other(other) => other.fail(backend(error.to_owned())),
        }
    }
}

/// A write that is executed by itself.
pub(crate) trait Other: Send {
    /// Executes the write. An error means that the connection is lost.
    fn execute<'a>(self: Box<Self>, db: &'a Db) -> BoxFuture<'a, Result<(), OperationError>>;

    /// Replies that the write was not executed.
    fn fail(self: Box<Self>, error: StoreError);
}

/// A write that calls a function.
pub(crate) struct Call<T, F> {
    pub(crate) operation: F,
    pub(crate) reply: Reply<T>,
}

impl<T, F> Other for Call<T, F>
where
    T: Send + 'static,
    F: for<'a> FnMut(&'a Db) -> BoxFuture<'a, Result<T, OperationError>> + Send + 'static,
{
    fn execute<'a>(mut self: Box<Self>, db: &'a Db) -> BoxFuture<'a, Result<(), OperationError>> {
        async move {
            let mut result = (self.operation)(db).await;
            for _ in 0..MAX_COLLISION_RETRIES {
                if !result.as_ref().is_err_and(OperationError::is_collision) {
                    break;
                }
                result = (self.operation)(db).await;
            }
            let lost = matches!(result, Err(OperationError::Connection(_)));
            // The caller may have dropped its future; the write has happened all the same.
            let _ = self.reply.send(result.map_err(StoreError::from));
            if lost {
                Err(OperationError::Refused(closed()))
            } else {
                Ok(())
            }
        }
        .boxed()
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
    }
}
