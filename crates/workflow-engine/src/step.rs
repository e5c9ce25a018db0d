//! A step: execute, record, then return; try again as its policy says.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, CatchUnwind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use workflow_events::bounds::{WORD_BYTES, cut};
use workflow_events::{ErrorInfo, EventKind, PauseReason, Timestamp};

use crate::determinism::DeterminismError;
use crate::execution::Execution;
use crate::failure::{DurableError, StepError, StepFailure, panic_message};
use crate::history::{Draft, Outgoing};
use crate::limits::{NameError, STEP_NAME_BYTES, check_name, shown};
use crate::machine::Turn;
use crate::operation::{OpKey, OpKind};
use crate::payload::Payload;
use crate::recorded::{Caught, recorded_failure, recorded_value};
use crate::replay::Begun;
use crate::retry::Retry;
use crate::store::{Entry, EntryKind};
use crate::time::{after, millis, wall};

type StepBody<'a, T, E> = Box<dyn FnMut() -> BoxFuture<'a, Result<T, E>> + Send + 'a>;
type Decide<'a, E> = Box<dyn FnMut(&StepFailure<E>) -> bool + Send + 'a>;

/// A step that was called; awaiting it executes it. Made by
/// [`Context::step`](crate::Context::step).
///
/// Its place among the steps of its name is claimed by the call, not by the first poll.
///
/// # Cancel safety
///
/// A step whose future is dropped, by `select!` for instance, is cut: its body is dropped where it
/// stands, and its result, if there was one already, is asked for by nobody.
#[must_use = "a step does nothing unless it is awaited"]
pub struct Step<'a, T, E> {
    run: &'a Execution,
    key: OpKey,
    body: StepBody<'a, T, E>,
    retry: Option<Retry>,
    retry_if: Option<Decide<'a, E>>,
    timeout: Option<Duration>,
    /// The attempt that is being executed or comes next, from 1.
    attempt: u32,
    /// When the first attempt began; `None` before it has.
    first_began: Option<Timestamp>,
    /// What is wrong with its name, if it must not be executed.
    refused: Option<NameError>,
    phase: Phase<'a, T, E>,
}

enum Phase<'a, T, E> {
    /// The next attempt is due then.
    Waiting(Timestamp),
    Executing(Attempt<'a, T, E>),
    /// It has ended, and its end is being recorded.
    Ended(Result<T, StepError<E>>),
    Done,
}

struct Attempt<'a, T, E> {
    future: CatchUnwind<AssertUnwindSafe<BoxFuture<'a, Result<T, E>>>>,
    at: Timestamp,
    began: Duration,
    /// What the history is told of its start; `None` once it was told.
    start: Option<Vec<Draft>>,
    /// When it must be polled for the sake of the time.
    timer: Option<Duration>,
    span: tracing::Span,
}

/// Nothing in it is ever pinned.
impl<T, E> Unpin for Step<'_, T, E> {}

impl Step<'_, (), ()> {
    /// A step that has run this long has its start recorded, and delivered, before its end: 100 ms.
    pub const SLOW: Duration = Duration::from_millis(100);
}

impl<'a, T, E> Step<'a, T, E> {
    pub(crate) fn new(run: &'a Execution, name: Arc<str>, body: StepBody<'a, T, E>) -> Self {
        let mut machine = run.machine();
        // What an earlier version has recorded goes on.
        let refused = check_name(&name, STEP_NAME_BYTES)
            .err()
            .filter(|_| !machine.is_recorded(OpKind::Step, &name));
        let name = if refused.is_some() {
            shown(&name).into()
        } else {
            name
        };
        let key = machine.claim(OpKind::Step, name);
        drop(machine);
        Self {
            run,
            key,
            body,
            retry: None,
            retry_if: None,
            timeout: None,
            attempt: 1,
            first_began: None,
            refused,
            phase: Phase::Waiting(Timestamp::UNIX_EPOCH),
        }
    }

    /// Sets how it is tried again when an attempt fails; a step without a policy is executed once.
    ///
    /// Errors that the body returns and timeouts are retried; a panic is not, and neither is a
    /// result that cannot be recorded. [`retry_if`](Self::retry_if) decides otherwise. An error
    /// that is retried need not be one that can be recorded: the events have its words. The wait
    /// before an attempt is durable: a longer one suspends the run.
    pub fn retry(mut self, policy: Retry) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Sets which failures are retried: those for which `decide` returns true. It sees an error as
    /// the body returned it. Timeouts and panics are among what it is asked about; a result that
    /// cannot be recorded is not. It decides nothing without [`retry`](Self::retry).
    pub fn retry_if(mut self, decide: impl FnMut(&StepFailure<E>) -> bool + Send + 'a) -> Self {
        self.retry_if = Some(Box::new(decide));
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

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let turn = this.run.machine().turn(&this.key, poller);
        match turn {
            Turn::Released(entry) => return this.released(&entry),
            Turn::Wait => {}
            Turn::Live(begun) => this.go_on(begun),
        }
        this.poll_attempt(poller);
        Poll::Pending
    }
}

impl<'a, T, E> Step<'a, T, E>
where
    T: Serialize + DeserializeOwned + Send + 'a,
    E: DurableError,
{
    /// Returns what is recorded. A result that was recorded just now is here already.
    fn released(&mut self, entry: &Entry) -> Poll<Result<T, StepError<E>>> {
        if let Phase::Ended(result) = std::mem::replace(&mut self.phase, Phase::Done) {
            return Poll::Ready(result);
        }
        let recorded = match (&entry.payload, entry.kind) {
            (Some(value), EntryKind::StepCompleted) => value.decode().map(Ok),
            (Some(cause), _) => cause.decode().map(|cause| {
                let (step, attempt) = (self.key.name.to_string(), entry.attempt);
                Err(StepError {
                    step,
                    attempt,
                    cause,
                })
            }),
            (None, _) => Err(serde::de::Error::custom("there is no value")),
        };
        match recorded {
            Ok(result) => Poll::Ready(result),
            Err(error) => {
                let (operation, problem) = (
                    self.key.to_string(),
                    cut(&error.to_string(), WORD_BYTES).into_owned(),
                );
                self.run.fail(DeterminismError::Type { operation, problem });
                Poll::Pending
            }
        }
    }

    /// Begins the next attempt, if it is due.
    fn go_on(&mut self, begun: Option<Begun>) {
        let Phase::Waiting(due_at) = &mut self.phase else {
            return;
        };
        if let Some((
            Entry {
                attempt,
                due_at: Some(due),
                payload,
                ..
            },
            _,
        )) = begun
        {
            *due_at = due;
            self.attempt = attempt.saturating_add(1);
            let first = payload.and_then(|first| first.decode::<i64>().ok());
            self.first_began = first.and_then(|first| Timestamp::from_millis(first).ok());
        }
        let (due_at, at) = (*due_at, wall(&*self.run.clock));
        if due_at > at {
            self.run
                .machine()
                .set_wait(&self.key, Some((due_at, PauseReason::Retry)));
            return;
        }
        self.first_began.get_or_insert(at);
        if let Some(refused) = self.refused.take() {
            self.run.machine().attempt_begins();
            return self.attempt_failed(
                at,
                Vec::new(),
                StepFailure::InvalidName(refused.to_string()),
            );
        }
        let (step_name, attempt) = (self.key.name.to_string(), self.attempt);
        let span = tracing::info_span!("step", step = step_name, attempt);
        let mut start = vec![EventKind::StepStarted {
            step_name: step_name.clone(),
            attempt,
        }];
        if let Some(timeout) = self.timeout {
            let deadline = after(at, timeout);
            start.push(EventKind::TimeoutSet {
                step_name,
                deadline,
                timeout_ms: millis(timeout),
                attempt,
            });
        }
        let start = Some(start.into_iter().map(|kind| Draft { at, kind }).collect());
        self.run.machine().attempt_begins();
        self.run.machine().enter_step(Some(self.key.name.clone()));
        // The body may panic before it returns a future.
        let body = &mut self.body;
        let future = catch_unwind(AssertUnwindSafe(|| span.in_scope(body)))
            .unwrap_or_else(|panic| async move { std::panic::resume_unwind(panic) }.boxed());
        self.run.machine().enter_step(None);
        let future = AssertUnwindSafe(future).catch_unwind();
        let began = self.run.clock.now();
        self.phase = Phase::Executing(Attempt {
            future,
            at,
            began,
            start,
            timer: None,
            span,
        });
    }

    fn poll_attempt(&mut self, poller: &mut Poller<'_>) {
        let Phase::Executing(attempt) = &mut self.phase else {
            return;
        };
        self.run.machine().enter_step(Some(self.key.name.clone()));
        let polled = attempt.span.in_scope(|| attempt.future.poll_unpin(poller));
        self.run.machine().enter_step(None);
        let now = self.run.clock.now();
        let deadline = self
            .timeout
            .map(|timeout| attempt.began.saturating_add(timeout));
        if let Poll::Ready(caught) = polled {
            return self.attempt_ended(now, Some(caught));
        }
        if deadline.is_some_and(|deadline| now >= deadline) {
            return self.attempt_ended(now, None);
        }
        let slow = attempt.began.saturating_add(Step::SLOW);
        if now >= slow
            && let Some(start) = attempt.start.take()
        {
            self.run.machine().record(Outgoing::events(start), false);
        }
        let timer = deadline
            .into_iter()
            .chain(attempt.start.as_ref().map(|_| slow))
            .min();
        if attempt.timer != timer {
            attempt.timer = timer;
            self.run.machine().set_timer(&self.key, timer);
        }
    }

    /// Records how an attempt ended: it returned, it panicked, or (`None`) its time was up.
    fn attempt_ended(&mut self, now: Duration, caught: Option<Caught<T, E>>) {
        let Phase::Executing(attempt) = std::mem::replace(&mut self.phase, Phase::Done) else {
            return;
        };
        let Attempt {
            future,
            at,
            began,
            start,
            timer,
            ..
        } = attempt;
        if timer.is_some() {
            self.run.machine().set_timer(&self.key, None);
        }
        let ended_at = wall(&*self.run.clock).max(at);
        let elapsed = now.saturating_sub(began);
        let mut events: Vec<_> = start.unwrap_or_default();
        let mut event = |kind| events.push(Draft { at: ended_at, kind });
        let (step_name, attempt) = (self.key.name.to_string(), self.attempt);

        // Dropping the future, and encoding what it returned, are the user's code too.
        let classified = catch_unwind(AssertUnwindSafe(|| {
            drop(future);
            let timed_out = || StepFailure::TimedOut {
                timeout_ms: millis(self.timeout.unwrap_or_default()),
                elapsed_ms: millis(elapsed),
            };
            caught.map_or_else(
                || Err(timed_out()),
                |caught| recorded_value(caught, self.run.value_limit),
            )
        }));
        let cause = match classified
            .unwrap_or_else(|panic| Err(StepFailure::Panicked(panic_message(&*panic))))
        {
            Ok((value, payload)) => {
                let duration_ms = millis(elapsed);
                event(EventKind::StepCompleted {
                    step_name,
                    attempt,
                    duration_ms,
                    cached: false,
                });
                return self.ended(
                    ended_at,
                    events,
                    EntryKind::StepCompleted,
                    payload,
                    Ok(value),
                );
            }
            Err(cause) => cause,
        };
        if let (StepFailure::TimedOut { .. }, Some(timeout)) = (&cause, self.timeout) {
            event(EventKind::TimeoutExceeded {
                step_name,
                timeout_ms: millis(timeout),
                attempt,
            });
        }
        self.attempt_failed(ended_at, events, cause);
    }

    /// Records that an attempt failed, and that another one follows or that this was the last.
    fn attempt_failed(&mut self, at: Timestamp, mut events: Vec<Draft>, cause: StepFailure<E>) {
        let (step_name, attempt) = (self.key.name.to_string(), self.attempt);
        let mut event = |kind| events.push(Draft { at, kind });
        // The decision to try again, the error's own words and its JSON form are the user's code
        // too.
        let limit = self.run.value_limit;
        let last = |cause, info: &ErrorInfo| {
            let (cause, payload) = recorded_failure(cause, info, limit);
            Judged::Final(cause, payload)
        };
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let info = cause.info().bounded();
            let judged = self
                .retry_delay(&cause, at)
                .map_or_else(|| last(cause, &info), Judged::Again);
            (judged, info)
        }));
        let (judged, info) = judged.unwrap_or_else(|panic| {
            let cause = StepFailure::Panicked(panic_message(&*panic));
            let info = cause.info().bounded();
            (last(cause, &info), info)
        });
        let (error, will_retry) = (
            ErrorInfo {
                step_name: None,
                attempt: None,
                ..info
            },
            matches!(judged, Judged::Again(_)),
        );
        event(EventKind::StepFailed {
            step_name: step_name.clone(),
            attempt,
            error,
            will_retry,
        });
        let delay = match judged {
            Judged::Again(delay) => delay,
            Judged::Final(cause, payload) => {
                if self.retry.is_some() {
                    event(EventKind::RetryExhausted {
                        step_name: step_name.clone(),
                        attempts: attempt,
                    });
                }
                let error = StepError {
                    step: step_name,
                    attempt,
                    cause,
                };
                return self.ended(at, events, EntryKind::StepFailed, payload, Err(error));
            }
        };
        let next_attempt_at = after(at, delay);
        event(EventKind::RetryScheduled {
            step_name,
            attempt,
            next_attempt_at,
            delay_ms: millis(delay),
        });
        let first = self
            .first_began
            .and_then(|first| Payload::encode(&first.as_millis()).ok());
        let entry = self.entry(EntryKind::RetryScheduled, Some(next_attempt_at), first);
        self.run.machine().record(
            Outgoing {
                at,
                drafts: events,
                entry: Some(entry),
                ends: None,
            },
            true,
        );
        self.attempt = attempt.saturating_add(1);
        self.run
            .machine()
            .set_wait(&self.key, Some((next_attempt_at, PauseReason::Retry)));
        self.phase = Phase::Waiting(next_attempt_at);
    }

    fn ended(
        &mut self,
        at: Timestamp,
        drafts: Vec<Draft>,
        kind: EntryKind,
        payload: Payload,
        result: Result<T, StepError<E>>,
    ) {
        let entry = self.entry(kind, None, Some(payload));
        self.run.machine().record(
            Outgoing {
                at,
                drafts,
                entry: Some(entry),
                ends: Some(self.key.clone()),
            },
            true,
        );
        self.phase = Phase::Ended(result);
    }

    fn entry(&self, kind: EntryKind, due_at: Option<Timestamp>, payload: Option<Payload>) -> Entry {
        let (name, occurrence) = (self.key.name.to_string(), self.key.occurrence);
        Entry {
            kind,
            name,
            occurrence,
            attempt: self.attempt,
            due_at,
            payload,
        }
    }

    /// Returns how long to wait before the next attempt; `None` if there is none.
    fn retry_delay(&mut self, cause: &StepFailure<E>, failed_at: Timestamp) -> Option<Duration> {
        let policy = self.retry.as_ref()?;
        let wanted = match (cause, &mut self.retry_if) {
            (
                StepFailure::Unencodable(_)
                | StepFailure::TooLarge { .. }
                | StepFailure::TooDeep { .. },
                _,
            ) => false,
            (StepFailure::InvalidName(_), _) => false,
            (cause, Some(decide)) => decide(cause),
            (cause, None) => !matches!(cause, StepFailure::Panicked(_)),
        };
        let elapsed = failed_at.duration_since(self.first_began.unwrap_or(failed_at));
        let seed = self
            .run
            .seed
            .with(&format!("{} {}", self.key, self.attempt));
        if wanted {
            policy.delay(self.attempt, elapsed, seed)
        } else {
            None
        }
    }
}

impl<T, E> Drop for Step<'_, T, E> {
    fn drop(&mut self) {
        let (executing, told) = match &self.phase {
            Phase::Executing(attempt) => (true, attempt.start.is_none()),
            _ => (false, false),
        };
        let cut = told.then(|| Draft {
            at: wall(&*self.run.clock),
            kind: dropped(&self.key.name, self.attempt),
        });
        self.run.machine().forget(&self.key, executing, cut);
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
enum Judged<E> {
    /// Another attempt, after this delay.
    Again(Duration),
    /// Nothing: this is how the step failed, and what is recorded of it.
    Final(StepFailure<E>, Payload),
}

/// What the history is told of a step whose future was dropped while it was being executed.
fn dropped(step: &str, attempt: u32) -> EventKind {
    let error = ErrorInfo {
        kind: Some("dropped".into()),
        ..ErrorInfo::new("the step was dropped before it ended")
    };
    EventKind::StepFailed {
        step_name: step.into(),
        attempt,
        error,
        will_retry: false,
    }
}
