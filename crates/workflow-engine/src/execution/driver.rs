//! The driver of one run: replays it, executes it, commits what happens, and suspends, ends or
//! leaves it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures::future::BoxFuture;
use workflow_events::{CompletedSteps, Timestamp};

use crate::clock::{millis, wall};
use crate::execution::Execution;
use crate::execution::alarm::Alarm;
use crate::execution::determinism::DeterminismError;
use crate::execution::ending::{Ending, RunResult};
use crate::execution::halt::Halt;
use crate::execution::history::History;
use crate::execution::interrupt::Interrupt;
use crate::execution::machine::Released;
use crate::execution::writer::{Writer, Written, first_write};
use crate::store::{EntryKind, Status};

/// The most rounds of one poll of the driver: a long replay must not keep its thread to itself.
const MAX_ROUNDS_PER_POLL: usize = 256;
/// How many times the driver yields before it reports that the code cannot be followed. What the
/// workflow waits for may be ready with its wake-up deferred; tokio delivers such wake-ups every 61
/// polls at the latest.
const MAX_YIELDS: u32 = 128;

/// Drives a run until it ends, is suspended, or is left as it is.
pub(crate) struct Driver {
    execution: Arc<Execution>,
    writer: Writer,
    interrupt: Arc<Interrupt>,
    /// The shortest wait that suspends the run; a shorter one stays in memory.
    suspend_after: Duration,
    started_at: Timestamp,
    /// The workflow's future; `None` once it has returned or was dropped.
    body: Option<BoxFuture<'static, RunResult>>,
    result: Option<RunResult>,
    alarm: Alarm,
    /// Number of yields since the workflow's future was polled last.
    yields: u32,
}

/// Result of polling the workflow's future.
enum Polled {
    /// The future was not woken, or does not exist.
    Not,
    /// The future has returned, or waits to be woken.
    Waits,
    /// The future has woken itself, so its task lets others proceed first.
    Yields,
}

/// Result of a round.
enum Round {
    Continue,
    Yield,
    Pending,
    End(Ending),
}

impl Driver {
    pub(crate) fn new(
        execution: Arc<Execution>,
        history: History,
        interrupt: Arc<Interrupt>,
        suspend_after: Duration,
        started_at: Timestamp,
    ) -> Self {
        Self {
            execution,
            writer: Writer::new(history),
            interrupt,
            suspend_after,
            started_at,
            body: None,
            result: None,
            alarm: Alarm::default(),
            yields: 0,
        }
    }

    /// Sets the workflow's future.
    pub(crate) fn set_body(&mut self, body: BoxFuture<'static, RunResult>) {
        self.body = Some(body);
    }

    /// Sets how the run ends, without any future.
    pub(crate) fn set_result(&mut self, result: RunResult) {
        self.result = Some(result);
    }

    /// Does the first thing that can be done.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<Round, Halt> {
        self.take_requests();
        if let Some(problem) = self.execution.machine().take_problem() {
            return Err(Halt::Determinism(problem));
        }
        match self.poll_body()? {
            Polled::Waits => return Ok(Round::Continue),
            Polled::Yields => return Ok(Round::Yield),
            Polled::Not => {}
        }
        match self.release() {
            Released::Granted => return Ok(Round::Continue),
            Released::Nothing => {}
            Released::NotCalled(key) => {
                let mismatch = self.execution.machine().mismatch(&key);
                return self.yield_or_fail(mismatch);
            }
        }
        match self.writer.poll(cx)? {
            Poll::Ready(None) => {}
            Poll::Ready(Some(written)) => return Ok(self.written(written)),
            Poll::Pending => return Ok(self.wait(cx)),
        }
        if self.body.is_some() {
            let live = self.execution.machine().go_live();
            match live {
                Ok(true) => return Ok(Round::Continue),
                Ok(false) => {}
                Err(mismatch) => return self.yield_or_fail(mismatch),
            }
        }
        self.decide(cx)
    }

    /// Fails because the code cannot be followed, once the code has had the time to continue by
    /// itself.
    fn yield_or_fail(&mut self, problem: DeterminismError) -> Result<Round, Halt> {
        self.yields += 1;
        if self.yields > MAX_YIELDS {
            Err(Halt::Determinism(problem))
        } else {
            Ok(Round::Yield)
        }
    }

    /// Drops the workflow's future. A panic in there changes nothing: the future goes anyway.
    fn drop_body(&mut self) {
        let body = self.body.take();
        if catch_unwind(AssertUnwindSafe(|| drop(body))).is_err() {
            tracing::error!(
                run = self.writer.run_id(),
                "a workflow panicked while its future was dropped"
            );
        }
    }

    /// Takes cancels and the engine's shutdown.
    fn take_requests(&mut self) {
        let requests = self.interrupt.take_requests();
        let mut machine = self.execution.machine();
        if let Some(cancel) = requests.cancel {
            machine.cancel(cancel);
        }
        if requests.stop {
            machine.drain();
        }
        let cancel = machine.cancel_request();
        let immediate = cancel.is_some_and(|cancel| cancel.immediate);
        drop(machine);
        if immediate {
            // Its steps record that they were interrupted.
            self.drop_body();
        }
    }

    /// Polls the workflow's future if it was woken.
    fn poll_body(&mut self) -> Result<Polled, Halt> {
        let Some(body) = &mut self.body else {
            return Ok(Polled::Not);
        };
        if !self.interrupt.take_woken() {
            return Ok(Polled::Not);
        }
        self.yields = 0;
        let waker = Waker::from(self.interrupt.clone());
        let thread = thread::current().id();
        self.execution.machine().set_polling(Some(thread));
        let polled = body.as_mut().poll(&mut Context::from_waker(&waker));
        let mut machine = self.execution.machine();
        machine.set_polling(None);
        let Poll::Ready(result) = polled else {
            return Ok(if self.interrupt.is_woken() {
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

    /// Grants an operation its completion, unless the run is to go no further.
    fn release(&mut self) -> Released {
        let mut machine = self.execution.machine();
        let ends = machine.cancel_request().is_some() || machine.is_draining();
        if self.body.is_none() || ends {
            return Released::Nothing;
        }
        machine.release()
    }

    /// Accepts the result of a commit.
    fn written(&mut self, written: Written) -> Round {
        match written {
            Written::Committed {
                records,
                ending,
                cancel,
            } => {
                self.execution.machine().committed(records);
                if let Some(ending) = ending {
                    return Round::End(ending);
                }
                if let Some(cancel) = cancel {
                    self.interrupt.cancel(cancel);
                }
            }
            Written::Refused {
                mut records,
                cancel,
            } => {
                // The end is void; the records before it are still to be written.
                records.pop();
                self.execution.machine().requeue(records);
                self.result = None;
                self.interrupt.cancel(cancel);
            }
        }
        Round::Continue
    }

    /// Decides what is next, when the workflow's future waits and no commit is under way.
    fn decide(&mut self, cx: &mut Context<'_>) -> Result<Round, Halt> {
        let mut machine = self.execution.machine();
        let queue = machine.queue();
        if first_write(queue) < queue.len() {
            drop(machine);
            return self.write();
        }
        let has_records = !queue.is_empty();
        let completes = queue.iter().any(|record| record.completes.is_some());
        let may_end = self.writer.status() == Status::Running || !has_records;
        let is_executing = machine.is_executing();
        let is_draining = machine.is_draining();
        let now = wall(&*self.execution.clock);

        let cancel = machine.cancel_request().cloned();
        if let Some(cancel) = cancel.filter(|_| !is_executing || self.body.is_none()) {
            // The future is dropped now, so that nothing of it can happen after the end.
            machine.close();
            drop(machine);
            self.drop_body();
            let reason = cancel.reason;
            return self.end(now, Ending::Cancelled { reason });
        }
        if self.body.is_some() && !is_draining && machine.fire_wait(now) {
            return Ok(Round::Continue);
        }
        let wait = machine.earliest_wait();
        drop(machine);
        if has_records && (is_executing || completes || !may_end) {
            return self.write();
        }
        if let Some(result) = self.result.clone() {
            return self.end(now, Ending::Returned(result));
        }
        if is_draining && !is_executing {
            return if has_records {
                self.write()
            } else {
                Err(Halt::Stopped)
            };
        }
        if is_executing {
            return Ok(self.wait(cx));
        }
        let Some((resume_at, reason, step)) = wait else {
            // No operation is under way; after a write, the next round looks again.
            return if has_records {
                self.write()
            } else {
                self.yield_or_fail(DeterminismError::NotDurable)
            };
        };
        // The wake-up of a sleeping run is decided here: in memory, or by the store.
        if resume_at.duration_since(now) >= self.suspend_after {
            self.execution.machine().close();
            self.drop_body();
            let ending = Ending::Suspended {
                reason,
                resume_at,
                step,
            };
            return self.end(now, ending);
        }
        if has_records {
            self.write()
        } else {
            Ok(self.wait(cx))
        }
    }

    /// Commits what is queued, as much of it as goes into one write; the run continues.
    fn write(&mut self) -> Result<Round, Halt> {
        let records = {
            let mut machine = self.execution.machine();
            let count = first_write(machine.queue());
            machine.take_queued(count)
        };
        self.writer.write(records)?;
        Ok(Round::Continue)
    }

    /// Commits what is queued, and with it the end of this execution.
    fn end(&mut self, now: Timestamp, ending: Ending) -> Result<Round, Halt> {
        let (mut records, completed_steps) = {
            let mut machine = self.execution.machine();
            let count = machine.queue().len();
            let records = machine.take_queued(count);
            let entries = records.iter().filter_map(|record| record.entry.as_ref());
            let completed = entries.filter(|entry| entry.kind == EntryKind::StepCompleted);
            let steps = machine.completed_steps().iter();
            let steps = CompletedSteps::last_of(steps.chain(completed.map(|entry| &entry.name)));
            (records, steps)
        };
        let duration_ms = millis(now.duration_since(self.started_at));
        let (last, status, due_at) = ending.record(now, completed_steps, duration_ms)?;
        records.push(last);
        self.writer.end(records, status, due_at, ending)?;
        Ok(Round::Continue)
    }

    /// Waits for the first timer, besides everything that wakes the task.
    fn wait(&mut self, cx: &mut Context<'_>) -> Round {
        let clock = &self.execution.clock;
        let wait_in = |due_at: Timestamp| due_at.duration_since(wall(&**clock));
        let (wait, timer) = {
            let machine = self.execution.machine();
            (machine.earliest_wait(), machine.earliest_timer())
        };
        let wait = wait.map(|(due_at, ..)| clock.now().saturating_add(wait_in(due_at)));
        let Some(at) = wait.into_iter().chain(timer).min() else {
            return Round::Pending;
        };
        if self.alarm.poll(clock, at, cx).is_pending() {
            return Round::Pending;
        }
        let mut machine = self.execution.machine();
        machine.fire_timers(clock.now());
        machine.fire_wait(wall(&**clock));
        Round::Continue
    }
}

impl Future for Driver {
    type Output = Result<Ending, Halt>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.interrupt.register(cx.waker());
        for _ in 0..MAX_ROUNDS_PER_POLL {
            match self.round(cx) {
                Ok(Round::Continue) => {}
                Ok(Round::Yield) => break,
                Ok(Round::Pending) => return Poll::Pending,
                Ok(Round::End(ending)) => return Poll::Ready(Ok(ending)),
                Err(halt) => {
                    self.execution.machine().close();
                    self.drop_body();
                    return Poll::Ready(Err(halt));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Drops the workflow's future without a trace in the history.
impl Drop for Driver {
    fn drop(&mut self) {
        self.execution.machine().close();
        self.drop_body();
    }
}
