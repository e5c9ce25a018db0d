//! The machine as operations use it: they register, poll, record, wait and go.

use std::mem::take;
use std::sync::Arc;
use std::task::Waker;
use std::thread::ThreadId;
use std::time::Duration;

use uuid::Uuid;
use workflow_events::{PauseReason, Timestamp};

use crate::execution::determinism::DeterminismError;
use crate::execution::machine::{Machine, Operation, Permission};
use crate::execution::operation::{OpKey, OpKind};
use crate::execution::outgoing::{Draft, Outgoing};
use crate::execution::phase::Phase;
use crate::random::Seed;

impl Machine {
    /// Registers a call on `thread` and returns its key. An operation registers when it is called,
    /// not when its future is first polled.
    pub(crate) fn register(&mut self, kind: OpKind, name: Arc<str>, thread: ThreadId) -> OpKey {
        let key = self.calls.register(kind, name);
        self.check_place(&key, thread);
        self.operations.insert(key.clone(), Operation::default());
        key
    }

    /// Returns whether the history has the next occurrence of a name.
    pub(crate) fn is_recorded(&self, kind: OpKind, name: &Arc<str>) -> bool {
        let key = self.calls.next(kind, name.clone());
        self.begun.contains_key(&key) || self.completions.unreached().any(|next| *next == key)
    }

    /// Returns what an operation may do now that it is polled on `thread`, and keeps its waker.
    pub(crate) fn poll(&mut self, key: &OpKey, thread: ThreadId, waker: &Waker) -> Permission {
        self.check_place(key, thread);
        let may_proceed = matches!(self.phase, Phase::Live) && self.problem.is_none();
        let Some(operation) = self.operations.get_mut(key) else {
            return Permission::Wait;
        };
        let granted = operation.completion;
        if let Some(completion) = granted.and_then(|place| self.completions.take(place)) {
            self.now = self.now.max(completion.at);
            return Permission::Completed(completion.entry);
        }
        operation.is_polled = true;
        match &mut operation.waker {
            Some(kept) => kept.clone_from(waker),
            None => operation.waker = Some(waker.clone()),
        }
        if let Some(place) = operation.completion {
            self.completions.request(place);
            return Permission::Wait;
        }
        if may_proceed {
            Permission::Proceed(self.begun.remove(key))
        } else {
            Permission::Wait
        }
    }

    /// Counts an attempt that begins.
    pub(crate) fn begin_attempt(&mut self) {
        self.attempts += 1;
    }

    /// Counts an attempt that has ended, and queues what the history gets of it.
    pub(crate) fn end_attempt(&mut self, outgoing: Outgoing) {
        self.attempts -= 1;
        self.record(outgoing);
    }

    /// Queues a record.
    pub(crate) fn record(&mut self, outgoing: Outgoing) {
        self.queue.push(outgoing);
    }

    /// Sets when an operation is polled again, by the monotonic clock; `None` for no time.
    pub(crate) fn set_timer(&mut self, key: &OpKey, at: Option<Duration>) {
        let Some(operation) = self.operations.get_mut(key) else {
            return;
        };
        if let Some(timer) = operation.timer.take() {
            self.timers.remove(timer);
        }
        operation.timer = at.map(|at| self.timers.insert(at, key.clone()));
    }

    /// Sets until when an operation waits, by the time of day.
    pub(crate) fn set_wait(&mut self, key: &OpKey, due_at: Timestamp, reason: PauseReason) {
        let Some(operation) = self.operations.get_mut(key) else {
            return;
        };
        if let Some(wait) = operation.wait.take() {
            self.waits.remove(wait);
        }
        operation.wait = Some(self.waits.insert(due_at, (key.clone(), reason)));
    }

    /// Returns whether the wait of an operation has ended; clears that.
    pub(crate) fn take_due(&mut self, key: &OpKey) -> bool {
        let operation = self.operations.get_mut(key);
        operation.is_some_and(|operation| take(&mut operation.is_due))
    }

    /// Removes an operation whose future is dropped.
    ///
    /// `is_executing` says whether an attempt of it was under way; `interrupted` is the event that
    /// the history gets of that.
    pub(crate) fn remove(&mut self, key: &OpKey, is_executing: bool, interrupted: Option<Draft>) {
        if let Some(operation) = self.operations.remove(key) {
            if let Some(wait) = operation.wait {
                self.waits.remove(wait);
            }
            if let Some(timer) = operation.timer {
                self.timers.remove(timer);
            }
            if let Some(place) = operation.completion {
                self.completions.discard(place);
            }
        }
        self.attempts -= usize::from(is_executing);
        let is_recorded = !matches!(self.phase, Phase::Closed(_));
        if let Some(draft) = interrupted.filter(|_| is_recorded) {
            self.record(Outgoing::events(vec![draft]));
        }
    }

    /// Sets the step whose body is being polled; such a body may not use durable operations.
    pub(crate) fn set_step(&mut self, step: Option<Arc<str>>) {
        self.in_step = step;
    }

    /// Returns the time as the workflow knows it.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.draw("random", Seed::next)
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        self.draw("uuid", Seed::uuid)
    }

    /// Draws from the run's generator: the same call of every replay gets the same.
    fn draw<T>(&mut self, operation: &str, draw: fn(&mut Seed) -> T) -> T {
        if let Some(step) = &self.in_step {
            self.problem.get_or_insert(DeterminismError::Nested {
                operation: operation.into(),
                step: step.to_string(),
            });
        }
        draw(&mut self.random)
    }

    /// Checks that an operation is used on the workflow's own future, and not inside a step.
    fn check_place(&mut self, key: &OpKey, thread: ThreadId) {
        if self.polling != Some(thread) {
            let operation = key.to_string();
            self.fail(DeterminismError::Elsewhere { operation });
        } else if let Some(step) = &self.in_step {
            let operation = key.to_string();
            let step = step.to_string();
            self.fail(DeterminismError::Nested { operation, step });
        }
    }

    /// Stops the run, because its code cannot be followed. The first problem counts.
    pub(crate) fn fail(&mut self, problem: DeterminismError) {
        self.problem.get_or_insert(problem);
    }
}
