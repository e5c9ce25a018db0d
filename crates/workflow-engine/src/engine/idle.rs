//! The whole life of a short-lived process: execute what can be executed now, deliver, return.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tracker_core::Clock;
use workflow_events::Timestamp;

use crate::clock::wall;
use crate::delivery::report::EngineReport;
use crate::engine::Engine;
use crate::store::StoreError;
use crate::worker::claim::Found;
use crate::worker::execute::HALTED_RUN_REST;
use crate::worker::poll::{UNCLAIMABLE_RUN_WAIT, drive};

/// How many times in a row the store is asked for runs that are due and cannot be claimed, before
/// the engine is idle.
const MAX_VAIN_CLAIMS: usize = 8;

/// Result of [`Engine::run_until_idle`].
#[derive(Debug)]
#[must_use = "it says when there will be work again, and whether every event was delivered"]
pub struct Idle {
    /// Number of executions; a run that was suspended and then continued counts twice.
    pub executed: usize,
    /// When the next run is due; `None` if no run waits for a time.
    pub next_wake: Option<Timestamp>,
    /// Workflows that have runs which are due, and that are not registered in this engine.
    pub unknown: Vec<String>,
    /// State of delivery.
    pub report: EngineReport,
}

impl Engine {
    /// Executes everything that can be executed now, delivers the events, and returns. This is the
    /// whole life of a short-lived process; [`Idle::next_wake`] says when to start the next one.
    ///
    /// Delivery takes at most [`Config::flush_timeout`](tracker_core::Config::flush_timeout).
    ///
    /// # Errors
    ///
    /// [`StoreError`] when runs cannot be claimed.
    ///
    /// # Cancel safety
    ///
    /// As for [`work`](Self::work).
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use std::{sync::Arc, time::Duration};
    /// use workflow_engine::{Context, Engine, Failure, MemoryStore, Workflow};
    ///
    /// const NIGHTLY: Workflow<(), ()> = Workflow::new("nightly");
    ///
    /// async fn nightly(ctx: Context, (): ()) -> Result<(), Failure> {
    ///     ctx.step("report", || async { Ok::<_, Failure>(()) }).await?;
    ///     ctx.sleep(Duration::from_secs(24 * 3600)).await;
    ///     Ok(())
    /// }
    ///
    /// let engine = Engine::builder().store(Arc::new(MemoryStore::new())).workflow(&NIGHTLY, nightly).build()?;
    /// engine.start(&NIGHTLY, "nightly-1", ()).await?;
    /// let idle = engine.run_until_idle().await?;
    /// assert_eq!(idle.executed, 1);
    /// assert!(idle.next_wake.is_some(), "it sleeps until tomorrow");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn run_until_idle(&self) -> Result<Idle, StoreError> {
        let worker = &*self.worker;
        let capacity = worker.settings.max_concurrent_runs;
        let mut executing = FuturesUnordered::new();
        let mut executed = 0;
        let mut vain_claims = 0;
        let (next_wake, unknown) = loop {
            if worker.shutdown.is_closed() {
                break (None, Vec::new());
            }
            let room = capacity.saturating_sub(executing.len());
            let (ended, found) = drive(&mut executing, worker.claim_due(room)).await;
            executed += ended;
            let Found {
                runs,
                next_due,
                unknown,
            } = found?;
            let has_more = runs.len() == room;
            let runs = runs.into_iter();
            executing.extend(runs.map(|run| worker.execute(run, None, HALTED_RUN_REST)));
            if executing.is_empty() {
                // A run that is due could not be claimed: it is locked, or it cannot be read and
                // was put aside. The runs behind it can be claimed.
                let now = wall(&*worker.clock);
                if next_due.is_none_or(|due_at| due_at > now) || vain_claims == MAX_VAIN_CLAIMS {
                    break (next_due, unknown);
                }
                vain_claims += 1;
                worker.clock.sleep(UNCLAIMABLE_RUN_WAIT).await;
                continue;
            }
            vain_claims = 0;
            // Many small claims cost more than one large one.
            let enough = if has_more { capacity / 2 } else { 0 };
            while executing.len() > enough && executing.next().await.is_some() {
                executed += 1;
            }
        };
        // A shutdown lets the steps under way finish.
        while executing.next().await.is_some() {
            executed += 1;
        }
        // A purge can wait for the next call; the delivery of events cannot.
        if let Err(error) = worker.purge().await {
            tracing::error!(%error, "failed to purge runs; the next call retries");
        }
        Ok(Idle {
            executed,
            next_wake,
            unknown,
            report: self.flush().await,
        })
    }
}
