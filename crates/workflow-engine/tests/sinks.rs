//! Delivery: any number of sinks, each with its cursor; a flush is a barrier; a shutdown reports.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, select};
use tracker_core::{Clock, Config, DeliveryError, SendError};
use workflow_engine::{Context, Engine, Failure, Outcome, RunError, SinkError, Workflow};
use workflow_testing::FaultStore;

use support::{Fixture, STEPS, Sink, decode, steps, types};

#[test]
fn a_sink_that_is_down_delays_no_other_and_no_run() {
    let fixture = Fixture::new();
    let down = Arc::new(Sink::new());
    down.then_hang();
    down.then_hang();
    let engine = fixture
        .builder()
        .sink("down", down.clone())
        .build()
        .unwrap();
    fixture.clock.run(async {
        assert_eq!(
            engine.run(&STEPS, "r", 3).await.unwrap(),
            Outcome::Completed(3)
        );
        let report = engine.shutdown(Duration::from_secs(5)).await;
        assert!(!report.is_complete());
        let up = report.sink("collector").unwrap();
        assert_eq!((up.books.delivered, up.books.pending()), (8, 0));
        let down = report.sink("down").unwrap();
        assert_eq!(
            (down.books.accepted, down.books.pending()),
            (8, 8),
            "nothing is lost: it is pending, and reported"
        );
        assert!(
            matches!(
                down.stop,
                Some(SinkError::Delivery(DeliveryError::Deadline { .. }))
            ),
            "{:?}",
            down.stop
        );
        assert!(report.sinks.iter().all(|sink| sink.books.is_balanced()));
    });

    // The cursor is in the store, so a later engine delivers the rest, in order, once.
    let engine = fixture
        .builder()
        .sink("down", down.clone())
        .build()
        .unwrap();
    fixture.clock.run(async {
        assert!(engine.flush().await.is_delivered());
        assert_eq!(
            decode(&down.delivered()),
            engine.history("r").await.unwrap()
        );
        assert_eq!(
            fixture.delivered().len(),
            8,
            "the other sink gets nothing twice"
        );
    });
}

#[test]
fn a_lost_acknowledgement_repeats_events_under_their_ids() {
    let fixture = Fixture::new();
    fixture.sink.then_lose_answer();
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        assert!(engine.flush().await.is_delivered());
        let received = fixture.delivered();
        assert_eq!(received.len(), 8);
        assert_eq!(
            received[..4],
            received[4..],
            "the same events, to the letter"
        );
    });
}

#[test]
fn a_configuration_error_stops_at_once_and_keeps_everything() {
    let fixture = Fixture::new();
    fixture.sink.then_status(401);
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        let report = engine.flush().await;
        let sink = report.sink("collector").unwrap();
        assert!(matches!(
            sink.stop,
            Some(SinkError::Delivery(DeliveryError::Configuration(
                SendError::Answer { status: 401, .. }
            )))
        ));
        assert_eq!((sink.books.pending(), fixture.sink.attempts()), (4, 1));
        assert!(
            engine.flush().await.is_delivered(),
            "when it is mended, the same events go out"
        );
    });
}

#[test]
fn rejected_events_are_counted_for_their_sink() {
    let fixture = Fixture::new();
    fixture.sink.then_reject([1]);
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        let report = engine.flush().await;
        assert!(!report.is_delivered());
        let books = report.sink("collector").unwrap().books;
        assert_eq!(
            (
                books.accepted,
                books.delivered,
                books.rejected,
                books.pending()
            ),
            (4, 3, 1, 0)
        );
        assert_eq!(
            report.to_string(),
            "collector: 4 accepted = 3 delivered + 1 rejected + 0 dropped + 0 returned + 0 pending"
        );
    });
}

#[test]
fn a_flush_waits_for_events_that_another_flush_sends() {
    let fixture = Fixture::new();
    let hold = fixture.sink.then_hold();
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        let release = async {
            fixture.clock.sleep(Duration::from_secs(1)).await;
            assert!(fixture.delivered().is_empty());
            hold.release();
        };
        let second = async {
            let report = engine.flush().await;
            assert_eq!(
                fixture.delivered().len(),
                4,
                "the second flush returned before the events had arrived"
            );
            report
        };
        let ((first, second), ()) = join(join(engine.flush(), second), release).await;
        assert!(first.is_delivered() && second.is_delivered());
        assert_eq!(fixture.sink.attempts(), 1);
    });
}

#[test]
fn a_flush_that_is_dropped_at_any_await_loses_and_repeats_nothing_it_settled() {
    for polls in 0..40 {
        let fixture = Fixture::new();
        let engine = fixture
            .builder()
            .delivery(Config::builder().batch_events(1).build().unwrap())
            .build()
            .unwrap();
        fixture.clock.run(async {
            let _ = engine.run(&STEPS, "r", 2).await.unwrap();
            let hold = fixture.sink.then_hold();
            {
                let mut flush = Box::pin(engine.flush());
                for _ in 0..polls {
                    let _ = futures::poll!(&mut flush);
                }
            }
            hold.release();
            assert!(engine.flush().await.is_delivered());
            assert_eq!(
                fixture.delivered(),
                engine.history("r").await.unwrap(),
                "dropped after {polls} polls"
            );
        });
    }
}

#[test]
fn batches_keep_to_both_limits() {
    let fixture = Fixture::new();
    let config = Config::builder()
        .batch_events(5)
        .batch_bytes(700)
        .build()
        .unwrap();
    let engine = fixture.builder().delivery(config).build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 10).await.unwrap();
        assert!(engine.flush().await.is_delivered());
        let sizes: Vec<_> = fixture
            .sink
            .delivered()
            .iter()
            .map(|event| event.as_str().len())
            .collect();
        let mut at = 0;
        for batch in fixture.sink.attempted() {
            let bytes: usize = sizes[at..at + batch].iter().map(|bytes| bytes + 1).sum();
            assert!(
                batch == 1 || (batch <= 5 && bytes <= 700),
                "{batch} events, {bytes} bytes"
            );
            at += batch;
        }
        assert_eq!(at, 22);
    });
}

#[test]
fn events_are_delivered_while_runs_continue_and_the_loop_ends_with_the_engine() {
    let fixture = Fixture::new();
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let work = async {
            for n in 0..20 {
                let _ = engine.run(&STEPS, format!("r{n}"), 2).await.unwrap();
                fixture.clock.sleep(Duration::from_millis(1)).await;
            }
            assert!(
                fixture.delivered().len() > 60,
                "most events are delivered before a flush"
            );
            engine.shutdown(Duration::from_secs(5)).await
        };
        let ((), report) = join(engine.deliver(), work).await;
        assert!(report.is_complete(), "{report}");
        assert_eq!(fixture.delivered().len(), 120);
    });
}

#[test]
fn a_delivery_loop_that_is_stuck_does_not_hold_up_the_shutdown() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        fixture
            .sink
            .then_retry_after(503, Duration::from_secs(3600));
    }
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let work = async {
            let _ = engine.run(&STEPS, "r", 1).await.unwrap();
            fixture.clock.sleep(Duration::from_secs(1)).await;
            let before = fixture.clock.now();
            let report = engine.shutdown(Duration::from_secs(5)).await;
            assert!(fixture.clock.now() - before <= Duration::from_secs(5));
            report
        };
        let ((), report) = join(engine.deliver(), work).await;
        assert_eq!(report.sink("collector").unwrap().books.pending(), 4);
    });
}

#[test]
fn a_run_that_outlives_the_shutdown_writes_nothing_more() {
    const LONG: Workflow<(), ()> = Workflow::new("long");
    let fixture = Fixture::new();
    let clock = fixture.clock.clone();
    let long = move |ctx: Context, (): ()| {
        let clock = clock.clone();
        async move {
            ctx.step("short", || async { Ok::<_, Failure>(()) }).await?;
            let long = || async {
                clock.sleep(Duration::from_secs(3600)).await;
                Ok::<_, Failure>(())
            };
            ctx.step("long", long).await?;
            Ok::<_, Failure>(())
        }
    };
    let engine: Engine = fixture.builder().workflow(&LONG, long).build().unwrap();
    fixture.clock.run(async {
        let stop = async {
            fixture.clock.sleep(Duration::from_secs(1)).await;
            let report = engine.shutdown(Duration::from_secs(5)).await;
            assert_eq!(
                (
                    report.active_runs,
                    report.is_delivered(),
                    report.is_complete()
                ),
                (1, true, false)
            );
            let refused = engine.run(&STEPS, "r2", 1).await;
            assert!(matches!(refused, Err(RunError::Closed)));
            report
        };
        let (outcome, report) = join(engine.run(&LONG, "r", ()), stop).await;
        assert!(
            matches!(outcome, Err(RunError::Closed)),
            "it is left as it is: {outcome:?}"
        );
        let history = engine.history("r").await.unwrap();
        assert_eq!(
            types(&history),
            [
                "workflow.started",
                "step.started",
                "step.completed",
                "step.started"
            ]
        );
        assert_eq!(
            report.sink("collector").unwrap().books.accepted,
            4,
            "the report counted everything there is"
        );
    });
}

#[test]
fn engines_on_one_sink_take_turns() {
    let fixture = Fixture::new();
    let hold = fixture.sink.then_hold();
    let one = fixture.builder().build().unwrap();
    let other = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let _ = one.run(&STEPS, "r", 1).await.unwrap();
        let meanwhile = async {
            fixture.clock.sleep(Duration::from_secs(1)).await;
            let _ = other.run(&STEPS, "r2", 1).await.unwrap();
            let (report, ()) = join(other.flush(), async {
                fixture.clock.sleep(Duration::from_secs(1)).await;
                assert_eq!(fixture.sink.attempts(), 1, "one engine at a time");
                hold.release();
            })
            .await;
            assert!(report.is_delivered(), "{report}");
        };
        let (report, ()) = join(one.flush(), meanwhile).await;
        assert!(report.is_delivered(), "{report}");
        assert_eq!(fixture.delivered().len(), 8, "nothing is sent twice");
    });
}

#[test]
fn an_engine_that_was_frozen_while_it_delivered_is_fenced() {
    let fixture = Fixture::new();
    let hold = fixture.sink.then_hold();
    let frozen = fixture.builder().build().unwrap();
    let other = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let _ = other.run(&STEPS, "r", 1).await.unwrap();
        let mut flush = Box::pin(frozen.flush());
        // It sends the first four events, and then is not polled until its lease has expired.
        let _ = select(&mut flush, fixture.clock.sleep(Duration::from_secs(1))).await;
        let _ = other.run(&STEPS, "r2", 1).await.unwrap();
        let report = other.flush().await;
        assert!(report.is_delivered(), "{report}");
        hold.release();
        let report = flush.await;
        let books = report.sink("collector").unwrap().books;
        assert_eq!(
            (books.delivered, books.pending()),
            (8, 0),
            "the cursor did not move back"
        );
        let sent = fixture.sink.attempts();
        assert!(other.flush().await.is_delivered());
        assert_eq!(fixture.sink.attempts(), sent, "nothing is sent again");
    });
}

#[test]
fn a_flush_does_not_report_events_that_were_committed_after_it_began() {
    let fixture = Fixture::new();
    let hold = fixture.sink.then_hold();
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        let later = async {
            let _ = engine.run(&STEPS, "r2", 1).await.unwrap();
            hold.release();
        };
        let (report, ()) = join(engine.flush(), later).await;
        assert_eq!(
            report.sink("collector").unwrap().books.pending(),
            4,
            "the second run was committed after the barrier"
        );
        assert!(report.is_delivered() && !report.is_complete());
    });
}

#[test]
fn a_survivor_delivers_the_events_of_an_engine_that_is_gone() {
    let fixture = Fixture::new();
    let survivor = fixture.builder().build().unwrap();
    let dies = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        let test = async {
            fixture.clock.sleep(Duration::from_millis(10)).await;
            let _ = dies.run(&STEPS, "r", 1).await.unwrap();
            drop(dies);
            fixture.clock.sleep(Duration::from_secs(2)).await;
        };
        let _ = select(pin!(survivor.work()), pin!(test)).await;
        assert_eq!(fixture.delivered().len(), 4);
    });
}

/// In some stores an earlier write may become visible later, so an empty page is not the end.
#[test]
fn a_flush_waits_for_what_cannot_be_read_yet() {
    for reads in 1..5 {
        let fixture = Fixture::new();
        let store = FaultStore::new(fixture.store.clone()).with_late_outbox(reads);
        let builder = Engine::builder()
            .store(Arc::new(store))
            .clock(fixture.clock.clone());
        let engine = builder
            .sink("collector", fixture.sink.clone())
            .workflow(&STEPS, steps)
            .build()
            .unwrap();
        fixture.clock.run(async {
            let _ = engine.run(&STEPS, "r", 1).await.unwrap();
            assert!(engine.flush().await.is_complete(), "{reads} reads");
            assert_eq!(fixture.delivered().len(), 4, "{reads} reads");
        });
    }
    let fixture = Fixture::new();
    let store = FaultStore::new(fixture.store.clone()).with_late_outbox(1_000_000);
    let builder = Engine::builder()
        .store(Arc::new(store))
        .clock(fixture.clock.clone());
    let engine = builder
        .sink("collector", fixture.sink.clone())
        .workflow(&STEPS, steps)
        .build()
        .unwrap();
    fixture.clock.run(async {
        let _ = engine.run(&STEPS, "r", 1).await.unwrap();
        let report = engine.flush().await;
        let sink = report.sink("collector").unwrap();
        assert!(
            matches!(
                sink.stop,
                Some(SinkError::Delivery(DeliveryError::Deadline { .. }))
            ),
            "{report}"
        );
        assert_eq!(
            (sink.books.accepted, sink.books.pending()),
            (4, 4),
            "and reports the pending events"
        );
    });
}
