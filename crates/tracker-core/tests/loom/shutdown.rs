//! Two shutdowns, and the recall that ends a shutdown whose time is up.

use futures::future::{Either, select};
use loom::future::block_on;
use loom::thread;
use std::pin::pin;
use tracker_core::{EventBuffer, Phase};

use crate::support::{Event, FarEnd, assert_all_delivered, buffer, flush};

/// Close, deliver, and hand back what is left, as the tracker does.
fn shutdown(buffer: &EventBuffer<Event>, far_end: &FarEnd) {
    buffer.close();
    flush(buffer, far_end);
    assert_eq!(buffer.phase(), Phase::Closed, "a shutdown returned before everything had a fate");
}

/// Two shutdowns at once: both return after everything is delivered, once.
///
/// Kills: a close that is not idempotent; a second shutdown that finds nothing and returns too early.
#[test]
fn two_shutdowns_both_wait_for_everything() {
    loom::model(|| {
        let (buffer, far_end) = (buffer(4, 1), FarEnd::default());
        buffer.push(1).unwrap();
        buffer.push(2).unwrap();
        let other = thread::spawn({
            let (buffer, far_end) = (buffer.clone(), far_end.clone());
            move || shutdown(&buffer, &far_end)
        });
        shutdown(&buffer, &far_end);
        other.join().unwrap();
        assert_all_delivered(&buffer, &far_end, &[1, 2]);
    });
}

/// A flush whose request hangs gives its events back when a shutdown recalls them.
///
/// Kills: a recall that wakes nobody; a lease handed out after the recall; a drain that misses what comes back.
#[test]
fn a_recall_brings_back_what_a_hanging_flush_holds() {
    loom::model(|| {
        let buffer = buffer(4, 4);
        buffer.push(1).unwrap();
        let hanging = thread::spawn({
            let buffer = buffer.clone();
            move || {
                block_on(async {
                    while let Some(lease) = buffer.next_lease(buffer.barrier()).await {
                        let request = std::future::pending::<()>();
                        let recalled = matches!(select(request, pin!(lease.recalled())).await, Either::Right(_));
                        assert!(recalled);
                    }
                });
            }
        });
        buffer.close();
        buffer.recall();
        block_on(buffer.no_lease_out());
        let returned = buffer.drain();
        hanging.join().unwrap();
        assert_eq!(returned, [1], "the event was neither delivered nor handed back");
        assert_eq!(buffer.phase(), Phase::Closed);
        assert!(buffer.books().is_balanced());
    });
}
