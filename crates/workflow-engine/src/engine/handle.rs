//! The handle of a run.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use workflow_events::Event;

use crate::engine::cancel::{self, Cancel, Cancelled};
use crate::engine::error::{CancelError, RunError};
use crate::engine::inspect;
use crate::engine::outcome::{Outcome, decode};
use crate::engine::result::wait_for_end;
use crate::execution::replay::Replay;
use crate::store::{Run, Span, Status, StoreError};
use crate::worker::Worker;

/// Handle of a run, wherever the run is executed. Made by [`Engine::start`](crate::Engine::start)
/// and [`Engine::handle`](crate::Engine::handle).
///
/// Dropping a handle does not affect the run.
pub struct RunHandle<Output, Error> {
    worker: Arc<Worker>,
    id: String,
    types: PhantomData<fn() -> Result<Output, Error>>,
}

impl<Output, Error> RunHandle<Output, Error> {
    pub(super) fn new(worker: Arc<Worker>, id: String) -> Self {
        Self {
            worker,
            id,
            types: PhantomData,
        }
    }

    /// Returns the run's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the run has ended, through its sleeps and recoveries, and returns its outcome.
    /// Executes nothing itself.
    ///
    /// The end of a run in another process is noticed within the [poll
    /// interval](crate::EngineBuilder::poll_interval), 1 second by default.
    ///
    /// # Errors
    ///
    /// [`RunError::UnknownRun`], [`RunError::Decode`], [`RunError::Store`]; [`RunError::Closed`]
    /// when this engine is shut down before the run has ended; the next engine continues the run.
    pub async fn result(&self) -> Result<Outcome<Output, Error>, RunError>
    where
        Output: DeserializeOwned,
        Error: DeserializeOwned,
    {
        let ending = wait_for_end(&self.worker, &self.id).await?;
        decode(ending).map_err(|source| RunError::Decode {
            id: self.id.clone(),
            source,
        })
    }

    /// Returns the run as the store keeps it; `None` if there is no such run.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails.
    pub async fn run(&self) -> Result<Option<Run>, StoreError> {
        self.worker.find(&self.id).await
    }

    /// Returns the run's status; `None` if there is no such run.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails.
    pub async fn status(&self) -> Result<Option<Status>, StoreError> {
        Ok(self.run().await?.map(|run| run.status))
    }

    /// Returns the run's lifecycle events in order.
    ///
    /// # Errors
    ///
    /// [`StoreError`] as for [`Engine::history`](crate::Engine::history).
    pub async fn history(&self) -> Result<Vec<Event>, StoreError> {
        inspect::history(&self.worker, &self.id).await
    }

    /// Returns the names of the completed steps, in the order of their completion.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails, or holds a record that cannot be read.
    pub async fn completed_steps(&self) -> Result<Vec<String>, StoreError> {
        let Some(run) = self.run().await? else {
            return Ok(Vec::new());
        };
        Ok(Replay::read(self.worker.records(run.key, Span::All).await?)?.completed_steps)
    }

    /// Cancels the run; see [`Engine::cancel`](crate::Engine::cancel).
    ///
    /// # Errors
    ///
    /// [`CancelError`] as for [`Engine::cancel`](crate::Engine::cancel).
    pub async fn cancel(&self, cancel: impl Into<Cancel>) -> Result<Cancelled, CancelError> {
        cancel::request(&self.worker, &self.id, cancel.into()).await
    }
}

impl<Output, Error> Clone for RunHandle<Output, Error> {
    fn clone(&self) -> Self {
        Self::new(self.worker.clone(), self.id.clone())
    }
}

impl<Output, Error> fmt::Debug for RunHandle<Output, Error> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
