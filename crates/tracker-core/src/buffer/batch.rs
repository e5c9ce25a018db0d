//! Batches: events in flight, which are settled, or given back by a drop.

use std::fmt;

use crate::buffer::order::{Entry, Leased, Place, Seq};
use crate::buffer::shared::Shared;
use crate::buffer::wait::recalled;
use crate::settlement::Settlement;
use crate::sync::Arc;
use crate::transport::Reason;

/// A batch of events that are being sent. They stay on the buffer's books as in flight.
///
/// A dropped batch gives its unsettled events back to their places in the queue, so a future that
/// holds one can be dropped at any `.await`. A batch that is forgotten (`std::mem::forget`) keeps
/// its events in flight for ever.
pub struct Batch<E> {
    shared: Arc<Shared<E>>,
    id: u64,
    events: Vec<E>,
    places: Vec<Place>,
}

impl<E> Batch<E> {
    pub(crate) fn new(shared: Arc<Shared<E>>, leased: Leased<E>) -> Self {
        Self {
            shared,
            id: leased.id,
            events: leased.events,
            places: leased.places,
        }
    }

    /// Settles every event of this batch as delivered.
    pub fn ack(mut self) {
        let all = Settlement::delivered(self.events.len());
        let _ = self.settle(all);
    }

    /// Settles the first `settlement.events` events: as rejected where the settlement lists them,
    /// and otherwise as delivered.
    ///
    /// Returns the rejected events with their places and reasons. A settlement of more events than
    /// the batch has settles all of them. A rejection with an index beyond the settlement is
    /// ignored.
    #[must_use = "these are the rejected events"]
    pub fn settle(&mut self, settlement: Settlement) -> Vec<(Seq, E, Reason)> {
        let count = settlement.events.min(self.events.len());
        if count == 0 {
            return Vec::new();
        }
        let settled = take_front(&mut self.events, count);
        let places = take_front(&mut self.places, count);
        let mut reasons: Vec<Option<Reason>> = vec![
            None;
            if settlement.rejected.is_empty() {
                0
            } else {
                count
            }
        ];
        for (index, reason) in settlement.rejected {
            if let Some(slot) = reasons.get_mut(index) {
                slot.get_or_insert(reason);
            }
        }
        let rejected = reasons.iter().flatten().count();
        let bytes = places.iter().map(|place| place.bytes).sum();
        let front = self.places.first().map(|place| place.seq);
        self.shared
            .change(|state| state.settle(self.id, count - rejected, rejected, bytes, front));
        let fates = settled.into_iter().zip(places).zip(reasons);
        fates
            .filter_map(|((event, place), reason)| Some((place.seq, event, reason?)))
            .collect()
    }

    /// Gives the unsettled events back to their places in the queue, as a drop does.
    pub fn give_back(self) {}

    /// Completes when the buffer asks for its events back: finish quickly, or drop the batch.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn recalled(&self) {
        recalled(&self.shared).await;
    }

    /// Returns the unsettled events, oldest first.
    pub fn events(&self) -> &[E] {
        &self.events
    }

    /// Returns the place of the unsettled event with this index; `None` beyond the last.
    pub fn place(&self, index: usize) -> Option<Seq> {
        self.places.get(index).map(|place| place.seq)
    }

    /// Returns the place of the oldest unsettled event; `None` when everything is settled.
    pub fn first(&self) -> Option<Seq> {
        self.places.first().map(|place| place.seq)
    }
}

/// Takes the first `count` items. Mostly these are all items, and nothing moves.
fn take_front<T>(items: &mut Vec<T>, count: usize) -> Vec<T> {
    let rest = items.split_off(count);
    std::mem::replace(items, rest)
}

impl<E> Drop for Batch<E> {
    fn drop(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.events);
        let places = std::mem::take(&mut self.places);
        let entries = places
            .into_iter()
            .zip(events)
            .map(|(place, event)| Entry { place, event });
        self.shared
            .change(|state| state.give_back(self.id, entries));
    }
}

/// Shows the number of events, and not the events, which are payload.
impl<E> fmt::Debug for Batch<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("events", &self.events.len())
            .field("first", &self.first())
            .finish()
    }
}
