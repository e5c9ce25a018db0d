//! Errors of a workflow whose code does not fit its history, or waits for something that is not
//! durable.

use std::fmt;

/// Error of a workflow whose code does not fit its history, or waits for something that is not
/// durable.
///
/// Nothing was recorded and the run stays as it is. The run continues once code that fits is
/// deployed. `docs/determinism.md` explains each kind and its remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeterminismError {
    /// The history continues with an operation that the code does not call.
    #[error("the history continues with {recorded}, but the code {awaits}", awaits = Awaited(.awaited))]
    Mismatch {
        /// The operation in the history.
        recorded: String,
        /// The operations that the code waits for instead; empty if it waits for nothing durable.
        awaited: Vec<String>,
    },
    /// The code has returned, but the history continues.
    #[error("the code has returned, but the history continues with {recorded}")]
    LeftOver {
        /// The first operation that the code has not called.
        recorded: String,
    },
    /// An operation was called with other arguments than in the history.
    #[error("the history has {operation} with {recorded}, but the code calls it with {called}")]
    Arguments {
        /// The operation.
        operation: String,
        /// The arguments in the history.
        recorded: String,
        /// The arguments in the code.
        called: String,
    },
    /// The recorded result of an operation is not of the type that the code expects.
    #[error(
        "the recorded result of {operation} is not of the type that the code expects: {problem}"
    )]
    Type {
        /// The operation.
        operation: String,
        /// The message of the decoder.
        problem: String,
    },
    /// An operation was called inside the body of a step.
    #[error(
        "{operation} is called inside step {step:?}: a step's body cannot call durable operations"
    )]
    Nested {
        /// The operation.
        operation: String,
        /// The step.
        step: String,
    },
    /// An operation was called or awaited elsewhere than on the workflow's own future.
    #[error(
        "{operation} is used outside of the workflow's own future, for instance in a spawned task"
    )]
    Elsewhere {
        /// The operation.
        operation: String,
    },
    /// The code waits for something, but none of its steps or sleeps is under way.
    #[error("the code waits for something that is not durable: put it inside a step")]
    NotDurable,
}

/// Formats what a workflow's code waits for.
struct Awaited<'a>(&'a [String]);

impl fmt::Display for Awaited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("waits for nothing durable");
        }
        write!(f, "waits for {}", self.0.join(", "))
    }
}
