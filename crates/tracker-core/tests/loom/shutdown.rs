//! Two shutdowns, and the recall at the end of a shutdown whose time has expired.

use loom::future::block_on;
use loom::thread;
use tracker_core::{EventBuffer, Phase};

use crate::support::{
    Event, FarEnd, Fates, assert_accounted, assert_all_delivered, bounded_model, buffer, flush,
};

/// Close and deliver, as the tracker does while there is time.
fn shutdown(buffer: &EventBuffer<Event>, far_end: &FarEnd) {
    buffer.close();
    flush(buffer, far_end);
    assert_eq!(
        buffer.phase(),
        Phase::Closed,
        "a shutdown returned before everything had a fate"
    );
}

/// Two shutdowns at once: both return after everything is delivered, once.
///
/// Kills: a second shutdown that finds nothing and returns too early.
#[test]
fn two_shutdowns_both_wait_for_everything() {
    loom::model(|| {
        let buffer = buffer(4, 1);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let other = thread::spawn({
            let buffer = buffer.clone();
            let far_end = far_end.clone();
            move || shutdown(&buffer, &far_end)
        });
        shutdown(&buffer, &far_end);
        assert_eq!(
            far_end.received(),
            [1],
            "a shutdown returned while the other was sending"
        );
        other.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1]);
    });
}

/// A flush whose request hangs gives its events back when a shutdown recalls them, and the shutdown
/// hands them back.
///
/// Kills: a recall that wakes no waiter; a shutdown that drains before the events are back.
#[test]
fn a_recall_brings_back_what_a_hanging_flush_holds() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        buffer.push(1).unwrap();
        let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let hanging = thread::spawn(move || {
            block_on(batch.recalled());
            drop(batch);
        });
        buffer.close();
        buffer.recall();
        block_on(buffer.no_batch_in_flight());
        let returned = buffer.drain();
        assert_eq!(buffer.phase(), Phase::Closed);
        assert_accounted(
            &buffer,
            &[1],
            &Fates {
                returned,
                ..Fates::default()
            },
        );
        hanging.join().unwrap();
    });
}

/// Events that are settled after the recall are delivered, and only the rest is handed back.
///
/// Kills: a drain that takes what is in flight; a settle that is ignored after the recall.
#[test]
fn an_ack_beside_a_recall_has_one_winner() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        let far_end = FarEnd::default();
        buffer.push(1).unwrap();
        let batch = block_on(buffer.next_batch(buffer.barrier())).unwrap();
        let sending = thread::spawn({
            let far_end = far_end.clone();
            move || match futures::FutureExt::now_or_never(batch.recalled()) {
                Some(()) => batch.give_back(),
                None => {
                    far_end.take(batch.events());
                    batch.ack();
                }
            }
        });
        buffer.close();
        buffer.recall();
        block_on(buffer.no_batch_in_flight());
        let returned = buffer.drain();
        let delivered = far_end.received();
        assert_accounted(
            &buffer,
            &[1],
            &Fates {
                delivered,
                returned,
                ..Fates::default()
            },
        );
        sending.join().unwrap();
    });
}

/// After the recall no batch is taken, so the events that were given back can be drained. At most
/// three preemptions.
///
/// Kills: a batch handed out after the recall.
#[test]
fn a_flush_that_gives_back_does_not_take_again() {
    bounded_model(3, || {
        let buffer = buffer(4, 4);
        buffer.push(1).unwrap();
        let hanging = thread::spawn({
            let buffer = buffer.clone();
            move || {
                block_on(async {
                    while let Some(batch) = buffer.next_batch(buffer.barrier()).await {
                        batch.recalled().await;
                    }
                });
            }
        });
        buffer.close();
        buffer.recall();
        block_on(buffer.no_batch_in_flight());
        let returned = buffer.drain();
        assert_eq!(
            returned,
            [1],
            "the event was neither delivered nor handed back"
        );
        hanging.join().unwrap();
        assert_eq!(buffer.phase(), Phase::Closed);
        assert_accounted(
            &buffer,
            &[1],
            &Fates {
                returned,
                ..Fates::default()
            },
        );
    });
}
