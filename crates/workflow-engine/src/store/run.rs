//! Runs as a store keeps them, and what is asked of it about them.

use std::fmt;

use workflow_events::Timestamp;

use crate::status::Status;
use crate::store::Record;

/// What a store calls a run: a sequential number that is never used again, unlike the id, which is
/// free once the run is purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(pub u64);

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
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

/// The answer to [`Store::create`](crate::Store::create).
#[derive(Clone, Debug)]
pub enum Created {
    /// The run was created; the claim counts if it is `Running`.
    New(Claim),
    /// The id was taken, by this run; nothing was changed.
    Exists(Box<Run>),
}

/// The right to advance a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The run.
    pub key: RunKey,
    /// One higher with each claim of the run; the first is 1.
    pub epoch: u64,
}

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

/// When a run whose claim was released can be claimed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Due {
    /// It is ready, whatever the time is, and has its place in the order since this time.
    Now(Timestamp),
    /// It waits for this time.
    At(Timestamp),
}

impl Due {
    /// Returns the time, which is the run's place in the order of what is due.
    pub fn time(self) -> Timestamp {
        match self {
            Self::Now(time) | Self::At(time) => time,
        }
    }
}

/// What a worker asks for.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Who asks; it must have a lease.
    pub worker: String,
    /// The time by which runs that wait are due and leases over.
    pub now: Timestamp,
    /// Only this run; `None` for any.
    pub run: Option<String>,
    /// Only runs of these workflows; `None` for any.
    pub workflows: Option<Vec<String>>,
    /// How many runs at most.
    pub limit: usize,
}

/// The answer to [`Store::claim`](crate::Store::claim).
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The claimed runs.
    pub runs: Vec<Claimed>,
    /// When the next claim may find something: the earliest time that a run not in the answer is
    /// due, or that a lease of another worker, which holds such a run, is over. `None` if there is
    /// none. For a run that is ready this is its [`Run::due_at`], but at the latest
    /// [`ClaimRequest::now`].
    pub next_due: Option<Timestamp>,
    /// The names of workflows that have runs which are due, and that were not asked for.
    pub unknown: Vec<String>,
}

/// A claimed run.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The right to advance it.
    pub claim: Claim,
    /// The run, with this claim counted.
    pub run: Run,
    /// Whether a worker died while it held the run.
    pub died: bool,
}

/// Asks that a run be cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRequest {
    /// The caller's words.
    pub reason: Option<String>,
    /// Whether the steps that are being executed are dropped; otherwise they finish.
    pub at_once: bool,
    /// When it was asked for.
    pub at: Timestamp,
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

/// Which runs are purged: those that ended before these times; `None` keeps all of that status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// For completed runs.
    pub completed: Option<Timestamp>,
    /// For failed runs.
    pub failed: Option<Timestamp>,
    /// For cancelled runs.
    pub cancelled: Option<Timestamp>,
    /// How many runs at most.
    pub limit: usize,
}

impl Purge {
    /// Returns the time before which a run with this status must have ended to be purged.
    pub fn before(&self, status: Status) -> Option<Timestamp> {
        match status {
            Status::Completed => self.completed,
            Status::Failed => self.failed,
            Status::Cancelled => self.cancelled,
            _ => None,
        }
    }
}

/// What a purge removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many runs.
    pub runs: u64,
    /// How many events.
    pub events: u64,
}
