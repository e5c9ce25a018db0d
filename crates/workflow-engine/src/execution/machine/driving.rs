//! The machine as the driver uses it: it releases completions, commits records and fires timers.

use std::mem::take;
use std::task::Waker;
use std::thread::ThreadId;
use std::time::Duration;

use workflow_events::{PauseReason, Timestamp};

use crate::execution::determinism::DeterminismError;
use crate::execution::machine::{Machine, Released};
use crate::execution::operation::{Completion, OpKey, OpKind};
use crate::execution::outgoing::Outgoing;
use crate::execution::phase::Phase;
use crate::store::{CancelRequest, EntryKind};

impl Machine {
    /// Sets the thread on which the workflow's future is being polled.
    pub(crate) fn set_polling(&mut self, thread: Option<ThreadId>) {
        self.polling = thread;
    }

    /// Grants the next completion to the operation that requests it. To be called when the
    /// workflow's future waits.
    pub(crate) fn release(&mut self) -> Released {
        loop {
            if let Some(key) = self.completions.grant() {
                if let Some(operation) = self.operations.get_mut(key) {
                    self.wakers.extend(operation.waker.take());
                }
                return Released::Granted;
            }
            if let Some(next) = self.completions.unreached().next()
                && !self.calls.contains(next)
            {
                return Released::NotCalled(next.clone());
            }
            let Some((place, key)) = self.completions.reach() else {
                return Released::Nothing;
            };
            match self.operations.get_mut(key) {
                Some(operation) => {
                    operation.completion = Some(place);
                    if operation.is_polled {
                        self.completions.request(place);
                    }
                }
                // Its future was dropped, so no code asks how the operation ended.
                None => self.completions.discard(place),
            }
        }
    }

    /// Ends the replay once everything in the history is reached; returns whether it has ended just
    /// now.
    ///
    /// # Errors
    ///
    /// [`DeterminismError::Mismatch`] if the history has the beginning of an operation that the
    /// code has not called.
    pub(crate) fn go_live(&mut self) -> Result<bool, DeterminismError> {
        // A run that goes no further need not reach the end of its history.
        if !matches!(self.phase, Phase::Replaying) || !self.completions.all_reached() {
            return Ok(false);
        }
        if let Some(key) = self.begun.keys().find(|key| !self.calls.contains(key)) {
            return Err(self.mismatch(key));
        }
        self.phase = Phase::Live;
        let waiting = self.operations.values_mut();
        self.wakers
            .extend(waiting.filter_map(|operation| operation.waker.take()));
        Ok(true)
    }

    /// Returns the records to be committed.
    pub(crate) fn queue(&self) -> &[Outgoing] {
        &self.queue
    }

    /// Takes the first `count` of the records to be committed.
    pub(crate) fn take_queued(&mut self, count: usize) -> Vec<Outgoing> {
        let rest = self.queue.split_off(count);
        std::mem::replace(&mut self.queue, rest)
    }

    /// Puts records back to the front of the queue: their commit was refused.
    pub(crate) fn requeue(&mut self, outgoing: Vec<Outgoing>) {
        self.queue.splice(..0, outgoing);
    }

    /// Accepts records that were committed; completions among them can be released from now on.
    pub(crate) fn committed(&mut self, records: Vec<Outgoing>) {
        for Outgoing {
            at,
            completes,
            entry,
            ..
        } in records
        {
            if let (Some(key), Some(entry)) = (completes, entry) {
                if entry.kind == EntryKind::StepCompleted {
                    self.completed_steps.push(entry.name.clone());
                }
                self.completions.push(Completion { key, entry, at });
            }
        }
    }

    /// Wakes the operations whose timers are due at `now`. A timer fires once, even if the future
    /// of its operation is not polled any more.
    pub(crate) fn fire_timers(&mut self, now: Duration) {
        while let Some(key) = self.timers.pop_due(now) {
            if let Some(operation) = self.operations.get_mut(&key) {
                operation.timer = None;
                self.wakers.extend(operation.waker.take());
            }
        }
    }

    /// Ends the earliest wait and wakes its operation, if the wait is due at `now`. Waits end one
    /// at a time, so that they end in the order of their times even if a process slept through all
    /// of them.
    pub(crate) fn fire_wait(&mut self, now: Timestamp) -> bool {
        let Some((key, _)) = self.waits.pop_due(now) else {
            return false;
        };
        if let Some(operation) = self.operations.get_mut(&key) {
            operation.wait = None;
            operation.is_due = true;
            self.wakers.extend(operation.waker.take());
        }
        true
    }

    /// Returns the earliest wait: its time, its reason, and the step that waits.
    pub(crate) fn earliest_wait(&self) -> Option<(Timestamp, PauseReason, Option<String>)> {
        let (due_at, (key, reason)) = self.waits.first()?;
        let step = (key.kind == OpKind::Step).then(|| key.name.to_string());
        Some((due_at, reason.clone(), step))
    }

    /// Returns when the first operation must be polled, by the monotonic clock.
    pub(crate) fn earliest_timer(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| at)
    }

    /// Returns whether an attempt of a step is under way.
    pub(crate) fn is_executing(&self) -> bool {
        self.attempts > 0
    }

    /// Returns the names of the steps that have completed, in order.
    pub(crate) fn completed_steps(&self) -> &[String] {
        &self.completed_steps
    }

    /// Lets no further operation begin, because the engine shuts down.
    pub(crate) fn drain(&mut self) {
        self.phase.drain();
    }

    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining)
    }

    /// Lets no further operation begin, because the run is to be cancelled.
    pub(crate) fn cancel(&mut self, request: CancelRequest) {
        self.phase.cancel(request);
    }

    /// Returns the cancel that was requested.
    pub(crate) fn cancel_request(&self) -> Option<&CancelRequest> {
        self.phase.cancel_request()
    }

    /// Records nothing of operations that are dropped from now on, because the workflow's future is
    /// about to be dropped for good.
    pub(crate) fn close(&mut self) {
        self.phase.close();
    }

    /// Takes why the code cannot be followed.
    pub(crate) fn take_problem(&mut self) -> Option<DeterminismError> {
        self.problem.take()
    }

    pub(crate) fn has_problem(&self) -> bool {
        self.problem.is_some()
    }

    /// Takes the wakers of operations that can continue; the caller wakes them after it has given
    /// the machine back.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        take(&mut self.wakers)
    }

    /// Returns what the code has left over, when the workflow's function has returned: an operation
    /// that the history has and the code has not called.
    pub(crate) fn left_over(&self) -> Option<DeterminismError> {
        let recorded = self.completions.unreached().chain(self.begun.keys());
        let left = recorded.into_iter().find(|key| !self.calls.contains(key))?;
        Some(DeterminismError::LeftOver {
            recorded: left.to_string(),
        })
    }

    /// Describes a history that continues with an operation that the code has not called.
    pub(crate) fn mismatch(&self, recorded: &OpKey) -> DeterminismError {
        let mut awaited: Vec<_> = self.operations.keys().map(OpKey::to_string).collect();
        awaited.sort_unstable();
        awaited.truncate(8);
        DeterminismError::Mismatch {
            recorded: recorded.to_string(),
            awaited,
        }
    }
}
