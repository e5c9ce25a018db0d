//! Pushing beside flushing, closing and reading.

use loom::future::block_on;
use loom::thread;
use tracker_core::{Phase, PushError};

use crate::support::{
    FarEnd, Fates, assert_accounted, assert_all_delivered, bounded_model, buffer, flush,
    interrupt_after,
};

/// The next flush delivers the events that a flush does not see.
///
/// Kills: an event counted but not queued; a checkout that forgets what it leaves behind.
#[test]
fn a_push_beside_a_flush_is_delivered_by_it_or_by_the_next() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || flush(&buffer, &far_end)
        });
        buffer.push(2).unwrap();
        flusher.join().unwrap();
        assert!(far_end.received().contains(&1), "accepted before the flush");
        flush(&buffer, &far_end);
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// A barrier bounds a flush: an event that is accepted after the barrier does not delay the flush,
/// and is not taken by it.
///
/// Kills: a checkout that ignores the barrier.
#[test]
fn a_flush_takes_nothing_from_behind_its_barrier() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        buffer.push(1).unwrap();
        let barrier = buffer.barrier();
        let producer = thread::spawn({
            let buffer = buffer.clone();
            move || buffer.push(2).unwrap()
        });
        let batch = block_on(buffer.next_batch(barrier)).unwrap();
        assert_eq!(batch.events(), [1]);
        batch.ack();
        assert!(block_on(buffer.next_batch(barrier)).is_none());
        producer.join().unwrap();
        assert_eq!(buffer.drain(), [2]);
    });
}

/// Three producers at once: every event has another place. At most three preemptions.
///
/// Kills: a place that is read and taken in two critical sections.
#[test]
fn three_producers_and_one_flusher_lose_nothing() {
    bounded_model(3, || {
        let buffer = buffer(4, 4);
        let far_end = FarEnd::default();
        let producers = [1, 2, 3].map(|event| {
            let buffer = buffer.clone();
            thread::spawn(move || buffer.push(event).unwrap())
        });
        flush(&buffer, &far_end);
        for producer in producers {
            producer.join().unwrap();
        }
        flush(&buffer, &far_end);
        assert_all_delivered(&buffer, &far_end, &[1, 2, 3]);
    });
}

/// An event is either accepted, and gets a fate, or given back.
///
/// Kills: the phase checked in another critical section than the queue is changed; a push after the
/// close that is accepted; a close that forgets to finish.
#[test]
fn a_push_beside_a_close_is_settled_or_comes_back() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        let far_end = FarEnd::default();
        let producer = thread::spawn({
            let buffer = buffer.clone();
            move || match buffer.push(1) {
                Ok(()) => true,
                Err(PushError::Closed(event)) => {
                    assert_eq!(event, 1);
                    false
                }
                Err(other) => panic!("{other}"),
            }
        });
        buffer.close();
        flush(&buffer, &far_end);
        let accepted = producer.join().unwrap();
        assert_eq!(
            buffer.phase(),
            Phase::Closed,
            "nothing can follow a flush after the close"
        );
        let expected: &[u32] = if accepted { &[1] } else { &[] };
        assert_all_delivered(&buffer, &far_end, expected);
    });
}

/// At every moment the books balance, and an event that has not arrived is pending and above the
/// watermark.
///
/// Kills: a watermark or a count that ignores events in flight; an event counted twice when a batch
/// takes it.
#[test]
fn pending_is_never_understated() {
    loom::model(|| {
        let buffer = buffer(4, 1);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        buffer.push(2).unwrap();
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || flush(&buffer, &far_end)
        });
        // An event arrives before it is settled, so a later reading of the arrivals contains it.
        let books = buffer.books();
        let watermark = buffer.watermark();
        let received = far_end.received().len() as u64;
        assert!(books.is_balanced() && books.accepted == 2, "{books}");
        assert!(
            books.delivered <= received,
            "acknowledged before it arrived: {books}"
        );
        assert!(
            books.pending() >= 2 - received,
            "an event in flight is not pending: {books}"
        );
        assert!(
            watermark.as_u64() <= received,
            "an event below the watermark has not arrived"
        );
        flusher.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// Eviction takes what is queued; what is in flight is spared, and every event has one fate.
///
/// Kills: an eviction that forgets to count what it evicts, or that takes a place twice.
#[test]
fn dropping_the_oldest_spares_what_is_in_flight() {
    loom::model(|| {
        let buffer = buffer(2, 1);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        buffer.push(2).unwrap();
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || flush(&buffer, &far_end)
        });
        let dropped = buffer.push_evicting(3).unwrap();
        flusher.join().unwrap();
        flush(&buffer, &far_end);
        let fates = Fates {
            delivered: far_end.received(),
            dropped,
            ..Fates::default()
        };
        assert_accounted(&buffer, &[1, 2, 3], &fates);
    });
}

/// If all events are in flight, none can be evicted: the push is refused, and sending continues.
///
/// Kills: capacity that counts only what is queued; an eviction that counts what is in flight as
/// room.
#[test]
fn an_eviction_that_could_not_make_room_evicts_nothing() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let sending = thread::spawn({
            let far_end = far_end.clone();
            move || {
                far_end.take(batch.events());
                batch.ack();
            }
        });
        let accepted: &[u32] = match buffer.push_evicting(2) {
            Ok(evicted) => {
                assert_eq!(
                    (far_end.received(), evicted),
                    (vec![1], vec![]),
                    "accepted before there was room"
                );
                &[1, 2]
            }
            Err(refused) => {
                assert!(refused.is_full());
                &[1]
            }
        };
        sending.join().unwrap();
        flush(&buffer, &far_end);
        assert_all_delivered(&buffer, &far_end, accepted);
    });
}

/// Capacity bounds queued and in flight together, so a batch that is given back always fits.
///
/// Kills: a bound on the queue alone.
#[test]
fn capacity_counts_what_is_in_flight() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        buffer.push(1).unwrap();
        let holder = thread::spawn({
            let buffer = buffer.clone();
            move || drop(interrupt_after(1, buffer.next_batch(buffer.barrier())))
        });
        let refused = buffer.push(2);
        assert!(
            refused.is_err_and(|refused| refused.is_full()),
            "event 1 is queued or in flight all along"
        );
        holder.join().unwrap();
        let books = buffer.books();
        assert_eq!((books.accepted, books.queued, books.in_flight), (1, 1, 0));
        assert_eq!(buffer.drain(), [1]);
    });
}
