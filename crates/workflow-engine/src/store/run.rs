//! Runs as a store keeps and lists them.

use workflow_events::Timestamp;

use crate::store::cancel::CancelRequest;
use crate::store::key::RunKey;
use crate::store::record::Record;
use crate::store::status::Status;

/// A run as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The key of the run in its store.
    pub key: RunKey,
    /// The run's id.
    pub id: String,
    /// The name of the workflow's definition.
    pub workflow: String,
    /// The correlation id given at the start.
    pub execution_id: Option<String>,
    /// The status.
    pub status: Status,
    /// The `seq` of the last event in its history.
    pub last_seq: u64,
    /// When the run was created.
    pub created_at: Timestamp,
    /// When the run ended; `None` if it has not.
    pub ended_at: Option<Timestamp>,
    /// The time since which the run is ready, or until which it waits. `None` if the run is claimed
    /// or has ended, or waits only for a cancel.
    pub due_at: Option<Timestamp>,
    /// The worker that holds the run, or held it when its lease expired.
    pub worker: Option<String>,
    /// The number of recoveries since the run last made progress.
    pub recoveries: u32,
    /// The cancel that was requested.
    pub cancel: Option<CancelRequest>,
}

/// Argument of [`Store::create`](crate::Store::create).
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The run's id.
    pub id: String,
    /// The name of the workflow's definition.
    pub workflow: String,
    /// The correlation id given at the start.
    pub execution_id: Option<String>,
    /// `Queued`, or `Running` for a run that its creator executes.
    pub status: Status,
    /// The worker that creates the run, and holds it if it is `Running`.
    pub worker: String,
    /// The first record of the history; its `at` is when the run was created.
    pub record: Record,
}

/// Result of [`Store::request_cancel`](crate::Store::request_cancel).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelReply {
    /// There is no such run.
    Unknown,
    /// The run has ended; nothing was changed.
    Ended(Status),
    /// The cancel was recorded; this is the run with it.
    Accepted(Box<Run>),
}

/// The runs that are listed. The default is the first 100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFilter {
    /// Lists only runs with these statuses; empty for all.
    pub statuses: Vec<Status>,
    /// Lists only runs of this workflow.
    pub workflow: Option<String>,
    /// Lists only runs whose id starts with this.
    pub id_prefix: Option<String>,
    /// Lists only runs that this worker holds, or held when its lease expired.
    pub worker: Option<String>,
    /// Lists only runs that were created after this one: the last of the page before.
    pub after: Option<RunKey>,
    /// The most runs that are listed.
    pub limit: usize,
}

impl Default for RunFilter {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            workflow: None,
            id_prefix: None,
            worker: None,
            after: None,
            limit: 100,
        }
    }
}
