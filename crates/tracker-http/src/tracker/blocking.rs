//! Waiting for a future on a thread that has no runtime.

use std::io;

use tokio::runtime::{Builder, Handle};

/// A blocking call that could not be made. Nothing has happened: no event was sent, and none is
/// lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingError {
    /// The thread belongs to a tokio runtime, which a blocking call would stop. Await `flush` or
    /// `shutdown` instead; within `spawn_blocking`, `Handle::current().block_on` waits for them.
    #[error(
        "a blocking call is not possible inside a tokio runtime; await flush or shutdown instead"
    )]
    InsideRuntime,
    /// The system gives no resources for a runtime.
    #[error("no runtime can be made for a blocking call: {0}")]
    NoRuntime(io::Error),
}

/// Runs `future` on a runtime of its own, on the calling thread.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, BlockingError> {
    if Handle::try_current().is_ok() {
        return Err(BlockingError::InsideRuntime);
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BlockingError::NoRuntime)?;
    let output = runtime.block_on(future);
    // A name lookup that hangs must not hold the caller.
    runtime.shutdown_background();
    Ok(output)
}
