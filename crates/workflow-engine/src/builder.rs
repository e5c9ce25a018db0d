//! Putting an engine together.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracker_core::{Clock, Config, Transport};

use crate::context::Context;
use crate::engine::Engine;
use crate::error::BuildError;
use crate::failure::DurableError;
use crate::gate::Gate;
use crate::payload::EncodedEvent;
use crate::relay::Relay;
use crate::store::Store;
use crate::workflow::{Body, Workflow, body};

/// Configures an [`Engine`].
#[must_use]
pub struct EngineBuilder {
    store: Option<Arc<dyn Store>>,
    clock: Option<Arc<dyn Clock>>,
    delivery: Config,
    sinks: Vec<(String, Arc<dyn Transport<EncodedEvent>>)>,
    workflows: Vec<(&'static str, Body)>,
}

impl EngineBuilder {
    pub(crate) fn new() -> Self {
        #[cfg(feature = "http")]
        let clock: Option<Arc<dyn Clock>> = Some(Arc::new(tracker_http::TokioClock::new()));
        #[cfg(not(feature = "http"))]
        let clock = None;
        Self { store: None, clock, delivery: Config::default(), sinks: Vec::new(), workflows: Vec::new() }
    }

    /// Sets where runs and their histories are kept. Required.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Sets the clock; tokio's unless set (with the feature `http`).
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets how events are delivered: batch sizes, retry delays, timeouts; the defaults of [`Config`] unless set.
    ///
    /// Capacity and overflow do not apply: the history holds the events.
    pub fn delivery(mut self, config: Config) -> Self {
        self.delivery = config;
        self
    }

    /// Adds a sink: every lifecycle event of every run is delivered to it, in order per run, at least once.
    ///
    /// Its cursor is kept in the store under `name`.
    pub fn sink(mut self, name: impl Into<String>, transport: Arc<dyn Transport<EncodedEvent>>) -> Self {
        self.sinks.push((name.into(), transport));
        self
    }

    /// Registers the function behind a workflow.
    pub fn workflow<I, O, E, F, Fut>(mut self, workflow: &Workflow<I, O, E>, function: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        E: DurableError,
        F: Fn(Context, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        self.workflows.push((workflow.name(), body(function)));
        self
    }

    /// Makes the engine.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names what is missing or given twice.
    pub fn build(self) -> Result<Engine, BuildError> {
        let store = self.store.ok_or(BuildError::NoStore)?;
        let clock = self.clock.ok_or(BuildError::NoClock)?;
        let mut workflows = HashMap::new();
        for (name, body) in self.workflows {
            if workflows.insert(name, body).is_some() {
                return Err(BuildError::DuplicateWorkflow { name: name.into() });
            }
        }
        let mut relays: Vec<Relay> = Vec::new();
        for (name, transport) in self.sinks {
            if relays.iter().any(|relay| relay.name() == name) {
                return Err(BuildError::DuplicateSink { name });
            }
            relays.push(Relay::new(name, transport, store.clone(), clock.clone(), self.delivery.clone()));
        }
        Ok(Engine::new(store, clock, Arc::new(Gate::new()), workflows, relays, self.delivery))
    }
}

impl std::fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let workflows: Vec<_> = self.workflows.iter().map(|(name, _)| name).collect();
        let sinks: Vec<_> = self.sinks.iter().map(|(name, _)| name).collect();
        f.debug_struct("EngineBuilder")
            .field("store", &self.store)
            .field("workflows", &workflows)
            .field("sinks", &sinks)
            .finish_non_exhaustive()
    }
}
