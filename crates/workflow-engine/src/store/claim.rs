//! Claims: the right to advance a run, and how a worker gets it.

use workflow_events::Timestamp;

use crate::store::key::RunKey;
use crate::store::run::Run;

/// The right to advance a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The run.
    pub key: RunKey,
    /// Number of this claim among the claims of the run, from 1.
    pub epoch: u64,
}

/// Argument of [`Store::claim`](crate::Store::claim).
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The worker that claims; it must have a lease.
    pub worker: String,
    /// The time at which runs that wait are due and leases have expired.
    pub now: Timestamp,
    /// Claims only this run; `None` for any.
    pub run: Option<String>,
    /// Claims only runs of these workflows; `None` for any.
    pub workflows: Option<Vec<String>>,
    /// The most runs that are claimed.
    pub limit: usize,
}

/// Result of [`Store::claim`](crate::Store::claim).
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The claimed runs.
    pub runs: Vec<Claimed>,
    /// When the next claim may find a run: the earliest time at which a run that is not in this
    /// result is due, or the lease of another worker that holds such a run expires. `None` if there
    /// is no such time. A run that is ready counts with its [`Run::due_at`], and at the latest with
    /// [`ClaimRequest::now`].
    pub next_due: Option<Timestamp>,
    /// The names of workflows that have runs which are due, and that were not requested.
    pub unknown: Vec<String>,
}

/// A claimed run.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The right to advance the run.
    pub claim: Claim,
    /// The run, with this claim counted.
    pub run: Run,
    /// Whether a worker died while it held the run.
    pub died: bool,
}

/// When a run whose claim was released can be claimed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Due {
    /// At any time. The run is ready, and has been due since this time.
    Now(Timestamp),
    /// At this time. The run waits until then.
    At(Timestamp),
}

impl Due {
    /// Returns the time, which determines the run's place in the order of due runs.
    pub fn time(self) -> Timestamp {
        match self {
            Self::Now(time) | Self::At(time) => time,
        }
    }
}
