//! The engine: runs workflows, delivers their events, and says what became of both.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracker_core::{Clock, Config, Stop};
use workflow_events::{Event, EventKind, RunView};

use crate::builder::EngineBuilder;
use crate::context::Context;
use crate::driver::drive;
use crate::error::RunError;
use crate::execution::Execution;
use crate::failure::DurableError;
use crate::gate::Gate;
use crate::history::{Halt, History};
use crate::outcome::{Outcome, RunOptions};
use crate::payload::Payload;
use crate::relay::Relay;
use crate::report::{EngineReport, RelayStop, SinkReport};
use crate::store::{Created, NewRun, Run, RunResult, Store, StoreError};
use crate::workflow::{Body, Workflow};

/// How long a shutdown whose time is up waits for commits that are under way.
const COMMIT_GRACE: Duration = Duration::from_millis(100);

/// Executes workflows on a [`Store`] and delivers their lifecycle events to sinks.
///
/// Cloning it makes another handle to the same engine. It starts no task of its own: runs are executed on the task
/// that calls [`run`](Self::run), and events are delivered by [`flush`](Self::flush), [`shutdown`](Self::shutdown),
/// and a task of yours that runs [`deliver`](Self::deliver).
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use std::{sync::Arc, time::Duration};
/// use tracker_core::testing::MemoryTransport;
/// use workflow_engine::{Context, Engine, Failure, MemoryStore, Outcome, Workflow};
///
/// const GREET: Workflow<String, String> = Workflow::new("greet");
///
/// async fn greet(ctx: Context, name: String) -> Result<String, Failure> {
///     Ok(ctx.step("compose", || async { Ok::<_, Failure>(format!("hello, {name}")) }).await?)
/// }
///
/// let sink = Arc::new(MemoryTransport::new());
/// let engine = Engine::builder()
///     .store(Arc::new(MemoryStore::new()))
///     .workflow(&GREET, greet)
///     .sink("collector", sink.clone())
///     .build()?;
/// let outcome = engine.run(&GREET, "greeting-1", "world".to_owned()).await?;
/// assert_eq!(outcome, Outcome::Completed("hello, world".to_owned()));
///
/// let report = engine.shutdown(Duration::from_secs(5)).await;
/// assert!(report.is_complete(), "{report}");
/// assert_eq!(sink.delivered().len(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    gate: Arc<Gate>,
    workflows: HashMap<&'static str, Body>,
    relays: Vec<Relay>,
    delivery: Config,
}

impl Engine {
    /// Starts the configuration of an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        gate: Arc<Gate>,
        workflows: HashMap<&'static str, Body>,
        relays: Vec<Relay>,
        delivery: Config,
    ) -> Self {
        Self { inner: Arc::new(Inner { store, clock, gate, workflows, relays, delivery }) }
    }

    /// Creates a run and executes it on this task, to its end.
    ///
    /// `options` is the run's id, or [`RunOptions`] with more. If a run with this id, this workflow and this input
    /// has ended, its outcome is returned and nothing is executed. A workflow that fails is an
    /// [`Outcome`], not an error.
    ///
    /// # Errors
    ///
    /// [`RunError`]: the run was not executed, or was left before its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the run as it is, as if the process had died: `Running` in the store.
    pub async fn run<I, O, E>(
        &self,
        workflow: &Workflow<I, O, E>,
        options: impl Into<RunOptions>,
        input: I,
    ) -> Result<Outcome<O, E>, RunError>
    where
        I: Serialize,
        O: DeserializeOwned,
        E: DurableError,
    {
        let name = workflow.name();
        let body = self.inner.workflows.get(name).ok_or_else(|| RunError::UnknownWorkflow { name: name.to_owned() })?;
        let input = Payload::encode(&input).map_err(RunError::Input)?;
        let RunOptions { id, execution_id } = options.into();
        let run = NewRun { id, workflow: name.to_owned(), execution_id, input };
        let id = run.id.clone();
        let result = self.execute(run, body).await?;
        Outcome::try_from(result).map_err(|source| RunError::Decode { id, source })
    }

    async fn execute(&self, new: NewRun, body: &Body) -> Result<RunResult, RunError> {
        let Inner { store, clock, gate, .. } = &*self.inner;
        let _pass = gate.enter_run().ok_or(RunError::Closed)?;
        let began = clock.now();
        let history = History::new(store.clone(), gate.clone(), clock.clone(), new.clone());
        let started = EventKind::WorkflowStarted { input: new.input.decode().map_err(RunError::Input)? };
        if let Created::Exists(existing) = history.create(started).await.map_err(halted)? {
            return ended(&new, *existing);
        }
        let execution = Arc::new(Execution::new(history));
        let polled = body(Context::new(execution.clone()), new.input);
        drive(&execution, polled, began).await.map_err(halted)
    }

    /// Delivers every event committed before the call to every sink, for at most [`Config::flush_timeout`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: events stay in the history until their sink has acknowledged them.
    pub async fn flush(&self) -> EngineReport {
        self.deliver_by(self.inner.clock.now().saturating_add(self.inner.delivery.flush_timeout())).await
    }

    /// Stops taking runs, waits for those that are being executed, delivers everything, and reports; for at most
    /// `timeout`.
    ///
    /// Runs that are still executing then write nothing more: their next record is refused, and they stay `Running`
    /// in the store. Events that were not delivered stay pending there. Idempotent.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the engine stays closed; call it again.
    pub async fn shutdown(&self, timeout: Duration) -> EngineReport {
        let Inner { clock, gate, .. } = &*self.inner;
        gate.close();
        let deadline = clock.now().saturating_add(timeout);
        // Deliver meanwhile: runs that take all the time there is must not leave none for their events.
        let no_run = pin!(gate.no_run());
        select(select(no_run, clock.sleep(timeout)), pin!(self.deliver())).await;
        gate.stop();
        select(pin!(gate.no_commit()), clock.sleep(COMMIT_GRACE)).await;
        self.deliver_by(deadline).await
    }

    /// Delivers events as they are committed, until the engine is shut down. Run it on a task of its own.
    ///
    /// Each sink is served by itself: one that is down delays no other, and no run.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the task that runs it can be aborted at any time.
    pub async fn deliver(&self) {
        join_all(self.inner.relays.iter().map(|relay| self.deliver_to(relay))).await;
    }

    async fn deliver_to(&self, relay: &Relay) {
        let Inner { store, clock, gate, delivery, .. } = &*self.inner;
        let mut seen = 0;
        while !gate.is_stopped() {
            let outcome = match store.outbox_end().await {
                // Nobody waits for this delivery, so it has no deadline; the shutdown that ends it delivers the rest.
                Ok((end, _)) => match select(pin!(relay.deliver(end, Duration::MAX)), pin!(gate.stopped())).await {
                    Either::Left((outcome, _)) => outcome,
                    Either::Right(_) => return,
                },
                Err(error) => Err(error.into()),
            };
            match outcome {
                Ok(()) => seen = gate.committed_beyond(seen).await,
                Err(stop) => {
                    tracing::error!(
                        sink = relay.name(),
                        kind = kind(&stop),
                        "delivery has stopped; it will be tried again"
                    );
                    clock.sleep(delivery.max_delay()).await;
                }
            }
        }
    }

    async fn deliver_by(&self, deadline: Duration) -> EngineReport {
        let end = self.inner.store.outbox_end().await;
        let deliver = async |relay: &Relay| -> SinkReport {
            let outcome = match &end {
                Ok((end, _)) => relay.deliver(*end, deadline).await,
                Err(error) => Err(StoreError::Backend(error.to_string().into()).into()),
            };
            relay.report(outcome).await
        };
        let sinks = join_all(self.inner.relays.iter().map(deliver)).await;
        EngineReport { sinks, active_runs: self.inner.gate.runs() }
    }

    /// Returns a run's lifecycle events in order; empty if there is no such run.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails, or what it holds cannot be read.
    pub async fn history(&self, id: &str) -> Result<Vec<Event>, StoreError> {
        let records = self.inner.store.history(id).await?;
        let events = records.iter().flat_map(|record| &record.events).map(|event| event.decode());
        events.collect::<Result<_, _>>().map_err(|error| StoreError::Backend(error.into()))
    }

    /// Returns the view of a run that its events give; `None` if there is no such run.
    ///
    /// # Errors
    ///
    /// [`StoreError`] as for [`history`](Self::history).
    pub async fn view(&self, id: &str) -> Result<Option<RunView>, StoreError> {
        let events = self.history(id).await?;
        Ok((!events.is_empty()).then(|| RunView::from_events(&events)))
    }
}

/// What a second call for an existing run gets.
fn ended(new: &NewRun, existing: Run) -> Result<RunResult, RunError> {
    let conflict = |what| RunError::Conflict { id: new.id.clone(), what };
    let value = |payload: &Payload| payload.decode::<Value>().ok();
    if existing.created.workflow != new.workflow {
        return Err(conflict("workflow"));
    }
    if value(&existing.created.input) != value(&new.input) {
        return Err(conflict("input"));
    }
    existing.result.ok_or_else(|| RunError::AlreadyRunning { id: new.id.clone() })
}

fn halted(halt: Halt) -> RunError {
    match halt {
        Halt::Store(error) => RunError::Store(error),
        Halt::Stopped => RunError::Closed,
    }
}

/// What stopped a delivery, without the far end's words, which may hold payload.
fn kind(stop: &RelayStop) -> &'static str {
    match stop {
        RelayStop::Store(_) => "store",
        RelayStop::Delivery(Stop::Configuration(_)) => "configuration",
        RelayStop::Delivery(_) => "deadline",
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("store", &self.inner.store)
            .field("workflows", &self.inner.workflows.keys())
            .field("sinks", &self.inner.relays)
            .finish_non_exhaustive()
    }
}
