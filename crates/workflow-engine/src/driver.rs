//! Polls one run: replays it, executes it, commits what happens, and suspends, ends or leaves it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use workflow_events::{EventKind, Timestamp};

use crate::active::Signal;
use crate::determinism::DeterminismError;
use crate::execution::Execution;
use crate::history::{Answer, Halt, History, Outgoing};
use crate::machine::Released;
use crate::outcome::{End, RunResult};
use crate::payload::Payload;
use crate::status::Status;
use crate::store::{CancelRequest, EntryKind, StoreError};
use crate::time::{millis, wall};

/// How many rounds a poll of the driver has at most: a long replay must not keep its thread to itself.
const ROUNDS: usize = 256;

/// Drives a run until it ends, is suspended, or is left as it is.
pub(crate) struct Driver {
    execution: Arc<Execution>,
    history: History,
    signal: Arc<Signal>,
    /// A wait that is shorter stays in memory.
    suspend_from: Duration,
    started_at: Timestamp,
    /// The workflow's future; `None` once it has returned or was dropped.
    body: Option<BoxFuture<'static, RunResult>>,
    result: Option<RunResult>,
    commit: Option<Committing>,
    timer: Option<(Duration, BoxFuture<'static, ()>)>,
}

/// A commit under way.
struct Committing {
    outgoing: Vec<Outgoing>,
    status: Status,
    /// What the run's execution comes to with it.
    end: Option<End>,
    answer: BoxFuture<'static, Result<Answer, Halt>>,
}

impl Driver {
    pub(crate) fn new(
        execution: Arc<Execution>,
        history: History,
        signal: Arc<Signal>,
        suspend_from: Duration,
        started_at: Timestamp,
    ) -> Self {
        let (body, result, commit, timer) = (None, None, None, None);
        Self { execution, history, signal, suspend_from, started_at, body, result, commit, timer }
    }

    /// Sets the workflow's future.
    pub(crate) fn execute(&mut self, body: BoxFuture<'static, RunResult>) {
        self.body = Some(body);
    }

    /// Sets how the run ends, without any future.
    pub(crate) fn conclude(&mut self, result: RunResult) {
        self.result = Some(result);
    }

    /// One round: does the first thing that can be done. `Continue` asks for another round.
    fn round(&mut self, poller: &mut Poller<'_>) -> Result<Round, Halt> {
        self.take_signals();
        if let Some(problem) = self.execution.machine().take_problem() {
            return Err(Halt::Determinism(problem));
        }
        match self.poll_body()? {
            Polled::Waits => return Ok(Round::Continue),
            Polled::Yields => return Ok(Round::Yield),
            Polled::Not => {}
        }
        if self.release()? {
            return Ok(Round::Continue);
        }
        if let Some(round) = self.poll_commit(poller)? {
            return Ok(round);
        }
        if self.body.is_some() && self.execution.machine().go_live().map_err(Halt::Determinism)? {
            return Ok(Round::Continue);
        }
        self.decide(poller)
    }

    /// Learns of cancels and of the engine's shutdown.
    fn take_signals(&mut self) {
        let (cancel, stop) = self.signal.take();
        let mut machine = self.execution.machine();
        if let Some(cancel) = cancel {
            let at_once = machine.cancel.as_ref().is_some_and(|standing| standing.at_once) || cancel.at_once;
            let standing = machine.cancel.take().unwrap_or(cancel);
            machine.cancel = Some(CancelRequest { at_once, ..standing });
        }
        if stop {
            machine.drain();
        }
        let at_once = machine.cancel.as_ref().is_some_and(|cancel| cancel.at_once);
        drop(machine);
        if at_once {
            // Its steps record that they were cut.
            self.body = None;
        }
    }

    /// Polls the workflow's future if it was woken.
    fn poll_body(&mut self) -> Result<Polled, Halt> {
        let Some(body) = &mut self.body else { return Ok(Polled::Not) };
        if !self.signal.take_woken() {
            return Ok(Polled::Not);
        }
        let waker = Waker::from(self.signal.clone());
        self.execution.machine().set_polling(true);
        let polled = body.as_mut().poll(&mut Poller::from_waker(&waker));
        let mut machine = self.execution.machine();
        machine.set_polling(false);
        let Poll::Ready(result) = polled else {
            return Ok(if self.signal.is_woken() { Polled::Yields } else { Polled::Waits });
        };
        if let Some(problem) = machine.take_problem().or_else(|| machine.left_over()) {
            return Err(Halt::Determinism(problem));
        }
        drop(machine);
        self.result = Some(result);
        self.body = None;
        Ok(Polled::Waits)
    }

    /// Releases the next operation that has ended, unless the run is to go no further.
    fn release(&mut self) -> Result<bool, Halt> {
        let mut machine = self.execution.machine();
        if self.body.is_none() || machine.cancel.is_some() || machine.is_draining() {
            return Ok(false);
        }
        match machine.release() {
            Released::One => Ok(true),
            Released::None => Ok(false),
            Released::Unclaimed(key) => Err(Halt::Determinism(machine.mismatch(&key))),
        }
    }

    /// Polls the commit under way; `None` if there is none, or none any more and the run goes on.
    fn poll_commit(&mut self, poller: &mut Poller<'_>) -> Result<Option<Round>, Halt> {
        let Some(commit) = &mut self.commit else { return Ok(None) };
        let Poll::Ready(answer) = commit.answer.poll_unpin(poller) else {
            return Ok(Some(self.wait(poller)));
        };
        let Some(Committing { outgoing, status, end, .. }) = self.commit.take() else { return Ok(None) };
        let mut machine = self.execution.machine();
        match answer? {
            Answer::Committed(committed) => {
                self.history.committed(&outgoing, status);
                machine.committed(outgoing);
                if let Some(end) = end {
                    return Ok(Some(Round::End(end)));
                }
                if let Some(cancel) = committed.cancel {
                    drop(machine);
                    self.signal.cancel(cancel);
                }
            }
            Answer::Cancel(cancel) => {
                // What was to be the end is not; what came before it is still to be written.
                let mut outgoing = outgoing;
                outgoing.pop();
                machine.queue.splice(..0, outgoing);
                drop(machine);
                self.result = None;
                self.signal.cancel(cancel);
            }
        }
        Ok(Some(Round::Continue))
    }

    /// Decides what comes next, when the workflow's future waits and no commit is under way.
    fn decide(&mut self, poller: &mut Poller<'_>) -> Result<Round, Halt> {
        let mut machine = self.execution.machine();
        let may_end = self.history.status == Status::Running || machine.queue.is_empty();
        let now = wall(&*self.execution.clock);
        let (cancel, executing, wait) = (machine.cancel.clone(), machine.is_executing(), machine.earliest_wait());
        let ends = machine.queue.iter().any(|outgoing| outgoing.ends.is_some());
        if let Some(cancel) = cancel.filter(|_| !executing || self.body.is_none()) {
            // The future goes now, so that nothing of it can happen after the end.
            machine.close();
            drop(machine);
            self.body = None;
            return self.end(now, End::Cancelled { reason: cancel.reason });
        }
        if self.body.is_some() && !machine.is_draining() && machine.fire_wait(now) {
            return Ok(Round::Continue);
        }
        if !machine.queue.is_empty() && (executing || ends || !may_end) {
            drop(machine);
            return self.flush();
        }
        let (draining, unwritten) = (machine.is_draining(), !machine.queue.is_empty());
        drop(machine);
        if let Some(result) = self.result.clone() {
            return self.end(now, End::Returned(result));
        }
        if draining && !executing {
            return if unwritten { self.flush() } else { Err(Halt::Stopped) };
        }
        if executing {
            return Ok(self.wait(poller));
        }
        let Some((due_at, reason, step)) = wait else {
            // Nothing is going on; if there is something to write, the next round looks again.
            return if unwritten { self.flush() } else { Err(Halt::Determinism(DeterminismError::NotDurable)) };
        };
        if due_at.duration_since(now) >= self.suspend_from {
            self.execution.machine().close();
            self.body = None;
            return self.end(now, End::Paused { reason, resume_at: due_at, step });
        }
        if unwritten { self.flush() } else { Ok(self.wait(poller)) }
    }

    /// Commits what is queued; the run goes on.
    fn flush(&mut self) -> Result<Round, Halt> {
        let outgoing = std::mem::take(&mut self.execution.machine().queue);
        self.begin_commit(outgoing, Status::Running, None, None)
    }

    /// Commits what is queued, and with it the end of this execution.
    fn end(&mut self, now: Timestamp, end: End) -> Result<Round, Halt> {
        let (mut outgoing, completed_steps) = {
            let mut machine = self.execution.machine();
            (std::mem::take(&mut machine.queue), machine.completed_steps.clone())
        };
        let newly = outgoing.iter().filter_map(|outgoing| outgoing.entry.as_ref());
        let newly = newly.filter(|entry| entry.kind == EntryKind::StepCompleted).map(|entry| entry.name.clone());
        let completed_steps = completed_steps.into_iter().chain(newly).collect();
        let duration_ms = millis(now.duration_since(self.started_at));
        let (last, status, due_at) = end_record(now, &end, completed_steps, duration_ms)?;
        outgoing.push(last);
        self.begin_commit(outgoing, status, due_at, Some(end))
    }

    fn begin_commit(
        &mut self,
        outgoing: Vec<Outgoing>,
        status: Status,
        due_at: Option<Timestamp>,
        end: Option<End>,
    ) -> Result<Round, Halt> {
        let answer = self.history.commit(&outgoing, status, due_at)?.boxed();
        self.commit = Some(Committing { outgoing, status, end, answer });
        Ok(Round::Continue)
    }

    /// Waits for the first timer, besides all that wakes the task.
    fn wait(&mut self, poller: &mut Poller<'_>) -> Round {
        let clock = &self.execution.clock;
        let (monotonic, now) = (clock.now(), wall(&**clock));
        let (wait, timer) = {
            let machine = self.execution.machine();
            (machine.earliest_wait(), machine.earliest_timer())
        };
        let wait = wait.map(|(due_at, ..)| monotonic.saturating_add(due_at.duration_since(now)));
        let Some(at) = wait.into_iter().chain(timer).min() else { return Round::Pending };
        if at > monotonic {
            // A time of day moves against the monotonic clock: a timer that is early just looks again.
            if self.timer.as_ref().is_none_or(|(standing, _)| standing.abs_diff(at) > Duration::from_millis(1)) {
                let clock = clock.clone();
                self.timer = Some((at, async move { clock.sleep(at - monotonic).await }.boxed()));
            }
            match self.timer.as_mut().map(|(_, timer)| timer.poll_unpin(poller)) {
                Some(Poll::Ready(())) => self.timer = None,
                _ => return Round::Pending,
            }
        }
        let clock = &self.execution.clock;
        let mut machine = self.execution.machine();
        machine.fire_timers(clock.now());
        machine.fire_wait(wall(&**clock));
        Round::Continue
    }
}

/// What became of the workflow's future in a round.
enum Polled {
    /// It was not woken, or is not there.
    Not,
    /// It has returned, or waits to be woken.
    Waits,
    /// It has woken itself: it wants its task to let others go first.
    Yields,
}

/// What a round of the driver came to.
enum Round {
    Continue,
    Yield,
    Pending,
    End(End),
}

impl Future for Driver {
    type Output = Result<End, Halt>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        self.signal.register(poller.waker());
        for _ in 0..ROUNDS {
            match self.round(poller) {
                Ok(Round::Continue) => {}
                Ok(Round::Yield) => break,
                Ok(Round::Pending) => return Poll::Pending,
                Ok(Round::End(end)) => return Poll::Ready(Ok(end)),
                Err(halt) => {
                    self.execution.machine().close();
                    self.body = None;
                    return Poll::Ready(Err(halt));
                }
            }
        }
        poller.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A run that is left, or whose driver is dropped, leaves no trace.
impl Drop for Driver {
    fn drop(&mut self) {
        self.execution.machine().close();
    }
}

/// The record that ends an execution.
fn end_record(
    now: Timestamp,
    end: &End,
    completed_steps: Vec<String>,
    duration_ms: u64,
) -> Result<(Outgoing, Status, Option<Timestamp>), Halt> {
    Ok(match end {
        End::Returned(RunResult::Completed(output)) => {
            let event = EventKind::WorkflowCompleted { completed_steps, duration_ms, output: output.decode().ok() };
            (Outgoing::of_run(now, event, EntryKind::Completed, Some(output.clone())), Status::Completed, None)
        }
        End::Returned(RunResult::Failed(failure)) => {
            let event = EventKind::WorkflowFailed { error: failure.info.clone(), completed_steps };
            (Outgoing::of_run(now, event, EntryKind::Failed, Some(encode(failure)?)), Status::Failed, None)
        }
        End::Cancelled { reason } => {
            let event = EventKind::WorkflowCancelled { reason: reason.clone(), completed_steps };
            (Outgoing::of_run(now, event, EntryKind::Cancelled, Some(encode(reason)?)), Status::Cancelled, None)
        }
        End::Paused { reason, resume_at, step } => {
            let event = EventKind::WorkflowPaused {
                reason: reason.clone(),
                resume_at: Some(*resume_at),
                step_name: step.clone(),
            };
            let payload = encode(reason)?;
            (Outgoing::of_run(now, event, EntryKind::Paused, Some(payload)), Status::Paused, Some(*resume_at))
        }
    })
}

fn encode<T: Serialize>(value: &T) -> Result<Payload, Halt> {
    Payload::encode(value).map_err(|error| Halt::Store(StoreError::Backend(error.into())))
}
