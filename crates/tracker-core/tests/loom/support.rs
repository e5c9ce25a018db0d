//! What the models share: small buffers, a flush, and a count that nothing escapes.

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::Mutex;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tracker_core::{Config, EventBuffer, Seq};

pub(crate) type Event = u32;

/// A buffer with one lease at a time.
pub(crate) fn buffer(capacity: usize, batch: usize) -> EventBuffer<Event> {
    buffer_with(capacity, batch, 1)
}

pub(crate) fn buffer_with(capacity: usize, batch: usize, in_flight: usize) -> EventBuffer<Event> {
    let config = Config::builder().capacity_events(capacity).batch_events(batch).in_flight(in_flight).build();
    EventBuffer::new(&config.unwrap())
}

/// Explores a model of more than two threads, with at most three preemptions even when the others are unbounded:
/// without a bound it does not end in any time one could wait.
pub(crate) fn bounded_model(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(model);
}

/// The far end: what it acknowledged.
#[derive(Clone, Default)]
pub(crate) struct FarEnd(Arc<Mutex<Vec<Event>>>);

impl FarEnd {
    pub(crate) fn take(&self, events: &[Event]) {
        self.0.lock().unwrap().extend(events);
    }

    pub(crate) fn in_order(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn received(&self) -> Vec<Event> {
        let mut received = self.0.lock().unwrap().clone();
        received.sort_unstable();
        received
    }
}

/// Delivers everything below the barrier: the flush that the tracker builds on.
pub(crate) async fn flush_below(buffer: &EventBuffer<Event>, below: Seq, far_end: &FarEnd) {
    while let Some(lease) = buffer.next_lease(below).await {
        far_end.take(lease.events());
        lease.ack();
    }
}

pub(crate) fn flush(buffer: &EventBuffer<Event>, far_end: &FarEnd) {
    block_on(flush_below(buffer, buffer.barrier(), far_end));
}

/// Polls once with a waker that does nothing, as a task that is dropped before it is woken.
pub(crate) fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Every accepted event was delivered, once, and the books say so.
pub(crate) fn assert_all_delivered(buffer: &EventBuffer<Event>, far_end: &FarEnd, expected: &[Event]) {
    let books = buffer.books();
    assert!(books.is_balanced(), "{books}");
    assert_eq!(far_end.received(), expected, "lost or repeated: {books}");
    assert_eq!((books.accepted, books.delivered), (expected.len() as u64, expected.len() as u64), "{books}");
}
