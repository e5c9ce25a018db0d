//! Reports on delivery: the last failure, the reasons of rejections, unregistered sinks. Delivery
//! survives failures of code that is not the engine's.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{Clock, DeliveryError, SendError};
use workflow_engine::{
    EncodedEvent, Engine, ForgetSinkError, MemoryStore, Outcome, Purged, Retention, SinkError,
    SinkReport,
};
use workflow_testing::FaultStore;

use support::{Fixture, STEPS, Sink, steps};

const SECOND: Duration = Duration::from_secs(1);

/// Runs `program` beside a worker, and drops the worker when `program` ends.
async fn beside<T>(engine: &Engine, program: impl Future<Output = T>) -> T {
    match select(pin!(engine.work()), pin!(program)).await {
        Either::Left(((), program)) => program.await,
        Either::Right((answer, _)) => answer,
    }
}

#[test]
fn the_reasons_of_rejected_events_are_kept_and_their_number_is_bounded() {
    let fixture = Fixture::new();
    fixture.sink.then_reject((0..60).collect::<Vec<_>>());
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 40).await.unwrap();
        let sink = engine.flush().await.sinks.pop().unwrap();
        assert_eq!(
            (sink.books.rejected, sink.rejections.len()),
            (60, SinkReport::REJECTIONS_KEPT)
        );
        let history = engine.history("r").await.unwrap();
        for (rejected, event) in sink.rejections.iter().zip(&history) {
            assert_eq!(
                (rejected.event_id.clone(), rejected.seq),
                (event.event_id.to_string(), event.seq)
            );
            assert_eq!(
                (rejected.run.as_str(), rejected.reason.as_str()),
                ("r", "rejected by script")
            );
        }
        assert_eq!(
            engine.report().await.sinks[0].rejections,
            sink.rejections,
            "they stay"
        );
    });
}

/// 12 s of 503, then healthy, then `shutdown(1 s)`: the worker's back-off must not use it up.
#[test]
fn a_flush_or_shutdown_wakes_the_back_off_of_the_worker() {
    for case in 0..20 {
        let fixture = Fixture::new();
        fixture.sink.always_fail(SendError::status(503));
        let engine = fixture.builder().build().unwrap();
        fixture.clock.run(beside(&engine, async {
            let _ = engine.run(&STEPS, format!("r{case}"), 1).await.unwrap();
            fixture.clock.sleep(12 * SECOND).await;
            fixture.sink.recover();
            if case % 2 == 0 {
                let began = fixture.clock.now();
                assert!(engine.flush().await.is_delivered(), "case {case}");
                assert!(fixture.clock.now() < began + SECOND, "case {case}");
            }
            assert!(engine.shutdown(SECOND).await.is_complete(), "case {case}");
        }));
    }
}

#[test]
fn the_last_reason_reaches_flush_shutdown_and_report() {
    let fixture = Fixture::new();
    fixture.sink.always_fail(SendError::status(503));
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(beside(&engine, async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        fixture.clock.sleep(12 * SECOND).await;
        assert_eq!(
            engine.report().await.sinks[0].last_error,
            Some(SendError::status(503))
        );
        for report in [engine.flush().await, engine.shutdown(SECOND).await] {
            let stop = report.sinks[0].stop.as_ref();
            let Some(SinkError::Delivery(DeliveryError::Deadline { last })) = stop else {
                panic!("{report:?}")
            };
            assert_eq!(
                *last,
                Some(SendError::status(503)),
                "the worker has the events: it knows why they wait"
            );
        }
    }));
}

#[test]
fn a_sink_that_was_renamed_is_named_holds_up_purges_and_can_be_forgotten() {
    let fixture = Fixture::new();
    fixture.clock.run(async {
        let engine = fixture
            .builder()
            .sink("old-name", Arc::new(Sink::new()))
            .build()
            .unwrap();
        assert!(
            engine.flush().await.unregistered.is_empty(),
            "it is registered"
        );
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();

        let renamed = fixture
            .builder()
            .sink("new-name", Arc::new(Sink::new()))
            .retention(Retention::all(Duration::ZERO));
        let engine = renamed.build().unwrap();
        let report = engine.flush().await;
        assert!(
            report.is_complete(),
            "every registered sink has its events: {report}"
        );
        let [unregistered] = report.unregistered.as_slice() else {
            panic!("{report:?}")
        };
        assert_eq!(
            (unregistered.sink.as_str(), unregistered.books.pending()),
            ("old-name", 4)
        );
        assert!(report.to_string().contains("old-name"), "{report}");
        fixture.clock.sleep(SECOND).await;
        assert_eq!(
            engine.purge().await.unwrap(),
            Purged::default(),
            "its events are not settled"
        );

        let refused = engine.forget_sink("new-name").await;
        assert!(
            matches!(refused, Err(ForgetSinkError::Registered { .. })),
            "{refused:?}"
        );
        assert!(engine.forget_sink("old-name").await.unwrap());
        assert!(
            !engine.forget_sink("old-name").await.unwrap(),
            "the sink is forgotten already"
        );
        assert!(engine.report().await.unregistered.is_empty());
        assert_eq!(engine.purge().await.unwrap(), Purged { runs: 1, events: 4 });
    });
}

fn engine_on(
    store: &Arc<FaultStore>,
) -> (Arc<TestClock>, Arc<MemoryTransport<EncodedEvent>>, Engine) {
    let clock = Arc::new(TestClock::new());
    let sink = Arc::new(Sink::new());
    let builder = Engine::builder()
        .store(store.clone())
        .clock(clock.clone())
        .workflow(&STEPS, steps);
    let engine = builder.sink("collector", sink.clone()).build().unwrap();
    (clock, sink, engine)
}

/// A server may restart while a caller waits for a result.
#[test]
fn every_read_of_a_handle_is_tried_again() {
    let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::new())));
    let (clock, _, engine) = engine_on(&store);
    clock.run(async {
        let _ = engine.run(&STEPS, "r", 2).await.unwrap();
        let handle = engine.handle(&STEPS, "r");
        for fails in 1..=5 {
            store.fail_reads(fails);
            assert_eq!(
                handle.result().await.unwrap(),
                Outcome::Completed(2),
                "{fails} reads fail"
            );
            store.fail_reads(fails);
            assert!(handle.status().await.unwrap().is_some());
            store.fail_reads(fails);
            assert_eq!(handle.history().await.unwrap().len(), 6);
            store.fail_reads(fails);
            assert_eq!(
                handle.completed_steps().await.unwrap(),
                ["step-1", "step-2"]
            );
            store.fail_reads(fails);
            assert_eq!(engine.list(&Default::default()).await.unwrap().len(), 1);
            store.fail_reads(fails);
            assert!(engine.view("r").await.unwrap().is_some());
            store.fail_reads(fails);
            assert_eq!(
                engine.run(&STEPS, "r", 2).await.unwrap(),
                Outcome::Completed(2),
                "an existing run"
            );
        }
        store.fail_reads(usize::MAX);
        assert!(
            handle.result().await.is_err(),
            "the failure of a store that stays down is returned"
        );
    });
}

#[test]
fn a_store_that_panics_while_events_are_read_ends_no_delivery() {
    let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::new())));
    let (clock, sink, engine) = engine_on(&store);
    clock.run(beside(&engine, async {
        let _ = engine.run(&STEPS, "r", 2).await.unwrap();
        store.panic_reads(1);
        clock.sleep(60 * SECOND).await;
        assert_eq!(sink.delivered().len(), 6, "delivery continues");
        assert_eq!(engine.report().await.work_ended, None);
    }));
}

#[test]
fn a_dead_worker_is_visible_to_its_task_and_in_every_report() {
    /// A clock of a runtime without a timer.
    #[derive(Debug)]
    struct NoTimer(TestClock);

    #[async_trait::async_trait]
    impl Clock for NoTimer {
        fn now(&self) -> Duration {
            self.0.now()
        }

        fn wall(&self) -> std::time::SystemTime {
            self.0.wall()
        }

        async fn sleep(&self, _: Duration) {
            panic!("there is no timer");
        }
    }

    let builder = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .workflow(&STEPS, steps);
    let engine = builder
        .clock(Arc::new(NoTimer(TestClock::new())))
        .build()
        .unwrap();
    let ended = std::panic::AssertUnwindSafe(engine.work())
        .catch_unwind()
        .now_or_never();
    assert!(
        ended.expect("it does not wait").is_err(),
        "the panic reaches the task that works"
    );
    let report = engine.report().now_or_never().unwrap();
    assert_eq!(
        report.work_ended.as_ref().unwrap().as_str(),
        "there is no timer"
    );
    assert!(report.to_string().contains("there is no timer"), "{report}");
}

/// The engine once read 51.7 GB to send 175 MB of large events, because it read a whole page, sent
/// its beginning, and read the rest again.
#[test]
fn every_event_that_is_read_from_the_outbox_is_sent() {
    let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::new())));
    let clock = Arc::new(TestClock::new());
    let sink = Arc::new(Sink::new());
    let config = tracker_core::Config::builder()
        .batch_bytes(2_000)
        .build()
        .unwrap();
    let builder = Engine::builder()
        .store(store.clone())
        .clock(clock.clone())
        .workflow(&STEPS, steps)
        .delivery(config);
    let engine = builder.sink("collector", sink.clone()).build().unwrap();
    clock.run(async {
        let _ = engine.run(&STEPS, "r", 40).await.unwrap();
        assert!(engine.flush().await.is_delivered());
    });
    let events = sink.delivered();
    assert_eq!(
        store.outbox_events(),
        events.len(),
        "each event is read once"
    );
    let bytes: usize = events.iter().map(|event| event.as_str().len()).sum();
    assert!(
        sink.attempts() >= bytes / 2_000,
        "no request is larger than a batch: {:?}",
        sink.attempted()
    );
}
