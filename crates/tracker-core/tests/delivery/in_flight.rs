//! Several batches in flight: every event is still exactly once on the books.

use std::pin::pin;

use futures::FutureExt;
use tracker_core::testing::MemoryTransport;
use tracker_core::{DeliveryError, SendError};

use crate::{Rig, secs};

#[test]
fn three_batches_are_in_flight_at_once_and_no_fourth() {
    let rig = Rig::new(|config| config.batch_events(2).in_flight(3));
    let answers: Vec<_> = (0..3).map(|_| rig.transport.then_hold()).collect();
    rig.emit(0..8);
    let mut flush = pin!(rig.tracker.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    assert_eq!(rig.transport.attempted(), [2, 2, 2]);
    assert_eq!(
        (rig.tracker.books().in_flight, rig.tracker.books().queued),
        (6, 2)
    );
    answers
        .into_iter()
        .for_each(tracker_core::testing::Hold::release);
    assert!(rig.clock.run(flush).ok().unwrap().all_delivered());
    let mut arrived = rig.transport.delivered();
    arrived.sort_unstable();
    assert!(arrived.into_iter().eq(0..8));
}

#[test]
fn by_default_one_batch_is_in_flight_even_with_two_flushes() {
    let rig = Rig::new(|config| config.batch_events(2));
    let answer = rig.transport.then_hold();
    rig.emit(0..6);
    let mut first = pin!(rig.tracker.flush());
    let mut second = pin!(rig.tracker.flush());
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    assert_eq!(
        (rig.transport.attempts(), rig.tracker.books().in_flight),
        (1, 2)
    );
    answer.release();
    let (first, second) = rig.clock.run(futures::future::join(first, second));
    assert!(first.ok().is_ok() && second.ok().is_ok());
    assert_eq!(
        rig.transport.delivered(),
        [0, 1, 2, 3, 4, 5],
        "one order, for every sender"
    );
}

#[test]
fn a_lane_that_stops_gives_back_what_the_others_hold() {
    let rig = Rig::new(|config| config.batch_events(1).in_flight(3));
    rig.transport.then_hang();
    rig.transport.then_status(401);
    rig.emit(0..5);
    let report = rig.clock.run(rig.tracker.flush());
    assert_eq!(
        report.stop,
        Some(DeliveryError::Configuration(SendError::status(401)))
    );
    assert_eq!(report.books.in_flight, 0);
    assert_eq!(rig.now(), secs(0), "the lane that hangs does not hold it");
    assert!(
        report.unsettled >= report.books.queued,
        "never fewer than there are"
    );
    let report = rig.clock.run(rig.tracker.shutdown(secs(5)));
    assert!(report.ok().unwrap().all_delivered());
}

#[test]
fn what_several_lanes_could_not_deliver_is_handed_back_in_order() {
    let rig = Rig::new(|config| config.batch_events(2).in_flight(3));
    (0..1000).for_each(|_| rig.transport.then_status(503));
    rig.emit(0..9);
    let report = rig.clock.run(rig.tracker.shutdown(secs(3)));
    assert!(report.returned.into_iter().eq(0..9));
    assert!(rig.now() <= secs(3));
}

#[test]
fn poison_in_several_lanes_rejects_only_the_poison() {
    let rig = Rig::over(
        MemoryTransport::new().refuse_if(|event| event % 7 == 3),
        |config| config.batch_events(5).in_flight(3),
    );
    rig.emit(0..40);
    let report = rig.clock.run(rig.tracker.shutdown(secs(5)));
    let poison: Vec<u32> = (0..40).filter(|event| event % 7 == 3).collect();
    let mut rejected: Vec<u32> = rig
        .seen
        .rejected()
        .iter()
        .map(|(event, _)| *event)
        .collect();
    rejected.sort_unstable();
    assert_eq!(rejected, poison);
    assert_eq!(report.books.delivered, 40 - poison.len() as u64);
    assert_eq!(report.books.rejected, poison.len() as u64);
}
