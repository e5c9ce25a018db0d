//! The work of an engine: claims runs that are due, executes them, and keeps house.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::time::Duration;

use futures::future::{BoxFuture, Either, join4, pending, select};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tracker_core::Reason;
use workflow_events::Timestamp;

use crate::active::{Taken, lock};
use crate::engine::{Engine, Inner};
use crate::executor::REST;
use crate::failure::panic_message;
use crate::report::EngineReport;
use crate::store::{ClaimRequest, Claims, Purged, StoreError, Woken};
use crate::time::wall;

/// How often runs whose retention is over are purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);
/// When to look again for a run that is due and could not be had: another worker is claiming it, or
/// somebody has locked it.
const LOCKED: Duration = Duration::from_millis(50);
/// How often, in a row, a worker that is to become idle looks for what is due and cannot be had.
const LOOKS_IN_VAIN: usize = 8;
/// How many runs a purge removes in one write, at most.
const PURGE_BATCH: usize = 256;

/// What [`Engine::run_until_idle`] came to.
#[derive(Debug)]
#[must_use = "it says when there will be work again, and whether every event was delivered"]
pub struct Idle {
    /// How many executions of runs there were; a run that was suspended and went on counts twice.
    pub executed: usize,
    /// When the next run is due; `None` if none is.
    pub next_wake: Option<Timestamp>,
    /// Workflows that have runs which are due, and that this engine does not know.
    pub unknown: Vec<String>,
    /// What was delivered.
    pub report: EngineReport,
}

impl Engine {
    /// Executes runs that are due, delivers events, and purges what its retention is over, until
    /// the engine is shut down. Run it on a task of its own, or on several: each executes other
    /// runs.
    ///
    /// It takes up runs that were [started](Self::start), whose sleep or retry is due, and whose
    /// process has died.
    ///
    /// # Cancel safety
    ///
    /// The runs that it was executing are taken up by the next call, or by another worker once this
    /// engine's lease is over.
    ///
    /// # Panics
    ///
    /// When the clock or the store panics. Workflows, steps, and transports may panic without harm.
    /// The panic is logged, and [`report`](Self::report) says from then on that the worker has
    /// ended.
    pub async fn work(&self) {
        let inner = &*self.inner;
        let work = join4(
            inner.work(),
            self.deliver(),
            inner.keep_house(),
            inner.listen(),
        );
        let Err(panic) = AssertUnwindSafe(work).catch_unwind().await else {
            return;
        };
        let message = panic_message(&*panic);
        tracing::error!(
            panic = message,
            "the worker has ended: it panicked; its runs are taken up by another one"
        );
        lock(&inner.work_ended).get_or_insert(Reason::new(message));
        // Whose task it is shall hear of it, too.
        resume_unwind(panic)
    }

    /// Executes everything that can be executed now, delivers its events, and returns when there
    /// will be work again: the whole life of a short-lived process.
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
        let inner = &*self.inner;
        let (mut executing, mut executed, mut in_vain) = (FuturesUnordered::new(), 0, 0);
        let (next_wake, unknown) = loop {
            if inner.gate.is_closed() {
                break (None, Vec::new());
            }
            let room = inner.settings.runs_at_once.saturating_sub(executing.len());
            let (ended, found) = drive(&mut executing, inner.look(room)).await;
            executed += ended;
            let Found {
                runs,
                next_due,
                unknown,
            } = found?;
            let more = runs.len() == room;
            executing.extend(
                runs.into_iter()
                    .map(|taken| inner.execute(taken, None, REST)),
            );
            if executing.is_empty() {
                // Something is due and could not be had: it is locked, or cannot be read and was
                // put aside. What stands behind it can be.
                if next_due.is_none_or(|due_at| due_at > wall(&*inner.clock))
                    || in_vain == LOOKS_IN_VAIN
                {
                    break (next_due, unknown);
                }
                in_vain += 1;
                inner.clock.sleep(LOCKED).await;
                continue;
            }
            in_vain = 0;
            // Many small claims cost more than one large one.
            let enough = if more {
                inner.settings.runs_at_once / 2
            } else {
                0
            };
            while executing.len() > enough && executing.next().await.is_some() {
                executed += 1;
            }
        };
        // A shutdown lets the steps under way finish.
        while executing.next().await.is_some() {
            executed += 1;
        }
        // What a purge leaves can be purged the next time; events are to be delivered now.
        if let Err(error) = inner.purge().await {
            tracing::error!(%error, "runs could not be purged; the next call tries again");
        }
        Ok(Idle {
            executed,
            next_wake,
            unknown,
            report: self.flush().await,
        })
    }

    /// Removes the runs whose [retention](crate::Retention) is over and whose events every sink has
    /// settled.
    ///
    /// [`work`](Self::work) does it every minute, [`run_until_idle`](Self::run_until_idle) at its
    /// end.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails; what was purged before stays purged.
    pub async fn purge(&self) -> Result<Purged, StoreError> {
        self.inner.purge().await
    }
}

/// What a worker has found to do.
#[derive(Debug, Default)]
pub(crate) struct Found {
    runs: Vec<Taken>,
    next_due: Option<Timestamp>,
    unknown: Vec<String>,
}

impl Inner {
    /// Claims and executes runs until the gate is closed, and then finishes with what it has.
    async fn work(&self) {
        let mut executing: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        let (mut known, mut look) = (Found::default(), true);
        while !self.gate.is_closed() {
            let room = self.settings.runs_at_once.saturating_sub(executing.len());
            let (mut looked, mut failed, mut soonest) = (look && room > 0, false, Duration::ZERO);
            if looked {
                let found = match drive(&mut executing, self.look(room)).await.1 {
                    Ok(found) => found,
                    Err(error) => {
                        tracing::error!(%error, "runs could not be claimed; it will be tried again");
                        (looked, failed) = (false, true);
                        Found::default()
                    }
                };
                if found.runs.is_empty() {
                    soonest = LOCKED;
                }
                self.report_unknown(&known.unknown, &found.unknown);
                executing.extend(
                    found
                        .runs
                        .into_iter()
                        .map(|run| self.execute(run, None, REST).map(drop).boxed()),
                );
                known = Found {
                    runs: Vec::new(),
                    ..found
                };
            }
            let now = wall(&*self.clock);
            let due_in = known
                .next_due
                .filter(|_| looked)
                .map(|due_at| due_at.duration_since(now));
            let due_in = due_in.map(|due_in| if due_in.is_zero() { soonest } else { due_in });
            let pause = due_in.map_or(self.settings.poll_interval, |due_in| {
                due_in.min(self.settings.poll_interval)
            });
            // A store that fails is not asked again at once, whoever has work to tell of.
            let notified = async {
                if failed {
                    pending().await
                } else {
                    self.active.work.notified().await
                }
            };
            let (notified, closed) = (pin!(notified), pin!(self.gate.closed()));
            let due = select(select(self.clock.sleep(pause), notified), closed);
            look = match executing.is_empty() {
                true => {
                    due.await;
                    true
                }
                // Many small claims cost more than one large one.
                false => match select(due, executing.next()).await {
                    Either::Left(_) => true,
                    Either::Right(_) => {
                        !failed && executing.len() * 2 <= self.settings.runs_at_once
                    }
                },
            };
        }
        while executing.next().await.is_some() {}
    }

    /// Claims runs to execute, at most `room`: first those that this worker holds already.
    async fn look(&self, room: usize) -> Result<Found, StoreError> {
        let mut runs = self.take_up(room).await?;
        self.lease.ensure().await?;
        let found = self
            .ask(self.request(None, room.saturating_sub(runs.len())))
            .await?;
        runs.extend(found.runs);
        Ok(Found { runs, ..found })
    }

    /// Claims one run, if it is due, or held by this worker and executed by nobody.
    pub(crate) async fn claim_run(&self, id: &str) -> Result<Option<Taken>, StoreError> {
        if self.active.is_active(id) {
            return Ok(None);
        }
        self.retried(|| self.lease.ensure()).await?;
        let request = ClaimRequest {
            workflows: None,
            ..self.request(Some(id.to_owned()), 1)
        };
        Ok(self.ask(request).await?.runs.pop())
    }

    async fn ask(&self, request: ClaimRequest) -> Result<Found, StoreError> {
        let begun = self.active.begin_claim();
        let claims = self.store.claim(request).await;
        // What cannot be read cannot be executed, whether it is claimed or not.
        if matches!(claims, Ok(_) | Err(StoreError::Corrupt { .. })) {
            begun.ended();
        }
        let Claims {
            runs,
            next_due,
            unknown,
        } = claims?;
        let runs = runs
            .into_iter()
            .map(|claimed| self.active.taken(claimed))
            .collect();
        Ok(Found {
            runs,
            next_due,
            unknown,
        })
    }

    /// Claims runs whose execution here was dropped, or never began; at most `room`.
    async fn take_up(&self, room: usize) -> Result<Vec<Taken>, StoreError> {
        let mut held = Vec::new();
        if self.active.take_doubt() {
            let begun = self.active.begin_claim();
            // What was asked for before this write has happened once it has, or never will.
            self.lease.renew().await?;
            held = self.store.held(&self.lease.worker).await?;
            begun.ended();
        }
        let (mut dropped, mut taken) = (self.active.take_dropped(held), Vec::new());
        while taken.len() < room
            && let Some(id) = dropped.next()
        {
            if self.active.is_active(&id) {
                // An execution of it that was fenced is still about to notice.
                dropped.later(id);
                continue;
            }
            match self.claim_run(&id).await {
                Ok(run) => taken.extend(run),
                // It must not keep the others waiting.
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::error!(run = id, %error, "a run cannot be read; it rests until this worker has ended");
                }
                // It may be locked, and others not. If it is the store that fails, then it does so
                // with what comes next.
                Err(error) => {
                    tracing::warn!(run = id, %error, "a run could not be taken up; it will be tried again");
                    dropped.later(id);
                    break;
                }
            }
        }
        Ok(taken)
    }

    fn request(&self, run: Option<String>, limit: usize) -> ClaimRequest {
        let (worker, now) = (self.lease.worker.clone(), wall(&*self.clock));
        ClaimRequest {
            worker,
            now,
            run,
            workflows: Some(self.names.clone()),
            limit,
        }
    }

    fn report_unknown(&self, before: &[String], unknown: &[String]) {
        for workflow in unknown.iter().filter(|name| !before.contains(name)) {
            tracing::warn!(
                workflow,
                "runs of a workflow that is not registered here are due; they stay as they are"
            );
        }
    }

    /// Hears of what other processes have written, until the gate is closed.
    async fn listen(&self) {
        while let Either::Left((woken, _)) =
            select(pin!(self.store.woken()), pin!(self.gate.closed())).await
        {
            match woken {
                Woken::Due => self.active.work.notify_one(),
                Woken::Cancel => {
                    if let Err(error) = self.lease.renew().await {
                        tracing::warn!(%error, "cancels could not be asked for; they come with the next renewal");
                    }
                }
            }
        }
    }

    async fn keep_house(&self) {
        while self.settings.retention.is_limited() && !self.gate.is_closed() {
            if let Err(error) = self.purge().await {
                tracing::error!(%error, "runs could not be purged; it will be tried again");
            }
            select(self.clock.sleep(PURGE_INTERVAL), pin!(self.gate.closed())).await;
        }
    }

    async fn purge(&self) -> Result<Purged, StoreError> {
        let mut purged = Purged::default();
        if !self.settings.retention.is_limited() {
            return Ok(purged);
        }
        self.lease.ensure().await?;
        // A sink that the store has never heard of would not hold up the purge.
        for relay in &self.relays {
            self.store.open_cursor(relay.name()).await?;
        }
        let purge = self
            .settings
            .retention
            .purge(wall(&*self.clock), PURGE_BATCH);
        loop {
            let Purged { runs, events } = self.store.purge(purge).await?;
            purged = Purged {
                runs: purged.runs + runs,
                events: purged.events + events,
            };
            if runs == 0 {
                return Ok(purged);
            }
        }
    }
}

/// Waits for `future` while runs are executed: they may hold what it waits for. Returns how many of
/// them ended.
async fn drive<E: Future, F: Future>(
    executing: &mut FuturesUnordered<E>,
    future: F,
) -> (usize, F::Output) {
    let (mut future, mut ended) = (pin!(future), 0);
    loop {
        if executing.is_empty() {
            return (ended, future.await);
        }
        match select(future, executing.next()).await {
            Either::Left((done, _)) => return (ended, done),
            Either::Right((_, rest)) => {
                ended += 1;
                future = rest;
            }
        }
    }
}
