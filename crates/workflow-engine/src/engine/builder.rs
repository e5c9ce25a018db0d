//! Putting an engine together.

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

/// Makes a body once the limit of its output is known.
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

    /// Sets the clock; tokio's unless set (with the feature `http`). Of its time of day a store
    /// that has a clock of its own makes no use: all engines on such a store go by that one.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets how events are delivered: batch sizes, retry delays, timeouts; the defaults of
    /// [`Config`] unless set.
    ///
    /// Capacity and overflow do not apply: the history holds the events.
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

    /// Sets how long runs are kept after their end; for ever unless set.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.settings.retention = retention;
        self
    }

    /// Sets from which wait on a run is suspended: its future is dropped, and it is replayed when
    /// it is due. One second unless set; shorter waits stay in memory, with the same events but for
    /// `workflow.paused` and `workflow.resumed`.
    pub fn suspend_after(mut self, wait: Duration) -> Self {
        self.settings.suspend_after = wait;
        self
    }

    /// Sets how many runs each call of [`Engine::work`] executes at once; 256 unless set, and at
    /// least 1.
    pub fn max_concurrent_runs(mut self, runs: usize) -> Self {
        self.settings.max_concurrent_runs = runs.max(1);
        self
    }

    /// Sets how large an input, an output, the result of a step, or an error may be, in bytes of
    /// JSON; 1 MiB unless set. An error that is larger is recorded by its words, cut.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_value_bytes = bytes;
        self
    }

    /// Sets how long this engine may be silent before its runs are taken over by another one on the
    /// same store; 30 seconds unless set, and at least 1. It renews its lease three times as often.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.max(Duration::from_secs(1));
        self
    }

    /// Sets how often a run may be recovered after a crash of its process without making progress,
    /// before it fails; 10 unless set.
    pub fn max_recoveries(mut self, recoveries: u32) -> Self {
        self.settings.max_recoveries = recoveries;
        self
    }

    /// Sets how often a worker that idles looks for runs that other processes have created, and a
    /// handle for an end elsewhere; 1 second unless set, and at least 1 millisecond.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Makes the engine.
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
