//! The worker: claims runs that are due, executes them, holds their lease, and purges what has
//! expired.

pub(crate) mod poll;

pub(crate) mod maintenance;

pub(crate) mod claim;
pub(crate) mod execute;

pub(crate) mod lease;

pub(crate) mod active;
pub(crate) mod settings;
pub(crate) mod store_clock;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::future::select;
use tracker_core::{Clock, Reason};

use active::{ActiveRuns, RunChanged};
use lease::Lease;
use settings::Settings;
use store_clock::StoreClock;

use crate::execution::history::STORE_RETRY_DELAYS;
use crate::shutdown::Shutdown;
use crate::store::{Record, Run, RunKey, Span, Store, StoreError};
use crate::workflow::definition::Body;

/// Everything that executing runs on a store takes; one worker in the sense of the store.
pub(crate) struct Worker {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<StoreClock>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) active: Arc<ActiveRuns>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) workflows: HashMap<&'static str, Body>,
    /// The names of the workflows, as claims list them.
    pub(crate) workflow_names: Vec<String>,
    /// The names of the sinks, whose events no purge removes before they are delivered.
    pub(crate) sinks: Vec<String>,
    pub(crate) settings: Settings,
    /// Why [`Engine::work`](crate::Engine::work) has ended although the engine was open.
    pub(crate) ended: Mutex<Option<Reason>>,
}

impl Worker {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<StoreClock>,
        lease: Arc<Lease>,
        active: Arc<ActiveRuns>,
        workflows: HashMap<&'static str, Body>,
        sinks: Vec<String>,
        settings: Settings,
    ) -> Self {
        Self {
            store,
            clock,
            shutdown: Arc::new(Shutdown::new()),
            active,
            lease,
            workflow_names: workflows.keys().map(|name| (*name).to_owned()).collect(),
            workflows,
            sinks,
            settings,
            ended: Mutex::default(),
        }
    }

    /// Does what may fail because of the storage; retries a few times.
    pub(crate) async fn retried<T, F>(
        &self,
        mut operation: impl FnMut() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        for delay in STORE_RETRY_DELAYS {
            match operation().await {
                Err(error) if error.is_transient() => self.clock.sleep(delay).await,
                done => return done,
            }
        }
        operation().await
    }

    /// Returns a run; retries where the storage fails.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Run>, StoreError> {
        self.retried(|| self.store.run(id)).await
    }

    /// Returns records of a run; retries where the storage fails.
    pub(crate) async fn records(&self, key: RunKey, span: Span) -> Result<Vec<Record>, StoreError> {
        self.retried(|| self.store.records(key, span)).await
    }

    /// Waits until a run has changed here, or long enough for it to have changed elsewhere.
    pub(crate) async fn wait_for_change(&self, changed: RunChanged<'_>) {
        select(pin!(changed), self.clock.sleep(self.settings.poll_interval)).await;
    }
}
