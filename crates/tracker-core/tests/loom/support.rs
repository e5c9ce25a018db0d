//! What the models share: small buffers, a flush, an interruption, and the accounts of all events.

use std::future::{Future, poll_fn};
use std::mem::replace;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::sync::{Arc, Mutex};
use tracker_core::{Config, EventBuffer, Seq};

pub(crate) type Event = u32;

/// A buffer with one batch in flight at a time.
pub(crate) fn buffer(capacity: usize, batch: usize) -> EventBuffer<Event> {
    buffer_with(capacity, batch, 1)
}

pub(crate) fn buffer_with(capacity: usize, batch: usize, in_flight: usize) -> EventBuffer<Event> {
    EventBuffer::new(&config(capacity, batch, in_flight))
}

#[expect(clippy::unwrap_used, reason = "the models' limits are valid")]
pub(crate) fn config(capacity: usize, batch: usize, in_flight: usize) -> Config {
    Config::builder()
        .capacity_events(capacity)
        .batch_events(batch)
        .in_flight(in_flight)
        .build()
        .unwrap()
}

/// Checks a model that is too large without a bound: at most `bound` preemptions, even if the run
/// allows more.
pub(crate) fn bounded_model(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(builder.preemption_bound.map_or(bound, |run| run.min(bound)));
    builder.check(model);
}

/// The far end, with the events that arrived.
///
/// An arrival is a separate step between the start of a batch and its settlement, so loom schedules
/// other steps before and after it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FarEnd(Arc<Mutex<Vec<Event>>>);

#[expect(clippy::unwrap_used, reason = "a poisoned far end is a failed model")]
impl FarEnd {
    pub(crate) fn take(&self, events: &[Event]) {
        self.0.lock().unwrap().extend(events);
    }

    /// Returns what arrived, in the order of its arrival.
    pub(crate) fn in_order(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn received(&self) -> Vec<Event> {
        let mut received = self.in_order();
        received.sort_unstable();
        received
    }
}

/// Delivers everything below the barrier: the flush that the tracker builds on.
pub(crate) async fn flush_below(buffer: &EventBuffer<Event>, below: Seq, far_end: &FarEnd) {
    while let Some(batch) = buffer.next_batch(below).await {
        far_end.take(batch.events());
        batch.ack();
    }
}

pub(crate) fn flush(buffer: &EventBuffer<Event>, far_end: &FarEnd) {
    block_on(flush_below(buffer, buffer.barrier(), far_end));
}

/// Polls at most `polls` times, woken or not, and drops the future: a task that is interrupted.
pub(crate) fn interrupt_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return Some(output);
        }
    }
    None
}

/// One await at which a future can be interrupted; it asks to be polled again, and then completes.
pub(crate) async fn one_await() {
    let mut polled = false;
    poll_fn(|cx| {
        if replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The fates of a model's accepted events, as the model saw them.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    pub(crate) delivered: Vec<Event>,
    pub(crate) dropped: Vec<Event>,
    pub(crate) returned: Vec<Event>,
}

/// Every accepted event has one fate, and the buffer's books say the same: nothing is lost,
/// repeated or pending.
pub(crate) fn assert_accounted(buffer: &EventBuffer<Event>, accepted: &[Event], fates: &Fates) {
    let books = buffer.books();
    assert!(books.is_balanced(), "{books}");
    let Fates {
        delivered,
        dropped,
        returned,
    } = fates;
    let mut all = [delivered.as_slice(), dropped, returned].concat();
    all.sort_unstable();
    assert_eq!(all, accepted, "lost or repeated: {fates:?}, {books}");
    let seen = [delivered, dropped, returned].map(|events| events.len() as u64);
    assert_eq!(
        [books.delivered, books.dropped, books.returned],
        seen,
        "{books}"
    );
    assert_eq!(
        (books.accepted, books.pending()),
        (accepted.len() as u64, 0),
        "{books}"
    );
    assert_eq!(buffer.watermark(), buffer.barrier(), "{books}");
}

/// Every accepted event was delivered, once, and the books say so.
pub(crate) fn assert_all_delivered(
    buffer: &EventBuffer<Event>,
    far_end: &FarEnd,
    accepted: &[Event],
) {
    assert_accounted(
        buffer,
        accepted,
        &Fates {
            delivered: far_end.received(),
            ..Fates::default()
        },
    );
}
