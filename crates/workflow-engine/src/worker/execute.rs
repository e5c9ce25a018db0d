//! From a claim to the end of an execution: read the history, drive the run, release the claim.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;
use workflow_events::{EventKind, PauseReason, ResumeReason, Timestamp};

use crate::clock::wall;
use crate::execution::Execution;
use crate::execution::driver::Driver;
use crate::execution::ending::{Ending, RunResult, engine_failure};
use crate::execution::halt::Halt;
use crate::execution::history::History;
use crate::execution::outgoing::{Draft, Ids, Outgoing};
use crate::execution::replay::Replay;
use crate::store::{Claimed, Due, EntryKind, Run, Span, Status, StoreError};
use crate::worker::Worker;
use crate::worker::active::{ActiveRun, ClaimedRun};
use crate::workflow::context::Context;

/// How long a run rests before a worker claims it again, if its code cannot be followed or its
/// store fails.
pub(crate) const HALTED_RUN_REST: Duration = Duration::from_secs(30);

impl Worker {
    /// Executes a claimed run until it ends, is suspended, or is left as it is; in the last case it
    /// rests for `rest`.
    ///
    /// `created` is the replay of a run that the caller has just created.
    pub(crate) async fn execute(
        &self,
        claimed: ClaimedRun,
        created: Option<Replay>,
        rest: Duration,
    ) -> Result<Ending, Halt> {
        let Some((claimed, active)) = claimed.activate() else {
            return Err(Halt::Fenced);
        };
        let claim = claimed.claim;
        let id = claimed.run.id.clone();
        let driven = match self.shutdown.admit_run() {
            Some(_permit) => {
                let workflow = &claimed.run.workflow;
                let span = tracing::info_span!("workflow", run = id, workflow);
                self.drive(claimed, created, &active).instrument(span).await
            }
            None => Err(Halt::Stopped),
        };
        let rest = match &driven {
            Ok(_) | Err(Halt::Fenced) => {
                active.release();
                return driven;
            }
            Err(Halt::Stopped) => Duration::ZERO,
            Err(Halt::Store(error)) => {
                tracing::error!(run = id, %error, "the store failed; the run will be retried");
                rest
            }
            Err(Halt::Determinism(error)) => {
                tracing::error!(
                    run = id, %error,
                    "the code and the history of a run differ; the run will be retried"
                );
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
            Ok(()) | Err(StoreError::Fenced { .. }) => active.release(),
            // This worker still holds the run, and will claim it again.
            Err(_) => drop(active),
        }
        driven
    }

    async fn drive(
        &self,
        claimed: Claimed,
        created: Option<Replay>,
        active: &ActiveRun,
    ) -> Result<Ending, Halt> {
        let Claimed { claim, run, .. } = claimed;
        let is_new = created.is_some();
        let replay = match created {
            Some(replay) => replay,
            None => Replay::read(self.records(run.key, Span::All).await?)?,
        };
        let now = wall(&*self.clock);
        let started_at = match run.status {
            Status::Queued => now,
            _ => replay.started_at.unwrap_or(replay.created_at),
        };
        let opening = (!is_new).then(|| opening(&run, &replay, now));
        let input = replay.input.clone();
        let ids = Ids {
            run: run.id,
            workflow: run.workflow,
            execution: run.execution_id,
        };
        let body = self.workflows.get(ids.workflow.as_str());
        let history = History {
            store: self.store.clone(),
            shutdown: self.shutdown.clone(),
            clock: self.clock.clone(),
            ids: ids.clone(),
            claim,
            status: run.status,
            last_seq: replay.last_seq,
        };
        let interrupt = active.interrupt.clone();
        let execution = Arc::new(Execution::new(
            ids,
            self.clock.clone(),
            self.settings.max_value_bytes,
            replay,
            started_at,
            interrupt.clone(),
        ));
        let mut driver = Driver::new(
            execution.clone(),
            history,
            interrupt.clone(),
            self.settings.suspend_after,
            started_at,
        );
        if let Some(cancel) = run.cancel {
            interrupt.cancel(cancel);
        } else {
            if let Some(opening) = opening {
                execution.machine().record(opening);
            }
            if run.recoveries > self.settings.max_recoveries {
                driver.set_result(poisoned(run.recoveries));
            } else if let Some(body) = body {
                driver.set_body(body.execute(Context::new(execution), input));
            } else {
                return Err(Halt::Stopped);
            }
        }
        if self.shutdown.is_closed() {
            interrupt.stop();
        }
        self.lease.keep_during(driver).await
    }
}

/// Returns the record that opens an execution: the run starts, or resumes.
fn opening(run: &Run, replay: &Replay, now: Timestamp) -> Outgoing {
    let reason = match (run.status, &replay.paused) {
        (Status::Queued, _) => {
            let input = replay.input.clone();
            let started = EventKind::WorkflowStarted { input };
            return Outgoing::of_run(now, started, EntryKind::Started, None);
        }
        (Status::Suspended, Some(PauseReason::Retry)) => ResumeReason::Retry,
        (Status::Suspended, Some(PauseReason::Signal)) => ResumeReason::Signal,
        (Status::Suspended, _) => ResumeReason::Timer,
        _ => ResumeReason::Recovery,
    };
    let kind = EventKind::WorkflowResumed { reason };
    Outgoing::events(vec![Draft { at: now, kind }])
}

/// Returns the failure of a run whose every execution ends with the death of its process.
fn poisoned(recoveries: u32) -> RunResult {
    let times = recoveries.saturating_sub(1);
    engine_failure(
        "poison",
        format!(
            "the run was recovered {times} times, each time after its process had died, and made no \
             progress"
        ),
    )
}
