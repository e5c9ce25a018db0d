//! Polls one run: replays it, executes it, commits what happens, and suspends, ends or leaves it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use workflow_events::{CompletedSteps, Timestamp};

use crate::determinism::DeterminismError;
use crate::ends::Released;
use crate::execution::Execution;
use crate::history::{Answer, Halt, History, Outgoing};
use crate::outcome::{End, RunResult};
use crate::signal::Signal;
use crate::status::Status;
use crate::store::{CancelRequest, EntryKind};
use crate::time::{millis, wall};

/// How many rounds a poll of the driver has at most: a long replay must not keep its thread to
/// itself.
const ROUNDS: usize = 256;
/// How often the task lets others go first before its run is judged to wait for nothing durable:
/// what the workflow waits for may be ready, and its waker deferred, as by tokio, which wakes those
/// every 61 polls at the latest.
const LOOKS: u32 = 128;

/// How many records, and how many bytes of their values, one write has at most: parallel steps
/// whose results are each within their limit must not make a write that a store refuses.
const WRITE_RECORDS: usize = 4096;
const WRITE_BYTES: usize = 32 * 1024 * 1024;

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
    /// How often the run was about to be judged since the workflow's future was polled last.
    looks: u32,
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
        Self {
            execution,
            history,
            signal,
            suspend_from,
            started_at,
            body,
            result,
            commit,
            timer,
            looks: 0,
        }
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
        match self.release() {
            Released::One => return Ok(Round::Continue),
            Released::None => {}
            Released::Unclaimed(key) => {
                let mismatch = self.execution.machine().mismatch(&key);
                return self.judge(mismatch);
            }
        }
        if let Some(round) = self.poll_commit(poller)? {
            return Ok(round);
        }
        if self.body.is_some() {
            let live = self.execution.machine().go_live();
            match live {
                Ok(true) => return Ok(Round::Continue),
                Ok(false) => {}
                Err(mismatch) => return self.judge(mismatch),
            }
        }
        self.decide(poller)
    }

    /// Judges that the code cannot be followed, once it has had the time to go on by itself.
    fn judge(&mut self, error: DeterminismError) -> Result<Round, Halt> {
        self.looks += 1;
        if self.looks > LOOKS {
            Err(Halt::Determinism(error))
        } else {
            Ok(Round::Yield)
        }
    }

    /// Drops the workflow's future. What panics in there was about to go anyway.
    fn drop_body(&mut self) {
        let body = self.body.take();
        if catch_unwind(AssertUnwindSafe(|| drop(body))).is_err() {
            tracing::error!(
                run = self.history.ids.run,
                "a workflow panicked while its future was dropped"
            );
        }
    }

    /// Learns of cancels and of the engine's shutdown.
    fn take_signals(&mut self) {
        let (cancel, stop) = self.signal.take();
        let mut machine = self.execution.machine();
        if let Some(cancel) = cancel {
            let at_once = machine
                .cancel
                .as_ref()
                .is_some_and(|standing| standing.at_once)
                || cancel.at_once;
            let standing = machine.cancel.take().unwrap_or(cancel);
            machine.cancel = Some(CancelRequest {
                at_once,
                ..standing
            });
        }
        if stop {
            machine.drain();
        }
        let at_once = machine.cancel.as_ref().is_some_and(|cancel| cancel.at_once);
        drop(machine);
        if at_once {
            // Its steps record that they were cut.
            self.drop_body();
        }
    }

    /// Polls the workflow's future if it was woken.
    fn poll_body(&mut self) -> Result<Polled, Halt> {
        let Some(body) = &mut self.body else {
            return Ok(Polled::Not);
        };
        if !self.signal.take_woken() {
            return Ok(Polled::Not);
        }
        self.looks = 0;
        let waker = Waker::from(self.signal.clone());
        self.execution.machine().set_polling(true);
        let polled = body.as_mut().poll(&mut Poller::from_waker(&waker));
        let mut machine = self.execution.machine();
        machine.set_polling(false);
        let Poll::Ready(result) = polled else {
            return Ok(if self.signal.is_woken() {
                Polled::Yields
            } else {
                Polled::Waits
            });
        };
        if let Some(problem) = machine.take_problem().or_else(|| machine.left_over()) {
            return Err(Halt::Determinism(problem));
        }
        drop(machine);
        self.result = Some(result);
        self.drop_body();
        Ok(Polled::Waits)
    }

    /// Grants an operation its end, unless the run is to go no further.
    fn release(&mut self) -> Released {
        let mut machine = self.execution.machine();
        if self.body.is_none() || machine.cancel.is_some() || machine.is_draining() {
            return Released::None;
        }
        machine.release()
    }

    /// Polls the commit under way; `None` if there is none, or none any more and the run goes on.
    fn poll_commit(&mut self, poller: &mut Poller<'_>) -> Result<Option<Round>, Halt> {
        let Some(commit) = &mut self.commit else {
            return Ok(None);
        };
        let Poll::Ready(answer) = commit.answer.poll_unpin(poller) else {
            return Ok(Some(self.wait(poller)));
        };
        let Some(Committing {
            outgoing,
            status,
            end,
            ..
        }) = self.commit.take()
        else {
            return Ok(None);
        };
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
        if chunk(&machine.queue) < machine.queue.len() {
            drop(machine);
            return self.flush();
        }
        let may_end = self.history.status == Status::Running || machine.queue.is_empty();
        let now = wall(&*self.execution.clock);
        let (cancel, executing, wait) = (
            machine.cancel.clone(),
            machine.is_executing(),
            machine.earliest_wait(),
        );
        let ends = machine.queue.iter().any(|outgoing| outgoing.ends.is_some());
        if let Some(cancel) = cancel.filter(|_| !executing || self.body.is_none()) {
            // The future goes now, so that nothing of it can happen after the end.
            machine.close();
            drop(machine);
            self.drop_body();
            return self.end(
                now,
                End::Cancelled {
                    reason: cancel.reason,
                },
            );
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
            return if unwritten {
                self.flush()
            } else {
                Err(Halt::Stopped)
            };
        }
        if executing {
            return Ok(self.wait(poller));
        }
        let Some((due_at, reason, step)) = wait else {
            // Nothing is going on; if there is something to write, the next round looks again.
            return if unwritten {
                self.flush()
            } else {
                self.judge(DeterminismError::NotDurable)
            };
        };
        if due_at.duration_since(now) >= self.suspend_from {
            self.execution.machine().close();
            self.drop_body();
            return self.end(
                now,
                End::Paused {
                    reason,
                    resume_at: due_at,
                    step,
                },
            );
        }
        if unwritten {
            self.flush()
        } else {
            Ok(self.wait(poller))
        }
    }

    /// Commits what is queued, as much of it as fits into one write; the run goes on.
    fn flush(&mut self) -> Result<Round, Halt> {
        let outgoing = {
            let mut machine = self.execution.machine();
            let fits = chunk(&machine.queue);
            let rest = machine.queue.split_off(fits);
            std::mem::replace(&mut machine.queue, rest)
        };
        self.begin_commit(outgoing, Status::Running, None, None)
    }

    /// Commits what is queued, and with it the end of this execution.
    fn end(&mut self, now: Timestamp, end: End) -> Result<Round, Halt> {
        let (mut outgoing, completed_steps) = {
            let mut machine = self.execution.machine();
            let outgoing = std::mem::take(&mut machine.queue);
            let newly = outgoing
                .iter()
                .filter_map(|outgoing| outgoing.entry.as_ref());
            let newly = newly
                .filter(|entry| entry.kind == EntryKind::StepCompleted)
                .map(|entry| &entry.name);
            let completed_steps =
                CompletedSteps::last_of(machine.completed_steps.iter().chain(newly));
            (outgoing, completed_steps)
        };
        let duration_ms = millis(now.duration_since(self.started_at));
        let (last, status, due_at) = end.record(now, completed_steps, duration_ms)?;
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
        self.commit = Some(Committing {
            outgoing,
            status,
            end,
            answer,
        });
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
        let Some(at) = wait.into_iter().chain(timer).min() else {
            return Round::Pending;
        };
        if at > monotonic {
            // A time of day moves against the monotonic clock: a timer that is early just looks
            // again.
            if self
                .timer
                .as_ref()
                .is_none_or(|(standing, _)| standing.abs_diff(at) > Duration::from_millis(1))
            {
                let clock = clock.clone();
                self.timer = Some((at, async move { clock.sleep(at - monotonic).await }.boxed()));
            }
            match self
                .timer
                .as_mut()
                .map(|(_, timer)| timer.poll_unpin(poller))
            {
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

/// Returns how many records, from the first on, go into one write: at least one, and no more than a
/// store takes.
fn chunk(queue: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let fits = |(index, outgoing): &(usize, &Outgoing)| {
        let payload = outgoing
            .entry
            .as_ref()
            .and_then(|entry| entry.payload.as_ref());
        // The payload may stand in an event as well.
        bytes += payload.map_or(0, |payload| 2 * payload.as_str().len());
        *index == 0 || bytes <= WRITE_BYTES
    };
    queue
        .iter()
        .enumerate()
        .take(WRITE_RECORDS)
        .take_while(fits)
        .count()
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
                    self.drop_body();
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
        self.drop_body();
    }
}
