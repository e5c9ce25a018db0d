//! The configuration of an engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracker_core::{Clock, Config, Transport};

use crate::delivery::relay::Relay;
use crate::engine::Engine;
use crate::engine::error::BuildError;
use crate::limits::{NAME_BYTES, check_name, shown};
use crate::payload::EncodedEvent;
use crate::store::Store;
use crate::worker::Worker;
use crate::worker::active::ActiveRuns;
use crate::worker::lease::Lease;
use crate::worker::settings::{Retention, Settings};
use crate::worker::store_clock::StoreClock;
use crate::workflow::context::Context;
use crate::workflow::definition::{Body, Workflow, body};
use crate::workflow::failure::DurableError;

/// Configures an [`Engine`].
#[must_use]
pub struct EngineBuilder {
    store: Option<Arc<dyn Store>>,
    clock: Option<Arc<dyn Clock>>,
    delivery: Config,
    sinks: Vec<(String, Arc<dyn Transport<EncodedEvent>>)>,
    workflows: Vec<(&'static str, MakeBody)>,
    settings: Settings,
}

/// Builds a body once the limit of its output is known.
type MakeBody = Box<dyn FnOnce(usize) -> Body + Send>;

impl Engine {
    /// Starts the configuration of an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }
}

impl EngineBuilder {
    fn new() -> Self {
        #[cfg(feature = "http")]
        let clock: Option<Arc<dyn Clock>> = Some(Arc::new(tracker_http::TokioClock::new()));
        #[cfg(not(feature = "http"))]
        let clock = None;
        Self {
            store: None,
            clock,
            delivery: Config::default(),
            sinks: Vec::new(),
            workflows: Vec::new(),
            settings: Settings::default(),
        }
    }

    /// Sets where runs and their histories are kept. Required.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Sets the clock. The default is tokio's clock, with the feature `http`; without that feature
    /// a clock is required.
    ///
    /// Wall-clock time comes from the store instead, if the store has its own clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets how events are delivered: batch sizes, retry delays, timeouts. The default is that of
    /// [`Config`].
    ///
    /// Its capacity and overflow policy do not apply, because the history holds the events.
    pub fn delivery(mut self, config: Config) -> Self {
        self.delivery = config;
        self
    }

    /// Adds a sink: every lifecycle event of every run is delivered to it, in order per run, at
    /// least once.
    ///
    /// Its cursor is kept in the store under `name`, which has at most 256 bytes.
    pub fn sink(
        mut self,
        name: impl Into<String>,
        transport: Arc<dyn Transport<EncodedEvent>>,
    ) -> Self {
        self.sinks.push((name.into(), transport));
        self
    }

    /// Registers the function behind a workflow.
    pub fn workflow<I, O, E, F, Fut>(mut self, workflow: &Workflow<I, O, E>, function: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + DeserializeOwned + Send + 'static,
        E: DurableError,
        F: Fn(Context, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        self.workflows
            .push((workflow.name(), Box::new(|limit| body(function, limit))));
        self
    }

    /// Sets how long runs are kept after their end. The default is for ever.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.settings.retention = retention;
        self
    }

    /// Sets the shortest wait that suspends a run. The default is 1 second.
    ///
    /// The future of a suspended run is dropped, and the run is replayed when it is due. A shorter
    /// wait stays in memory, with the same events except `workflow.paused` and `workflow.resumed`.
    pub fn suspend_after(mut self, wait: Duration) -> Self {
        self.settings.suspend_after = wait;
        self
    }

    /// Sets how many runs each call of [`Engine::work`] executes at once. The default is 256, the
    /// minimum 1.
    pub fn max_concurrent_runs(mut self, runs: usize) -> Self {
        self.settings.max_concurrent_runs = runs.max(1);
        self
    }

    /// Sets the largest input, output, step result and error, in bytes of JSON. The default is 1
    /// MiB.
    ///
    /// Of a larger error only the text is recorded, cut to what an event carries.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_value_bytes = bytes;
        self
    }

    /// Sets how long the lease of this engine lasts: after that time without a renewal, another
    /// engine on the same store may claim its runs. The default is 30 seconds, the minimum 1
    /// second.
    ///
    /// The engine renews its lease after each third of this time.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.max(Duration::from_secs(1));
        self
    }

    /// Sets how many times in a row a run is recovered after a crash of its process without making
    /// progress, before the run fails. The default is 10.
    pub fn max_recoveries(mut self, recoveries: u32) -> Self {
        self.settings.max_recoveries = recoveries;
        self
    }

    /// Sets how often a worker without work asks the store for runs that other processes have
    /// created, and how often a handle asks whether its run has ended. The default is 1 second, the
    /// minimum 1 millisecond.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Builds the engine.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names what is missing, given twice, or not accepted.
    pub fn build(self) -> Result<Engine, BuildError> {
        let store = self.store.ok_or(BuildError::NoStore)?;
        let clock = self.clock.ok_or(BuildError::NoClock)?;
        let mut workflows = HashMap::new();
        let check = |what, name: &str| {
            let named = |source| BuildError::Name {
                what,
                name: shown(name),
                source,
            };
            check_name(name, NAME_BYTES).map_err(named)
        };
        for (name, make) in self.workflows {
            check("workflow", name)?;
            if workflows
                .insert(name, make(self.settings.max_value_bytes))
                .is_some()
            {
                return Err(BuildError::DuplicateWorkflow { name: name.into() });
            }
        }
        let clock = Arc::new(StoreClock::new(clock));
        let active = Arc::new(ActiveRuns::default());
        let lease = Arc::new(Lease::new(
            store.clone(),
            clock.clone(),
            active.clone(),
            self.settings.lease,
        ));
        let mut relays: Vec<Relay> = Vec::new();
        for (name, transport) in self.sinks {
            check("sink", &name)?;
            if relays.iter().any(|relay| relay.name() == name) {
                return Err(BuildError::DuplicateSink { name });
            }
            relays.push(Relay::new(
                name,
                transport,
                store.clone(),
                clock.clone(),
                lease.clone(),
                self.delivery.clone(),
            ));
        }
        let sinks = relays.iter().map(|relay| relay.name().to_owned());
        let sinks = sinks.collect();
        let worker = Worker::new(store, clock, lease, active, workflows, sinks, self.settings);
        Ok(Engine {
            worker: Arc::new(worker),
            relays: relays.into(),
            flush_timeout: self.delivery.flush_timeout(),
        })
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
