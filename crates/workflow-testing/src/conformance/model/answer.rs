//! The answers of the model and of the store under test.

use workflow_engine::store::{CancelReply, CancelRequest, Claim, Cursor, Position};
use workflow_engine::{Purged, Run, RunKey};
use workflow_events::Timestamp;

use super::super::snapshot::Written;

/// The answer to an operation. Keys and positions are those of the model.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Created(Claim),
    Exists(Run),
    Committed(Option<CancelRequest>),
    Claims {
        runs: Vec<(Claim, Run, bool)>,
        next_due: Option<Timestamp>,
        unknown: Vec<String>,
    },
    Done,
    Cancels(Vec<(RunKey, CancelRequest)>),
    Cancel(CancelReply),
    Run(Option<Run>),
    Records(Vec<Written>),
    Runs(Vec<Run>),
    Events(Vec<(Position, String)>),
    Cursor(Cursor),
    Cursors(Vec<(String, Cursor)>),
    Dropped(bool),
    Purged(Purged),
    Refused(Refusal),
}

/// The reason for a refusal.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    Unknown,
    Fenced,
    Behind,
    Transition,
    Cancel(CancelRequest),
    /// An error that the model never returns.
    Failed(String),
}
