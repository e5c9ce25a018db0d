//! The background loop: batches by size and by linger, retries while the far end is down, and
//! events only in batches.

use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, join, select};
use tracker_core::{Clock, DeliveryError, SendError};

use crate::{Rig, millis, secs};

/// Runs the background loop beside `program`. When the program ends, the loop is dropped at its
/// current await.
fn beside<T>(rig: &Rig, program: impl Future<Output = T>) -> T {
    rig.clock.run(async {
        match select(pin!(rig.tracker.run()), pin!(program)).await {
            Either::Left(((), program)) => program.await,
            Either::Right((answer, _)) => answer,
        }
    })
}

#[test]
fn an_event_waits_for_company_as_long_as_the_linger_and_no_longer() {
    let rig = Rig::with_defaults();
    beside(&rig, async {
        rig.clock.sleep(secs(1)).await;
        rig.emit([1]);
        rig.clock.sleep(millis(150)).await;
        rig.emit([2]);
        rig.clock.sleep(millis(49)).await;
        assert_eq!(rig.transport.attempts(), 0);
        rig.clock.sleep(millis(2)).await;
        assert_eq!(
            (rig.transport.attempted(), rig.tracker.books().delivered),
            (vec![2], 2)
        );
    });
}

#[test]
fn a_full_batch_is_sent_at_once() {
    let rig = Rig::new(|config| config.batch_events(3));
    beside(&rig, async {
        rig.clock.sleep(secs(1)).await;
        rig.emit([1, 2, 3]);
        rig.clock.sleep(millis(1)).await;
        assert_eq!(rig.transport.attempted(), [3]);
    });
}

#[test]
fn a_batch_that_is_full_in_bytes_is_sent_at_once() {
    let rig = Rig::new(|config| config.batch_bytes(8));
    beside(&rig, async {
        rig.clock.sleep(secs(1)).await;
        rig.emit([1, 2]);
        rig.clock.sleep(millis(1)).await;
        assert_eq!(rig.transport.attempted(), [2], "two events of four bytes");
    });
}

#[test]
fn an_endpoint_that_comes_back_after_a_long_outage_gets_everything_in_order() {
    let rig = Rig::new(|config| config.batch_events(2));
    // The attempts are at most five seconds apart, so the outage lasts minutes: much longer than a
    // flush may take.
    (0..100).for_each(|_| rig.transport.then_status(503));
    beside(&rig, async {
        rig.emit(0..5);
        while rig.tracker.books().pending() > 0 {
            rig.clock.sleep(secs(1)).await;
        }
    });
    assert!(rig.now() > secs(60), "the outage took {:?}", rig.now());
    assert_eq!(rig.transport.delivered(), [0, 1, 2, 3, 4]);
    assert!(rig.tracker.books().all_delivered());
}

#[test]
fn a_wait_that_is_longer_than_a_flush_may_take_is_honoured_in_the_background() {
    let rig = Rig::with_defaults();
    rig.transport.then_retry_after(429, secs(300));
    beside(&rig, async {
        rig.emit([1]);
        rig.clock.sleep(secs(299)).await;
        assert_eq!(rig.transport.attempts(), 1);
        rig.clock.sleep(secs(2)).await;
        assert_eq!(
            (rig.transport.attempts(), rig.tracker.books().delivered),
            (2, 1)
        );
    });
}

/// `Retry-After: 18446744073709551615` asks for no requests, not for one request per linger.
#[test]
fn a_wait_for_ever_is_not_answered_with_a_request_every_linger() {
    let rig = Rig::with_defaults();
    (0..1000).for_each(|_| rig.transport.then_retry_after(429, Duration::MAX));
    beside(&rig, async {
        rig.emit([1]);
        rig.clock.sleep(secs(60)).await;
    });
    assert!(
        rig.transport.attempts() <= 60 / 5,
        "{} requests in a minute",
        rig.transport.attempts()
    );
}

#[test]
fn a_configuration_error_is_tried_again_every_max_delay_and_costs_nothing() {
    let rig = Rig::new(|config| config.max_delay(secs(3)));
    (0..3).for_each(|_| rig.transport.then_status(401));
    beside(&rig, async {
        rig.emit([1]);
        rig.clock.sleep(secs(2)).await;
        assert_eq!(rig.transport.attempts(), 1, "it does not hammer");
        rig.clock.sleep(secs(20)).await;
        assert_eq!(
            (rig.transport.attempts(), rig.tracker.books().delivered),
            (4, 1)
        );
    });
}

#[test]
fn it_returns_once_the_tracker_is_closed_and_empty() {
    let rig = Rig::with_defaults();
    let ((), report) = rig.clock.run(join(rig.tracker.run(), async {
        rig.emit([1]);
        rig.clock.sleep(secs(1)).await;
        rig.emit([2]);
        rig.tracker.shutdown(secs(5)).await
    }));
    assert!(report.ok().unwrap().all_delivered());
    assert_eq!(rig.transport.delivered(), [1, 2]);
    rig.tracker
        .run()
        .now_or_never()
        .expect("there is nothing to run for");
}

#[test]
fn it_returns_when_a_shutdown_takes_the_events_back() {
    for status in [503, 401] {
        let rig = Rig::with_defaults();
        (0..1000).for_each(|_| rig.transport.then_status(status));
        let ((), report) = rig.clock.run(join(rig.tracker.run(), async {
            rig.emit([1, 2]);
            rig.clock.sleep(secs(60)).await;
            rig.tracker.shutdown(secs(5)).await
        }));
        assert_eq!(report.returned, [1, 2], "{status}");
        assert!(report.stop.is_some() && rig.now() <= secs(66), "{status}");
    }
}

/// A caller that awaits the task of the loop after the shutdown must not wait for ever for a flush
/// that is not polled.
fn returns_after_a_shutdown_beside_a_stuck_flush(in_flight: usize) {
    let rig = Rig::new(|config| config.in_flight(in_flight));
    (0..4).for_each(|_| rig.transport.then_hang());
    rig.emit([1]);
    let mut stuck = Box::pin(rig.tracker.flush());
    assert!(stuck.as_mut().now_or_never().is_none());
    rig.emit([2]);
    rig.clock.run(async {
        let mut run = pin!(rig.tracker.run());
        assert!(matches!(
            select(run.as_mut(), rig.clock.sleep(secs(1))).await,
            Either::Right(_)
        ));
        assert_eq!(rig.tracker.books().in_flight, in_flight as u64);
        let ended = pin!(join(run, rig.tracker.shutdown(secs(1))));
        assert!(
            matches!(
                select(ended, rig.clock.sleep(secs(9))).await,
                Either::Left(_)
            ),
            "it still runs"
        );
    });
}

#[test]
fn holding_events_it_returns_after_a_shutdown_although_a_flush_is_stuck() {
    returns_after_a_shutdown_beside_a_stuck_flush(2);
}

#[test]
fn waiting_for_its_turn_it_returns_after_a_shutdown_although_a_flush_is_stuck() {
    returns_after_a_shutdown_beside_a_stuck_flush(1);
}

#[test]
fn aborted_at_any_await_it_leaves_everything_to_the_shutdown() {
    for cut in 0..400 {
        let rig = Rig::new(|config| config.batch_events(2));
        rig.transport.then_status(503);
        rig.transport.then_lose_answer();
        rig.clock.run(async {
            let mut run = Box::pin(rig.tracker.run());
            for event in 0..5 {
                rig.emit([event]);
                // `cut` is a moment and `event` a place between two polls.
                let _ = select(run.as_mut(), rig.clock.sleep(millis(cut))).await;
            }
        });
        assert_eq!(rig.tracker.books().in_flight, 0);
        let report = rig.clock.run(rig.tracker.shutdown(secs(30)));
        assert!(
            report.ok().unwrap().all_delivered(),
            "aborted after {cut} ms"
        );
        let mut arrived = rig.transport.delivered();
        arrived.sort_unstable();
        arrived.dedup();
        assert_eq!(arrived, [0, 1, 2, 3, 4], "aborted after {cut} ms");
    }
}

#[test]
fn a_flush_beside_it_is_a_barrier_all_the_same() {
    let rig = Rig::with_defaults();
    let answer = rig.transport.then_hold();
    beside(&rig, async {
        rig.emit([1, 2]);
        rig.clock.sleep(millis(201)).await;
        assert_eq!(rig.tracker.books().in_flight, 2, "the background has them");
        let mut flush = pin!(rig.tracker.flush());
        assert!(flush.as_mut().now_or_never().is_none());
        answer.release();
        assert!(flush.await.ok().unwrap().all_delivered());
    });
}

#[test]
fn a_flush_beside_it_can_give_up_while_it_goes_on() {
    let rig = Rig::new(|config| config.flush_timeout(secs(2)));
    rig.transport.then_retry_after(503, secs(10));
    beside(&rig, async {
        rig.emit([1]);
        rig.clock.sleep(secs(1)).await;
        let report = rig.tracker.flush().await;
        let met = matches!(
            report.stop,
            Some(DeliveryError::Deadline {
                last: Some(SendError::Answer { status: 503, .. })
            })
        );
        assert!(
            report.unsettled == 1 && met,
            "it says what the background has met: {report:?}"
        );
        rig.clock.sleep(secs(10)).await;
        assert!(rig.tracker.books().all_delivered());
    });
}
