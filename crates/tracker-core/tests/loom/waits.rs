//! Waiting for room, for events and for other batches: every waiter is woken.
//!
//! A waiter that is not woken is a deadlock, which loom reports.

use std::pin::pin;

use futures::future::{Either, select};
use loom::future::block_on;
use loom::thread;
use tracker_core::{Config, EventBuffer, PushError};

use crate::support::{FarEnd, assert_all_delivered, buffer, flush};

/// A push that waits for room gets it from a flush.
///
/// Kills: a settle that does not wake those who wait for room; registering after the check in
/// another section.
#[test]
fn a_push_that_waits_for_room_is_woken_by_a_flush() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let producer = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.push_wait(2)).unwrap()
        });
        flush(&buffer, &far_end);
        producer.join().unwrap();
        flush(&buffer, &far_end);
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// A push that waits for room gets it from a drain.
///
/// Kills: a drain that wakes no waiter.
#[test]
fn a_push_that_waits_for_room_is_woken_by_a_drain() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        buffer.push(1).unwrap();
        let producer = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.push_wait(2)).unwrap()
        });
        assert_eq!(buffer.drain(), [1]);
        producer.join().unwrap();
        assert_eq!(buffer.drain(), [2]);
    });
}

/// A close wakes a push that waits for room, and its event is given back.
///
/// Kills: a close that wakes no waiter.
#[test]
fn a_close_gives_a_waiting_push_its_event_back() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        buffer.push(1).unwrap();
        let producer = thread::spawn({
            let buffer = buffer.clone();
            move || match block_on(buffer.push_wait(2)) {
                Err(PushError::Closed(event)) => assert_eq!(event, 2),
                other => panic!("there was never room: {other:?}"),
            }
        });
        buffer.close();
        producer.join().unwrap();
        assert_eq!(buffer.drain(), [1]);
    });
}

/// Two pushes need the room of one: the one that is woken without success waits again, and gets the
/// next room.
///
/// Kills: a waiting push that believes its first wake-up; a waiter that does not register again.
#[test]
fn a_waiter_woken_in_vain_waits_again() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        buffer.push(1).unwrap();
        let other = thread::spawn({
            let buffer = buffer.clone();
            move || {
                assert_eq!(buffer.drain(), [1]);
                // This push may take the room before the waiting one, which then waits again.
                let ahead = buffer.push(3).is_ok();
                (ahead, buffer.drain())
            }
        });
        block_on(buffer.push_wait(2)).unwrap();
        let (ahead, second) = other.join().unwrap();
        let all = [second, buffer.drain()].concat();
        assert_eq!(all, if ahead { vec![3, 2] } else { vec![2] });
    });
}

/// A barrier that waits for an event ends when that event is evicted: being dropped by policy is a
/// fate.
///
/// Kills: an eviction that wakes only those who wait for arrivals.
#[test]
fn a_barrier_is_woken_by_an_eviction() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        buffer.push(1).unwrap();
        let barrier = buffer.barrier();
        let onlooker = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.settled(barrier))
        });
        assert_eq!(buffer.push_evicting(2).unwrap(), [1]);
        onlooker.join().unwrap();
        assert_eq!(buffer.drain(), [2]);
    });
}

/// A barrier that waits for an event ends when that event is handed back.
///
/// Kills: a drain that wakes no waiter.
#[test]
fn a_barrier_is_woken_by_a_drain() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        buffer.push(1).unwrap();
        let onlooker = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.settled(buffer.barrier()))
        });
        assert_eq!(buffer.drain(), [1]);
        onlooker.join().unwrap();
    });
}

/// A consumer that waits for an event is woken by it.
///
/// Kills: a push that forgets the arrival waiters; a threshold that is not set when a waiter
/// registers.
#[test]
fn a_consumer_that_waits_for_an_event_is_woken_by_it() {
    loom::model(|| {
        let buffer = buffer(4, 1);
        let far_end = FarEnd::default();
        let consumer = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || {
                block_on(buffer.arrival(1));
                flush(&buffer, &far_end);
            }
        });
        buffer.push(1).unwrap();
        consumer.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// A consumer that waits for more events is woken by the close.
///
/// Kills: a close that wakes no waiter; an arrival that considers the queue alone.
#[test]
fn a_consumer_that_waits_for_more_is_woken_by_the_close() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        let consumer = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.arrival(2))
        });
        buffer.push(1).unwrap();
        buffer.close();
        consumer.join().unwrap();
        assert_eq!(buffer.drain(), [1]);
    });
}

/// A consumer that waits for more events is woken by one that fills the batch in bytes.
///
/// Kills: a push that wakes by the number of events alone.
#[test]
fn a_consumer_that_waits_for_more_is_woken_by_a_batch_of_bytes() {
    loom::model(|| {
        let config = Config::builder()
            .batch_events(4)
            .batch_bytes(2)
            .build()
            .unwrap();
        let buffer = EventBuffer::<u8>::with_size_of(&config, |event| usize::from(*event));
        let consumer = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.arrival(4))
        });
        buffer.push(2).unwrap();
        consumer.join().unwrap();
        assert_eq!(buffer.drain(), [2]);
    });
}

/// Two waiters wait for arrivals, and the one with the larger threshold registers last: the first
/// event still wakes the other one.
///
/// Kills: a threshold overwritten by the larger one.
#[test]
fn arrival_waiters_of_different_patience_are_both_woken() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        let consumers = thread::spawn({
            let buffer = buffer.clone();
            move || {
                let eager = pin!(buffer.arrival(1));
                let patient = pin!(buffer.arrival(2));
                let Either::Left(((), patient)) = block_on(select(eager, patient)) else {
                    panic!("there is one event");
                };
                buffer.push(2).unwrap();
                block_on(patient);
            }
        });
        buffer.push(1).unwrap();
        consumers.join().unwrap();
        assert_eq!(buffer.drain(), [1, 2]);
    });
}
