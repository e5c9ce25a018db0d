//! How a caller gets the result of its operation.

use futures::channel::oneshot;
use workflow_engine::StoreError;

/// Sends the result of an operation to its caller.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Has `submit` pass the reply on to a thread, which it returns whether it could, and waits for the
/// result.
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
