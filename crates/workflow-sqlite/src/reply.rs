//! Replies: the way of a result from a thread of the store to the caller.

use futures::channel::oneshot;
use workflow_engine::StoreError;

/// Sender of the result of an operation.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Submits an operation, and waits for its result.
///
/// `submit` passes the reply to a thread, and returns whether that thread still runs.
pub(crate) async fn result<T>(submit: impl FnOnce(Reply<T>) -> bool) -> Result<T, StoreError> {
    let (reply, result) = oneshot::channel();
    if !submit(reply) {
        return Err(threads_ended());
    }
    result.await.map_err(|_| threads_ended())?
}

fn threads_ended() -> StoreError {
    StoreError::Backend("the threads of the store have ended".into())
}
