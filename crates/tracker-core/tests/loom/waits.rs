//! Waiting for room and for others: nobody waits for ever.

use loom::future::block_on;
use loom::thread;
use tracker_core::PushError;

use crate::support::{FarEnd, assert_all_delivered, bounded_model, buffer, flush, poll_once};

/// A push that waits for room gets it from a flush.
///
/// Kills: a settle that does not wake those who wait for room; registering after the check in another section.
#[test]
fn a_push_that_waits_for_room_is_woken_by_a_flush() {
    loom::model(|| {
        let (buffer, far_end) = (buffer(1, 1), FarEnd::default());
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

/// A waiter that was cancelled does not take the wake-up of one that lives.
///
/// Kills: waking one waiter instead of all.
#[test]
fn a_cancelled_waiter_beside_a_live_one_harms_nobody() {
    bounded_model(|| {
        let (buffer, far_end) = (buffer(1, 1), FarEnd::default());
        buffer.push(1).unwrap();
        let cancelled = thread::spawn({
            let buffer = buffer.clone();
            move || poll_once(buffer.room(1)).unwrap_or_default()
        });
        let live = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.push_wait(2)).unwrap()
        });
        flush(&buffer, &far_end);
        cancelled.join().unwrap();
        live.join().unwrap();
        flush(&buffer, &far_end);
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// A close wakes a push that waits for room; its event comes back.
///
/// Kills: a close that wakes nobody.
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

/// Two wait for the room of one: the one that is woken in vain waits again, and gets the next.
///
/// Kills: a waiter that does not register again; a waiter woken once that believes it.
#[test]
fn a_waiter_woken_in_vain_waits_again() {
    loom::model(|| {
        let (buffer, far_end) = (buffer(1, 1), FarEnd::default());
        buffer.push(1).unwrap();
        let producer = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.push_wait(2)).unwrap()
        });
        flush(&buffer, &far_end);
        // Perhaps ahead of the producer, whose wake-up was then in vain.
        let ahead = buffer.push(3).is_ok();
        flush(&buffer, &far_end);
        producer.join().unwrap();
        flush(&buffer, &far_end);
        let expected: &[u32] = if ahead { &[1, 2, 3] } else { &[1, 2] };
        assert_all_delivered(&buffer, &far_end, expected);
    });
}

/// Two arrival waiters with different thresholds are both woken in the end.
///
/// Kills: a threshold overwritten by the larger one; a threshold not lowered when a waiter registers again.
#[test]
fn arrival_waiters_of_different_patience_are_both_woken() {
    bounded_model(|| {
        let (buffer, far_end) = (buffer(4, 4), FarEnd::default());
        let patient = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.arrival(2))
        });
        let eager = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.arrival(1))
        });
        buffer.push(1).unwrap();
        eager.join().unwrap();
        buffer.push(2).unwrap();
        patient.join().unwrap();
        flush(&buffer, &far_end);
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}
