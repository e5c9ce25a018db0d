//! From a claim to the end of an execution: reads the history, drives the run, and lets go of it.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;
use workflow_events::{EventKind, PauseReason, ResumeReason, Timestamp};

use crate::active::{ActiveRun, Taken};
use crate::context::Context;
use crate::driver::Driver;
use crate::engine::Inner;
use crate::execution::Execution;
use crate::history::{Draft, Halt, History, Ids, Outgoing, RETRY_DELAYS};
use crate::outcome::{End, RunResult};
use crate::replay::Replay;
use crate::status::Status;
use crate::store::{Claimed, Due, EntryKind, Run, Span, StoreError};
use crate::time::wall;
use crate::workflow::failed;

/// How long a run whose code cannot be followed, or whose store fails, rests before a worker takes
/// it up again.
pub(crate) const REST: Duration = Duration::from_secs(30);

impl Inner {
    /// Executes a claimed run until it ends, is suspended, or is left; in the last case lets it
    /// rest for `rest`.
    ///
    /// `created` is the replay of a run that was created just now, by this call's caller.
    pub(crate) async fn execute(
        &self,
        taken: Taken,
        created: Option<Replay>,
        rest: Duration,
    ) -> Result<End, Halt> {
        let Some((claimed, active)) = taken.enter() else {
            return Err(Halt::Fenced);
        };
        let (claim, id) = (claimed.claim, claimed.run.id.clone());
        let driven = match self.gate.enter_run() {
            Some(_pass) => {
                let span =
                    tracing::info_span!("workflow", run = id, workflow = claimed.run.workflow);
                self.drive(claimed, created, &active).instrument(span).await
            }
            None => Err(Halt::Stopped),
        };
        let rest = match &driven {
            Ok(_) | Err(Halt::Fenced) => {
                active.finish();
                return driven;
            }
            Err(Halt::Stopped) => Duration::ZERO,
            Err(Halt::Store(error)) => {
                tracing::error!(run = id, %error, "a run was left: the store failed");
                rest
            }
            Err(Halt::Determinism(error)) => {
                tracing::error!(run = id, %error, "a run was left: its code and its history do not go together");
                rest
            }
        };
        let now = wall(&*self.clock);
        let due = if rest.is_zero() {
            Due::Now(now)
        } else {
            Due::At(now.saturating_add(rest))
        };
        match self.store.release(claim, due).await {
            Ok(()) | Err(StoreError::Fenced { .. }) => active.finish(),
            // It stays this worker's, and is taken up again.
            Err(_) => drop(active),
        }
        driven
    }

    async fn drive(
        &self,
        claimed: Claimed,
        created: Option<Replay>,
        active: &ActiveRun,
    ) -> Result<End, Halt> {
        let Claimed { claim, run, .. } = claimed;
        let fresh = created.is_some();
        let replay = match created {
            Some(replay) => replay,
            None => Replay::read(
                self.retried(|| self.store.records(run.key, Span::All))
                    .await?,
            )?,
        };
        let now = wall(&*self.clock);
        let started_at = match run.status {
            Status::Queued => now,
            _ => replay.started_at.unwrap_or(replay.created_at),
        };
        let opening = if fresh {
            None
        } else {
            opening(&run, &replay, now)
        };
        let input = replay.input.clone();
        let ids = Ids {
            run: run.id,
            workflow: run.workflow,
            execution: run.execution_id,
        };
        let history = History {
            store: self.store.clone(),
            gate: self.gate.clone(),
            clock: self.clock.clone(),
            ids: ids.clone(),
            claim,
            status: run.status,
            last_seq: replay.last_seq,
        };
        let signal = active.signal.clone();
        let body = self.workflows.get(ids.workflow.as_str());
        let clock = self.clock.clone();
        let limit = self.settings.value_limit;
        let execution = Arc::new(Execution::new(
            ids,
            clock,
            limit,
            replay,
            started_at,
            signal.clone(),
        ));
        let mut driver = Driver::new(
            execution.clone(),
            history,
            signal.clone(),
            self.settings.suspend_from,
            started_at,
        );
        if let Some(cancel) = run.cancel {
            signal.cancel(cancel);
        } else {
            execution.machine().queue.extend(opening);
            if run.recoveries > self.settings.max_recoveries {
                driver.conclude(poisoned(run.recoveries));
            } else if let Some(body) = body {
                driver.execute(body.execute(Context::new(execution), input));
            } else {
                return Err(Halt::Stopped);
            }
        }
        if self.gate.is_closed() {
            signal.stop();
        }
        self.lease.keeping(driver).await
    }

    /// Does what may fail for the storage's sake, and tries again a few times.
    pub(crate) async fn retried<T, F>(
        &self,
        mut operation: impl FnMut() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        for delay in RETRY_DELAYS {
            match operation().await {
                Err(error) if error.is_transient() => self.clock.sleep(delay).await,
                done => return done,
            }
        }
        operation().await
    }
}

/// The event with which an execution opens: the run begins, or goes on.
fn opening(run: &Run, replay: &Replay, now: Timestamp) -> Option<Outgoing> {
    let resumed = |reason| {
        let kind = EventKind::WorkflowResumed { reason };
        Some(Outgoing::events(vec![Draft { at: now, kind }]))
    };
    match (run.status, &replay.paused) {
        (Status::Queued, _) => {
            let started = EventKind::WorkflowStarted {
                input: replay.input.clone(),
            };
            Some(Outgoing::of_run(now, started, EntryKind::Started, None))
        }
        (Status::Paused, Some(PauseReason::Retry)) => resumed(ResumeReason::Retry),
        (Status::Paused, Some(PauseReason::Signal)) => resumed(ResumeReason::Signal),
        (Status::Paused, _) => resumed(ResumeReason::Timer),
        _ => resumed(ResumeReason::Recovery),
    }
}

/// How a run ends that kills whoever executes it.
fn poisoned(recoveries: u32) -> RunResult {
    let times = recoveries.saturating_sub(1);
    failed(
        "poison",
        format!(
            "the run was recovered {times} times, each time after its process had died, and made no progress"
        ),
    )
}
