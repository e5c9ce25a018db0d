//! Crash enumeration: a workflow is killed at each of its writes, and must end correctly every
//! time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures::future::{BoxFuture, Either, select};
use tracker_core::Clock;
use tracker_core::testing::{MemoryTransport, TestClock};
use workflow_engine::store::{EntryKind, Span};
use workflow_engine::{EncodedEvent, Engine, EngineBuilder, RunFilter, Status, Store};
use workflow_events::{Event, RunView, Timestamp};

use crate::effects::Effects;
use crate::fault_store::{Fault, FaultStore, block_on};

/// Opens the same storage again, as a new process does.
pub type Reopen = Box<dyn FnMut() -> Arc<dyn Store>>;

/// Registers the workflows under test.
type Build = Box<dyn Fn(EngineBuilder, &Effects) -> EngineBuilder>;

/// What a process does with its engine after it has started.
type Script = Box<dyn Fn(Engine) -> BoxFuture<'static, ()>>;

/// Kills a process before and after each write to its store, starts it again, and checks the
/// result.
///
/// These rules are checked. Each run ends as it does without a crash. Each step that is recorded as
/// completed has had its effect, and no effect after its record. Each history is contiguous, and
/// its transitions are legal. Each sink has received each event, in order, once after duplicates
/// are dropped.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use workflow_engine::{Context, Failure, MemoryStore, Workflow};
/// use workflow_testing::CrashTest;
///
/// const ORDER: Workflow<(), ()> = Workflow::new("order");
///
/// let report = CrashTest::in_memory(|engine, effects| {
///     let effects = effects.clone();
///     engine.workflow(&ORDER, move |ctx: Context, (): ()| {
///         let effects = effects.clone();
///         async move {
///             for step in ["charge", "ship"] {
///                 let body = || async { Ok::<_, Failure>(effects.record(ctx.run_id(), step)) };
///                 ctx.step(step, body).await?;
///             }
///             Ok::<_, Failure>(())
///         }
///     })
/// })
/// .run(|engine| Box::pin(async move { drop(engine.run(&ORDER, "order-17", ()).await) }));
/// assert!(report.crashes >= 10, "{report}");
/// ```
pub struct CrashTest {
    storage: Box<dyn Fn() -> Reopen>,
    build: Build,
    sinks: usize,
    crash_recovery: bool,
    accepted: Vec<Status>,
}

/// Report of a crash enumeration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashReport {
    /// The number of writes of a process without a crash.
    pub writes: usize,
    /// The number of processes that were killed.
    pub crashes: usize,
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes, {} crashes", self.writes, self.crashes)
    }
}

/// The result of one sequence of crashes.
struct SequenceResult {
    /// The status of each run, and the text of its output or error.
    outcomes: BTreeMap<String, (Status, String)>,
    /// The number of writes of each process.
    writes: Vec<usize>,
}

impl CrashTest {
    /// A test on a store in memory, which survives the crashes. `build` registers the workflows.
    pub fn in_memory(build: impl Fn(EngineBuilder, &Effects) -> EngineBuilder + 'static) -> Self {
        let storage = || -> Reopen {
            let store: Arc<dyn Store> = Arc::new(workflow_engine::MemoryStore::new());
            Box::new(move || store.clone())
        };
        Self::new(storage, build)
    }

    /// A test on your own storage. `storage` makes new storage, and returns a function that opens
    /// it again after each crash.
    pub fn new(
        storage: impl Fn() -> Reopen + 'static,
        build: impl Fn(EngineBuilder, &Effects) -> EngineBuilder + 'static,
    ) -> Self {
        Self {
            storage: Box::new(storage),
            build: Box::new(build),
            sinks: 1,
            crash_recovery: false,
            accepted: Vec::new(),
        }
    }

    /// Sets the number of sinks. The default is 1.
    #[must_use]
    pub fn sinks(self, sinks: usize) -> Self {
        Self { sinks, ..self }
    }

    /// Kills the recovering process too, at each of its writes.
    #[must_use]
    pub fn crash_recovery(self) -> Self {
        Self {
            crash_recovery: true,
            ..self
        }
    }

    /// Accepts that a run ends with one of these statuses instead of the one without a crash,
    /// because something such as a cancel races with the crash.
    #[must_use]
    pub fn accepting(self, statuses: &[Status]) -> Self {
        Self {
            accepted: statuses.to_vec(),
            ..self
        }
    }

    /// Runs the enumeration. Each process executes `script`, and then works through all sleeps
    /// until no run is due. After a crash the next process does the same.
    ///
    /// # Panics
    ///
    /// When a rule is broken. The message has the rule, and the writes at which the processes were
    /// killed.
    pub fn run(self, script: impl Fn(Engine) -> BoxFuture<'static, ()> + 'static) -> CrashReport {
        let script: Script = Box::new(script);
        let baseline = self.run_processes(&script, &[], None);
        let mut report = CrashReport {
            writes: baseline.writes[0],
            crashes: 0,
        };
        for first in crash_points(baseline.writes[0]) {
            let outcome = self.run_processes(&script, &[first], Some(&baseline));
            report.crashes += 1;
            let recovery_writes = if self.crash_recovery {
                outcome.writes.get(1).copied().unwrap_or(0)
            } else {
                0
            };
            for second in crash_points(recovery_writes) {
                self.run_processes(&script, &[first, second], Some(&baseline));
                report.crashes += 2;
            }
        }
        report
    }

    /// Runs one sequence of processes. Each except the last is killed at the write that `crashes`
    /// names.
    fn run_processes(
        &self,
        script: &Script,
        crashes: &[(usize, Fault)],
        baseline: Option<&SequenceResult>,
    ) -> SequenceResult {
        let clock = Arc::new(TestClock::new());
        let mut reopen = (self.storage)();
        let effects = Effects::default();
        let sinks: Vec<Arc<MemoryTransport<EncodedEvent>>> = (0..self.sinks)
            .map(|_| Arc::new(MemoryTransport::new()))
            .collect();
        let mut writes = Vec::new();
        for crash in crashes.iter().copied().map(Some).chain([None]) {
            let store = FaultStore::new(reopen());
            let store = Arc::new(match crash {
                Some((write, fault)) => store.with_fault(write, fault),
                None => store,
            });
            effects.lock(|log| log.store = Some(store.inner().clone()));
            let mut builder = Engine::builder().store(store.clone()).clock(clock.clone());
            for (number, sink) in (1..).zip(&sinks) {
                builder = builder.sink(format!("sink-{number}"), sink.clone());
            }
            let engine = (self.build)(builder, &effects)
                .build()
                .expect("the engine of a crash test can be built");
            let process = run_process(engine, script, clock.clone());
            let died = clock.run(async {
                matches!(
                    select(pin!(process), pin!(store.died())).await,
                    Either::Right(_)
                )
            });
            writes.push(store.writes());
            // Delays are random, so a process may make fewer writes than the one before it, and end
            // well.
            assert!(
                crash.is_some() || !died,
                "a process died without a fault, with {crashes:?}"
            );
            effects.lock(|log| log.store = None);
        }
        let store = reopen();
        let outcomes = check_rules(&*store, &effects, &sinks, crashes);
        if let Some(baseline) = baseline {
            for (run, expected) in &baseline.outcomes {
                let got = outcomes
                    .get(run)
                    .unwrap_or_else(|| panic!("run {run} is lost after {crashes:?}"));
                assert!(
                    got == expected || self.accepted.contains(&got.0),
                    "run {run} ended as {got:?} instead of {expected:?} after {crashes:?}"
                );
            }
        }
        SequenceResult { outcomes, writes }
    }
}

/// Returns the points before and after each write.
fn crash_points(writes: usize) -> impl Iterator<Item = (usize, Fault)> {
    (0..writes).flat_map(|write| [(write, Fault::DieBefore), (write, Fault::DieAfter)])
}

/// Runs one process.
async fn run_process(engine: Engine, script: &Script, clock: Arc<TestClock>) {
    script(engine.clone()).await;
    loop {
        let idle = engine
            .run_until_idle()
            .await
            .expect("the store of a crash test does not fail");
        let Some(next_wake) = idle.next_wake else {
            break;
        };
        let now = Timestamp::try_from(clock.wall()).expect("a test clock's time is a timestamp");
        clock.sleep(next_wake.duration_since(now)).await;
    }
    let report = engine.shutdown(std::time::Duration::from_secs(60)).await;
    assert!(report.is_complete(), "{report}");
}

/// Checks the rules after all crashes.
fn check_rules(
    store: &dyn Store,
    effects: &Effects,
    sinks: &[Arc<MemoryTransport<EncodedEvent>>],
    crashes: &[(usize, Fault)],
) -> BTreeMap<String, (Status, String)> {
    effects.lock(|log| {
        assert!(
            log.breaches.is_empty(),
            "{:?} after {crashes:?}",
            log.breaches
        )
    });
    let filter = RunFilter {
        limit: usize::MAX >> 1,
        ..RunFilter::default()
    };
    let runs = block_on(store.list(&filter)).expect("the runs can be listed");
    let mut outcomes = BTreeMap::new();
    let mut written = BTreeSet::new();
    for run in runs {
        let records = block_on(store.records(run.key, Span::All)).expect("the history can be read");
        let events = records.iter().flat_map(|record| &record.events);
        let events: Vec<Event> = events
            .map(|event| event.decode().expect("an event can be read"))
            .collect();
        let types: Vec<_> = events.iter().map(|event| event.kind.type_name()).collect();
        assert!(
            events.iter().zip(1..).all(|(event, seq)| event.seq == seq),
            "{types:?} has gaps after {crashes:?}"
        );
        assert!(
            run.status.is_terminal(),
            "run {} is left as {} after {crashes:?}: {types:?}",
            run.id,
            run.status
        );
        let view = RunView::from_events(&events);
        assert_eq!(
            view.status().as_str(),
            run.status.stored_name(),
            "status and events differ after {crashes:?}: {types:?}"
        );
        assert!(
            view.is_complete() && view.conflicts().next().is_none(),
            "{types:?} after {crashes:?}"
        );
        let entries = || records.iter().filter_map(|record| record.entry.as_ref());
        for step in entries().filter(|entry| entry.kind == EntryKind::StepCompleted) {
            let has_effects =
                effects.lock(|log| log.effects.iter().any(|effect| effect.1 == step.name));
            let count = effects.count(&run.id, &step.name);
            assert!(
                !has_effects || count > 0,
                "step {} is recorded without its effect after {crashes:?}",
                step.name
            );
        }
        let end = entries()
            .next_back()
            .and_then(|entry| entry.payload.as_ref());
        outcomes.insert(
            run.id,
            (
                run.status,
                end.map(|end| end.as_str().to_owned()).unwrap_or_default(),
            ),
        );
        written.extend(events.iter().map(|event| event.event_id));
    }
    for sink in sinks {
        let received = sink.delivered();
        let received: Vec<Event> = received
            .iter()
            .map(|event| event.decode().expect("an event can be read"))
            .collect();
        let mut seen_ids = HashSet::new();
        let distinct: Vec<&Event> = received
            .iter()
            .filter(|event| seen_ids.insert(event.event_id))
            .collect();
        assert_eq!(
            distinct.len(),
            written.len(),
            "a sink has not received every event once after {crashes:?}"
        );
        assert!(
            distinct
                .iter()
                .all(|event| written.contains(&event.event_id)),
            "an event from nowhere: {crashes:?}"
        );
        let mut last = BTreeMap::new();
        for event in distinct {
            let last = last.entry(event.workflow_id.clone()).or_insert(0);
            assert_eq!(
                event.seq,
                *last + 1,
                "a sink has received events out of order after {crashes:?}"
            );
            *last = event.seq;
        }
    }
    outcomes
}

impl fmt::Debug for CrashTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashTest")
            .field("sinks", &self.sinks)
            .field("crash_recovery", &self.crash_recovery)
            .finish_non_exhaustive()
    }
}
