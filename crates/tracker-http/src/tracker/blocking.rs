//! Blocking calls: a future runs to its end on a thread without a runtime.

use std::io;

use tokio::runtime::{Builder, Handle};

/// The error of a blocking call that could not be made. No event was sent, and none is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingError {
    /// The thread belongs to a tokio runtime, and a blocking call would stop that runtime. Await
    /// `flush` or `shutdown` instead; within `spawn_blocking`, wait for them with
    /// `Handle::current().block_on`.
    #[error(
        "a blocking call is not possible inside a tokio runtime; await flush or shutdown instead"
    )]
    InsideRuntime,
    /// The operating system refused the resources for a runtime.
    #[error("no runtime can be made for a blocking call: {0}")]
    NoRuntime(io::Error),
}

/// Runs `future` to its end on the calling thread, on a runtime of its own.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, BlockingError> {
    if Handle::try_current().is_ok() {
        return Err(BlockingError::InsideRuntime);
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BlockingError::NoRuntime)?;
    let output = runtime.block_on(future);
    // A plain drop would wait for blocking tasks, and a hung one must not hold the caller.
    runtime.shutdown_background();
    Ok(output)
}
