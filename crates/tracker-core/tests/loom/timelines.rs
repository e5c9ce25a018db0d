//! The two timelines of the post-mortem, and the flushes that overlap.

use loom::future::block_on;
use loom::thread;
use tracker_core::{EventBuffer, Phase};

use crate::support::{
    Event, FarEnd, assert_all_delivered, bounded_model, buffer, flush, interrupt_after,
};

/// The consumer of the post-mortem: it takes the first event, waits for more, and never sends.
async fn consumer(buffer: &EventBuffer<Event>) {
    buffer.arrival(1).await;
    let batch = buffer.next_batch(buffer.barrier()).await;
    buffer.arrival(usize::MAX).await;
    std::future::pending::<()>().await;
    drop(batch);
}

/// Timeline 1: the consumer has taken event 1 and is interrupted, beside a push, the close and the
/// final flush.
///
/// Kills: a batch whose drop does not give back; a give-back that wakes no waiter; a checkout that
/// reports settled while other batches hold the rest.
#[test]
fn a_consumer_that_holds_a_lease_is_interrupted() {
    loom::model(|| {
        let buffer = buffer(4, 1);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let consumer = thread::spawn({
            let buffer = buffer.clone();
            move || assert!(interrupt_after(1, consumer(&buffer)).is_none())
        });
        buffer.push(2).unwrap();
        buffer.close();
        flush(&buffer, &far_end);
        consumer.join().unwrap();
        assert_eq!(buffer.phase(), Phase::Closed);
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// Timeline 2: the consumer waits for the first event, and is interrupted as it comes or when it
/// has just taken it.
///
/// Kills: a waiter that takes an event before it is polled for it; a batch whose drop does not give
/// back.
#[test]
fn a_consumer_that_waits_for_the_first_event_is_interrupted() {
    loom::model(|| {
        let buffer = buffer(4, 1);
        let far_end = FarEnd::default();
        let consumer = thread::spawn({
            let buffer = buffer.clone();
            move || assert!(interrupt_after(2, consumer(&buffer)).is_none())
        });
        buffer.push(1).unwrap();
        buffer.close();
        flush(&buffer, &far_end);
        consumer.join().unwrap();
        assert_eq!(buffer.phase(), Phase::Closed);
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// Two flushes overlap: neither returns before what both wait for has a fate.
///
/// Kills: a settle that wakes no waiter; a checkout that reports settled while other batches hold
/// the rest.
#[test]
fn two_flushers_both_wait_for_everything() {
    loom::model(|| {
        let buffer = buffer(4, 1);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let other = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || {
                flush(&buffer, &far_end);
                assert_eq!(
                    far_end.received(),
                    [1],
                    "it returned while the other was sending"
                );
            }
        });
        flush(&buffer, &far_end);
        assert_eq!(
            far_end.received(),
            [1],
            "it returned while the other was sending"
        );
        other.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// Two flushes share two batches, one in flight at a time: the far end sees one order. At most
/// three preemptions.
///
/// Kills: more batches in flight than are allowed.
#[test]
fn two_flushers_keep_one_order() {
    bounded_model(3, || {
        let buffer = buffer(4, 1);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        buffer.push(2).unwrap();
        let other = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || flush(&buffer, &far_end)
        });
        flush(&buffer, &far_end);
        assert_eq!(
            far_end.in_order(),
            [1, 2],
            "one batch at a time keeps one order"
        );
        other.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// A flush that began while an interrupted consumer held every event does not take the empty queue
/// for delivered events.
///
/// Kills: a checkout that says settled when the queue is empty.
#[test]
fn an_empty_queue_is_not_a_finished_flush() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let interrupted = thread::spawn(move || drop(batch));
        flush(&buffer, &far_end);
        assert_eq!(
            far_end.received(),
            [1],
            "the flush found an empty queue and returned"
        );
        interrupted.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}
