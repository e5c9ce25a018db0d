//! Polls one run until it ends or is left as it is.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use workflow_events::EventKind;

use crate::execution::Execution;
use crate::history::Halt;
use crate::status::Status;
use crate::store::RunResult;

/// Executes `body` and records how it ended; `began` is the monotonic time of the run's start.
///
/// # Errors
///
/// [`Halt`]: the run stays as the store has it.
pub(crate) async fn drive(
    run: &Arc<Execution>,
    mut body: BoxFuture<'static, RunResult>,
    began: Duration,
) -> Result<RunResult, Halt> {
    let result = poll_fn(|cx| {
        let polled = body.as_mut().poll(cx);
        // A halt wins over whatever the function made of it, and the function is not polled again.
        match run.take_halt() {
            Some(halt) => Poll::Ready(Err(halt)),
            None => polled.map(Ok),
        }
    })
    .await?;
    drop(body);
    let completed_steps = run.completed_steps();
    let (kind, status) = match &result {
        RunResult::Completed(output) => {
            let duration = run.history.clock().now().saturating_sub(began);
            let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let output = output.decode().ok();
            (EventKind::WorkflowCompleted { completed_steps, duration_ms, output }, Status::Completed)
        }
        RunResult::Failed { info, .. } => {
            (EventKind::WorkflowFailed { error: info.clone(), completed_steps }, Status::Failed)
        }
    };
    run.history.finish(kind, status, result.clone()).await?;
    Ok(result)
}
