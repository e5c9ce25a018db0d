//! A flush is a barrier, ends at its deadline, and never returns Ok for events that did not arrive.

use std::pin::pin;

use futures::FutureExt;
use futures::future::join;
use tracker_core::testing::TestClock;
use tracker_core::{BufferedTracker, Clock, Config, DeliveryError, Overflow, SendError, Tracker};

use crate::{Rig, millis, secs};

#[test]
fn a_flush_of_nothing_is_ok_and_sends_nothing() {
    let rig = Rig::with_defaults();
    assert_eq!(rig.clock.run(rig.tracker.flush()).ok().unwrap().accepted, 0);
    assert_eq!(rig.transport.attempts(), 0);
}

#[test]
fn a_second_flush_waits_for_what_the_first_has_in_flight_and_not_for_later_events() {
    let rig = Rig::with_defaults();
    let answer = rig.transport.then_hold();
    rig.emit([1, 2]);
    let mut first = pin!(rig.tracker.flush());
    let mut second = pin!(rig.tracker.flush());
    assert!(first.as_mut().now_or_never().is_none());
    assert!(
        second.as_mut().now_or_never().is_none(),
        "its events are in flight: it must not return"
    );
    rig.emit([3]);
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(
        rig.tracker.books().pending(),
        3,
        "pending counts what is in flight"
    );
    answer.release();
    assert!(
        second.as_mut().now_or_never().is_none(),
        "nobody has seen the answer"
    );
    let first = first.now_or_never().expect("the answer is there");
    let second = second
        .now_or_never()
        .expect("what it waited for is settled");
    assert_eq!(
        (
            first.ok().unwrap().delivered,
            second.ok().unwrap().delivered
        ),
        (2, 2)
    );
    assert_eq!(
        rig.transport.delivered(),
        [1, 2],
        "an event emitted later holds no flush"
    );
    assert_eq!(rig.tracker.books().queued, 1);
}

#[test]
fn when_the_first_flush_is_dropped_mid_send_the_second_sends_its_events() {
    let rig = Rig::with_defaults();
    rig.transport.then_hang();
    rig.emit([1, 2]);
    let mut first = Box::pin(rig.tracker.flush());
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = pin!(rig.tracker.flush());
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    assert!(rig.clock.run(second).ok().unwrap().all_delivered());
    assert_eq!(rig.now(), secs(0), "it takes over at once");
    assert_eq!(rig.transport.delivered(), [1, 2]);
}

#[test]
fn a_flush_ends_at_its_deadline_and_says_what_is_left_and_why() {
    let rig = Rig::new(|config| config.flush_timeout(secs(3)).batch_events(2));
    rig.emit([1, 2, 3]);
    rig.transport.then_reject([]);
    (0..100).for_each(|_| rig.transport.then_status(503));
    let report = rig.clock.run(rig.tracker.flush());
    assert_eq!(
        (
            report.unsettled,
            report.books.delivered,
            report.books.queued
        ),
        (1, 2, 1)
    );
    assert_eq!(
        report.stop,
        Some(DeliveryError::Deadline {
            last: Some(SendError::status(503))
        })
    );
    assert!(rig.now() <= secs(3), "it took {:?}", rig.now());
    assert!(
        report
            .ok()
            .unwrap_err()
            .to_string()
            .contains("the deadline passed; the last attempt: answered 503")
    );
}

#[test]
fn a_far_end_that_hangs_cannot_hold_a_flush_beyond_its_deadline() {
    let rig = Rig::new(|config| config.flush_timeout(secs(4)));
    rig.transport.hang();
    rig.emit([1]);
    let report = rig.clock.run(rig.tracker.flush());
    assert_eq!(
        (rig.now(), report.unsettled),
        (secs(4), 1),
        "the request's own ten seconds are cut short"
    );
    assert!(matches!(
        report.stop,
        Some(DeliveryError::Deadline {
            last: Some(SendError::TimedOut { .. })
        })
    ));
    rig.transport.recover();
    assert!(
        rig.clock
            .run(rig.tracker.flush())
            .ok()
            .unwrap()
            .all_delivered(),
        "nothing was lost"
    );
}

#[test]
fn a_flush_that_waits_for_another_ends_at_its_own_deadline() {
    let rig = Rig::new(|config| config.flush_timeout(secs(2)));
    let _answer = rig.transport.then_hold();
    rig.emit([1]);
    let mut stuck = pin!(rig.tracker.flush());
    assert!(stuck.as_mut().now_or_never().is_none());
    let report = rig.clock.run(rig.tracker.flush());
    assert_eq!((rig.now(), report.unsettled), (secs(2), 1));
    assert_eq!(report.stop, Some(DeliveryError::Deadline { last: None }));
    assert!(
        report.ok().is_err(),
        "an event in another's hands has not arrived"
    );
}

#[test]
fn a_wait_that_is_longer_than_the_flush_may_take_ends_it_at_once() {
    let rig = Rig::with_defaults();
    rig.transport.then_retry_after(429, secs(60));
    rig.emit([1]);
    let report = rig.clock.run(rig.tracker.flush());
    assert!(matches!(
        report.stop,
        Some(DeliveryError::Deadline {
            last: Some(SendError::Answer { status: 429, .. })
        })
    ));
    assert_eq!((rig.now(), report.books.queued), (secs(0), 1));
}

#[test]
fn a_rejection_fails_the_flush_that_saw_it_and_not_the_next() {
    let rig = Rig::with_defaults();
    rig.transport.then_reject([0]);
    rig.emit([1, 2]);
    let undelivered = rig.clock.run(rig.tracker.flush()).ok().unwrap_err();
    assert_eq!((undelivered.rejected, undelivered.pending), (1, 0));
    rig.emit([3]);
    assert_eq!(
        rig.clock.run(rig.tracker.flush()).ok().unwrap().delivered,
        2
    );
}

/// "It never says Ok for events that did not arrive" (`delivery.md`): these were handed to another
/// caller.
#[test]
fn a_flush_whose_events_a_shutdown_handed_back_does_not_say_ok() {
    let rig = Rig::new(|config| config.batch_events(1));
    rig.transport.hang();
    rig.emit([1, 2]);
    rig.clock.run(async {
        let mut holder = Box::pin(rig.tracker.flush());
        assert!(holder.as_mut().now_or_never().is_none());
        let mut waiting = Box::pin(rig.tracker.flush());
        assert!(waiting.as_mut().now_or_never().is_none());
        let (holder, shutdown) = join(holder, rig.tracker.shutdown(secs(1))).await;
        assert_eq!(shutdown.returned, [1, 2]);
        assert!(
            holder.ok().is_err(),
            "the flush that sent them says that they did not arrive"
        );
        let waiting = waiting.await;
        assert_eq!(waiting.books.delivered, 0);
        assert!(
            waiting.ok().is_err(),
            "and so does the flush that waited for them"
        );
    });
}

/// The same harm by `drain` while a flush waits.
#[test]
fn a_flush_whose_events_were_drained_does_not_say_ok() {
    let rig = Rig::new(|config| config.batch_events(1));
    let answer = rig.transport.then_hold();
    rig.emit([1, 2]);
    let mut flush = pin!(rig.tracker.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    assert_eq!(rig.tracker.drain(), [2]);
    answer.release();
    let report = rig.clock.run(flush);
    assert_eq!((report.books.delivered, report.books.returned), (1, 1));
    assert!(report.ok().is_err(), "event 2 did not arrive");
}

/// The same harm by the overflow policy, which evicts an event that a flush waits for.
#[test]
fn a_flush_whose_events_were_evicted_does_not_say_ok() {
    let config = |config: tracker_core::ConfigBuilder| {
        config.capacity_events(2).overflow(Overflow::DropOldest)
    };
    let rig = Rig::new(|builder| config(builder).batch_events(1));
    let answer = rig.transport.then_hold();
    rig.emit([1, 2]);
    let mut flush = pin!(rig.tracker.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    rig.emit([3]);
    assert_eq!(rig.seen.dropped(), [2], "what is in flight is spared");
    answer.release();
    let report = rig.clock.run(flush);
    assert_eq!((report.books.delivered, report.books.dropped), (1, 1));
    assert!(report.ok().is_err(), "event 2 did not arrive");
}

/// `flush_timeout` has no upper limit, so the deadline must not overflow the clock.
#[test]
fn a_flush_without_a_time_limit_works_on_a_clock_that_has_advanced() {
    let rig = Rig::new(|config| config.flush_timeout(std::time::Duration::MAX));
    rig.emit([1]);
    rig.clock.run(rig.clock.sleep(secs(1)));
    assert!(
        rig.clock
            .run(rig.tracker.flush())
            .ok()
            .unwrap()
            .all_delivered()
    );
}

#[test]
fn the_same_seed_takes_the_same_course_and_another_seed_another() {
    let course = |seed| {
        let transport = std::sync::Arc::new(tracker_core::testing::MemoryTransport::new());
        let clock = std::sync::Arc::new(TestClock::new());
        let tracker =
            BufferedTracker::new(Config::default(), transport.clone(), clock.clone(), seed);
        (0..5).for_each(|_| transport.then_status(503));
        tracker.emit(1u32).unwrap();
        clock.run(tracker.flush()).ok().unwrap();
        clock.now()
    };
    assert_eq!(course(7), course(7));
    assert_ne!(course(7), course(8));
    assert!(course(7) > millis(1));
}

#[test]
fn a_tracker_is_used_as_a_trait_object() {
    let rig = Rig::with_defaults();
    let Rig {
        tracker,
        transport,
        clock,
        ..
    } = rig;
    let tracker: std::sync::Arc<dyn Tracker<u32>> = std::sync::Arc::new(tracker);
    tracker.emit(1).unwrap();
    assert_eq!(clock.run(tracker.flush()).ok().unwrap().delivered, 1);
    tracker.emit(2).unwrap();
    assert_eq!(
        clock.run(tracker.shutdown(secs(1))).ok().unwrap().delivered,
        2
    );
    assert!(tracker.emit(3).unwrap_err().is_closed());
    assert_eq!(
        (tracker.books().accepted, transport.delivered()),
        (2, vec![1, 2])
    );
}

/// The far end has given its reason. An attempt that the deadline cut afterwards adds none.
#[test]
fn an_attempt_that_the_deadline_cuts_does_not_hide_what_the_one_before_it_met() {
    let rig = Rig::with_defaults();
    rig.transport.then_status(503);
    rig.transport.hang();
    rig.emit([1]);
    let report = rig.clock.run(rig.tracker.shutdown(secs(2)));
    let met = matches!(
        report.stop,
        Some(DeliveryError::Deadline {
            last: Some(SendError::Answer { status: 503, .. })
        })
    );
    assert!(met, "{:?}", report.stop);
    assert_eq!(report.returned, [1]);
}
