//! The operations of the model and of the store under test.

use workflow_engine::store::{
    CancelRequest, Claim, ClaimRequest, Commit, Cursor, Due, NewRun, Page, Position, Purge, Span,
};
use workflow_engine::{RunFilter, RunKey};
use workflow_events::Timestamp;

/// A call of a store. Keys and positions are those of the model.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create(NewRun),
    Commit(Commit),
    Claim(ClaimRequest),
    Release(Claim, Due),
    Renew(String, Timestamp),
    Retire(String, Timestamp),
    Cancel(String, CancelRequest),
    Run(String),
    Records(RunKey, Span),
    List(RunFilter),
    Outbox(Position, Page),
    Cursors,
    Open(String),
    Set(String, Cursor),
    Drop(String),
    Purge(Purge),
}
