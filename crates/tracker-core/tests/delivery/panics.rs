//! Panics of the user's observer, transport and clock are caught where that code is called.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, join};
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{
    BufferedTracker, Clock, Config, DeliveryError, Observer, Overflow, PushError, Reason, Receipt,
    SendError, SendOptions, Transport,
};

use crate::secs;

struct Panics;

impl Observer<u32> for Panics {
    fn dropped(&self, _: u32) {
        panic!("a bug of the user's");
    }

    fn rejected(&self, _: u32, _: &Reason) {
        panic!("a bug of the user's");
    }
}

#[test]
fn an_observer_that_panics_changes_nothing() {
    let transport = Arc::new(MemoryTransport::new());
    let clock = Arc::new(TestClock::new());
    let config = Config::builder()
        .capacity_events(3)
        .overflow(Overflow::DropOldest)
        .build()
        .unwrap();
    let tracker = BufferedTracker::new(config, transport.clone(), clock.clone(), 7)
        .observed_by(Arc::new(Panics));
    transport.then_reject([0]);
    clock.run(join(tracker.run(), async {
        (0..4).for_each(|event| tracker.emit(event).unwrap());
        clock.sleep(secs(1)).await;
        assert_eq!(
            (
                tracker.books().dropped,
                tracker.books().rejected,
                tracker.books().delivered
            ),
            (1, 1, 2)
        );
        tracker.emit(4).unwrap();
        let report = tracker.shutdown(secs(1)).await;
        assert_eq!(
            (report.books.delivered, report.stop),
            (3, None),
            "the background continues"
        );
    }));
}

/// Panics in the future, in the call, or while it is dropped.
#[derive(Debug, Default)]
struct Breaks {
    calls: AtomicU32,
}

impl Transport<u32> for Breaks {
    fn send<'a, 'b, 'c>(
        &'a self,
        _: &'b [u32],
        _: SendOptions,
    ) -> BoxFuture<'c, Result<Receipt, SendError>>
    where
        'a: 'c,
        'b: 'c,
    {
        match self.calls.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("in the call"),
            1 => async { panic!("in the future") }.boxed(),
            _ => async { Ok(Receipt::default()) }.boxed(),
        }
    }
}

#[test]
fn a_transport_that_panics_has_failed_to_send() {
    let transport = Arc::new(Breaks::default());
    let clock = Arc::new(TestClock::new());
    let tracker = BufferedTracker::new(Config::default(), transport.clone(), clock.clone(), 7);
    tracker.emit(1).unwrap();
    assert!(clock.run(tracker.flush()).ok().unwrap().all_delivered());
    assert_eq!(transport.calls.load(Ordering::Relaxed), 3);
}

#[test]
fn a_transport_that_always_panics_is_named() {
    #[derive(Debug)]
    struct Always;

    #[async_trait]
    impl Transport<u32> for Always {
        async fn send(&self, _: &[u32], _: SendOptions) -> Result<Receipt, SendError> {
            panic!("out of luck");
        }
    }

    let clock = Arc::new(TestClock::new());
    let tracker = BufferedTracker::new(Config::default(), Arc::new(Always), clock.clone(), 7);
    tracker.emit(1).unwrap();
    let report = clock.run(tracker.shutdown(secs(5)));
    assert_eq!(report.returned, [1]);
    assert!(
        report
            .stop
            .unwrap()
            .to_string()
            .contains("the transport panicked: out of luck")
    );
}

/// A clock of a runtime without a timer.
#[derive(Debug)]
struct NoTimer;

#[async_trait]
impl Clock for NoTimer {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    async fn sleep(&self, _: Duration) {
        panic!("there is no timer");
    }
}

#[test]
fn a_dead_background_is_told_by_emit_flush_shutdown_and_report() {
    let transport = Arc::new(MemoryTransport::new());
    let tracker = BufferedTracker::new(Config::default(), transport.clone(), Arc::new(NoTimer), 7);
    tracker.emit(1).unwrap();
    tracker
        .run()
        .now_or_never()
        .expect("it returns; the task that runs it does not panic");
    let PushError::Stopped { event: 2, reason } = tracker.emit(2).unwrap_err() else {
        panic!("the loop is dead")
    };
    assert!(reason.as_str().contains("there is no timer"), "{reason}");
    assert!(matches!(
        tracker.emit_wait(3).now_or_never(),
        Some(Err(PushError::Stopped { event: 3, .. }))
    ));
    assert_eq!(tracker.report().background_ended, Some(reason.clone()));
    assert_eq!(tracker.books().pending(), 1, "what was accepted is kept");
    assert_eq!(tracker.drain(), [1]);
}

#[test]
fn a_dead_background_leaves_delivery_to_the_flushes_and_they_say_so() {
    let transport = Arc::new(MemoryTransport::new());
    let clock = Arc::new(TestClock::new());
    let tracker = BufferedTracker::new(Config::default(), transport.clone(), clock.clone(), 7);
    tracker.emit(1).unwrap();
    tracker.background_ended(Reason::new("its task was aborted"));
    let report = clock.run(tracker.flush());
    assert_eq!(
        (report.books.delivered, transport.delivered()),
        (1, vec![1])
    );
    let Some(DeliveryError::Background { reason }) = report.stop else {
        panic!("{report:?}")
    };
    assert_eq!(reason.as_str(), "its task was aborted");
    let report = clock.run(tracker.shutdown(secs(1)));
    assert!(
        report.ok().is_ok() && matches!(report.stop, Some(DeliveryError::Background { .. })),
        "{report:?}"
    );
}

#[test]
fn a_background_that_ends_behind_the_shutdown_is_not_dead() {
    let transport = Arc::new(MemoryTransport::<u32>::new());
    let clock = Arc::new(TestClock::new());
    let tracker = BufferedTracker::new(Config::default(), transport, clock.clone(), 7);
    let _ = clock.run(tracker.shutdown(secs(1)));
    tracker.background_ended(Reason::new("its task has ended"));
    assert_eq!(tracker.report().background_ended, None);
    assert!(tracker.emit(1).unwrap_err().is_closed());
}

#[test]
fn an_emit_that_waits_for_room_is_told_that_the_background_has_died() {
    let transport = Arc::new(MemoryTransport::new());
    let clock = Arc::new(TestClock::new());
    let config = Config::builder().capacity_events(1).build().unwrap();
    let tracker = BufferedTracker::new(config, transport, clock.clone(), 7);
    tracker.emit(1).unwrap();
    let (waited, ()) = clock.run(join(tracker.emit_wait(2), async {
        tracker.background_ended(Reason::default())
    }));
    assert!(
        matches!(waited, Err(PushError::Stopped { event: 2, .. })),
        "it must not wait for ever"
    );
    assert_eq!(tracker.drain(), [1]);
}
