//! One attempt of a step: executes the body once, and classifies how that ended.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, CatchUnwind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use workflow_events::Timestamp;

use crate::clock::{millis, wall};
use crate::execution::Execution;
use crate::execution::operation::OpKey;
use crate::execution::outgoing::{Draft, Outgoing};
use crate::payload::Payload;
use crate::workflow::failure::{StepFailure, panic_message};
use crate::workflow::recorded::{Caught, recorded_value};
use crate::workflow::step::events;

/// An attempt that has run this long has its start recorded before its end.
pub(super) const SLOW: Duration = Duration::from_millis(100);

pub(super) type StepBody<'a, T, E> = Box<dyn FnMut() -> BoxFuture<'a, Result<T, E>> + Send + 'a>;

/// An attempt under way.
pub(super) struct Attempt<'a, T, E> {
    future: CatchUnwind<AssertUnwindSafe<BoxFuture<'a, Result<T, E>>>>,
    at: Timestamp,
    /// When it began, by the monotonic clock.
    began: Duration,
    timeout: Option<Duration>,
    /// The events of its start; `None` once they are queued.
    start: Option<Vec<Draft>>,
    /// When it must be polled to keep a time.
    timer: Option<Duration>,
    span: tracing::Span,
}

/// An attempt that has ended.
pub(super) struct Ended<T, E> {
    pub(super) at: Timestamp,
    pub(super) elapsed: Duration,
    /// The events of its start, unless they are queued already.
    pub(super) start: Vec<Draft>,
    /// The value and its record, or why there is none.
    pub(super) result: Result<(T, Payload), StepFailure<E>>,
}

impl<T, E> Attempt<'_, T, E> {
    /// Returns whether the history gets the start of this attempt even if it never ends.
    pub(super) fn is_start_recorded(&self) -> bool {
        self.start.is_none()
    }
}

impl<'a, T, E> Attempt<'a, T, E>
where
    T: Serialize + DeserializeOwned + Send + 'a,
    E: Send + 'a,
{
    /// Begins an attempt, the `number`th from 1, at the time of day `at`.
    pub(super) fn begin(
        execution: &Execution,
        key: &OpKey,
        number: u32,
        timeout: Option<Duration>,
        at: Timestamp,
        body: &mut StepBody<'a, T, E>,
    ) -> Self {
        let name = &*key.name;
        let span = tracing::info_span!("step", step = name, attempt = number);
        let start = events::started(key, number, at, timeout).into_iter();
        let start = start.map(|kind| Draft { at, kind }).collect();
        execution.machine().begin_attempt();
        execution.machine().set_step(Some(key.name.clone()));
        // The body may panic before it returns a future.
        let future = catch_unwind(AssertUnwindSafe(|| span.in_scope(body)))
            .unwrap_or_else(|panic| async move { resume_unwind(panic) }.boxed());
        execution.machine().set_step(None);
        Self {
            future: AssertUnwindSafe(future).catch_unwind(),
            at,
            began: execution.clock.now(),
            timeout,
            start: Some(start),
            timer: None,
            span,
        }
    }

    /// Polls the body; returns how the attempt ended, once it has.
    pub(super) fn poll(
        &mut self,
        execution: &Execution,
        key: &OpKey,
        cx: &mut Context<'_>,
    ) -> Option<Finished<T, E>> {
        execution.machine().set_step(Some(key.name.clone()));
        let polled = self.span.in_scope(|| self.future.poll_unpin(cx));
        execution.machine().set_step(None);
        let now = execution.clock.now();
        if let Poll::Ready(caught) = polled {
            let caught = Some(caught);
            return Some(Finished { now, caught });
        }
        let deadline = self
            .timeout
            .map(|timeout| self.began.saturating_add(timeout));
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Some(Finished { now, caught: None });
        }
        let slow = self.began.saturating_add(SLOW);
        if now >= slow
            && let Some(start) = self.start.take()
        {
            execution.machine().record(Outgoing::events(start));
        }
        let slow = self.start.as_ref().map(|_| slow);
        let timer = deadline.into_iter().chain(slow).min();
        if self.timer != timer {
            self.timer = timer;
            execution.machine().set_timer(key, timer);
        }
        None
    }

    /// Classifies how the attempt ended.
    pub(super) fn end(
        self,
        execution: &Execution,
        key: &OpKey,
        finished: Finished<T, E>,
    ) -> Ended<T, E> {
        if self.timer.is_some() {
            execution.machine().set_timer(key, None);
        }
        let Finished { now, caught } = finished;
        let at = wall(&*execution.clock).max(self.at);
        let elapsed = now.saturating_sub(self.began);
        let timeout = self.timeout.unwrap_or_default();
        let future = self.future;
        // Dropping the future and encoding its output are the user's code too.
        let classified = catch_unwind(AssertUnwindSafe(|| {
            drop(future);
            match caught {
                Some(caught) => recorded_value(caught, execution.max_value_bytes),
                None => Err(StepFailure::TimedOut {
                    timeout_ms: millis(timeout),
                    elapsed_ms: millis(elapsed),
                }),
            }
        }));
        let panicked = |panic: Box<dyn Any + Send>| StepFailure::Panicked(panic_message(&*panic));
        Ended {
            at,
            elapsed,
            start: self.start.unwrap_or_default(),
            result: classified.unwrap_or_else(|panic| Err(panicked(panic))),
        }
    }
}

/// How a body ended.
pub(super) struct Finished<T, E> {
    /// When, by the monotonic clock.
    now: Duration,
    /// What it returned, or its panic; `None` if its time has expired.
    caught: Option<Caught<T, E>>,
}
