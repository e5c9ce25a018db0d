//! Runs as a store keeps and lists them.

use workflow_events::Timestamp;

use crate::store::cancel::CancelRequest;
use crate::store::key::RunKey;
use crate::store::record::Record;
use crate::store::status::Status;

/// A run as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What the store calls it.
    pub key: RunKey,
    /// Its id.
    pub id: String,
    /// The name of the workflow's definition.
    pub workflow: String,
    /// The correlation id given at the start.
    pub execution_id: Option<String>,
    /// Where it is in its life.
    pub status: Status,
    /// The `seq` of the last event in its history.
    pub last_seq: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Since when it is ready, or until when it waits; `None` while it is claimed, once it has
    /// ended, and for a paused run that waits for a cancel alone.
    pub due_at: Option<Timestamp>,
    /// Who holds it, or held it when its lease ran out.
    pub worker: Option<String>,
    /// How often it was recovered since it last made progress.
    pub recoveries: u32,
    /// The cancel that was asked for.
    pub cancel: Option<CancelRequest>,
}

/// A run to be created.
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
    /// Who creates it, and holds it if it is `Running`.
    pub worker: String,
    /// The first record of its history; its `at` is when the run was created.
    pub record: Record,
}

/// The answer to [`Store::request_cancel`](crate::Store::request_cancel).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelReply {
    /// There is no such run.
    Unknown,
    /// The run has ended; nothing was changed.
    Ended(Status),
    /// The cancel stands. This is the run, with it.
    Accepted(Box<Run>),
}

/// Which runs are listed. The default admits the first 100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFilter {
    /// Only these statuses; empty for all.
    pub statuses: Vec<Status>,
    /// Only this workflow.
    pub workflow: Option<String>,
    /// Only ids that start with this.
    pub id_prefix: Option<String>,
    /// Only runs that this worker holds, or held when its lease ran out.
    pub worker: Option<String>,
    /// Only runs created after this one: the last of the page before.
    pub after: Option<RunKey>,
    /// How many at most.
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
