//! Batches: held, acknowledged, given back, and kept beyond the buffer's last handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::future::block_on;
use loom::thread;
use tracker_core::{Batch, EventBuffer, Phase, Settlement};

use crate::support::{
    FarEnd, Fates, assert_accounted, assert_all_delivered, buffer, buffer_with, config, flush,
};

/// A flush waits for a batch of another holder; the batch is dropped, and the flush delivers its
/// events.
///
/// Kills: a give-back that wakes no waiter; a batch whose drop does not give back.
#[test]
fn a_flush_waits_for_a_lease_that_is_dropped() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || flush(&buffer, &far_end)
        });
        drop(batch);
        flusher.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// A flush that takes batches beside others waits until the batches of the others are acknowledged.
///
/// Kills: a settle that wakes no waiter; a checkout that reports settled while other batches hold
/// the rest.
#[test]
fn a_flush_waits_for_an_ack() {
    loom::model(|| {
        let buffer = buffer_with(4, 4, 2);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || {
                flush(&buffer, &far_end);
                assert_eq!(far_end.received(), [1], "it returned before the ack");
            }
        });
        far_end.take(batch.events());
        batch.ack();
        flusher.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// Two callers wait for the same acknowledgement: one delivers below its barrier, the other only
/// waits.
///
/// Kills: a settle that wakes one waiter; a watermark that ignores batches in flight.
#[test]
fn a_flush_and_an_onlooker_wait_for_an_ack() {
    loom::model(|| {
        let buffer = buffer_with(4, 4, 2);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let holder = thread::spawn({
            let far_end = far_end.clone();
            move || {
                far_end.take(batch.events());
                batch.ack();
            }
        });
        block_on(async {
            let onlooker = buffer.settled(buffer.barrier());
            let flusher = buffer.next_batch(buffer.barrier());
            let ((), nothing) = futures::future::join(onlooker, flusher).await;
            assert!(nothing.is_none());
        });
        assert_eq!(far_end.received(), [1], "they returned before the ack");
        holder.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// Two batches are given back at once: every event is in its place again.
///
/// Kills: a give-back that puts events at an end of the queue and not in their places.
#[test]
fn two_leases_given_back_at_once_restore_the_order() {
    loom::model(|| {
        let buffer = buffer_with(4, 1, 2);
        buffer.push(1).unwrap();
        buffer.push(2).unwrap();
        let first = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let second = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let other = thread::spawn(move || drop(first));
        drop(second);
        other.join().unwrap();
        let books = buffer.books();
        assert_eq!(
            (books.queued, books.in_flight, buffer.watermark().as_u64()),
            (2, 0, 0)
        );
        let returned = buffer.drain();
        assert_eq!(
            returned,
            [1, 2],
            "handed back in the order of their acceptance"
        );
        assert_accounted(
            &buffer,
            &[1, 2],
            &Fates {
                returned,
                ..Fates::default()
            },
        );
    });
}

/// The younger of two batches is settled while the older is given back: the watermark waits for the
/// older.
///
/// Kills: a settle or a give-back that releases another batch.
#[test]
fn a_lease_settled_beside_one_given_back_moves_no_watermark() {
    loom::model(|| {
        let buffer = buffer_with(4, 1, 2);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        buffer.push(2).unwrap();
        let older = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let younger = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let other = thread::spawn({
            let far_end = far_end.clone();
            move || {
                far_end.take(younger.events());
                younger.ack();
            }
        });
        assert_eq!(buffer.watermark().as_u64(), 0, "event 1 has no fate");
        drop(older);
        assert_eq!(buffer.watermark().as_u64(), 0, "event 1 has no fate");
        other.join().unwrap();
        flush(&buffer, &far_end);
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// A part of a batch is settled and the rest given back, beside a flush that waits for both.
///
/// Kills: a partial settle that releases the batch; a watermark that stays behind it.
#[test]
fn a_lease_settled_in_part_gives_back_the_rest() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let behind_the_first = buffer.barrier();
        buffer.push(2).unwrap();
        let mut batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || flush(&buffer, &far_end)
        });
        far_end.take(&batch.events()[..1]);
        assert!(batch.settle(Settlement::delivered(1)).is_empty());
        block_on(buffer.settled(behind_the_first));
        assert_eq!(buffer.watermark(), behind_the_first, "event 2 has no fate");
        drop(batch);
        flusher.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// An event that counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The last handle is dropped while a batch is in flight. The batch can still be acknowledged,
/// given back or dropped, and nothing is leaked or freed twice.
///
/// Kills: a batch that leaks the buffer when it is dropped.
#[test]
fn the_last_handle_is_dropped_with_a_lease_out() {
    for end in [Batch::ack, Batch::give_back, drop] {
        loom::model(move || {
            let drops = Arc::new(AtomicUsize::new(0));
            let buffer = EventBuffer::new(&config(4, 4, 1));
            assert!(buffer.push(Counted(drops.clone())).is_ok());
            let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
            let other = thread::spawn(move || end(batch));
            drop(buffer);
            other.join().unwrap();
            assert_eq!(drops.load(Ordering::Relaxed), 1);
        });
    }
}

/// A thread that sees `Closed` sees that nothing is pending, and every thread sees `Closed` in the end.
///
/// Kills: `Closed` set by the close, or while something is in flight; a settle that never closes.
#[test]
fn closed_implies_nothing_pending() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        buffer.push(1).unwrap();
        let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let onlooker = thread::spawn({
            let buffer = buffer.clone();
            move || {
                if buffer.phase() == Phase::Closed {
                    assert_eq!(buffer.books().pending(), 0, "closed with events pending");
                }
            }
        });
        buffer.close();
        batch.ack();
        onlooker.join().unwrap();
        assert_eq!(buffer.phase(), Phase::Closed, "the last settle closes");
    });
}
