//! Negative controls: the original finalizer and its usual repair. Loom must find the event that they lose.

use loom::sync::{Arc, Mutex};
use loom::thread;

/// A tracker as it was: a queue, and a far end.
#[derive(Clone, Default)]
struct Original {
    queue: Arc<Mutex<Vec<u32>>>,
    sent: Arc<Mutex<Vec<u32>>>,
}

impl Original {
    fn take_all(&self) -> Vec<u32> {
        std::mem::take(&mut *self.queue.lock().unwrap())
    }

    fn send(&self, batch: &[u32]) {
        self.sent.lock().unwrap().extend(batch);
    }
}

/// The consumer holds a batch in a local variable; the finalizer drains the queue, sends that, and interrupts it.
#[test]
#[should_panic(expected = "lost by the finalizer")]
fn the_original_finalizer_loses_what_the_consumer_holds() {
    loom::model(|| {
        let tracker = Original::default();
        let interrupted = Arc::new(Mutex::new(false));
        tracker.queue.lock().unwrap().push(1);
        let consumer = thread::spawn({
            let (tracker, interrupted) = (tracker.clone(), interrupted.clone());
            move || {
                let batch = tracker.take_all();
                // It waits for more events here; an interruption at this await drops the batch.
                if !*interrupted.lock().unwrap() {
                    tracker.send(&batch);
                }
            }
        });
        tracker.send(&tracker.take_all());
        *interrupted.lock().unwrap() = true;
        consumer.join().unwrap();
        assert_eq!(*tracker.sent.lock().unwrap(), [1], "lost by the finalizer");
    });
}

/// Swap the buffer for an empty one, then send: the second flush finds nothing and returns; the process ends.
#[test]
#[should_panic(expected = "lost by swap-then-send")]
fn swap_then_send_lets_an_overlapping_flush_return_too_early() {
    loom::model(|| {
        let tracker = Original::default();
        tracker.queue.lock().unwrap().push(1);
        let flush = |tracker: &Original| tracker.send(&tracker.take_all());
        let other = thread::spawn({
            let tracker = tracker.clone();
            move || flush(&tracker)
        });
        flush(&tracker);
        let arrived = tracker.sent.lock().unwrap().clone();
        assert_eq!(arrived, [1], "lost by swap-then-send: the flush has returned, and the process may end");
        other.join().unwrap();
    });
}
