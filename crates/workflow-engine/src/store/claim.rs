//! Claims: the right to advance a run, and how a worker gets it.

use workflow_events::Timestamp;

use crate::store::key::RunKey;
use crate::store::run::Run;

/// The right to advance a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The run.
    pub key: RunKey,
    /// One higher with each claim of the run; the first is 1.
    pub epoch: u64,
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
