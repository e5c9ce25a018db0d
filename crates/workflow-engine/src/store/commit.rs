//! Writes to the history of a run.

use workflow_events::Timestamp;

use crate::store::cancel::CancelRequest;
use crate::store::claim::Claim;
use crate::store::record::Record;
use crate::store::run::Run;
use crate::store::status::Status;

/// An atomic write to a claimed run.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The right to advance the run.
    pub claim: Claim,
    /// The records that are appended to the history, at least one. The first follows the last
    /// record of the history.
    pub records: Vec<Record>,
    /// The new status.
    pub status: Status,
    /// When a `Suspended` run is due; `None` if it waits only for a cancel, and for every other
    /// status.
    pub due_at: Option<Timestamp>,
}

/// Result of [`Store::commit`](crate::Store::commit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The cancel that was requested in the meantime.
    pub cancel: Option<CancelRequest>,
}

/// Result of [`Store::create`](crate::Store::create).
#[derive(Clone, Debug)]
pub enum Created {
    /// The run was created. The claim is valid if the run is `Running`.
    New(Claim),
    /// This run has the id already; nothing was changed.
    Exists(Box<Run>),
}
