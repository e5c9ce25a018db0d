//! A flush or a shutdown may be dropped at any await: nothing is lost, and the next one delivers
//! everything.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{BufferedTracker, Config, Receipt, SendError, SendOptions, Transport};

/// A transport with an await before and after the far end takes the events.
#[derive(Debug)]
struct Yielding(MemoryTransport<u32>);

#[async_trait]
impl Transport<u32> for Yielding {
    async fn send(&self, events: &[u32], options: SendOptions) -> Result<Receipt, SendError> {
        yield_now().await;
        let answer = self.0.send(events, options).await;
        yield_now().await;
        answer
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls `future` at most `polls` times, calls `check` after each, and drops it.
async fn at_most<T>(polls: usize, future: impl Future<Output = T>, check: impl Fn()) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        let answer = future.as_mut().poll(cx).map(Some);
        check();
        answer
    })
    .await
}

/// The failures of the far end before it accepts every event.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Status(u16),
    LoseAnswer,
    Hang,
    RetryAfter,
}

const TROUBLES: [Trouble; 4] = [
    Trouble::Status(503),
    Trouble::LoseAnswer,
    Trouble::Hang,
    Trouble::RetryAfter,
];

struct Scene {
    tracker: BufferedTracker<u32>,
    transport: Arc<Yielding>,
    clock: Arc<TestClock>,
    events: u32,
}

impl Scene {
    fn new(events: u32, batch: usize, in_flight: usize, troubles: &[Trouble]) -> Self {
        let config = Config::builder()
            .batch_events(batch)
            .in_flight(in_flight)
            .build()
            .expect("no limit is zero");
        let transport = Arc::new(Yielding(MemoryTransport::new()));
        let clock = Arc::new(TestClock::new());
        for trouble in troubles {
            match trouble {
                Trouble::Status(status) => transport.0.then_status(*status),
                Trouble::LoseAnswer => transport.0.then_lose_answer(),
                Trouble::Hang => transport.0.then_hang(),
                Trouble::RetryAfter => transport.0.then_retry_after(429, Duration::from_secs(1)),
            }
        }
        let tracker = BufferedTracker::new(config, transport.clone(), clock.clone(), 7);
        (0..events).for_each(|event| tracker.emit(event).expect("there is room"));
        Self {
            tracker,
            transport,
            clock,
            events,
        }
    }

    /// The books balance, and no event without a fate is missing from them.
    fn check(&self) {
        let books = self.tracker.books();
        assert!(books.is_balanced(), "{books}");
        assert_eq!(
            u64::from(self.events),
            books.delivered + books.rejected + books.pending(),
            "{books}"
        );
        let mut arrived = self.transport.0.delivered();
        arrived.sort_unstable();
        arrived.dedup();
        assert!(
            books.delivered <= arrived.len() as u64,
            "{} arrived, but {books}",
            arrived.len()
        );
    }

    /// Everything is at the far end; with one batch in flight the first arrivals are in order.
    fn check_delivered(&self, in_order: bool) {
        let mut first_arrivals: Vec<u32> = Vec::new();
        for event in self.transport.0.delivered() {
            if !first_arrivals.contains(&event) {
                first_arrivals.push(event);
            }
        }
        assert!(
            !in_order || first_arrivals.is_sorted(),
            "{first_arrivals:?}"
        );
        first_arrivals.sort_unstable();
        assert_eq!(
            first_arrivals,
            (0..self.events).collect::<Vec<_>>(),
            "everything is delivered"
        );
    }
}

/// Drops the operation after `polls` polls; returns whether it had completed.
fn cancelled_after(polls: usize, scene: &Scene, shutdown: bool) -> bool {
    let Scene { tracker, clock, .. } = scene;
    let check = || scene.check();
    let completed = if shutdown {
        clock
            .run(at_most(
                polls,
                tracker.shutdown(Duration::from_secs(60)),
                check,
            ))
            .is_some()
    } else {
        clock.run(at_most(polls, tracker.flush(), check)).is_some()
    };
    scene.check();
    assert_eq!(
        tracker.books().in_flight,
        0,
        "a dropped future holds no event"
    );
    completed
}

fn everything_arrives_wherever_it_is_cut(
    events: u32,
    batch: usize,
    in_flight: usize,
    troubles: &[Trouble],
    shutdown: bool,
) {
    for polls in 0.. {
        let scene = Scene::new(events, batch, in_flight, troubles);
        let completed = cancelled_after(polls, &scene, shutdown);
        let Scene { tracker, clock, .. } = &scene;
        // Each failure can use up the time of one flush; after that the far end accepts.
        let mut reports = (0..=troubles.len()).map(|_| clock.run(tracker.flush()).ok());
        let books = reports
            .find_map(Result::ok)
            .unwrap_or_else(|| panic!("after {polls} polls: {}", tracker.books()));
        assert!(books.all_delivered(), "after {polls} polls: {books}");
        scene.check_delivered(in_flight == 1);
        assert_eq!(
            tracker.emit(events).is_err(),
            shutdown && polls > 0,
            "a shutdown that began stays begun"
        );
        if completed {
            assert!(polls > 2, "the operation was never cut: {polls} polls");
            return;
        }
        assert!(polls < 1000, "the operation does not end");
    }
}

#[test]
fn a_flush_dropped_after_any_poll_loses_nothing() {
    for shutdown in [false, true] {
        everything_arrives_wherever_it_is_cut(5, 2, 1, &TROUBLES, shutdown);
        everything_arrives_wherever_it_is_cut(
            5,
            4,
            1,
            &[Trouble::Status(413), Trouble::Status(429)],
            shutdown,
        );
        everything_arrives_wherever_it_is_cut(7, 2, 3, &TROUBLES, shutdown);
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 24, ..crate::cases() })]

    #[test]
    fn a_flush_or_shutdown_cut_anywhere_loses_nothing_whatever_fails(
        events in 1..12u32,
        batch in 1..5usize,
        in_flight in 1..=3usize,
        picks in prop::collection::vec(0..TROUBLES.len(), 0..5),
        shutdown in any::<bool>(),
    ) {
        let troubles: Vec<_> = picks.iter().map(|pick| TROUBLES[*pick]).collect();
        everything_arrives_wherever_it_is_cut(events, batch, in_flight, &troubles, shutdown);
    }

    #[test]
    fn a_flush_ends_under_any_number_of_failures(
        events in 1..12u32,
        failures in 0..60usize,
        in_flight in 1..=3usize,
    ) {
        let scene = Scene::new(events, 3, in_flight, &vec![Trouble::Status(503); failures]);
        let mut flushes = 0;
        let tracker = &scene.tracker;
        while tracker.books().pending() > 0 {
            let began = tracker_core::Clock::now(&*scene.clock);
            let report = scene.clock.run(tracker.flush());
            let took = tracker_core::Clock::now(&*scene.clock) - began;
            prop_assert!(took <= Config::default().flush_timeout(), "a flush took {took:?}");
            prop_assert_eq!(report.stop.is_some(), report.unsettled > 0);
            prop_assert_eq!(report.unsettled, tracker.books().pending());
            scene.check();
            flushes += 1;
            prop_assert!(flushes <= failures + 1, "no progress");
        }
        scene.check_delivered(in_flight == 1);
    }
}
