//! A step: execute, record, then return.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use serde::Serialize;
use serde::de::DeserializeOwned;
use workflow_events::{ErrorInfo, EventKind};

use crate::execution::Execution;
use crate::failure::{DurableError, StepError, StepFailure, panic_message};
use crate::history::Draft;
use crate::payload::Payload;
use crate::store::StepRecord;

type StepBody<'a, T, E> = Box<dyn FnMut() -> BoxFuture<'a, Result<T, E>> + Send + 'a>;

/// A step that was called; awaiting it executes it. Made by [`Context::step`](crate::Context::step).
///
/// Its place among the steps of its name is claimed by the call, not by the first poll.
#[must_use = "a step does nothing unless it is awaited"]
pub struct Step<'a, T, E> {
    name: String,
    state: State<'a, T, E>,
}

enum State<'a, T, E> {
    Called { run: &'a Execution, occurrence: u32, body: StepBody<'a, T, E> },
    Executing(BoxFuture<'a, Result<T, StepError<E>>>),
    Done,
}

impl Step<'_, (), ()> {
    /// A step that has run this long has its start recorded, and delivered, before its end: 100 ms.
    pub const SLOW: Duration = Duration::from_millis(100);
}

impl<'a, T, E> Step<'a, T, E> {
    pub(crate) fn new(run: &'a Execution, name: String, body: StepBody<'a, T, E>) -> Self {
        let occurrence = run.claim(&name);
        Self { name, state: State::Called { run, occurrence, body } }
    }
}

impl<'a, T, E> Future for Step<'a, T, E>
where
    T: Serialize + DeserializeOwned + Send + 'a,
    E: DurableError,
{
    type Output = Result<T, StepError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        if let State::Called { .. } = self.state
            && let State::Called { run, occurrence, body } = std::mem::replace(&mut self.state, State::Done)
        {
            let name = self.name.clone();
            self.state = State::Executing(execute(run, name, occurrence, body).boxed());
        }
        match &mut self.state {
            State::Executing(future) => future.as_mut().poll(cx),
            State::Called { .. } | State::Done => Poll::Pending,
        }
    }
}

async fn execute<T, E>(
    run: &Execution,
    name: String,
    occurrence: u32,
    mut body: StepBody<'_, T, E>,
) -> Result<T, StepError<E>>
where
    T: Serialize + DeserializeOwned + Send,
    E: DurableError,
{
    let (clock, attempt) = (run.history.clock(), 1);
    let (started_at, began) = (clock.wall(), clock.now());
    let mut drafts = vec![Draft { at: started_at, kind: EventKind::StepStarted { step_name: name.clone(), attempt } }];

    // `body` itself may panic before it returns a future, so it is called inside of one.
    let execution = Box::pin(AssertUnwindSafe(async move { body().await }).catch_unwind());
    let caught = match select(execution, clock.sleep(Step::SLOW)).await {
        Either::Left((caught, _)) => caught,
        Either::Right(((), execution)) => {
            if let Err(halt) = run.history.append(std::mem::take(&mut drafts), None).await {
                run.halt(halt).await;
            }
            execution.await
        }
    };

    let duration = clock.now().saturating_sub(began);
    let (result, recorded) = classify(caught);
    let result = result.map_err(|cause| StepError { step: name.clone(), attempt, cause });
    drafts.push(Draft { at: clock.wall().max(started_at), kind: ended(&name, attempt, duration, &result) });
    let record = StepRecord { name: name.clone(), occurrence, attempt, result: recorded };
    if let Err(halt) = run.history.append(drafts, Some(record)).await {
        run.halt(halt).await;
    }
    if result.is_ok() {
        run.step_completed(name);
    }
    result
}

/// Turns what the body did into what the workflow gets and what is recorded.
fn classify<T: Serialize, E: DurableError>(
    caught: Result<Result<T, E>, Box<dyn Any + Send>>,
) -> (Result<T, StepFailure<E>>, Result<Payload, Option<Payload>>) {
    match caught {
        Ok(Ok(value)) => match Payload::encode(&value) {
            Ok(payload) => (Ok(value), Ok(payload)),
            Err(error) => (Err(StepFailure::Unencodable(error.to_string())), Err(None)),
        },
        Ok(Err(error)) => {
            let payload = Payload::encode(&error).ok();
            (Err(StepFailure::Returned(error)), Err(payload))
        }
        Err(panic) => (Err(StepFailure::Panicked(panic_message(&*panic))), Err(None)),
    }
}

fn ended<T, E: DurableError>(
    name: &str,
    attempt: u32,
    duration: Duration,
    result: &Result<T, StepError<E>>,
) -> EventKind {
    let step_name = name.to_owned();
    match result {
        Ok(_) => {
            let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            EventKind::StepCompleted { step_name, attempt, duration_ms, cached: false }
        }
        Err(error) => {
            let error = ErrorInfo { step_name: None, attempt: None, ..error.info() };
            EventKind::StepFailed { step_name, attempt, error, will_retry: false }
        }
    }
}

impl<T, E> fmt::Debug for Step<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.name).finish_non_exhaustive()
    }
}
