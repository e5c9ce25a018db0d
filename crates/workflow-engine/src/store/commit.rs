//! Writes to the history of a run.

use workflow_events::Timestamp;

use crate::store::cancel::CancelRequest;
use crate::store::claim::Claim;
use crate::store::record::Record;
use crate::store::run::Run;
use crate::store::status::Status;

/// One atomic write.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The right to do it.
    pub claim: Claim,
    /// What is appended to the history; the first follows on the last record there is. At least
    /// one.
    pub records: Vec<Record>,
    /// The status from now on.
    pub status: Status,
    /// Until when a `Paused` run waits; `None` if it waits for a cancel alone, and with every other
    /// status.
    pub due_at: Option<Timestamp>,
}

/// The answer to [`Store::commit`](crate::Store::commit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The cancel that has been asked for meanwhile.
    pub cancel: Option<CancelRequest>,
}

/// The answer to [`Store::create`](crate::Store::create).
#[derive(Clone, Debug)]
pub enum Created {
    /// The run was created; the claim counts if it is `Running`.
    New(Claim),
    /// The id was taken, by this run; nothing was changed.
    Exists(Box<Run>),
}
