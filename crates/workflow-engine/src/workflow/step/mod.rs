//! A step: execute, record, then return; retry as its policy says.

mod attempt;
mod events;
mod retries;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use workflow_events::bounds::{WORD_BYTES, cut};
use workflow_events::{ErrorInfo, PauseReason, Timestamp};

use attempt::{Attempt, Ended, StepBody};
use retries::Retries;

use crate::clock::{after, wall};
use crate::execution::Execution;
use crate::execution::determinism::DeterminismError;
use crate::execution::machine::Permission;
use crate::execution::operation::{Begun, OpKey, OpKind};
use crate::execution::outgoing::{Draft, Outgoing};
use crate::limits::{NameError, STEP_NAME_BYTES, check_name, shown};
use crate::payload::Payload;
use crate::store::{Entry, EntryKind};
use crate::workflow::failure::{DurableError, StepError, StepFailure, panic_message};
use crate::workflow::recorded::recorded_failure;
use crate::workflow::retry::Retry;

/// A step that was called; awaiting it executes it. Made by
/// [`Context::step`](crate::Context::step).
///
/// The call takes the step's place among the steps of its name; the first poll does not.
///
/// # Cancel safety
///
/// A step whose future is dropped, by `select!` for instance, is interrupted: its body is dropped
/// where it awaits, and a result that it has already is lost to the workflow.
#[must_use = "a step does nothing unless it is awaited"]
pub struct Step<'a, T, E> {
    execution: &'a Execution,
    key: OpKey,
    body: StepBody<'a, T, E>,
    retries: Retries<'a, E>,
    timeout: Option<Duration>,
    /// Number of the attempt that is executing or comes next, from 1.
    attempt: u32,
    /// When the first attempt began; `None` before it has.
    first_began: Option<Timestamp>,
    /// Why its name is not accepted, if it must not be executed.
    invalid_name: Option<NameError>,
    phase: Phase<'a, T, E>,
}

enum Phase<'a, T, E> {
    /// The next attempt is due at this time.
    Waiting(Timestamp),
    Executing(Attempt<'a, T, E>),
    /// The step has ended with this result, which is being recorded.
    Ended(Result<T, StepError<E>>),
    Done,
}

/// Nothing in a step is ever pinned.
impl<T, E> Unpin for Step<'_, T, E> {}

impl Step<'_, (), ()> {
    /// A step that has run this long has its start recorded, and delivered, before its end: 100 ms.
    pub const SLOW: Duration = attempt::SLOW;
}

impl<'a, T, E> Step<'a, T, E> {
    pub(crate) fn new(execution: &'a Execution, name: Arc<str>, body: StepBody<'a, T, E>) -> Self {
        let mut machine = execution.machine();
        // A name that an earlier version has recorded is accepted.
        let invalid_name = check_name(&name, STEP_NAME_BYTES)
            .err()
            .filter(|_| !machine.is_recorded(OpKind::Step, &name));
        let name = match invalid_name {
            Some(_) => shown(&name).into(),
            None => name,
        };
        let key = machine.register(OpKind::Step, name, thread::current().id());
        drop(machine);
        Self {
            execution,
            key,
            body,
            retries: Retries {
                policy: None,
                decide: None,
            },
            timeout: None,
            attempt: 1,
            first_began: None,
            invalid_name,
            phase: Phase::Waiting(Timestamp::UNIX_EPOCH),
        }
    }

    /// Sets the retry policy; a step without a policy is executed once.
    ///
    /// Errors that the body returns and timeouts are retried; panics and results that cannot be
    /// recorded are not. [`retry_if`](Self::retry_if) decides otherwise. An error that is retried
    /// need not be recordable as its own type, because the events carry only its text. The wait
    /// before an attempt is durable, and a long wait suspends the run.
    pub fn retry(mut self, policy: Retry) -> Self {
        self.retries.policy = Some(policy);
        self
    }

    /// Retries only the failures for which `decide` returns true.
    ///
    /// `decide` sees an error as the body returned it, and also timeouts and panics. Results that
    /// cannot be recorded are never retried. Without a policy from [`retry`](Self::retry), `decide`
    /// has no effect.
    pub fn retry_if(mut self, decide: impl FnMut(&StepFailure<E>) -> bool + Send + 'a) -> Self {
        self.retries.decide = Some(Box::new(decide));
        self
    }

    /// Sets how long each attempt may take; then its future is dropped, and the attempt has failed.
    ///
    /// A future is dropped only where it awaits: a body that blocks its thread is not interrupted.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl<'a, T, E> Future for Step<'a, T, E>
where
    T: Serialize + DeserializeOwned + Send + 'a,
    E: DurableError,
{
    type Output = Result<T, StepError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let thread = thread::current().id();
        let mut machine = this.execution.machine();
        let permission = machine.poll(&this.key, thread, cx.waker());
        drop(machine);
        match permission {
            Permission::Completed(entry) => return this.completed(&entry),
            Permission::Wait => {}
            Permission::Proceed(begun) => this.begin_attempt(begun),
        }
        this.poll_attempt(cx);
        Poll::Pending
    }
}

impl<'a, T, E> Step<'a, T, E>
where
    T: Serialize + DeserializeOwned + Send + 'a,
    E: DurableError,
{
    /// Returns what is recorded. A result that was recorded just now needs no decoding.
    fn completed(&mut self, entry: &Entry) -> Poll<Result<T, StepError<E>>> {
        if let Phase::Ended(result) = std::mem::replace(&mut self.phase, Phase::Done) {
            return Poll::Ready(result);
        }
        let recorded = match (&entry.payload, entry.kind) {
            (Some(value), EntryKind::StepCompleted) => value.decode().map(Ok),
            (Some(cause), _) => cause.decode().map(|cause| {
                Err(StepError {
                    step: self.key.name.to_string(),
                    attempt: entry.attempt,
                    cause,
                })
            }),
            (None, _) => Err(serde::de::Error::custom("there is no value")),
        };
        match recorded {
            Ok(result) => Poll::Ready(result),
            Err(error) => {
                self.execution.fail(DeterminismError::Type {
                    operation: self.key.to_string(),
                    problem: cut(&error.to_string(), WORD_BYTES).into_owned(),
                });
                Poll::Pending
            }
        }
    }

    /// Begins the next attempt, if it is due.
    fn begin_attempt(&mut self, begun: Option<Begun>) {
        let Phase::Waiting(due_at) = &mut self.phase else {
            return;
        };
        if let Some((entry, _)) = begun
            && let Some(recorded) = entry.due_at
        {
            *due_at = recorded;
            self.attempt = entry.attempt.saturating_add(1);
            let first = entry.payload.and_then(|first| first.decode::<i64>().ok());
            self.first_began = first.and_then(|first| Timestamp::from_millis(first).ok());
        }
        let due_at = *due_at;
        let now = wall(&*self.execution.clock);
        if due_at > now {
            let reason = PauseReason::Retry;
            self.execution.machine().set_wait(&self.key, due_at, reason);
            return;
        }
        self.first_began.get_or_insert(now);
        if let Some(error) = self.invalid_name.take() {
            self.execution.machine().begin_attempt();
            let cause = StepFailure::InvalidName(error.to_string());
            return self.attempt_failed(now, Vec::new(), cause);
        }
        self.phase = Phase::Executing(Attempt::begin(
            self.execution,
            &self.key,
            self.attempt,
            self.timeout,
            now,
            &mut self.body,
        ));
    }

    fn poll_attempt(&mut self, cx: &mut Context<'_>) {
        let Phase::Executing(attempt) = &mut self.phase else {
            return;
        };
        let Some(finished) = attempt.poll(self.execution, &self.key, cx) else {
            return;
        };
        let phase = std::mem::replace(&mut self.phase, Phase::Done);
        let Phase::Executing(attempt) = phase else {
            return;
        };
        let Ended {
            at,
            elapsed,
            start,
            result,
        } = attempt.end(self.execution, &self.key, finished);
        let mut drafts = start;
        match result {
            Ok((value, payload)) => {
                let kind = events::completed(&self.key, self.attempt, elapsed);
                drafts.push(Draft { at, kind });
                self.complete(at, drafts, EntryKind::StepCompleted, payload, Ok(value));
            }
            Err(cause) => {
                if let StepFailure::TimedOut { timeout_ms, .. } = cause {
                    let kind = events::timed_out(&self.key, self.attempt, timeout_ms);
                    drafts.push(Draft { at, kind });
                }
                self.attempt_failed(at, drafts, cause);
            }
        }
    }

    /// Records that an attempt failed, and either the wait before the next one or the step's end.
    fn attempt_failed(&mut self, at: Timestamp, mut drafts: Vec<Draft>, cause: StepFailure<E>) {
        let attempt = self.attempt;
        let (verdict, info) = self.judge(cause, at);
        let will_retry = matches!(verdict, Verdict::Retry(_));
        let mut event = |kind| drafts.push(Draft { at, kind });
        event(events::failed(&self.key, attempt, info, will_retry));
        let delay = match verdict {
            Verdict::Retry(delay) => delay,
            Verdict::Final(cause, payload) => {
                if self.retries.policy.is_some() {
                    event(events::retries_exhausted(&self.key, attempt));
                }
                let error = StepError {
                    step: self.key.name.to_string(),
                    attempt,
                    cause,
                };
                return self.complete(at, drafts, EntryKind::StepFailed, payload, Err(error));
            }
        };
        let next_attempt_at = after(at, delay);
        event(events::retry_scheduled(
            &self.key,
            attempt,
            next_attempt_at,
            delay,
        ));
        let first = self.first_began;
        let first = first.and_then(|first| Payload::encode(&first.as_millis()).ok());
        let entry = self.entry(EntryKind::RetryScheduled, Some(next_attempt_at), first);
        let mut machine = self.execution.machine();
        machine.end_attempt(Outgoing {
            at,
            drafts,
            entry: Some(entry),
            completes: None,
        });
        machine.set_wait(&self.key, next_attempt_at, PauseReason::Retry);
        drop(machine);
        self.attempt = attempt.saturating_add(1);
        self.phase = Phase::Waiting(next_attempt_at);
    }

    /// Decides what follows from a failed attempt. `retry_if`, the error's text and its JSON form
    /// are the user's code, which may panic.
    fn judge(&mut self, cause: StepFailure<E>, at: Timestamp) -> (Verdict<E>, ErrorInfo) {
        let max_value_bytes = self.execution.max_value_bytes;
        let last = |cause, info: &ErrorInfo| {
            let (cause, payload) = recorded_failure(cause, info, max_value_bytes);
            Verdict::Final(cause, payload)
        };
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let info = cause.info().bounded();
            let elapsed = at.duration_since(self.first_began.unwrap_or(at));
            let delay =
                self.retries
                    .delay(self.execution, &self.key, self.attempt, &cause, elapsed);
            let verdict = delay.map_or_else(|| last(cause, &info), Verdict::Retry);
            (verdict, info)
        }));
        judged.unwrap_or_else(|panic| {
            let cause = StepFailure::Panicked(panic_message(&*panic));
            let info = cause.info().bounded();
            (last(cause, &info), info)
        })
    }

    /// Records the end of the step.
    fn complete(
        &mut self,
        at: Timestamp,
        drafts: Vec<Draft>,
        kind: EntryKind,
        payload: Payload,
        result: Result<T, StepError<E>>,
    ) {
        let entry = self.entry(kind, None, Some(payload));
        self.execution.machine().end_attempt(Outgoing {
            at,
            drafts,
            entry: Some(entry),
            completes: Some(self.key.clone()),
        });
        self.phase = Phase::Ended(result);
    }

    fn entry(&self, kind: EntryKind, due_at: Option<Timestamp>, payload: Option<Payload>) -> Entry {
        Entry {
            kind,
            name: self.key.name.to_string(),
            occurrence: self.key.occurrence,
            attempt: self.attempt,
            due_at,
            payload,
        }
    }
}

impl<T, E> Drop for Step<'_, T, E> {
    fn drop(&mut self) {
        let attempt = match &self.phase {
            Phase::Executing(attempt) => Some(attempt),
            _ => None,
        };
        let is_start_recorded = attempt.is_some_and(Attempt::is_start_recorded);
        let interrupted = is_start_recorded.then(|| Draft {
            at: wall(&*self.execution.clock),
            kind: events::dropped(&self.key, self.attempt),
        });
        let is_executing = attempt.is_some();
        let mut machine = self.execution.machine();
        machine.remove(&self.key, is_executing, interrupted);
    }
}

impl<T, E> fmt::Debug for Step<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What follows from a failed attempt.
enum Verdict<E> {
    /// Another attempt, after this delay.
    Retry(Duration),
    /// The end of the step: its failure, and the record of that.
    Final(StepFailure<E>, Payload),
}
