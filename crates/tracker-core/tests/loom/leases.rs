//! Leases: held, acknowledged, given back, and left behind.

use loom::future::block_on;
use loom::thread;
use tracker_core::{Phase, Settlement};

use crate::support::{FarEnd, assert_all_delivered, bounded_model, buffer, buffer_with, flush};

/// A flush waits for a lease that somebody else holds; it is dropped, and the flush delivers.
///
/// Kills: a give-back that wakes nobody; a lease whose drop does not give back.
#[test]
fn a_flush_waits_for_a_lease_that_is_dropped() {
    loom::model(|| {
        let (buffer, far_end) = (buffer(4, 4), FarEnd::default());
        buffer.push(1).unwrap();
        let lease = block_on(buffer.next_lease(buffer.barrier())).unwrap();
        let flusher = thread::spawn({
            let (buffer, far_end) = (buffer.clone(), far_end.clone());
            move || flush(&buffer, &far_end)
        });
        drop(lease);
        flusher.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// A barrier, whether or not it delivers itself, waits for the acknowledgement.
///
/// Kills: a settle that wakes nobody; a checkout that says settled when others hold what is left.
#[test]
fn a_flush_and_an_onlooker_wait_for_an_ack() {
    bounded_model(|| {
        let (buffer, far_end) = (buffer_with(4, 4, 2), FarEnd::default());
        buffer.push(1).unwrap();
        let lease = block_on(buffer.next_lease(buffer.barrier())).unwrap();
        let flusher = thread::spawn({
            let (buffer, far_end) = (buffer.clone(), far_end.clone());
            move || {
                flush(&buffer, &far_end);
                assert_eq!(far_end.received(), [1], "it returned before the ack");
            }
        });
        let onlooker = thread::spawn({
            let (buffer, far_end) = (buffer.clone(), far_end.clone());
            move || {
                block_on(buffer.settled(buffer.barrier()));
                assert_eq!(far_end.received(), [1], "it returned before the ack");
            }
        });
        far_end.take(lease.events());
        lease.ack();
        flusher.join().unwrap();
        onlooker.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// Two leases come back at once: every event stands in its place again.
///
/// Kills: a give-back that puts events at the front whatever their place; a lease released twice.
#[test]
fn two_leases_given_back_at_once_restore_the_order() {
    loom::model(|| {
        let buffer = buffer_with(4, 1, 2);
        buffer.push(1).unwrap();
        buffer.push(2).unwrap();
        let first = block_on(buffer.next_lease(buffer.barrier())).unwrap();
        let second = block_on(buffer.next_lease(buffer.barrier())).unwrap();
        let other = thread::spawn(move || drop(first));
        drop(second);
        other.join().unwrap();
        let books = buffer.books();
        assert_eq!((books.queued, books.in_flight, buffer.watermark().as_u64()), (2, 0, 0));
        assert_eq!(buffer.drain(), [1, 2]);
    });
}

/// Part of a lease is settled, the rest comes back, beside a flush that waits for both.
///
/// Kills: a partial settle that releases the lease; a watermark that stays behind it.
#[test]
fn a_lease_settled_in_part_gives_back_the_rest() {
    loom::model(|| {
        let (buffer, far_end) = (buffer(4, 4), FarEnd::default());
        buffer.push(1).unwrap();
        let behind_the_first = buffer.barrier();
        buffer.push(2).unwrap();
        let mut lease = block_on(buffer.next_lease(buffer.barrier())).unwrap();
        let flusher = thread::spawn({
            let (buffer, far_end) = (buffer.clone(), far_end.clone());
            move || flush(&buffer, &far_end)
        });
        far_end.take(&lease.events()[..1]);
        assert!(lease.settle(Settlement::delivered(1)).is_empty());
        block_on(buffer.settled(behind_the_first));
        assert_eq!(buffer.watermark(), behind_the_first, "event 2 has no fate");
        drop(lease);
        flusher.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// The last handle goes while a lease is out: the lease still works, and nothing is leaked or freed twice.
///
/// Kills: a lease that does not keep the buffer alive.
#[test]
fn the_last_handle_is_dropped_with_a_lease_out() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        buffer.push(1).unwrap();
        let lease = block_on(buffer.next_lease(buffer.barrier())).unwrap();
        let other = thread::spawn(move || lease.ack());
        drop(buffer);
        other.join().unwrap();
    });
}

/// Whoever sees `Closed` sees that nothing is pending.
///
/// Kills: `Closed` set by the close, or while something is in flight.
#[test]
fn closed_implies_nothing_pending() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        buffer.push(1).unwrap();
        let lease = block_on(buffer.next_lease(buffer.barrier())).unwrap();
        let onlooker = thread::spawn({
            let buffer = buffer.clone();
            move || {
                if buffer.phase() == Phase::Closed {
                    assert_eq!(buffer.books().pending(), 0, "closed with events pending");
                }
            }
        });
        buffer.close();
        lease.ack();
        onlooker.join().unwrap();
        assert_eq!(buffer.phase(), Phase::Closed, "the last settle closes");
    });
}
