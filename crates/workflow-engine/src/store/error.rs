//! The error of every method of a store.

use crate::store::cancel::CancelRequest;
use crate::store::key::RunKey;
use crate::store::status::TransitionError;

/// Error of a store. Nothing was changed, except possibly for [`Backend`](Self::Backend).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no run with this key.
    #[error("there is no run with the key {key}")]
    UnknownRun {
        /// The key.
        key: RunKey,
    },
    /// The claim has ended, so the run may not be advanced under it.
    #[error(
        "the claim on run {key} with epoch {epoch} has ended: the run is claimed again, due, or terminal"
    )]
    Fenced {
        /// The run's key.
        key: RunKey,
        /// The epoch of the claim.
        epoch: u64,
    },
    /// The claim has ended, so events may not be delivered to the sink under it.
    #[error(
        "the claim on sink {sink} with epoch {epoch} has ended: the sink is claimed again, released, or dropped"
    )]
    SinkFenced {
        /// The sink.
        sink: String,
        /// The epoch of the claim.
        epoch: u64,
    },
    /// The first record does not follow the last one of the history.
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
    /// The run cannot change to that status.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// A cancel was accepted before: the run can only end as `Cancelled`.
    #[error("the run is to be cancelled")]
    CancelRequested(Box<CancelRequest>),
    /// A stored value cannot be read. A retry does not help.
    #[error("the store holds what cannot be read: {what}")]
    Corrupt {
        /// The value, and why it cannot be read; never a payload.
        what: String,
    },
    /// The store cannot keep a value, because the value is too large or has a form that the storage
    /// does not accept. A retry does not help.
    #[error("the store cannot keep the value: {why}")]
    Refused {
        /// The message of the storage; never a payload.
        why: String,
    },
    /// The storage failed. The operation may have happened or not.
    #[error("the store failed: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// Returns whether a retry may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Backend(_))
    }
}
