//! Waiting for the end of a run, wherever it is executed.

use crate::engine::error::RunError;
use crate::execution::ending::Ending;
use crate::limits::{ID_BYTES, check_name};
use crate::store::{Run, Span, StoreError};
use crate::worker::Worker;

/// Waits until a run has ended; returns how.
pub(super) async fn wait_for_end(worker: &Worker, id: &str) -> Result<Ending, RunError> {
    loop {
        let changed = worker.active.changed(id);
        let run = existing(worker, id).await?;
        if run.status.is_terminal() {
            return ending(worker, &run).await;
        }
        if worker.shutdown.is_stopped() {
            return Err(RunError::Closed);
        }
        worker.wait_for_change(changed).await;
    }
}

/// Returns a run that must exist.
pub(super) async fn existing(worker: &Worker, id: &str) -> Result<Run, RunError> {
    if let Some(run) = worker.find(id).await? {
        return Ok(run);
    }
    check_id("run id", id)?;
    Err(RunError::UnknownRun { id: id.to_owned() })
}

/// Reads how a terminal run has ended.
pub(super) async fn ending(worker: &Worker, run: &Run) -> Result<Ending, RunError> {
    let last = worker.records(run.key, Span::Last).await?.pop();
    match last.as_ref().and_then(Ending::read) {
        Some(ending) => ending.map_err(|source| RunError::Decode {
            id: run.id.clone(),
            source,
        }),
        None => Err(StoreError::Corrupt {
            what: format!("run {} has ended, and its history has not", run.key),
        }
        .into()),
    }
}

/// Checks a run id or an execution id.
pub(super) fn check_id(what: &'static str, id: &str) -> Result<(), RunError> {
    check_name(id, ID_BYTES).map_err(|source| RunError::Id { what, source })
}
