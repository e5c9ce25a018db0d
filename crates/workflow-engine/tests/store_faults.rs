//! A failing store is not a failed step: user code never sees the failure, and a write is repeated
//! if it can be.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracker_core::testing::TestClock;
use workflow_engine::{
    Context, Engine, Failure, MemoryStore, Outcome, RunError, Status, Store, StoreError, Workflow,
};
use workflow_testing::{Fault, FaultStore};

use support::{Fixture, STEPS, Sink, steps};

/// Makes an engine on a store with faults at these writes. Write 0 is the lease, and write 1
/// creates the first run.
fn engine(
    faults: impl IntoIterator<Item = (usize, Fault)>,
) -> (Arc<TestClock>, Arc<FaultStore>, Arc<Sink>, Engine) {
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    let store = faults.into_iter().fold(store, |store, (write, fault)| {
        store.with_fault(write, fault)
    });
    let clock = Arc::new(TestClock::new());
    let store = Arc::new(store);
    let sink = Arc::new(Sink::new());
    let builder = Engine::builder()
        .store(store.clone())
        .clock(clock.clone())
        .workflow(&STEPS, steps);
    let engine = builder.sink("collector", sink.clone()).build().unwrap();
    (clock, store, sink, engine)
}

#[test]
fn a_single_failed_write_does_not_fail_the_workflow() {
    for (fault, write) in [Fault::FailBefore, Fault::FailAfter]
        .into_iter()
        .flat_map(|fault| (1..6).map(move |write| (fault, write)))
    {
        let (clock, _, sink, engine) = engine([(write, fault)]);
        clock.run(async {
            let outcome = engine.run(&STEPS, "r", 3).await;
            assert_eq!(
                outcome.unwrap(),
                Outcome::Completed(3),
                "{fault:?} at {write}"
            );
            assert!(engine.flush().await.is_complete());
            let history = engine.history("r").await.unwrap();
            assert!(
                history.iter().zip(1..).all(|(event, seq)| event.seq == seq),
                "the history is contiguous"
            );
            assert_eq!(
                support::decode(&sink.delivered()),
                history,
                "{fault:?} at {write}"
            );
            let recovered = usize::from(fault == Fault::FailAfter && write == 1);
            assert_eq!(
                history.len(),
                8 + recovered,
                "no event is written twice: {fault:?} at {write}"
            );
        });
    }
}

#[test]
fn a_store_that_stays_down_leaves_the_run_as_it_is_and_a_worker_takes_it_up_again() {
    // The third step's record fails, with all its repetitions, and so does the release after it.
    let (clock, store, sink, engine) = engine((4..11).map(|write| (write, Fault::FailBefore)));
    clock.run(async {
        let outcome = engine.run(&STEPS, "r", 3).await;
        assert!(
            matches!(outcome, Err(RunError::Store(StoreError::Backend(_)))),
            "{outcome:?}"
        );
        assert_eq!(
            store.run("r").await.unwrap().map(|run| run.status),
            Some(Status::Running)
        );
        let idle = engine.run_until_idle().await.unwrap();
        assert_eq!((idle.executed, idle.next_wake), (1, None));
        assert!(idle.report.is_complete());
        assert_eq!(
            store.run("r").await.unwrap().map(|run| run.status),
            Some(Status::Completed)
        );
        assert_eq!(
            support::decode(&sink.delivered()),
            engine.history("r").await.unwrap()
        );
    });
}

#[test]
fn code_that_catches_every_error_does_not_catch_a_store_that_fails() {
    const CATCHES: Workflow<(), ()> = Workflow::new("catches");
    let fixture = Fixture::new();
    let caught = Arc::new(AtomicBool::new(false));
    let flag = caught.clone();
    let catches = move |ctx: Context, (): ()| {
        let flag = flag.clone();
        async move {
            let _ = ctx.step("one", || async { Ok::<_, Failure>(()) }).await;
            flag.store(true, Ordering::Relaxed);
            Ok::<_, Failure>(())
        }
    };
    let store = (2..8).fold(FaultStore::new(fixture.store.clone()), |store, n| {
        store.with_fault(n, Fault::FailBefore)
    });
    let builder = Engine::builder()
        .store(Arc::new(store))
        .clock(fixture.clock.clone());
    let engine = builder.workflow(&CATCHES, catches).build().unwrap();
    fixture.clock.run(async {
        let outcome = engine.run(&CATCHES, "r", ()).await;
        assert!(matches!(outcome, Err(RunError::Store(_))));
        assert!(
            !caught.load(Ordering::Relaxed),
            "the function was polled again after its run had been left"
        );
    });
}

#[test]
fn a_cursor_that_cannot_be_written_repeats_events_and_loses_none() {
    // Writes 0 to 3 are those of a run with one step; 4 opens the sink's cursor, 5 claims the sink,
    // 6 opens the cursor again, 7 moves it.
    let (clock, _, sink, engine) = engine([(7, Fault::FailBefore)]);
    clock.run(async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        let report = engine.flush().await;
        assert_eq!(
            report.sink("collector").unwrap().books.pending(),
            4,
            "not acknowledged, so still pending"
        );
        assert!(engine.flush().await.is_delivered());
        assert_eq!(sink.delivered().len(), 8);
    });
}
