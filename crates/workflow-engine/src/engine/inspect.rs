//! What a store has of runs: lists, histories, views.

use workflow_events::{Event, RunView};

use crate::engine::Engine;
use crate::store::{Run, RunFilter, Span, StoreError};
use crate::worker::Worker;

impl Engine {
    /// Returns the runs that a filter admits, in the order of their creation.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails.
    pub async fn list(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        let Worker { store, .. } = &*self.worker;
        self.worker.retried(|| store.list(filter)).await
    }

    /// Returns a run's lifecycle events in order; empty if there is no such run.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails, or holds a record that cannot be read.
    pub async fn history(&self, id: &str) -> Result<Vec<Event>, StoreError> {
        history(&self.worker, id).await
    }

    /// Returns the view of a run, computed from its events; `None` if there is no such run.
    ///
    /// # Errors
    ///
    /// [`StoreError`] as for [`history`](Self::history).
    pub async fn view(&self, id: &str) -> Result<Option<RunView>, StoreError> {
        let events = self.history(id).await?;
        Ok((!events.is_empty()).then(|| RunView::from_events(&events)))
    }
}

/// Returns the lifecycle events of a run in order; empty if there is no such run.
pub(super) async fn history(worker: &Worker, id: &str) -> Result<Vec<Event>, StoreError> {
    let Some(run) = worker.find(id).await? else {
        return Ok(Vec::new());
    };
    let records = worker.records(run.key, Span::All).await?;
    let events = records.iter().flat_map(|record| &record.events);
    let events = events.map(|event| event.decode());
    events
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::Corrupt {
            what: format!("an event of run {}: {error}", run.key),
        })
}
