//! The engine: runs workflows, delivers their events, and reports on both.

mod builder;
mod start;

mod handle;

mod cancel;
mod idle;
mod inspect;
mod result;

mod outcome;

mod error;

use std::fmt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, join4, pending, select};
use tracker_core::{Clock, Reason};

use crate::delivery::relay::{Relay, books};
use crate::delivery::report::{EngineReport, SinkReport, UnregisteredSink};
use crate::delivery::serve::serve;
use crate::store::{Purged, StoreError};
use crate::sync::lock;
use crate::worker::Worker;
use crate::workflow::failure::panic_message;

pub use builder::EngineBuilder;
pub use cancel::{Cancel, Cancelled};
pub use error::{BuildError, CancelError, ForgetSinkError, RunError};
pub use handle::RunHandle;
pub use idle::Idle;
pub use outcome::{NotCompletedError, Outcome, RunOptions, WorkflowError};

/// How long a shutdown whose time has expired waits for commits that are under way.
const COMMIT_GRACE: Duration = Duration::from_millis(100);

/// Executes workflows on a [`Store`](crate::Store) and delivers their lifecycle events to sinks.
///
/// A clone is another handle to the same engine. An engine starts no task of its own. A long-lived
/// process spawns a task that calls [`work`](Self::work), which executes runs and delivers their
/// events. A short-lived process calls [`run_until_idle`](Self::run_until_idle) instead.
/// [`run`](Self::run) executes one run on the task that calls it.
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
    worker: Arc<Worker>,
    relays: Arc<[Relay]>,
    flush_timeout: Duration,
}

impl Engine {
    /// Executes runs that are due, delivers events, and purges runs whose retention has expired,
    /// until the engine is shut down. Call it on a task of its own, or on several: each executes
    /// other runs.
    ///
    /// A worker claims runs that were [started](Self::start), runs whose sleep or retry is due, and
    /// runs whose process has died.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the next call continues the runs that it was executing, or another
    /// worker does once the lease of this engine has expired.
    ///
    /// # Panics
    ///
    /// When the clock or the store panics. The panic is logged, and [`report`](Self::report) says
    /// from then on that the worker has ended. Panics of workflows, steps and transports are
    /// caught.
    pub async fn work(&self) {
        let worker = &*self.worker;
        let work = join4(
            worker.work(),
            self.deliver(),
            worker.purge_periodically(),
            worker.follow_store(),
        );
        let Err(panic) = AssertUnwindSafe(work).catch_unwind().await else {
            return;
        };
        let message = panic_message(&*panic);
        tracing::error!(
            panic = message,
            "the worker panicked and has ended; another worker will claim its runs"
        );
        lock(&worker.ended).get_or_insert(Reason::new(message));
        // The caller, whose task this is, learns of the panic too.
        resume_unwind(panic)
    }

    /// Delivers events as they are committed, until the engine is shut down. Call it on a task of
    /// its own; [`work`](Self::work) includes it.
    ///
    /// Each sink has its own delivery: a sink that is down delays no other sink and no run.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the task can be aborted at any time.
    pub async fn deliver(&self) {
        let poll_interval = self.worker.settings.poll_interval;
        let relays = self.relays.iter();
        join_all(relays.map(|relay| serve(relay, &self.worker.shutdown, poll_interval))).await;
    }

    /// Delivers every event committed before the call to every sink, for at most
    /// [`Config::flush_timeout`](crate::Config::flush_timeout).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: events stay in the history until their sink has acknowledged them.
    pub async fn flush(&self) -> EngineReport {
        let now = self.worker.clock.now();
        self.deliver_by(now.saturating_add(self.flush_timeout))
            .await
    }

    /// Stops claiming runs, lets the steps under way finish, delivers everything, and reports;
    /// takes at most `timeout`.
    ///
    /// A run stops behind its steps under way, and the next engine on this store continues it. If
    /// its steps take longer than `timeout`, the run writes nothing more: its next record is
    /// refused. Events that were not delivered stay pending in the store. Idempotent.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the engine stays closed, and the call can be repeated.
    pub async fn shutdown(&self, timeout: Duration) -> EngineReport {
        let Worker {
            clock,
            shutdown,
            active,
            lease,
            ..
        } = &*self.worker;
        shutdown.close();
        active.stop_all();
        let deadline = clock.now().saturating_add(timeout);
        // A delivery that waits for its next attempt makes it now.
        let relays = self.relays.iter();
        let _hurry: Vec<_> = relays.map(|relay| relay.hurry(deadline)).collect();
        // Deliver in the meantime: runs that take all the time must not leave none for their
        // events.
        let deliver = self.deliver().then(|()| pending::<()>());
        let runs_ended = pin!(shutdown.runs_ended());
        select(select(runs_ended, clock.sleep(timeout)), pin!(deliver)).await;
        shutdown.stop();
        select(pin!(shutdown.commits_ended()), clock.sleep(COMMIT_GRACE)).await;
        // Keep the lease during this delivery; without it another worker could claim the sink and
        // deliver the same events.
        let report = self.deliver_by(deadline).await;
        // Other workers can claim what this one holds now, and not only when its lease expires.
        if let Err(error) = lease.retire().await {
            tracing::warn!(%error, "failed to release the lease; it will expire");
        }
        report
    }

    /// Returns the state of delivery without delivering anything.
    pub async fn report(&self) -> EngineReport {
        let relays = self.relays.iter();
        let sinks = join_all(relays.map(|relay| relay.report(Ok(())))).await;
        self.report_with(sinks).await
    }

    /// Forgets a sink that is not used any more, so that it stops holding up purges; returns
    /// whether the store knew the sink. [`report`](Self::report) names such sinks.
    ///
    /// The sink's position in the history is lost: a sink that is added under this name later gets
    /// every event that is still kept.
    ///
    /// # Errors
    ///
    /// [`ForgetSinkError::Registered`] for a sink of this engine. The sinks of other engines on the
    /// same store are not known here: an engine that still delivers to the sink starts again with
    /// the first event that is kept.
    pub async fn forget_sink(&self, sink: &str) -> Result<bool, ForgetSinkError> {
        if self.is_registered(sink) {
            return Err(ForgetSinkError::Registered {
                sink: sink.to_owned(),
            });
        }
        let Worker { store, .. } = &*self.worker;
        Ok(self.worker.retried(|| store.drop_cursor(sink)).await?)
    }

    /// Removes the runs whose [retention](crate::Retention) has expired and whose events have a
    /// fate at every sink.
    ///
    /// [`work`](Self::work) purges every minute, [`run_until_idle`](Self::run_until_idle) at its
    /// end.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails; what was purged before stays purged.
    pub async fn purge(&self) -> Result<Purged, StoreError> {
        self.worker.purge().await
    }

    /// Delivers everything committed before the call, until `deadline`.
    async fn deliver_by(&self, deadline: Duration) -> EngineReport {
        let end = self.worker.store.outbox_end().await;
        let deliver = async |relay: &Relay| -> SinkReport {
            let outcome = match &end {
                Ok(end) => relay.deliver(end.position, deadline).await,
                Err(error) => Err(StoreError::Backend(error.to_string().into()).into()),
            };
            relay.release().await;
            relay.report(outcome).await
        };
        let sinks = join_all(self.relays.iter().map(deliver)).await;
        self.report_with(sinks).await
    }

    /// Completes a report with what does not belong to one sink of this engine.
    async fn report_with(&self, sinks: Vec<SinkReport>) -> EngineReport {
        let unregistered = self.unregistered().await.unwrap_or_else(|error| {
            tracing::warn!(
                %error,
                "failed to read the sinks of the store; the report lacks those that are not \
                 registered here"
            );
            Vec::new()
        });
        EngineReport {
            sinks,
            unregistered,
            active_runs: self.worker.shutdown.runs(),
            work_ended: lock(&self.worker.ended).clone(),
        }
    }

    async fn unregistered(&self) -> Result<Vec<UnregisteredSink>, StoreError> {
        let Worker { store, .. } = &*self.worker;
        let mut cursors = store.cursors().await?;
        cursors.retain(|(sink, _)| !self.is_registered(sink));
        if cursors.is_empty() {
            return Ok(Vec::new());
        }
        let accepted = store.outbox_end().await?.accepted;
        let sinks = cursors.into_iter().map(|(sink, cursor)| UnregisteredSink {
            sink,
            books: books(cursor, accepted),
        });
        Ok(sinks.collect())
    }

    fn is_registered(&self, sink: &str) -> bool {
        self.relays.iter().any(|relay| relay.name() == sink)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("store", &self.worker.store)
            .field("workflows", &self.worker.workflows.keys())
            .field("sinks", &self.relays)
            .finish_non_exhaustive()
    }
}
