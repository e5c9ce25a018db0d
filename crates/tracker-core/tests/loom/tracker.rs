//! The whole tracker under loom: the shipped flush, shutdown and background loop over a far end
//! that answers or hangs.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::join;
use loom::future::block_on;
use loom::thread;
use tracker_core::{
    BufferedTracker, Clock, DeliveryError, Receipt, SendError, SendOptions, Transport,
};

use crate::support::{Event, FarEnd, bounded_model, config, interrupt_after, one_await};

/// Time does not advance: only waits of zero end.
#[derive(Debug)]
struct StandsStill;

#[async_trait]
impl Clock for StandsStill {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    async fn sleep(&self, duration: Duration) {
        if !duration.is_zero() {
            pending::<()>().await;
        }
    }
}

const IN_TIME: Duration = Duration::from_secs(5);
const TOO_LATE: Duration = Duration::ZERO;

#[async_trait]
impl Transport<Event> for FarEnd {
    async fn send(&self, events: &[Event], _: SendOptions) -> Result<Receipt, SendError> {
        self.take(events);
        Ok(Receipt::default())
    }
}

/// A far end that answers after an await.
#[derive(Debug)]
struct Slow(FarEnd);

#[async_trait]
impl Transport<Event> for Slow {
    async fn send(&self, events: &[Event], options: SendOptions) -> Result<Receipt, SendError> {
        one_await().await;
        self.0.send(events, options).await
    }
}

/// A far end that never answers.
#[derive(Debug)]
struct Hangs;

#[async_trait]
impl Transport<Event> for Hangs {
    async fn send(&self, _: &[Event], _: SendOptions) -> Result<Receipt, SendError> {
        pending().await
    }
}

fn tracker(
    transport: impl Transport<Event> + 'static,
    in_flight: usize,
) -> Arc<BufferedTracker<Event>> {
    let config = config(4, 1, in_flight);
    Arc::new(BufferedTracker::new(
        config,
        Arc::new(transport),
        Arc::new(StandsStill),
        7,
    ))
}

/// Two shutdowns of one tracker: both return after everything is delivered, and say so. At most
/// three preemptions, as in every model of the tracker.
///
/// Kills: a flush that does not wait for other batches; a settle that wakes no waiter.
#[test]
fn two_shutdowns_of_a_tracker_both_report_everything() {
    bounded_model(3, || {
        let far_end = FarEnd::default();
        let tracker = tracker(far_end.clone(), 1);
        tracker.emit(1).unwrap();
        let other = thread::spawn({
            let tracker = tracker.clone();
            move || assert!(block_on(tracker.shutdown(IN_TIME)).ok().is_ok())
        });
        assert!(block_on(tracker.shutdown(IN_TIME)).ok().is_ok());
        assert_eq!(far_end.received(), [1]);
        other.join().unwrap();
    });
}

/// An event that is emitted beside a shutdown is delivered by it, or given back.
///
/// Kills: a shutdown that sets its barrier before it closes; a shutdown that does not close.
#[test]
fn an_emit_beside_a_shutdown_is_delivered_or_comes_back() {
    bounded_model(3, || {
        let far_end = FarEnd::default();
        let tracker = tracker(far_end.clone(), 1);
        let producer = thread::spawn({
            let tracker = tracker.clone();
            move || tracker.emit(1).is_ok()
        });
        let report = block_on(tracker.shutdown(IN_TIME));
        let accepted = producer.join().unwrap();
        assert_eq!(far_end.received(), if accepted { vec![1] } else { vec![] });
        assert_eq!(
            report.ok().unwrap(),
            tracker.books(),
            "nothing follows a shutdown"
        );
    });
}

/// The background loop is aborted at its k-th await, beside an emit and the shutdown: timelines 1
/// and 2, as shipped.
///
/// Kills: a batch whose drop does not give back; a loop that holds an event outside of a batch.
#[test]
fn a_background_loop_that_is_aborted_loses_nothing() {
    for polls in 1..=3 {
        bounded_model(3, move || {
            let far_end = FarEnd::default();
            let tracker = tracker(Slow(far_end.clone()), 1);
            let aborted = thread::spawn({
                let tracker = tracker.clone();
                move || interrupt_after(polls, tracker.run())
            });
            tracker.emit(1).unwrap();
            let report = block_on(tracker.shutdown(IN_TIME));
            aborted.join().unwrap();
            assert_eq!(far_end.received(), [1]);
            assert!(report.ok().is_ok());
        });
    }
}

/// A shutdown whose time has expired takes the events of a hanging flush back.
///
/// Kills: a shutdown that does not recall, or that drains before the events are back; a request
/// that is not interrupted by the recall.
#[test]
fn a_shutdown_whose_time_is_up_takes_back_what_a_flush_holds() {
    bounded_model(3, || {
        let tracker = tracker(Hangs, 1);
        tracker.emit(1).unwrap();
        let flushing = tracker.clone();
        let mut flush = Box::pin(async move { flushing.flush().await });
        assert!(flush.as_mut().now_or_never().is_none(), "its request hangs");
        let flusher = thread::spawn(move || block_on(flush));
        let report = block_on(tracker.shutdown(TOO_LATE));
        assert_eq!(report.returned, [1]);
        assert!(
            report.books.is_balanced() && report.books.pending() == 0,
            "{}",
            report.books
        );
        let flush = flusher.join().unwrap();
        assert_eq!(flush.stop, Some(DeliveryError::Recalled));
        assert!(flush.ok().is_err(), "the event did not arrive");
    });
}

/// Two shutdowns whose time has expired, beside a flush that hangs: the event is handed back to one
/// of them.
///
/// Kills: a second shutdown that returns before the event is back; an event handed back twice.
#[test]
fn two_shutdowns_whose_time_is_up_hand_an_event_back_once() {
    bounded_model(2, || {
        let tracker = tracker(Hangs, 1);
        tracker.emit(1).unwrap();
        let flushing = tracker.clone();
        let mut flush = Box::pin(async move { flushing.flush().await });
        assert!(flush.as_mut().now_or_never().is_none(), "its request hangs");
        let other = thread::spawn({
            let tracker = tracker.clone();
            move || block_on(join(tracker.shutdown(TOO_LATE), flush))
        });
        let report = block_on(tracker.shutdown(TOO_LATE));
        assert_eq!(
            report.books.pending(),
            0,
            "it returned before the event was back: {}",
            report.books
        );
        let (other, flush) = other.join().unwrap();
        assert_eq!(other.books, report.books);
        assert_eq!([report.returned, other.returned].concat(), [1]);
        assert!(flush.ok().is_err(), "the event did not arrive");
    });
}

/// Two batches in flight and three in all, beside a flush that is cut: the other flush waits for
/// every batch.
///
/// Kills: a flush that delivers only as many batches as may be in flight; a flush that does not
/// wait for other batches.
#[test]
fn a_flush_in_two_lanes_delivers_every_batch() {
    bounded_model(3, || {
        let far_end = FarEnd::default();
        let tracker = tracker(far_end.clone(), 2);
        for event in [1, 2, 3] {
            tracker.emit(event).unwrap();
        }
        let other = thread::spawn({
            let tracker = tracker.clone();
            move || interrupt_after(1, tracker.flush())
        });
        assert!(block_on(tracker.flush()).ok().is_ok());
        assert_eq!(far_end.received(), [1, 2, 3]);
        other.join().unwrap();
    });
}

/// A far end that is unavailable once.
#[derive(Debug)]
struct Recovers {
    far_end: FarEnd,
    failed: loom::sync::atomic::AtomicBool,
}

#[async_trait]
impl Transport<Event> for Recovers {
    async fn send(&self, events: &[Event], options: SendOptions) -> Result<Receipt, SendError> {
        if !self.failed.swap(true, loom::sync::atomic::Ordering::AcqRel) {
            return Err(SendError::status(503));
        }
        self.far_end.send(events, options).await
    }
}

/// The first delay of a delivery with this seed is longer than a short wait.
const SEED: u64 = 11;

/// Only short waits end: those between two attempts.
#[derive(Debug, Default)]
struct ShortWaits(loom::sync::atomic::AtomicU64);

#[async_trait]
impl Clock for ShortWaits {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(loom::sync::atomic::Ordering::Acquire))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    async fn sleep(&self, duration: Duration) {
        if duration > Duration::from_millis(50) {
            pending::<()>().await;
        }
        let nanos = u64::try_from(duration.as_nanos()).expect("it is short");
        self.0
            .fetch_add(nanos, loom::sync::atomic::Ordering::AcqRel);
    }
}

/// A delivery waits for its next attempt, which on this clock never comes by itself; a second flush
/// wakes it.
///
/// Kills: a caller that wakes the waiters before it is counted; a wait that checks and registers in
/// two steps.
#[test]
fn a_caller_wakes_a_delivery_that_waits_for_its_next_attempt() {
    bounded_model(3, || {
        let far_end = FarEnd::default();
        let failed = loom::sync::atomic::AtomicBool::new(false);
        let transport = Arc::new(Recovers {
            far_end: far_end.clone(),
            failed,
        });
        let config = config(4, 1, 1);
        let tracker = Arc::new(BufferedTracker::new(
            config,
            transport,
            Arc::new(ShortWaits::default()),
            SEED,
        ));
        tracker.emit(1).unwrap();
        let flushing = tracker.clone();
        let mut waiting = Box::pin(async move { flushing.flush().await });
        assert!(
            waiting.as_mut().now_or_never().is_none(),
            "it has met the failure, and waits"
        );
        let waiter = thread::spawn(move || block_on(waiting));
        assert!(block_on(tracker.flush()).ok().is_ok());
        assert_eq!(far_end.received(), [1]);
        assert!(waiter.join().unwrap().ok().is_ok());
    });
}
