//! The errors of the store's methods, by what has failed.

use workflow_engine::StoreError;

/// Makes the error of a stored value that cannot be read.
pub(crate) fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}

/// Makes the error of a failure after which a retry may succeed.
pub(crate) fn backend(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Backend(error.into())
}

/// Makes the error of an operation whose connection, or the runtime that drives it, has ended.
pub(crate) fn closed() -> StoreError {
    backend("the connection to the database was lost, or the runtime that drives it has ended")
}
