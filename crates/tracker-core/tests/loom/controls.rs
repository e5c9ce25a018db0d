//! Negative controls: the original finalizer and its usual repair. Loom must find the event that
//! they lose.
//!
//! Their twins on the shipped buffer are in `timelines.rs` and `cancel.rs`: the same interleavings,
//! nothing lost.

use std::collections::VecDeque;

use loom::sync::atomic::{AtomicBool, Ordering::SeqCst};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::support::{Event, FarEnd, interrupt_after, one_await};

/// The tracker of the post-mortem: a queue, a flush signal, and a consumer that can be interrupted.
#[derive(Clone, Default)]
struct Original {
    queue: Arc<Mutex<VecDeque<Event>>>,
    flush_signal: Arc<AtomicBool>,
    interrupted: Arc<AtomicBool>,
    sent: FarEnd,
}

#[expect(clippy::unwrap_used, reason = "a poisoned queue is a failed model")]
impl Original {
    fn emit(&self, event: Event) {
        self.queue.lock().unwrap().push_back(event);
    }

    fn take_all(&self) -> Vec<Event> {
        self.queue.lock().unwrap().drain(..).collect()
    }

    /// `const firstEvent = yield* Queue.take(eventQueue)`, then the race for more, then
    /// `sendBatch(batch)`.
    fn consumer(&self) {
        let Some(first) = self.queue.lock().unwrap().pop_front() else {
            return; // It blocks here until it is interrupted, and holds nothing.
        };
        let mut batch = vec![first];
        if !self.flush_signal.load(SeqCst) {
            batch.extend(self.take_all());
        }
        // The awaits of the race and of the request: an interruption drops the local batch.
        if !self.interrupted.load(SeqCst) {
            self.sent.take(&batch);
        }
    }

    /// Steps A to D of the finalizer.
    fn finalizer(&self) {
        self.flush_signal.store(true, SeqCst);
        let remaining = self.take_all();
        self.sent.take(&remaining);
        self.interrupted.store(true, SeqCst);
    }
}

fn the_finalizer_beside_the_consumer(events: &'static [Event]) {
    loom::model(move || {
        let tracker = Original::default();
        let consumer = thread::spawn({
            let tracker = tracker.clone();
            move || tracker.consumer()
        });
        events.iter().for_each(|event| tracker.emit(*event));
        tracker.finalizer();
        assert!(consumer.join().is_ok());
        assert_eq!(tracker.sent.received(), events, "lost by the finalizer");
    });
}

/// Timeline 1: the consumer holds event 1, the finalizer sends event 2 and interrupts it.
#[test]
#[should_panic(expected = "lost by the finalizer")]
fn the_original_finalizer_loses_what_the_consumer_holds() {
    the_finalizer_beside_the_consumer(&[1, 2]);
}

/// Timeline 2: the consumer has taken the only event, the finalizer finds an empty queue and
/// interrupts it.
#[test]
#[should_panic(expected = "lost by the finalizer")]
fn the_original_finalizer_trusts_an_empty_queue() {
    the_finalizer_beside_the_consumer(&[1]);
}

/// The usual repair: swap the buffer for an empty one, then send.
async fn swap_then_send(tracker: &Original) {
    let batch = tracker.take_all();
    one_await().await;
    tracker.sent.take(&batch);
}

/// The second flush finds nothing and returns while the first is sending; the caller ends the
/// process.
#[test]
#[should_panic(expected = "lost by swap-then-send")]
fn swap_then_send_lets_an_overlapping_flush_return_too_early() {
    loom::model(|| {
        let tracker = Original::default();
        tracker.emit(1);
        let other = thread::spawn({
            let tracker = tracker.clone();
            move || interrupt_after(2, swap_then_send(&tracker))
        });
        assert!(interrupt_after(2, swap_then_send(&tracker)).is_some());
        assert_eq!(
            tracker.sent.received(),
            [1],
            "lost by swap-then-send: the flush has returned"
        );
        other.join().unwrap();
    });
}

/// One flush is cancelled while it sends; the other, and every later one, finds nothing.
#[test]
#[should_panic(expected = "lost by swap-then-send")]
fn swap_then_send_loses_the_batch_of_a_cancelled_flush() {
    loom::model(|| {
        let tracker = Original::default();
        tracker.emit(1);
        let cancelled = thread::spawn({
            let tracker = tracker.clone();
            move || interrupt_after(1, swap_then_send(&tracker))
        });
        assert!(interrupt_after(2, swap_then_send(&tracker)).is_some());
        cancelled.join().unwrap();
        assert!(interrupt_after(2, swap_then_send(&tracker)).is_some());
        assert_eq!(
            tracker.sent.received(),
            [1],
            "lost by swap-then-send: the batch went with the future"
        );
    });
}
