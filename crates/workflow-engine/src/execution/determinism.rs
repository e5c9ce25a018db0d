//! What is wrong with a workflow's code that its history, or the engine, cannot follow.

use std::fmt;

/// The code of a workflow and its history do not go together, or the code waits for what is not
/// durable.
///
/// Nothing was recorded and the run is left as it is: it goes on once code that fits is deployed.
/// `docs/determinism.md` explains each kind, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeterminismError {
    /// The history goes on with an operation that the code does not call.
    #[error("the history goes on with {recorded}, but the code {awaits}", awaits = Awaited(.awaited))]
    Mismatch {
        /// The operation in the history.
        recorded: String,
        /// What the code waits for instead; empty if it waits for nothing durable.
        awaited: Vec<String>,
    },
    /// The code has returned, and the history has more.
    #[error("the code has returned, but the history goes on with {recorded}")]
    LeftOver {
        /// The first operation that nobody asked for.
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
        /// What the decoder said.
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
    /// The code waits for something, and none of its steps or sleeps is going on.
    #[error("the code waits for something that is not durable: put it inside a step")]
    NotDurable,
}

/// Says what a workflow's code waits for.
struct Awaited<'a>(&'a [String]);

impl fmt::Display for Awaited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("waits for nothing durable");
        }
        write!(f, "waits for {}", self.0.join(", "))
    }
}
