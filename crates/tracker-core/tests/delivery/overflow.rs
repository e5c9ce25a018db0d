//! A full buffer: refuse, drop the oldest and report it, or wait. No event is dropped silently, and
//! no emit waits for the network.

use std::pin::pin;
use std::sync::{Arc, OnceLock, Weak};

use futures::FutureExt;
use futures::future::join;
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{
    BufferedTracker, Config, EventBuffer, NoopTracker, Observer, Overflow, PushError, Reason,
    Tracker,
};

use crate::{Rig, secs};

#[test]
fn a_full_buffer_refuses_and_returns_the_event() {
    let rig = Rig::new(|config| config.capacity_events(2));
    rig.emit([1, 2]);
    let refused = rig.tracker.emit(3).unwrap_err();
    assert!(refused.is_full() && !refused.is_closed());
    assert_eq!(refused.into_event(), 3);
    assert!(rig.seen.dropped().is_empty());
    assert!(
        rig.clock
            .run(rig.tracker.flush())
            .ok()
            .unwrap()
            .all_delivered()
    );
    rig.emit([3]);
}

#[test]
fn dropping_the_oldest_is_counted_and_the_observer_gets_the_event() {
    let rig = Rig::new(|config| config.capacity_events(3).overflow(Overflow::DropOldest));
    rig.emit(0..5);
    assert_eq!(rig.seen.dropped(), [0, 1]);
    let report = rig.clock.run(rig.tracker.shutdown(secs(1)));
    assert_eq!(
        (
            report.books.accepted,
            report.books.dropped,
            report.books.delivered
        ),
        (5, 2, 3)
    );
    assert_eq!(rig.transport.delivered(), [2, 3, 4]);
    assert!(report.ok().is_err(), "a dropped event did not arrive");
}

#[test]
fn dropping_the_oldest_spares_what_is_in_flight_even_if_the_emit_must_be_refused() {
    let rig = Rig::new(|config| config.capacity_events(2).overflow(Overflow::DropOldest));
    let answer = rig.transport.then_hold();
    rig.emit([1, 2]);
    let mut flush = pin!(rig.tracker.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    let refused = rig.tracker.emit(3).unwrap_err();
    assert!(refused.is_full());
    assert_eq!((refused.into_event(), rig.seen.dropped().len()), (3, 0));
    answer.release();
    assert!(rig.clock.run(flush).ok().unwrap().all_delivered());
}

#[test]
fn an_emit_that_waits_gets_the_room_that_a_flush_makes() {
    let rig = Rig::new(|config| config.capacity_events(1));
    rig.emit([1]);
    let mut waiting = pin!(rig.tracker.emit_wait(2));
    assert!(waiting.as_mut().now_or_never().is_none());
    let (emitted, flushed) = rig.clock.run(join(waiting, rig.tracker.flush()));
    assert!(emitted.is_ok() && flushed.ok().is_ok());
    assert_eq!(rig.tracker.books().accepted, 2);
}

#[test]
fn an_emit_that_waits_is_refused_when_the_tracker_closes() {
    let rig = Rig::new(|config| config.capacity_events(1));
    let _answer = rig.transport.then_hold();
    rig.emit([1]);
    let mut waiting = pin!(rig.tracker.emit_wait(2));
    assert!(waiting.as_mut().now_or_never().is_none());
    let mut shutdown = pin!(rig.tracker.shutdown(secs(5)));
    assert!(shutdown.as_mut().now_or_never().is_none());
    let refused = waiting
        .now_or_never()
        .expect("the close answers it")
        .unwrap_err();
    assert!(refused.is_closed());
    assert_eq!(refused.into_event(), 2);
}

#[test]
fn an_emit_that_stops_waiting_was_not_accepted() {
    let rig = Rig::new(|config| config.capacity_events(1));
    rig.emit([1]);
    assert!(rig.tracker.emit_wait(2).now_or_never().is_none());
    assert_eq!(rig.tracker.books().accepted, 1);
    assert!(
        rig.clock
            .run(rig.tracker.shutdown(secs(1)))
            .ok()
            .unwrap()
            .all_delivered()
    );
    assert_eq!(rig.transport.delivered(), [1]);
}

#[test]
fn an_event_that_never_fits_is_refused_by_every_kind_of_emit() {
    for overflow in [Overflow::Refuse, Overflow::DropOldest] {
        let rig = Rig::new(|config| config.batch_bytes(3).overflow(overflow));
        let refusals = [
            rig.tracker.emit(1),
            rig.tracker
                .emit_wait(1)
                .now_or_never()
                .expect("there is no room to wait for"),
        ];
        for refused in refusals.map(Result::unwrap_err) {
            assert!(matches!(
                refused,
                PushError::TooLarge {
                    event: 1,
                    bytes: 4,
                    limit: 3
                }
            ));
            assert!(!refused.is_full() && !refused.is_closed());
        }
    }
}

#[test]
fn the_size_of_an_event_is_what_the_buffer_was_told() {
    let config = Config::builder()
        .capacity_bytes(10)
        .batch_bytes(6)
        .build()
        .unwrap();
    let buffer = EventBuffer::with_size_of(&config, |event: &String| event.len());
    let transport = Arc::new(MemoryTransport::new());
    let clock = Arc::new(TestClock::new());
    let tracker =
        BufferedTracker::with_buffer(buffer.clone(), config, transport.clone(), clock.clone(), 7);
    tracker.emit("four".to_owned()).unwrap();
    tracker.emit("six   ".to_owned()).unwrap();
    assert_eq!(buffer.pending_bytes(), 10);
    assert!(tracker.emit("x".to_owned()).unwrap_err().is_full());
    assert!(clock.run(tracker.flush()).ok().unwrap().all_delivered());
    assert_eq!(
        transport.attempted(),
        [1, 1],
        "ten bytes are two batches of at most six"
    );
}

/// Calls back into its tracker, as an observer that emits an event about a lost event does.
struct Reporter(OnceLock<Weak<BufferedTracker<u32>>>);

impl Observer<u32> for Reporter {
    fn dropped(&self, event: u32) {
        self.report(event);
    }

    fn rejected(&self, event: u32, _reason: &Reason) {
        self.report(event);
    }
}

impl Reporter {
    fn report(&self, event: u32) {
        let tracker = self
            .0
            .get()
            .and_then(Weak::upgrade)
            .expect("the tracker is alive");
        assert!(tracker.books().is_balanced());
        if event < 100 {
            tracker
                .emit(event + 100)
                .expect("there is room, or what is older goes");
        }
    }
}

#[test]
fn an_observer_may_use_the_tracker_that_calls_it() {
    let transport = Arc::new(MemoryTransport::new());
    let clock = Arc::new(TestClock::new());
    transport.then_reject([0]);
    let config = Config::builder()
        .capacity_events(4)
        .overflow(Overflow::DropOldest)
        .build()
        .unwrap();
    let reporter = Arc::new(Reporter(OnceLock::new()));
    let tracker = BufferedTracker::new(config, transport.clone(), clock.clone(), 7)
        .observed_by(reporter.clone());
    let tracker = Arc::new(tracker);
    assert!(reporter.0.set(Arc::downgrade(&tracker)).is_ok());
    (0..5).for_each(|event| tracker.emit(event).unwrap());
    let _ = clock.run(tracker.flush());
    let _ = clock.run(tracker.flush());
    let books = tracker.books();
    assert!(
        books.is_balanced() && books.rejected == 1 && books.dropped > 1 && books.pending() == 0,
        "{books}"
    );
    assert!(
        transport.delivered().iter().any(|event| *event >= 100),
        "{:?}",
        transport.delivered()
    );
}

/// Ends the tracking at the first rejection.
struct Quitter {
    tracker: OnceLock<Weak<BufferedTracker<u32>>>,
    returned: OnceLock<Vec<u32>>,
}

impl Observer<u32> for Quitter {
    fn rejected(&self, _event: u32, _reason: &Reason) {
        let tracker = self
            .tracker
            .get()
            .and_then(Weak::upgrade)
            .expect("the tracker is alive");
        let report = tracker
            .shutdown(secs(0))
            .now_or_never()
            .expect("nothing is in flight");
        self.returned
            .set(report.returned)
            .expect("there is one rejection");
    }
}

#[test]
fn an_observer_may_shut_the_tracker_down() {
    let transport = Arc::new(MemoryTransport::new());
    let clock = Arc::new(TestClock::new());
    transport.then_reject([0]);
    let config = Config::builder().batch_events(1).build().unwrap();
    let quitter = Arc::new(Quitter {
        tracker: OnceLock::new(),
        returned: OnceLock::new(),
    });
    let tracker = Arc::new(
        BufferedTracker::new(config, transport, clock.clone(), 7).observed_by(quitter.clone()),
    );
    assert!(quitter.tracker.set(Arc::downgrade(&tracker)).is_ok());
    (1..=3).for_each(|event| tracker.emit(event).unwrap());
    assert!(clock.run(tracker.flush()).ok().is_err());
    assert_eq!(quitter.returned.get(), Some(&vec![2, 3]));
}

#[test]
fn a_tracker_that_is_switched_off_says_that_it_drops() {
    let tracker = NoopTracker::new();
    Tracker::<u32>::emit(&tracker, 1).unwrap();
    Tracker::<u32>::emit(&tracker, 2).unwrap();
    let report = Tracker::<u32>::flush(&tracker)
        .now_or_never()
        .expect("it waits for nothing");
    assert_eq!(
        (
            report.books.accepted,
            report.books.dropped,
            report.unsettled
        ),
        (2, 2, 0)
    );
    assert!(report.ok().unwrap().is_balanced());
    let first = Tracker::<u32>::shutdown(&tracker, secs(1))
        .now_or_never()
        .expect("it waits for nothing");
    assert!(first.ok().is_err(), "nothing was delivered");
    assert_eq!(
        Tracker::<u32>::emit(&tracker, 3).unwrap_err().into_event(),
        3
    );
    let second = Tracker::<u32>::shutdown(&tracker, secs(1))
        .now_or_never()
        .expect("it waits for nothing");
    assert_eq!(second.books, first.books);
    assert_eq!(Tracker::<u32>::books(&tracker).accepted, 2);
}
