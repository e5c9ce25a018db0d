//! The loop of a worker: claim what is due, execute it, wait for more.

use std::pin::pin;
use std::time::Duration;

use futures::future::{BoxFuture, Either, pending, select};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tracker_core::Clock;
use workflow_events::Timestamp;

use crate::clock::wall;
use crate::worker::Worker;
use crate::worker::claim::Found;
use crate::worker::execute::HALTED_RUN_REST;

/// The wait before the store is asked again for a run that is due and cannot be claimed, because
/// another worker is claiming it or it is locked.
pub(crate) const UNCLAIMABLE_RUN_WAIT: Duration = Duration::from_millis(50);

impl Worker {
    /// Claims and executes runs until the engine is closed, and then finishes those it has.
    pub(crate) async fn work(&self) {
        let capacity = self.settings.max_concurrent_runs;
        let mut executing: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let mut unknown = Vec::new();
        let mut may_claim = true;
        while !self.shutdown.is_closed() {
            let room = capacity.saturating_sub(executing.len());
            let mut next_claim = NextClaim::AfterPoll;
            if may_claim && room > 0 {
                match drive(&mut executing, self.claim_due(room)).await.1 {
                    Ok(found) => {
                        self.log_unknown(&unknown, &found.unknown);
                        next_claim = NextClaim::of(&found);
                        unknown = found.unknown;
                        let runs = found.runs.into_iter();
                        executing.extend(runs.map(|run| {
                            let execution = self.execute(run, None, HALTED_RUN_REST);
                            execution.map(drop).boxed()
                        }));
                    }
                    Err(error) => {
                        tracing::error!(%error, "failed to claim runs; it will be retried");
                        self.log_unknown(&unknown, &[]);
                        unknown = Vec::new();
                        next_claim = NextClaim::AfterFailure;
                    }
                }
            }
            let has_failed = matches!(next_claim, NextClaim::AfterFailure);
            let wait = self.wait_before(next_claim);
            // A store that fails is not asked again at once, even if there is work to claim.
            let notified = async {
                if has_failed {
                    pending().await
                } else {
                    self.active.work_available.notified().await
                }
            };
            let notified = pin!(notified);
            let closed = pin!(self.shutdown.closed());
            let due = select(select(self.clock.sleep(wait), notified), closed);
            may_claim = if executing.is_empty() {
                due.await;
                true
            } else {
                match select(due, executing.next()).await {
                    Either::Left(_) => true,
                    // Many small claims cost more than one large one.
                    Either::Right(_) => !has_failed && executing.len() * 2 <= capacity,
                }
            };
        }
        while executing.next().await.is_some() {}
    }

    /// Returns how long to wait before the next claim, unless something happens earlier.
    fn wait_before(&self, next_claim: NextClaim) -> Duration {
        let poll_interval = self.settings.poll_interval;
        match next_claim {
            NextClaim::AfterPoll | NextClaim::AfterFailure => poll_interval,
            NextClaim::At(due_at, shortest) => {
                let due_in = due_at.duration_since(wall(&*self.clock));
                let due_in = if due_in.is_zero() { shortest } else { due_in };
                due_in.min(poll_interval)
            }
        }
    }

    /// Logs workflows that are due and not registered here, each time they appear.
    fn log_unknown(&self, before: &[String], unknown: &[String]) {
        for workflow in unknown.iter().filter(|name| !before.contains(name)) {
            tracing::warn!(
                workflow,
                "runs of a workflow that is not registered here are due; they stay as they are"
            );
        }
    }
}

/// When the store is asked for runs the next time.
enum NextClaim {
    AfterPoll,
    AfterFailure,
    /// At this time; if it has come already, after this wait.
    At(Timestamp, Duration),
}

impl NextClaim {
    fn of(found: &Found) -> Self {
        let shortest = if found.runs.is_empty() {
            UNCLAIMABLE_RUN_WAIT
        } else {
            Duration::ZERO
        };
        let next_due = found.next_due;
        next_due.map_or(Self::AfterPoll, |due_at| Self::At(due_at, shortest))
    }
}

/// Waits for `future` while runs are executed, because they may hold what it waits for. Returns how
/// many of them ended, and the output.
pub(crate) async fn drive<E: Future, F: Future>(
    executing: &mut FuturesUnordered<E>,
    future: F,
) -> (usize, F::Output) {
    let mut future = pin!(future);
    let mut ended = 0;
    loop {
        if executing.is_empty() {
            return (ended, future.await);
        }
        match select(future, executing.next()).await {
            Either::Left((output, _)) => return (ended, output),
            Either::Right((_, rest)) => {
                ended += 1;
                future = rest;
            }
        }
    }
}
