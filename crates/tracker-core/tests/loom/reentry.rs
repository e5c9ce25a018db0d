//! Other people's code, called back into the buffer: wakers and destructors run without the lock.
//!
//! Loom reports a lock that is taken twice as a deadlock.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use tracker_core::EventBuffer;

use crate::support::{buffer, config};

/// Calls the buffer when it is woken, and when it is dropped.
struct CallsBack {
    buffer: EventBuffer<u32>,
    woken: AtomicUsize,
}

impl CallsBack {
    fn new(buffer: &EventBuffer<u32>) -> Arc<Self> {
        Arc::new(Self {
            buffer: buffer.clone(),
            woken: AtomicUsize::new(0),
        })
    }
}

impl Wake for CallsBack {
    fn wake(self: Arc<Self>) {
        assert!(self.buffer.books().is_balanced());
        self.woken.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for CallsBack {
    fn drop(&mut self) {
        assert!(self.buffer.books().is_balanced());
    }
}

fn is_pending(future: Pin<&mut impl Future>, call_back: &Arc<CallsBack>) -> bool {
    future
        .poll(&mut Context::from_waker(&Waker::from(call_back.clone())))
        .is_pending()
}

/// A waker that calls back finds the lock free, both when a settlement wakes it and when another
/// waker replaces it.
///
/// Kills: waking, or dropping a replaced waker, under the lock.
#[test]
fn a_waker_that_calls_back_finds_the_lock_free() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        buffer.push(1).unwrap();
        let replaced = CallsBack::new(&buffer);
        let stands = CallsBack::new(&buffer);
        let mut room = pin!(buffer.room(1));
        assert!(is_pending(room.as_mut(), &replaced));
        drop(replaced);
        assert!(is_pending(room.as_mut(), &stands));
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.next_batch(buffer.barrier())).unwrap().ack()
        });
        assert!(buffer.books().is_balanced());
        flusher.join().unwrap();
        assert_eq!(
            stands.woken.load(Ordering::SeqCst),
            1,
            "the waker that stands is woken, once"
        );
    });
}

/// A waker that waits for an event calls back when a push wakes it.
///
/// Kills: a push that wakes under the lock.
#[test]
fn a_waker_woken_by_a_push_finds_the_lock_free() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        let call_back = CallsBack::new(&buffer);
        let mut arrival = pin!(buffer.arrival(1));
        assert!(is_pending(arrival.as_mut(), &call_back));
        let producer = thread::spawn({
            let buffer = buffer.clone();
            move || buffer.push(1).unwrap()
        });
        let still_pending = is_pending(arrival.as_mut(), &call_back);
        producer.join().unwrap();
        assert!(
            !still_pending || call_back.woken.load(Ordering::SeqCst) > 0,
            "it waits for ever"
        );
        assert_eq!(buffer.drain(), [1]);
    });
}

/// A waiter that is dropped beside a flush that would wake it drops its waker outside of the lock.
///
/// Kills: dropping a deregistered waker under the lock.
#[test]
fn a_waiter_that_gives_up_drops_its_waker_without_the_lock() {
    loom::model(|| {
        let buffer = buffer(1, 1);
        buffer.push(1).unwrap();
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.next_batch(buffer.barrier())).unwrap().ack()
        });
        {
            let mut room = pin!(buffer.room(1));
            // The waker that is registered is the last one, so its drop runs the
            // destructor.
            let _ = is_pending(room.as_mut(), &CallsBack::new(&buffer));
        }
        flusher.join().unwrap();
    });
}

/// An event whose destructor calls its buffer.
struct Nosy(EventBuffer<Nosy>);

impl Drop for Nosy {
    fn drop(&mut self) {
        assert!(self.0.books().is_balanced());
    }
}

/// Settled, evicted, refused and drained events are dropped outside of the lock.
///
/// Kills: an event dropped inside of a critical section.
#[test]
fn an_event_whose_destructor_calls_back_finds_the_lock_free() {
    loom::model(|| {
        let buffer = EventBuffer::new(&config(1, 1, 1));
        let event = || Nosy(buffer.clone());
        buffer.push(event()).unwrap();
        drop(buffer.push(event()).unwrap_err());
        drop(buffer.push_evicting(event()).unwrap());
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.next_batch(buffer.barrier())).unwrap().ack()
        });
        drop(buffer.push(event()));
        flusher.join().unwrap();
        drop(buffer.drain());
        assert_eq!(buffer.books().pending(), 0);
    });
}
