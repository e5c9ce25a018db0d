//! Replies: the way of a result from the writer to the caller.

use futures::channel::oneshot;
use workflow_engine::StoreError;

use crate::error::store::closed;

/// Sender of the result of a write.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Submits a write, and waits for its result.
///
/// `submit` passes the reply to the writer, and returns whether the writer still runs.
pub(crate) async fn result<T>(submit: impl FnOnce(Reply<T>) -> bool) -> Result<T, StoreError> {
    let (reply, result) = oneshot::channel();
    if !submit(reply) {
        return Err(closed());
    }
    result.await.map_err(|_| closed())?
}
