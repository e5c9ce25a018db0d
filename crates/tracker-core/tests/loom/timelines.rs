//! The two timelines of the post-mortem, and the flushes that were cut.

use loom::future::block_on;
use loom::thread;
use tracker_core::Phase;

use crate::support::{FarEnd, assert_all_delivered, buffer, flush, flush_below, poll_once};

/// Timeline 1: the consumer has taken event 1 and is interrupted, beside pushes, the close and the final flush.
///
/// Kills: a lease whose drop does not give back; a give-back that wakes nobody; a barrier that ignores leases.
#[test]
fn a_consumer_that_holds_a_lease_is_interrupted() {
    loom::model(|| {
        let (buffer, far_end) = (buffer(4, 1), FarEnd::default());
        buffer.push(1).unwrap();
        let consumer = thread::spawn({
            let buffer = buffer.clone();
            move || {
                let lease = poll_once(buffer.next_lease(buffer.barrier())).flatten();
                drop(lease); // Interrupted: its local variables go.
            }
        });
        buffer.push(2).unwrap();
        buffer.close();
        flush(&buffer, &far_end);
        consumer.join().unwrap();
        assert_eq!(buffer.phase(), Phase::Closed);
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// Timeline 2: the consumer waits for the first event and is interrupted as it comes.
///
/// Kills: a waiter that takes an event before it is polled for it; a cancelled waiter that keeps others from waking.
#[test]
fn a_consumer_that_waits_for_the_first_event_is_interrupted() {
    loom::model(|| {
        let (buffer, far_end) = (buffer(4, 1), FarEnd::default());
        let consumer = thread::spawn({
            let buffer = buffer.clone();
            move || {
                let waited = poll_once(buffer.arrival(1)).is_some();
                // If the event was there it had just begun to take it.
                if waited {
                    drop(poll_once(buffer.next_lease(buffer.barrier())).flatten());
                }
            }
        });
        buffer.push(1).unwrap();
        buffer.close();
        flush(&buffer, &far_end);
        consumer.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// A consumer that waits for an event is woken by it.
///
/// Kills: a push that forgets the arrival waiters; a threshold that is not set when a waiter registers.
#[test]
fn a_consumer_that_waits_for_an_event_is_woken_by_it() {
    loom::model(|| {
        let (buffer, far_end) = (buffer(4, 1), FarEnd::default());
        let consumer = thread::spawn({
            let (buffer, far_end) = (buffer.clone(), far_end.clone());
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

/// Two flushes overlap: neither returns before what both wait for has a fate.
///
/// Kills: more than one lease out; a settle that wakes nobody.
#[test]
fn two_flushers_both_wait_for_everything() {
    loom::model(|| {
        let (buffer, far_end) = (buffer(4, 1), FarEnd::default());
        buffer.push(1).unwrap();
        buffer.push(2).unwrap();
        let other = thread::spawn({
            let (buffer, far_end) = (buffer.clone(), far_end.clone());
            move || {
                flush(&buffer, &far_end);
                assert_eq!(far_end.received(), [1, 2], "it returned while the other was sending");
            }
        });
        flush(&buffer, &far_end);
        assert_eq!(far_end.received(), [1, 2], "it returned while the other was sending");
        other.join().unwrap();
        assert_eq!(far_end.in_order(), [1, 2], "one lease at a time keeps one order");
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// A flush is cancelled in the middle of its sending, another flush takes over what it held.
///
/// Kills: a give-back that does not wake the flush that waits for it.
#[test]
fn a_flush_cancelled_in_its_sending_leaves_everything_to_the_other() {
    loom::model(|| {
        let (buffer, far_end) = (buffer(4, 4), FarEnd::default());
        buffer.push(1).unwrap();
        let cancelled = thread::spawn({
            let buffer = buffer.clone();
            move || {
                let sending = async {
                    let lease = buffer.next_lease(buffer.barrier()).await;
                    std::future::pending::<()>().await;
                    drop(lease);
                };
                assert!(poll_once(sending).is_none());
            }
        });
        flush(&buffer, &far_end);
        cancelled.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// The flush future is dropped after its k-th poll, for each k until it completes.
///
/// Kills: an event that is neither in the queue nor in a lease across an await; a waiter that stays registered.
#[test]
fn a_flush_dropped_after_k_polls_loses_nothing() {
    for polls in 1..=3 {
        loom::model(move || {
            let (buffer, far_end) = (buffer(4, 1), FarEnd::default());
            buffer.push(1).unwrap();
            buffer.push(2).unwrap();
            let dropped = thread::spawn({
                let (buffer, far_end) = (buffer.clone(), far_end.clone());
                move || {
                    let mut left = polls;
                    let slow = async {
                        while let Some(lease) = buffer.next_lease(buffer.barrier()).await {
                            if left == 0 {
                                std::future::pending::<()>().await;
                            }
                            left -= 1;
                            far_end.take(lease.events());
                            lease.ack();
                        }
                    };
                    let _ = poll_once(slow);
                }
            });
            block_on(flush_below(&buffer, buffer.barrier(), &far_end));
            dropped.join().unwrap();
            flush(&buffer, &far_end);
            assert_all_delivered(&buffer, &far_end, &[1, 2]);
        });
    }
}
