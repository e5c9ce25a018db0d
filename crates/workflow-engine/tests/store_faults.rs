//! A store that fails is not a failed step: the run is left as it is, and user code never sees it.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use support::{STEPS, Sink, steps};
use tracker_core::testing::TestClock;
use workflow_engine::{
    Commit, Context, Created, Cursor, EncodedEvent, Engine, Failure, MemoryStore, NewRun, Position, Record, Run,
    RunError, Status, Store, StoreError, Workflow,
};

/// A memory store whose n-th write fails, before it happens or after it has happened.
#[derive(Debug)]
struct Failing {
    kept: MemoryStore,
    writes: AtomicUsize,
    fail_at: usize,
    after: bool,
}

impl Failing {
    fn new(fail_at: usize, after: bool) -> Self {
        Self { kept: MemoryStore::new(), writes: AtomicUsize::new(0), fail_at, after }
    }

    fn fails(&self) -> bool {
        self.writes.fetch_add(1, Ordering::Relaxed) == self.fail_at
    }
}

fn broken<T>() -> Result<T, StoreError> {
    Err(StoreError::Backend("the disk is full".into()))
}

#[async_trait]
impl Store for Failing {
    async fn create(&self, run: NewRun, record: Record) -> Result<Created, StoreError> {
        match (self.fails(), self.after) {
            (false, _) => self.kept.create(run, record).await,
            (true, false) => broken(),
            (true, true) => self.kept.create(run, record).await.and_then(|_| broken()),
        }
    }

    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        match (self.fails(), self.after) {
            (false, _) => self.kept.commit(commit).await,
            (true, false) => broken(),
            (true, true) => self.kept.commit(commit).await.and_then(|()| broken()),
        }
    }

    async fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        self.kept.run(id).await
    }

    async fn history(&self, id: &str) -> Result<Vec<Record>, StoreError> {
        self.kept.history(id).await
    }

    async fn outbox(&self, after: Position, limit: usize) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
        self.kept.outbox(after, limit).await
    }

    async fn outbox_end(&self) -> Result<(Position, u64), StoreError> {
        self.kept.outbox_end().await
    }

    async fn cursor(&self, sink: &str) -> Result<Cursor, StoreError> {
        self.kept.cursor(sink).await
    }

    async fn set_cursor(&self, sink: &str, cursor: Cursor) -> Result<(), StoreError> {
        if self.fails() { broken() } else { self.kept.set_cursor(sink, cursor).await }
    }
}

#[test]
fn a_failed_write_leaves_the_run_as_it_is_and_every_event_that_was_written_is_delivered() {
    for (fail_at, after) in (0..5).flat_map(|at| [(at, false), (at, true)]) {
        let (clock, store, sink) =
            (Arc::new(TestClock::new()), Arc::new(Failing::new(fail_at, after)), Arc::new(Sink::new()));
        let engine = Engine::builder()
            .store(store.clone())
            .clock(clock.clone())
            .workflow(&STEPS, steps)
            .sink("collector", sink.clone())
            .build()
            .unwrap();
        clock.run(async {
            let outcome = engine.run(&STEPS, "r", 3).await;
            assert!(matches!(outcome, Err(RunError::Store(StoreError::Backend(_)))), "write {fail_at}: {outcome:?}");
            let run = store.run("r").await.unwrap();
            let ended = fail_at == 4 && after;
            let status = (fail_at > 0 || after).then_some(if ended { Status::Completed } else { Status::Running });
            assert_eq!(run.map(|run| run.status), status, "write {fail_at}, after: {after}");

            let report = engine.flush().await;
            assert!(report.is_delivered(), "{report}");
            let delivered: Vec<_> = sink.delivered().iter().map(|event| event.decode().unwrap()).collect();
            let history = engine.history("r").await.unwrap();
            assert_eq!(delivered, history, "write {fail_at}, after: {after}");
            assert!(history.iter().zip(1..).all(|(event, seq)| event.seq == seq), "the history is contiguous");
        });
    }
}

#[test]
fn code_that_catches_every_error_does_not_catch_a_store_that_fails() {
    const CATCHES: Workflow<(), ()> = Workflow::new("catches");
    let (clock, caught) = (Arc::new(TestClock::new()), Arc::new(AtomicBool::new(false)));
    let flag = caught.clone();
    let catches = move |ctx: Context, (): ()| {
        let flag = flag.clone();
        async move {
            let _ = ctx.step("one", || async { Ok::<_, Failure>(()) }).await;
            flag.store(true, Ordering::Relaxed);
            Ok::<_, Failure>(())
        }
    };
    let store = Arc::new(Failing::new(1, false));
    let builder = Engine::builder().store(store).clock(clock.clone());
    let engine = builder.workflow(&CATCHES, catches).build().unwrap();
    clock.run(async {
        let outcome = engine.run(&CATCHES, "r", ()).await;
        assert!(matches!(outcome, Err(RunError::Store(_))));
        assert!(!caught.load(Ordering::Relaxed), "the function was polled again after its run had been halted");
    });
}

#[test]
fn a_cursor_that_cannot_be_written_repeats_events_and_loses_none() {
    let (clock, sink) = (Arc::new(TestClock::new()), Arc::new(Sink::new()));
    // Writes 0 to 2 are those of a run with one step; write 3 is the sink's first cursor.
    let store = Arc::new(Failing::new(3, false));
    let builder = Engine::builder().store(store).clock(clock.clone()).workflow(&STEPS, steps);
    let engine = builder.sink("collector", sink.clone()).build().unwrap();
    clock.run(async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        let report = engine.flush().await;
        assert_eq!(report.sink("collector").unwrap().books.pending(), 4, "not acknowledged, so still pending");
        assert!(engine.flush().await.is_delivered());
        assert_eq!(sink.delivered().len(), 8);
    });
}
