//! The engine: runs workflows, delivers their events, and says what became of both.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, join_all, pending, select};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracker_core::{Clock, Config, Reason};
use workflow_events::{Event, RunView};

use crate::active::{Active, lock};
use crate::builder::EngineBuilder;
use crate::cancel::{Cancel, CancelError, Cancelled};
use crate::error::{ForgetSinkError, RunError};
use crate::failure::{DurableError, panic_message};
use crate::gate::Gate;
use crate::handle::RunHandle;
use crate::lease::Lease;
use crate::outcome::{Outcome, RunOptions};
use crate::relay::{Relay, books};
use crate::report::{EngineReport, RelayStop, SinkReport, UnregisteredSink};
use crate::settings::Settings;
use crate::status::Status;
use crate::store::{Position, Record, Run, RunFilter, RunKey, Span, Store, StoreError};
use crate::workflow::{Body, Workflow};

/// How long a shutdown whose time is up waits for commits that are under way.
const COMMIT_GRACE: Duration = Duration::from_millis(100);

/// Executes workflows on a [`Store`] and delivers their lifecycle events to sinks.
///
/// Cloning it makes another handle to the same engine. It starts no task of its own: a task of
/// yours runs [`work`](Self::work), which executes runs and delivers their events;
/// [`run`](Self::run) executes one on the task that calls it. A short-lived process calls
/// [`run_until_idle`](Self::run_until_idle) instead.
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
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) active: Arc<Active>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) workflows: HashMap<&'static str, Body>,
    pub(crate) names: Vec<String>,
    pub(crate) relays: Vec<Relay>,
    pub(crate) delivery: Config,
    pub(crate) settings: Settings,
    /// Why `work` has ended although the engine was open.
    pub(crate) work_ended: Mutex<Option<Reason>>,
}

impl Engine {
    /// Starts the configuration of an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Creates a run and executes it on this task, until it ends or is suspended.
    ///
    /// `options` is the run's id, or [`RunOptions`] with more. For an id that exists, with the same
    /// workflow and the same input, this is the way to go on with it: if the run has ended, its
    /// outcome is returned and nothing is executed; if it is due, or its process has died, it is
    /// executed here; if it is being executed elsewhere, this waits. A workflow that fails is an
    /// [`Outcome`], not an error.
    ///
    /// # Errors
    ///
    /// [`RunError`]: the run was not executed, or was left before its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the run as it is, as if the process had died;
    /// [`work`](Self::work), or another `run` of the same id, takes it up.
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
        let (options, input) = (options.into(), self.inner.input(workflow.name(), &input)?);
        let id = options.id.clone();
        let end = self.inner.run(workflow.name(), options, input).await?;
        end.decode()
            .map_err(|source| RunError::Decode { id, source })
    }

    /// Creates a run for an engine that [works](Self::work), and returns at once: it is recorded,
    /// and will be executed whatever happens to this process.
    ///
    /// For an id that exists, with the same workflow and the same input, nothing happens, and the
    /// handle is that of the run there is.
    ///
    /// # Errors
    ///
    /// [`RunError`]: nothing was recorded, or, for [`RunError::Store`], it may have been.
    ///
    /// # Cancel safety
    ///
    /// The run may have been created or not; call it again with the same id.
    pub async fn start<I, O, E>(
        &self,
        workflow: &Workflow<I, O, E>,
        options: impl Into<RunOptions>,
        input: I,
    ) -> Result<RunHandle<O, E>, RunError>
    where
        I: Serialize,
    {
        let (options, input) = (options.into(), self.inner.input(workflow.name(), &input)?);
        let id = options.id.clone();
        if self.inner.gate.is_closed() {
            return Err(RunError::Closed);
        }
        self.inner
            .create(workflow.name(), options, input, Status::Queued)
            .await?;
        self.inner.active.work.notify_one();
        Ok(RunHandle::new(self.clone(), id))
    }

    /// Returns the handle of a run that was created before. Whether there is one shows when it is
    /// used.
    pub fn handle<I, O, E>(
        &self,
        _workflow: &Workflow<I, O, E>,
        id: impl Into<String>,
    ) -> RunHandle<O, E> {
        RunHandle::new(self.clone(), id.into())
    }

    /// Cancels a run. Once this returns the cancel is durable: the run can end in no other way.
    ///
    /// A run that waits, or is queued, is cancelled at once. In one that is being executed the
    /// steps under way finish and are recorded, or are dropped where they await if
    /// [`Cancel::at_once`] asks for that; nothing further begins. The workflow's code does not see
    /// it: its future is dropped.
    ///
    /// # Errors
    ///
    /// [`CancelError`]: there is no such run, or it has ended; nothing was changed.
    pub async fn cancel(
        &self,
        id: &str,
        cancel: impl Into<Cancel>,
    ) -> Result<Cancelled, CancelError> {
        self.inner.cancel(id, cancel.into()).await
    }

    /// Delivers every event committed before the call to every sink, for at most
    /// [`Config::flush_timeout`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: events stay in the history until their sink has acknowledged them.
    pub async fn flush(&self) -> EngineReport {
        self.deliver_by(
            self.inner
                .clock
                .now()
                .saturating_add(self.inner.delivery.flush_timeout()),
        )
        .await
    }

    /// Stops taking runs, lets the steps that are being executed finish, delivers everything, and
    /// reports; for at most `timeout`.
    ///
    /// A run goes no further than the end of its steps under way, and is left for the next engine
    /// on this store. One whose steps take longer than there is time writes nothing more: its next
    /// record is refused. Events that were not delivered stay pending in the store. Idempotent.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the engine stays closed; call it again.
    pub async fn shutdown(&self, timeout: Duration) -> EngineReport {
        let Inner {
            clock,
            gate,
            active,
            lease,
            ..
        } = &*self.inner;
        gate.close();
        active.stop_all();
        let deadline = clock.now().saturating_add(timeout);
        // A delivery that waits for its next attempt makes it now.
        let _hurry: Vec<_> = self
            .inner
            .relays
            .iter()
            .map(|relay| relay.hurry(deadline))
            .collect();
        // Deliver meanwhile: runs that take all the time there is must not leave none for their
        // events.
        let deliver = self.deliver().then(|()| pending::<()>());
        select(
            select(pin!(gate.no_run()), clock.sleep(timeout)),
            pin!(deliver),
        )
        .await;
        gate.stop();
        select(pin!(gate.no_commit()), clock.sleep(COMMIT_GRACE)).await;
        // With the lease, for whoever delivers to a sink holds it: without, another worker would
        // deliver the same.
        let report = self.deliver_by(deadline).await;
        // What this engine holds can be claimed by others now, and not only when its lease is over.
        if let Err(error) = lease.retire().await {
            tracing::warn!(%error, "the lease could not be ended; it ends by itself");
        }
        report
    }

    /// Delivers events as they are committed, until the engine is shut down. Run it on a task of
    /// its own.
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
        let Inner {
            store,
            clock,
            gate,
            delivery,
            settings,
            ..
        } = &*self.inner;
        let _serving = relay.serve();
        let (mut seen, mut delivered) = (0, Position::default());
        while !gate.is_stopped() {
            let round = async {
                let end = store.outbox_end().await?;
                if end.position > delivered {
                    // Nobody waits for this delivery, so it has no deadline; the shutdown that ends
                    // it delivers the rest.
                    relay.deliver(end.position, Duration::MAX).await?;
                }
                Ok::<_, RelayStop>(end.position)
            };
            // The store is not the engine's code: its panic ends this round, and not the delivery
            // for good.
            let round = AssertUnwindSafe(round).catch_unwind();
            let outcome = match select(pin!(round), pin!(gate.stopped())).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => return,
            };
            match outcome {
                Ok(Ok(end)) => {
                    delivered = delivered.max(end);
                    // What other processes commit is seen when it is looked for.
                    match select(
                        pin!(gate.committed_beyond(seen)),
                        clock.sleep(settings.poll_interval),
                    )
                    .await
                    {
                        Either::Left((committed, _)) => seen = committed,
                        Either::Right(_) => {}
                    }
                    continue;
                }
                // The relay has logged it, once.
                Ok(Err(RelayStop::Delivery(_))) => {}
                Ok(Err(RelayStop::Store(error))) => {
                    tracing::error!(sink = relay.name(), %error, "events cannot be read; delivery is tried again");
                }
                Err(panic) => {
                    let panic = panic_message(&*panic);
                    tracing::error!(
                        sink = relay.name(),
                        panic,
                        "delivery panicked; it is tried again"
                    );
                }
            }
            select(clock.sleep(delivery.max_delay()), pin!(gate.stopped())).await;
        }
    }

    async fn deliver_by(&self, deadline: Duration) -> EngineReport {
        let end = self.inner.store.outbox_end().await;
        let deliver = async |relay: &Relay| -> SinkReport {
            let outcome = match &end {
                Ok(end) => relay.deliver(end.position, deadline).await,
                Err(error) => Err(StoreError::Backend(error.to_string().into()).into()),
            };
            relay.let_go().await;
            relay.report(outcome).await
        };
        self.inner
            .report(join_all(self.inner.relays.iter().map(deliver)).await)
            .await
    }

    /// Returns the state of delivery as it is, without delivering anything.
    pub async fn report(&self) -> EngineReport {
        self.inner
            .report(join_all(self.inner.relays.iter().map(|relay| relay.report(Ok(())))).await)
            .await
    }

    /// Forgets a sink that nobody delivers to any more, so that it holds up purges no longer;
    /// returns whether the store knew it. [`report`](Self::report) names such sinks.
    ///
    /// Its place in the history is gone with it: a sink that is added under this name later gets
    /// every event that is still kept.
    ///
    /// # Errors
    ///
    /// [`ForgetSinkError::Registered`] for a sink of this engine. Those of other engines on the
    /// same store are not known here: one that still delivers to the sink begins at the start.
    pub async fn forget_sink(&self, sink: &str) -> Result<bool, ForgetSinkError> {
        if self.inner.relays.iter().any(|relay| relay.name() == sink) {
            return Err(ForgetSinkError::Registered {
                sink: sink.to_owned(),
            });
        }
        Ok(self
            .inner
            .retried(|| self.inner.store.drop_cursor(sink))
            .await?)
    }

    /// Returns a run's lifecycle events in order; empty if there is no such run.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails, or what it holds cannot be read.
    pub async fn history(&self, id: &str) -> Result<Vec<Event>, StoreError> {
        let Some(run) = self.inner.find(id).await? else {
            return Ok(Vec::new());
        };
        let records = self.inner.records(run.key, Span::All).await?;
        let events = records
            .iter()
            .flat_map(|record| &record.events)
            .map(|event| event.decode());
        let corrupt = |error| StoreError::Corrupt {
            what: format!("an event of run {}: {error}", run.key),
        };
        events.collect::<Result<_, _>>().map_err(corrupt)
    }

    /// Returns the runs that a filter admits, in the order of their creation.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails.
    pub async fn list(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        self.inner.retried(|| self.inner.store.list(filter)).await
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

impl Inner {
    /// Completes a report with what does not belong to a sink of this engine.
    async fn report(&self, sinks: Vec<SinkReport>) -> EngineReport {
        let unregistered = self.unregistered().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the store's sinks cannot be read; the report lacks those that are not registered");
            Vec::new()
        });
        let work_ended = lock(&self.work_ended).clone();
        EngineReport {
            sinks,
            unregistered,
            active_runs: self.gate.runs(),
            work_ended,
        }
    }

    async fn unregistered(&self) -> Result<Vec<UnregisteredSink>, StoreError> {
        let mut cursors = self.store.cursors().await?;
        cursors.retain(|(sink, _)| self.relays.iter().all(|relay| relay.name() != sink));
        if cursors.is_empty() {
            return Ok(Vec::new());
        }
        let accepted = self.store.outbox_end().await?.accepted;
        let told = cursors.into_iter().map(|(sink, cursor)| UnregisteredSink {
            sink,
            books: books(cursor, accepted),
        });
        Ok(told.collect())
    }

    /// Returns a run; tries again where the storage fails, as every read for a caller does.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Run>, StoreError> {
        self.retried(|| self.store.run(id)).await
    }

    /// Returns records of a run; tries again where the storage fails.
    pub(crate) async fn records(&self, key: RunKey, span: Span) -> Result<Vec<Record>, StoreError> {
        self.retried(|| self.store.records(key, span)).await
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
