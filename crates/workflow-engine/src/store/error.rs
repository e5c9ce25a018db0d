//! Why a store did not do what it was asked for.

use crate::store::cancel::CancelRequest;
use crate::store::key::RunKey;
use crate::store::status::IllegalTransition;

/// A store did not do what it was asked for. Nothing was changed, unless it is
/// [`Backend`](Self::Backend).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no run with this key.
    #[error("there is no run with the key {key}")]
    UnknownRun {
        /// The key.
        key: RunKey,
    },
    /// The claim is not, or no longer, the one under which the run may be advanced.
    #[error(
        "the claim on run {key} with epoch {epoch} has ended: the run is claimed again, due, or terminal"
    )]
    Fenced {
        /// The run's key.
        key: RunKey,
        /// The epoch of the claim.
        epoch: u64,
    },
    /// The claim is not, or no longer, the one under which events may be delivered to the sink.
    #[error(
        "the claim on sink {sink} with epoch {epoch} has ended: the sink is claimed again, released, or dropped"
    )]
    SinkFenced {
        /// The sink.
        sink: String,
        /// The epoch of the claim.
        epoch: u64,
    },
    /// The first record does not follow on the history.
    #[error(
        "the history of run {key} ends at {last_seq}, and a record starting with {first_seq} does not follow"
    )]
    Behind {
        /// The run's key.
        key: RunKey,
        /// Where its history ends.
        last_seq: u64,
        /// Where the record starts.
        first_seq: u64,
    },
    /// The run cannot have that status now.
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    /// A cancel was accepted before: the run can only end as `Cancelled`.
    #[error("the run is to be cancelled")]
    CancelRequested(Box<CancelRequest>),
    /// What is stored cannot be read. To try again does not help.
    #[error("the store holds what cannot be read: {what}")]
    Corrupt {
        /// What it is, and why; never a payload.
        what: String,
    },
    /// The store cannot keep a value, however often it is tried: the value is too large, or has a
    /// form that the storage does not take. Nothing was changed.
    #[error("the store cannot keep the value: {why}")]
    Refused {
        /// Why, in the words of the storage; never a payload.
        why: String,
    },
    /// The storage itself failed. What was asked for may have happened or not.
    #[error("the store failed: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// Returns whether it may help to try again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Backend(_))
    }
}
