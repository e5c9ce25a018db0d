//! Other people's code, called back into the buffer: wakers and destructors run without the lock.

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Wake, Waker};
use tracker_core::{Config, EventBuffer};

use crate::support::buffer;

/// Looks into the buffer when it is woken, and when it is dropped.
struct CallsBack {
    buffer: EventBuffer<u32>,
    woken: Arc<AtomicUsize>,
}

impl Wake for CallsBack {
    fn wake(self: std::sync::Arc<Self>) {
        assert!(self.buffer.books().is_balanced());
        self.woken.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for CallsBack {
    fn drop(&mut self) {
        assert!(self.buffer.books().is_balanced());
    }
}

/// A waker that calls back finds the lock free.
///
/// Kills: waking, or dropping a waker, under the lock (a deadlock).
#[test]
fn a_waker_that_calls_back_finds_the_lock_free() {
    loom::model(|| {
        let (buffer, woken) = (buffer(1, 1), Arc::new(AtomicUsize::new(0)));
        buffer.push(1).unwrap();
        let waker = || Waker::from(std::sync::Arc::new(CallsBack { buffer: buffer.clone(), woken: woken.clone() }));
        let mut room = Box::pin(buffer.room(1));
        assert!(room.as_mut().poll(&mut Context::from_waker(&waker())).is_pending());
        // A second poll replaces the waker, and so drops the first.
        assert!(room.as_mut().poll(&mut Context::from_waker(&waker())).is_pending());
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.next_lease(buffer.barrier())).unwrap().ack()
        });
        flusher.join().unwrap();
        assert_eq!(woken.load(Ordering::SeqCst), 1, "the waker that stands is woken, once");
        drop(room);
    });
}

/// A waiter that gives up drops its waker outside of the lock.
///
/// Kills: dropping a deregistered waker under the lock.
#[test]
fn a_waiter_that_gives_up_drops_its_waker_without_the_lock() {
    loom::model(|| {
        let (buffer, woken) = (buffer(1, 1), Arc::new(AtomicUsize::new(0)));
        buffer.push(1).unwrap();
        {
            let room = pin!(buffer.room(1));
            let call_back = CallsBack { buffer: buffer.clone(), woken: woken.clone() };
            let waker = Waker::from(std::sync::Arc::new(call_back));
            assert!(room.poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(buffer.drain());
    });
}

/// An event whose destructor looks into its buffer.
struct Nosy(Option<EventBuffer<Nosy>>);

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(buffer) = &self.0 {
            assert!(buffer.books().is_balanced());
        }
    }
}

/// Settled, evicted and refused events are dropped outside of the lock.
///
/// Kills: an event dropped inside of a critical section (a deadlock).
#[test]
fn an_event_whose_destructor_calls_back_finds_the_lock_free() {
    loom::model(|| {
        let config = Config::builder().capacity_events(1).batch_events(1).build().unwrap();
        let buffer = EventBuffer::new(&config);
        let event = || Nosy(Some(buffer.clone()));
        buffer.push(event()).unwrap();
        drop(buffer.push(event()).unwrap_err());
        drop(buffer.push_evicting(event()).unwrap());
        let flusher = thread::spawn({
            let buffer = buffer.clone();
            move || block_on(buffer.next_lease(buffer.barrier())).unwrap().ack()
        });
        flusher.join().unwrap();
        assert_eq!(buffer.books().pending(), 0);
    });
}
