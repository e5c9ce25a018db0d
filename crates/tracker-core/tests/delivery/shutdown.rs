//! A shutdown closes, delivers, and hands back the events that it could not deliver; it can be
//! repeated, overlapped and cancelled.

use std::pin::pin;

use futures::FutureExt;
use futures::future::{Either, join, join3, select};
use tracker_core::{Clock, DeliveryError, Reason, SendError};

use crate::{Rig, millis, secs};

#[test]
fn a_shutdown_delivers_what_is_pending() {
    let rig = Rig::new(|config| config.batch_events(2));
    rig.emit(0..5);
    let report = rig.clock.run(rig.tracker.shutdown(secs(5)));
    assert!(
        report.ok().unwrap().all_delivered() && report.returned.is_empty() && report.stop.is_none()
    );
    assert_eq!(rig.transport.delivered(), [0, 1, 2, 3, 4]);
    assert_eq!(
        report.to_string(),
        "5 accepted = 5 delivered + 0 rejected + 0 dropped + 0 returned + 0 pending"
    );
}

#[test]
fn an_emit_after_the_shutdown_began_is_refused_and_returns_the_event() {
    let rig = Rig::with_defaults();
    let answer = rig.transport.then_hold();
    rig.emit([1]);
    let mut shutdown = pin!(rig.tracker.shutdown(secs(5)));
    assert!(shutdown.as_mut().now_or_never().is_none());
    let refused = rig.tracker.emit(2).unwrap_err();
    assert!(refused.is_closed());
    assert_eq!(refused.into_event(), 2);
    answer.release();
    assert!(rig.clock.run(shutdown).ok().is_ok());
    assert_eq!(rig.tracker.emit(3).unwrap_err().into_event(), 3);
}

#[test]
fn a_second_shutdown_has_the_same_books_and_no_events() {
    let rig = Rig::with_defaults();
    rig.transport.then_status(401);
    rig.emit([1, 2]);
    let first = rig.clock.run(rig.tracker.shutdown(secs(5)));
    assert_eq!(first.returned, [1, 2]);
    let second = rig.clock.run(rig.tracker.shutdown(secs(5)));
    assert_eq!((second.books, second.returned.len()), (first.books, 0));
    assert!(
        second.ok().is_err(),
        "the books remember what was handed back"
    );
}

#[test]
fn a_second_shutdown_waits_for_the_first() {
    let rig = Rig::with_defaults();
    let answer = rig.transport.then_hold();
    rig.emit([1, 2]);
    let mut first = pin!(rig.tracker.shutdown(secs(5)));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = pin!(rig.tracker.shutdown(secs(5)));
    assert!(
        second.as_mut().now_or_never().is_none(),
        "the events are in the first one's hands"
    );
    answer.release();
    let (first, second) = rig.clock.run(join(first, second));
    assert!(first.ok().unwrap().all_delivered());
    assert_eq!((second.books, second.returned.len()), (first.books, 0));
}

#[test]
fn the_shorter_timeout_ends_both_shutdowns_and_the_first_caller_has_the_events() {
    for (first, second) in [(1, 9), (9, 1)] {
        let rig = Rig::with_defaults();
        rig.transport.hang();
        rig.emit([1, 2]);
        let both = join(
            rig.tracker.shutdown(secs(first)),
            rig.tracker.shutdown(secs(second)),
        );
        let (first, second) = rig.clock.run(both);
        assert_eq!(rig.now(), secs(1));
        assert_eq!(first.returned, [1, 2]);
        assert_eq!((second.books, second.returned.len()), (first.books, 0));
    }
}

/// The same, but a flush holds the events, so neither shutdown can know which of them was first.
#[test]
fn the_first_of_two_shutdowns_has_the_events_of_a_flush_that_was_recalled() {
    let rig = Rig::with_defaults();
    rig.transport.hang();
    rig.emit([1, 2]);
    let mut flush = Box::pin(rig.tracker.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    let (flush, first, second) = rig.clock.run(join3(
        flush,
        rig.tracker.shutdown(secs(9)),
        rig.tracker.shutdown(secs(1)),
    ));
    assert_eq!(flush.stop, Some(DeliveryError::Recalled));
    assert_eq!(rig.now(), secs(1), "the shorter timeout ends both");
    assert_eq!(
        (first.returned, second.returned),
        (vec![1, 2], vec![]),
        "a second caller returns no events"
    );
}

#[test]
fn when_the_first_of_two_shutdowns_is_dropped_the_second_has_the_events() {
    let rig = Rig::with_defaults();
    rig.transport.then_status(503);
    rig.transport.hang();
    rig.emit([1, 2]);
    let mut first = Box::pin(rig.tracker.shutdown(secs(9)));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = pin!(rig.tracker.shutdown(secs(1)));
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    let report = rig.clock.run(second);
    assert_eq!((report.returned, rig.now()), (vec![1, 2], secs(1)));
}

#[test]
fn a_first_shutdown_that_nobody_polls_cannot_hold_the_second_and_keeps_its_events_on_the_books() {
    let rig = Rig::new(|config| config.batch_events(1));
    rig.transport.hang();
    rig.emit([1, 2]);
    let mut first = Box::pin(rig.tracker.shutdown(secs(9)));
    assert!(first.as_mut().now_or_never().is_none());
    let report = rig.clock.run(rig.tracker.shutdown(secs(1)));
    assert!(
        rig.now() <= secs(1) + millis(300),
        "it took {:?}",
        rig.now()
    );
    assert!(report.ok().is_err());
    assert_eq!(
        report.returned.len() as u64 + report.books.pending(),
        2,
        "each is handed back or pending"
    );
    drop(first);
    assert_eq!(
        report
            .returned
            .into_iter()
            .chain(rig.tracker.drain())
            .collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn at_the_deadline_the_rest_is_handed_back_in_order() {
    let rig = Rig::new(|config| config.batch_events(2));
    rig.transport.then_reject([]);
    (0..100).for_each(|_| rig.transport.then_status(503));
    rig.emit(0..7);
    let report = rig.clock.run(rig.tracker.shutdown(secs(2)));
    assert_eq!(report.returned, [2, 3, 4, 5, 6]);
    assert!(rig.now() <= secs(2), "it took {:?}", rig.now());
    assert_eq!(
        report.stop,
        Some(DeliveryError::Deadline {
            last: Some(SendError::status(503))
        })
    );
    assert_eq!(
        (
            report.books.delivered,
            report.books.returned,
            report.books.pending()
        ),
        (2, 5, 0)
    );
    let undelivered = report.ok().unwrap_err();
    assert_eq!((undelivered.returned, undelivered.pending), (5, 0));
    assert_eq!(
        report.map(|event| event + 10).returned,
        [12, 13, 14, 15, 16]
    );
}

#[test]
fn a_shutdown_without_time_hands_everything_back_and_sends_nothing() {
    let rig = Rig::with_defaults();
    rig.emit([1, 2]);
    let report = rig.clock.run(rig.tracker.shutdown(secs(0)));
    assert_eq!((report.returned, rig.transport.attempts()), (vec![1, 2], 0));
}

#[test]
fn a_shutdown_without_a_time_limit_works_on_a_clock_that_has_advanced() {
    let rig = Rig::with_defaults();
    rig.emit([1]);
    rig.clock.run(rig.clock.sleep(secs(1)));
    assert!(
        rig.clock
            .run(rig.tracker.shutdown(std::time::Duration::MAX))
            .ok()
            .unwrap()
            .all_delivered()
    );
}

#[test]
fn a_shutdown_takes_back_what_another_flush_has_in_flight() {
    let rig = Rig::new(|config| config.batch_events(2));
    rig.transport.hang();
    rig.emit([1, 2, 3]);
    let mut flush = Box::pin(rig.tracker.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    let (flush, shutdown) = rig.clock.run(join(flush, rig.tracker.shutdown(secs(1))));
    assert_eq!(
        (shutdown.returned, rig.now()),
        (vec![1, 2, 3], secs(1)),
        "all of them, in order, at its deadline"
    );
    assert_eq!(
        (flush.stop, flush.unsettled),
        (Some(DeliveryError::Recalled), 3)
    );
    assert_eq!(rig.tracker.books().pending(), 0);
}

#[test]
fn a_flush_that_nobody_polls_cannot_hold_the_shutdown_and_keeps_its_events_on_the_books() {
    let rig = Rig::with_defaults();
    rig.transport.hang();
    rig.emit([1, 2]);
    let mut flush = Box::pin(rig.tracker.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    let report = rig.clock.run(rig.tracker.shutdown(secs(1)));
    assert!(
        rig.now() <= secs(1) + millis(100),
        "it took {:?}",
        rig.now()
    );
    assert_eq!((report.returned.len(), report.books.pending()), (0, 2));
    assert!(report.ok().is_err());
    drop(flush);
    assert_eq!(
        rig.tracker.drain(),
        [1, 2],
        "they can be had once it is dropped"
    );
    assert_eq!(rig.tracker.books().returned, 2);
}

#[test]
fn a_configuration_error_hands_back_at_once() {
    let rig = Rig::new(|config| config.batch_events(2));
    rig.transport.then_status(403);
    rig.emit([1, 2, 3]);
    let report = rig.clock.run(rig.tracker.shutdown(secs(30)));
    assert_eq!(
        (report.returned, rig.now(), rig.transport.attempts()),
        (vec![1, 2, 3], secs(0), 1)
    );
    assert_eq!(
        report.stop,
        Some(DeliveryError::Configuration(SendError::status(403)))
    );
}

#[test]
fn a_shutdown_that_was_cancelled_can_be_called_again() {
    let rig = Rig::new(|config| config.batch_events(1));
    rig.transport.then_reject([]);
    rig.transport.then_hang();
    rig.emit([1, 2, 3]);
    rig.clock.run(async {
        let shutdown = pin!(rig.tracker.shutdown(secs(5)));
        assert!(matches!(
            select(shutdown, rig.clock.sleep(secs(2))).await,
            Either::Right(_)
        ));
    });
    assert_eq!(rig.tracker.books().pending(), 2, "the events stay pending");
    assert_eq!(
        rig.tracker.emit(4).unwrap_err().into_event(),
        4,
        "the tracker stays closed"
    );
    let report = rig.clock.run(rig.tracker.shutdown(secs(5)));
    assert!(report.ok().unwrap().all_delivered());
    assert_eq!(rig.transport.delivered(), [1, 2, 3]);
}

/// "Cancel safe: the tracker stays closed, the events stay pending; call it again", also in the
/// last tenth of a second.
#[test]
fn a_shutdown_that_was_cancelled_after_its_recall_can_be_called_again_without_waiting_in_vain() {
    let rig = Rig::with_defaults();
    rig.transport.hang();
    rig.emit([1, 2]);
    let mut stuck = Box::pin(rig.tracker.flush());
    assert!(stuck.as_mut().now_or_never().is_none());
    rig.clock.run(async {
        let shutdown = pin!(rig.tracker.shutdown(secs(1)));
        let cut = select(shutdown, rig.clock.sleep(secs(1) + millis(50))).await;
        assert!(
            matches!(cut, Either::Right(_)),
            "it waits for the flush to give back"
        );
    });
    drop(stuck);
    let began = rig.now();
    let report = rig.clock.run(rig.tracker.shutdown(secs(30)));
    assert_eq!(report.books.delivered + report.books.returned, 2);
    assert_eq!(
        rig.now() - began,
        secs(0),
        "the far end is well: deliver, or hand back, but do not sit there"
    );
}

#[test]
fn a_report_lists_the_first_rejections_and_the_books_count_all() {
    let rig = Rig::new(|config| config.batch_events(100));
    rig.transport.then_reject((0..40).collect::<Vec<_>>());
    rig.emit(0..50);
    let report = rig.clock.run(rig.tracker.shutdown(secs(1)));
    assert_eq!(
        (
            report.rejections.len(),
            report.books.rejected,
            rig.seen.rejected().len()
        ),
        (32, 40, 40)
    );
    assert!(
        report
            .rejections
            .iter()
            .map(|rejection| rejection.seq)
            .eq(0..32)
    );
    assert_eq!(
        report.rejections[0].reason,
        Reason::new("rejected by script")
    );
    assert_eq!(report.ok().unwrap_err().rejected, 40);
}
