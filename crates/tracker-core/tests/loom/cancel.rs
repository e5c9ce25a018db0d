//! Flushes and waiters that are cancelled, beside others that continue.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use futures::FutureExt;
use loom::future::block_on;
use loom::thread;
use tracker_core::EventBuffer;

use crate::support::{
    Event, FarEnd, assert_all_delivered, buffer, flush, interrupt_after, one_await,
};

/// A flush with an await where a request would be.
async fn slow_flush(buffer: &EventBuffer<Event>, far_end: &FarEnd) {
    let barrier = buffer.barrier();
    while let Some(batch) = buffer.next_batch(barrier).await {
        one_await().await;
        far_end.take(batch.events());
        batch.ack();
    }
}

/// A flush is cancelled in the middle of its sending, another flush takes over what it held.
///
/// Kills: a give-back that does not wake the flush that waits for it; a batch whose drop does not
/// give back.
#[test]
fn a_flush_cancelled_in_its_sending_leaves_everything_to_the_other() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let cancelled = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || interrupt_after(1, slow_flush(&buffer, &far_end))
        });
        flush(&buffer, &far_end);
        cancelled.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// The flush future is dropped after its k-th poll: in its first request, in its second, when it is
/// done, or while it waits for the other flush.
///
/// Kills: an event that is neither in the queue nor in a batch across an await; a give-back that
/// wakes no waiter.
#[test]
fn a_flush_dropped_after_k_polls_loses_nothing() {
    for polls in 1..=3 {
        loom::model(move || {
            let buffer = buffer(4, 1);
            let far_end = FarEnd::default();
            buffer.push(1).unwrap();
            buffer.push(2).unwrap();
            let dropped = thread::spawn({
                let buffer = buffer.clone();
                let far_end = far_end.clone();
                move || interrupt_after(polls, slow_flush(&buffer, &far_end))
            });
            flush(&buffer, &far_end);
            dropped.join().unwrap();
            assert_all_delivered(&buffer, &far_end, &[1, 2]);
        });
    }
}

/// A waiter that stood in front and is cancelled, before or after its turn, does not take another's
/// wake-up with it.
///
/// Kills: waking one waiter instead of all; waiters that share a place.
#[test]
fn a_cancelled_waiter_beside_a_live_one_harms_nobody() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        buffer.push(1).unwrap();
        let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let waiter = buffer.clone();
        let mut cancelled = Box::pin(async move { waiter.room(1).await });
        assert!(cancelled.as_mut().now_or_never().is_none());
        let other = thread::spawn(move || {
            batch.ack();
            drop(cancelled);
        });
        block_on(buffer.push_wait(2)).unwrap();
        other.join().unwrap();
        assert_eq!(buffer.drain(), [2]);
    });
}

/// The same, and the cancelled waiter goes first: the place it gives up is its own.
///
/// Kills: a waiter that gives up the place of another.
#[test]
fn a_waiter_gives_up_no_place_but_its_own() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        buffer.push(1).unwrap();
        let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let waiter = buffer.clone();
        let mut cancelled = Box::pin(async move { waiter.room(1).await });
        assert!(cancelled.as_mut().now_or_never().is_none());
        let other = thread::spawn(move || {
            drop(cancelled);
            batch.ack();
        });
        block_on(buffer.push_wait(2)).unwrap();
        other.join().unwrap();
        assert_eq!(buffer.drain(), [2]);
    });
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// Two waiters are cancelled at once while nothing wakes them: neither leaves its waker behind.
///
/// Kills: a cancelled waiter that stays registered (a leak that grows with every flush that is
/// cut).
#[test]
fn a_cancelled_waiter_leaves_nothing_behind() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        let nobody = Arc::new(Nobody);
        buffer.push(1).unwrap();
        let wait_and_cancel = |buffer: &EventBuffer<Event>, nobody: &Arc<Nobody>| {
            let waker = Waker::from(nobody.clone());
            assert!(
                pin!(buffer.room(1))
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        };
        let other = thread::spawn({
            let buffer = buffer.clone();
            let nobody = nobody.clone();
            move || wait_and_cancel(&buffer, &nobody)
        });
        wait_and_cancel(&buffer, &nobody);
        other.join().unwrap();
        assert_eq!(Arc::strong_count(&nobody), 1, "a waker outlived its waiter");
        assert_eq!(buffer.drain(), [1]);
    });
}
