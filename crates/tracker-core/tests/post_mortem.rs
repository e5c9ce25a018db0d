//! The two timelines that lost events elsewhere, step by step on this protocol, and the holes of
//! the usual repairs.
//!
//! The quoted comments are the post-mortem's own words. A consumer is a future that holds a batch
//! or waits for the first event; interrupting it is dropping it.
#![cfg(not(loom))]

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{
    BufferedTracker, Clock, Config, EventBuffer, Overflow, Phase, Reason, SendError,
};

type Event = &'static str;

const DEADLINE: Duration = Duration::from_secs(30);

/// Takes the first event and waits for more, as the consumer of the post-mortem did; it never gets
/// to send.
async fn consumer(buffer: EventBuffer<Event>) {
    buffer.arrival(1).await;
    let batch = buffer.next_batch(buffer.barrier()).await;
    buffer.arrival(10).await;
    std::future::pending::<()>().await;
    drop(batch);
}

/// Closes and sends everything that has no fate, as a finalizer must.
async fn finalizer(buffer: &EventBuffer<Event>, sent: &mut Vec<Event>) {
    buffer.close();
    while let Some(batch) = buffer.next_batch(buffer.barrier()).await {
        sent.extend(batch.events());
        batch.ack();
    }
}

fn all_delivered(buffer: &EventBuffer<Event>, sent: &[Event], expected: &[Event]) {
    assert_eq!(sent, expected);
    assert!(buffer.books().all_delivered(), "{}", buffer.books());
    assert_eq!(buffer.phase(), Phase::Closed);
}

#[test]
fn timeline_one_the_consumer_holds_event1_when_it_is_interrupted() {
    let buffer = EventBuffer::new(&Config::default());
    let mut sent = Vec::new();
    // "Queue.take() waiting..."
    let mut consumer = Box::pin(consumer(buffer.clone()));
    assert!(consumer.as_mut().now_or_never().is_none());
    // "emit(event1) → queue"
    buffer.push("event1").unwrap();
    // "Queue.take() returns event1", "batch = [event1]"
    assert!(consumer.as_mut().now_or_never().is_none());
    assert_eq!(buffer.books().in_flight, 1);
    // "emit(event2) → queue", "Effect.raceAll() waiting...", "emit(event3) → queue"
    buffer.push("event2").unwrap();
    assert!(consumer.as_mut().now_or_never().is_none());
    buffer.push("event3").unwrap();
    // "Workflow completes, scope closes": "A. offer(flushSignal)", "B. takeAll() → [event2,
    // event3]". Here the finalizer's flush is a barrier: event1 is on the books, so it waits for
    // it.
    {
        let mut finalizer = pin!(finalizer(&buffer, &mut sent));
        assert!(
            finalizer.as_mut().now_or_never().is_none(),
            "event1 has no fate yet"
        );
        assert_eq!(buffer.books().pending(), 3);
        // "C. shutdown(eventQueue)": a late event is given back instead of being stranded.
        assert_eq!(buffer.push("event4").unwrap_err().into_event(), "event4");
        // "D. interrupt(consumerFiber) ← PROBLEM!", "─── INTERRUPTED ───": dropping the batch gives
        // event1 back.
        drop(consumer);
        finalizer
            .now_or_never()
            .expect("nobody else holds an event");
    }
    // "event1 LOST (in local batch var)": no.
    all_delivered(&buffer, &sent, &["event1", "event2", "event3"]);
}

#[test]
fn timeline_one_when_the_interrupt_comes_before_the_flush() {
    let buffer = EventBuffer::new(&Config::default());
    let mut sent = Vec::new();
    let mut consumer = Box::pin(consumer(buffer.clone()));
    buffer.push("event1").unwrap();
    assert!(consumer.as_mut().now_or_never().is_none());
    buffer.push("event2").unwrap();
    buffer.push("event3").unwrap();
    drop(consumer);
    finalizer(&buffer, &mut sent)
        .now_or_never()
        .expect("nobody else holds an event");
    all_delivered(&buffer, &sent, &["event1", "event2", "event3"]);
}

#[test]
fn timeline_two_the_consumer_has_taken_the_only_event() {
    let buffer = EventBuffer::new(&Config::default());
    let mut sent = Vec::new();
    // "Queue.take() waiting for event..."
    let mut consumer = Box::pin(consumer(buffer.clone()));
    assert!(consumer.as_mut().now_or_never().is_none());
    // "emit(event1) → queue"
    buffer.push("event1").unwrap();
    // "Queue.take() returns event1", "raceAll() waiting..."
    assert!(consumer.as_mut().now_or_never().is_none());
    assert_eq!((buffer.books().queued, buffer.books().in_flight), (0, 1));
    {
        // "Workflow completes immediately", "A. offer(flushSignal)", "B. takeAll() → [] (empty!)":
        // the queue is empty, and yet the flush does not say that it is done.
        let mut finalizer = pin!(finalizer(&buffer, &mut sent));
        assert!(finalizer.as_mut().now_or_never().is_none());
        // "C. shutdown queues"
        assert_eq!(buffer.phase(), Phase::Closing);
        // "D. interrupt consumer", "─── INTERRUPTED ───"
        drop(consumer);
        finalizer.now_or_never().expect("event1 came back");
    }
    // "event1 LOST": no.
    all_delivered(&buffer, &sent, &["event1"]);
}

#[test]
fn timeline_two_the_consumer_is_woken_for_the_first_event_and_interrupted_before_it_runs() {
    let buffer = EventBuffer::new(&Config::default());
    let mut sent = Vec::new();
    let mut consumer = Box::pin(consumer(buffer.clone()));
    assert!(consumer.as_mut().now_or_never().is_none());
    buffer.push("event1").unwrap();
    drop(consumer);
    finalizer(&buffer, &mut sent)
        .now_or_never()
        .expect("a waiter takes nothing with it");
    all_delivered(&buffer, &sent, &["event1"]);
}

/// The same by the shipped pieces: the background loop is the consumer and `shutdown` the
/// finalizer.
#[test]
fn both_timelines_with_the_background_loop_interrupted_in_each_of_its_waits() {
    for emitted in [&["event1", "event2", "event3"][..], &["event1"]] {
        for polls in 0..4 {
            let (tracker, transport, clock) = rig(Config::default());
            let mut run = Box::pin(tracker.run());
            for event in emitted {
                (0..polls).for_each(|_| assert!(run.as_mut().now_or_never().is_none()));
                tracker.emit(*event).unwrap();
            }
            drop(run);
            let report = clock.run(tracker.shutdown(DEADLINE));
            assert!(report.ok().unwrap().all_delivered());
            assert_eq!(transport.delivered(), emitted);
        }
    }
}

fn rig(
    config: Config,
) -> (
    BufferedTracker<Event>,
    Arc<MemoryTransport<Event>>,
    Arc<TestClock>,
) {
    let transport = Arc::new(MemoryTransport::new());
    let clock = Arc::new(TestClock::new());
    (
        BufferedTracker::new(config, transport.clone(), clock.clone(), 7),
        transport,
        clock,
    )
}

#[test]
fn hole_three_a_send_that_fails_or_a_flush_that_is_cancelled_loses_its_batch() {
    let (tracker, transport, clock) = rig(Config::default());
    tracker.emit("event1").unwrap();
    transport.then_status(401);
    assert!(clock.run(tracker.flush()).ok().is_err());
    assert_eq!(tracker.books().queued, 1, "after a failure");
    transport.then_hang();
    assert!(tracker.flush().now_or_never().is_none());
    assert_eq!(tracker.books().queued, 1, "after a cancellation");
    assert!(clock.run(tracker.flush()).ok().unwrap().all_delivered());
    assert_eq!(transport.delivered(), ["event1"]);
}

#[test]
fn hole_four_the_second_of_two_flushes_finds_nothing_and_the_caller_ends_the_process() {
    let (tracker, transport, _clock) = rig(Config::default());
    let answer = transport.then_hold();
    tracker.emit("event1").unwrap();
    let mut first = pin!(tracker.flush());
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = pin!(tracker.flush());
    assert!(
        second.as_mut().now_or_never().is_none(),
        "the first is still sending"
    );
    answer.release();
    assert!(
        first
            .now_or_never()
            .is_some_and(|report| report.ok().is_ok())
    );
    assert!(
        second
            .now_or_never()
            .is_some_and(|report| report.ok().is_ok_and(|books| books.all_delivered()))
    );
}

#[test]
fn hole_five_pending_reads_zero_while_a_request_is_outstanding() {
    let (tracker, transport, _clock) = rig(Config::default());
    let answer = transport.then_hold();
    tracker.emit("event1").unwrap();
    let mut flush = pin!(tracker.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    assert_eq!(
        (
            tracker.books().pending(),
            tracker.books().in_flight,
            transport.attempts()
        ),
        (1, 1, 1)
    );
    answer.release();
    assert!(flush.now_or_never().is_some());
    assert_eq!(tracker.books().pending(), 0);
}

#[test]
fn hole_six_an_emit_after_the_last_flush_is_stranded_and_a_sliding_queue_tells_nobody() {
    let (tracker, transport, clock) = rig(Config::builder().capacity_events(2).build().unwrap());
    tracker.emit("event1").unwrap();
    tracker.emit("event2").unwrap();
    // By default no event is dropped: the new event is refused and given back.
    assert_eq!(tracker.emit("event3").unwrap_err().into_event(), "event3");
    assert!(
        clock
            .run(tracker.shutdown(DEADLINE))
            .ok()
            .unwrap()
            .all_delivered()
    );
    assert_eq!(tracker.emit("event4").unwrap_err().into_event(), "event4");
    assert_eq!(transport.delivered(), ["event1", "event2"]);

    // With a sliding queue, the observer and the books learn of each event that is dropped.
    let sliding = Config::builder()
        .capacity_events(1)
        .overflow(Overflow::DropOldest)
        .build()
        .unwrap();
    let buffer = EventBuffer::new(&sliding);
    buffer.push("event1").unwrap();
    assert_eq!(buffer.push_evicting("event2").unwrap(), ["event1"]);
    assert_eq!((buffer.books().dropped, buffer.books().queued), (1, 1));
}

#[test]
fn hole_seven_a_whole_batch_dies_of_one_event() {
    let (tracker, transport, clock) = rig(Config::default());
    let unencodable = SendError::Unencodable {
        index: 1,
        reason: Reason::new("not a number"),
    };
    transport.then_fail(unencodable);
    transport.then_reject([]);
    transport.then_fail(SendError::Unencodable {
        index: 0,
        reason: Reason::new("not a number"),
    });
    transport.then_status(400);
    ["event1", "not encodable", "event2", "event3"]
        .into_iter()
        .for_each(|event| tracker.emit(event).unwrap());
    let report = clock.run(tracker.shutdown(DEADLINE));
    assert_eq!((report.books.delivered, report.books.rejected), (3, 1));
    assert_eq!(transport.delivered(), ["event1", "event2", "event3"]);
    assert_eq!(
        transport.attempted(),
        [4, 1, 3, 2, 1, 1],
        "a batch that was refused is never sent again as it was"
    );
}

#[test]
fn hole_seven_a_request_that_hangs_holds_the_run() {
    let (tracker, transport, clock) = rig(Config::default());
    (0..50).for_each(|_| transport.then_hang());
    tracker.emit("event1").unwrap();
    let report = clock.run(tracker.shutdown(DEADLINE));
    assert!(
        clock.now() <= DEADLINE + Duration::from_millis(100),
        "it took {:?}",
        clock.now()
    );
    assert_eq!(report.returned, ["event1"]);
}

#[test]
fn hole_seven_an_emit_waits_for_the_network() {
    let (tracker, transport, _clock) = rig(Config::default());
    transport.then_hang();
    tracker.emit("event1").unwrap();
    let mut flush = pin!(tracker.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    // `emit` is no future: it has nothing to await.
    tracker.emit("event2").unwrap();
    assert_eq!(tracker.books().pending(), 2);
}
