//! The state of a buffer: pure, without lock, waker or clock.
//!
//! The invariant that everything depends on: an accepted event is in `queue`, counted by exactly
//! one entry of `batches`, or counted by exactly one of the fates. Every method keeps it.

use std::collections::VecDeque;

use crate::books::Books;
use crate::buffer::order::{Entry, Leased, Place, Seq};
use crate::config::{Config, Overflow};
use crate::error::PushError;
use crate::transport::Reason;

/// Whether a buffer accepts events. A phase never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Events are accepted.
    Open,
    /// No event is accepted; some are still pending.
    Closing,
    /// No event is accepted and none is pending.
    Closed,
}

/// A batch in flight, and its oldest event that is not settled.
struct Outstanding {
    id: u64,
    front: Seq,
}

/// Result of [`BufferState::checkout`]. These three are the whole flush loop.
pub(crate) enum Checkout<E> {
    /// The oldest queued events below the barrier, which are now in flight.
    Leased(Leased<E>),
    /// Other batches hold the rest below the barrier, or no further batch may be taken now.
    Busy,
    /// Everything below the barrier has a fate.
    Settled,
}

pub(crate) struct BufferState<E> {
    queue: VecDeque<Entry<E>>,
    queued_bytes: usize,
    batches: Vec<Outstanding>,
    in_flight: usize,
    in_flight_bytes: usize,
    phase: Phase,
    recalled: bool,
    /// Why events are refused although the buffer is open; `None` if they are not.
    stopped: Option<Reason>,
    drain_permit_taken: bool,
    /// Whether the last push found no room.
    lacks_room: bool,
    room_waiters: usize,
    next_seq: u64,
    next_batch: u64,
    delivered: u64,
    rejected: u64,
    dropped: u64,
    returned: u64,
    capacity_events: usize,
    capacity_bytes: usize,
    batch_events: usize,
    batch_bytes: usize,
    max_batches: usize,
}

impl<E> BufferState<E> {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            batches: Vec::new(),
            in_flight: 0,
            in_flight_bytes: 0,
            phase: Phase::Open,
            recalled: false,
            stopped: None,
            drain_permit_taken: false,
            lacks_room: false,
            room_waiters: 0,
            next_seq: 0,
            next_batch: 0,
            delivered: 0,
            rejected: 0,
            dropped: 0,
            returned: 0,
            capacity_events: config.capacity_events(),
            capacity_bytes: config.capacity_bytes(),
            batch_events: config.batch_events(),
            batch_bytes: config.batch_bytes(),
            max_batches: config.in_flight(),
        }
    }

    /// Accepts `event`, or gives it back. Returns the events that were evicted for it.
    pub(crate) fn push(
        &mut self,
        event: E,
        bytes: usize,
        overflow: Overflow,
    ) -> Result<Vec<Entry<E>>, PushError<E>> {
        if self.phase != Phase::Open {
            return Err(PushError::Closed(event));
        }
        if let Some(reason) = &self.stopped {
            return Err(PushError::Stopped {
                event,
                reason: reason.clone(),
            });
        }
        let limit = self.size_limit();
        if bytes > limit {
            return Err(PushError::TooLarge {
                event,
                bytes,
                limit,
            });
        }
        let mut evicted = Vec::new();
        if !self.fits(self.queue.len(), self.queued_bytes, bytes) {
            self.lacks_room = true;
            // Only queued events can be evicted, so an eviction that would not make enough room
            // evicts nothing.
            if overflow == Overflow::Refuse || !self.fits(0, 0, bytes) {
                return Err(PushError::Full(event));
            }
            while !self.fits(self.queue.len(), self.queued_bytes, bytes)
                && let Some(oldest) = self.queue.pop_front()
            {
                self.queued_bytes -= oldest.place.bytes;
                self.dropped += 1;
                evicted.push(oldest);
            }
        }
        self.lacks_room = !evicted.is_empty();
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        self.queued_bytes += bytes;
        self.queue.push_back(Entry {
            place: Place { seq, bytes },
            event,
        });
        Ok(evicted)
    }

    /// Takes the oldest queued events below `below`, up to the limits of a batch. No accepted event
    /// exceeds these limits.
    pub(crate) fn checkout(&mut self, below: Seq) -> Checkout<E> {
        if self.watermark() >= below.min(self.next_seq()) {
            return Checkout::Settled;
        }
        if self.recalled || self.batches.len() == self.max_batches {
            return Checkout::Busy;
        }
        let mut events = 0;
        let mut bytes = 0;
        for Entry { place, .. } in &self.queue {
            if place.seq >= below
                || events == self.batch_events
                || bytes + place.bytes > self.batch_bytes
            {
                break;
            }
            events += 1;
            bytes += place.bytes;
        }
        let Some(front) = self
            .queue
            .front()
            .map(|entry| entry.place.seq)
            .filter(|_| events > 0)
        else {
            return Checkout::Busy;
        };
        let mut leased = Leased {
            id: self.next_batch,
            events: Vec::with_capacity(events),
            places: Vec::with_capacity(events),
        };
        for Entry { place, event } in self.queue.drain(..events) {
            leased.events.push(event);
            leased.places.push(place);
        }
        self.next_batch += 1;
        self.batches.push(Outstanding {
            id: leased.id,
            front,
        });
        self.queued_bytes -= bytes;
        self.in_flight += events;
        self.in_flight_bytes += bytes;
        Checkout::Leased(leased)
    }

    /// Records the fates of the first `delivered + rejected` events of a batch; `front` is its next
    /// event.
    pub(crate) fn settle(
        &mut self,
        batch: u64,
        delivered: usize,
        rejected: usize,
        bytes: usize,
        front: Option<Seq>,
    ) {
        self.release(batch, delivered + rejected, bytes, front);
        self.delivered += delivered as u64;
        self.rejected += rejected as u64;
        self.finish_closing();
    }

    /// Puts the events that a batch still has back into their places in the order.
    pub(crate) fn give_back(
        &mut self,
        batch: u64,
        entries: impl DoubleEndedIterator<Item = Entry<E>>,
    ) {
        let mut events = 0;
        let mut bytes = 0;
        for entry in entries.rev() {
            events += 1;
            bytes += entry.place.bytes;
            // Mostly this is the front. With several batches in flight, a younger one may have come
            // back first.
            let place = self
                .queue
                .partition_point(|queued| queued.place.seq < entry.place.seq);
            self.queue.insert(place, entry);
        }
        self.queued_bytes += bytes;
        self.release(batch, events, bytes, None);
    }

    /// Stops accepting.
    pub(crate) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
        self.finish_closing();
    }

    /// Refuses events from now on although the buffer is open. The first reason counts.
    pub(crate) fn stop(&mut self, reason: Reason) {
        self.stopped.get_or_insert(reason);
    }

    /// Asks every holder of a batch to give it back, and hands out no further batch.
    pub(crate) fn recall(&mut self) {
        self.recalled = true;
    }

    /// Takes the permit to drain; `false` while another shutdown has it.
    pub(crate) fn take_drain_permit(&mut self) -> bool {
        !std::mem::replace(&mut self.drain_permit_taken, true)
    }

    /// Returns the permit to drain.
    pub(crate) fn return_drain_permit(&mut self) {
        self.drain_permit_taken = false;
    }

    /// Hands the queued events back, oldest first.
    pub(crate) fn drain(&mut self) -> VecDeque<Entry<E>> {
        let drained = std::mem::take(&mut self.queue);
        self.queued_bytes = 0;
        self.returned += drained.len() as u64;
        self.finish_closing();
        drained
    }

    /// Returns the low watermark: every event below it has a fate. It never decreases.
    pub(crate) fn watermark(&self) -> Seq {
        let queued = self.queue.front().map(|entry| entry.place.seq);
        let in_flight = self.batches.iter().map(|batch| batch.front).min();
        queued
            .into_iter()
            .chain(in_flight)
            .min()
            .unwrap_or(self.next_seq())
    }

    /// Returns the barrier behind everything accepted so far.
    pub(crate) fn next_seq(&self) -> Seq {
        Seq(self.next_seq)
    }

    /// Returns whether a push of `bytes` would not be refused as full.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let refuses = self.phase != Phase::Open || self.stopped.is_some();
        refuses
            || bytes > self.size_limit()
            || self.fits(self.queue.len(), self.queued_bytes, bytes)
    }

    /// Counts a push that begins to wait for room.
    pub(crate) fn add_room_waiter(&mut self) {
        self.room_waiters += 1;
    }

    /// Counts a push that has stopped waiting for room.
    pub(crate) fn remove_room_waiter(&mut self) {
        self.room_waiters -= 1;
    }

    /// Returns whether to deliver now: `events` events or the bytes of a batch are queued, there is
    /// no room for more, or no more events will come.
    pub(crate) fn is_due(&self, events: usize) -> bool {
        let no_room = self.lacks_room || self.room_waiters > 0;
        // Full is the lesser of a batch and the capacity.
        let full = self.queue.len() >= events || self.queued_bytes >= self.size_limit();
        full || no_room && !self.queue.is_empty() || self.phase != Phase::Open
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.queued_bytes + self.in_flight_bytes
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn recalled(&self) -> bool {
        self.recalled
    }

    pub(crate) fn books(&self) -> Books {
        Books {
            accepted: self.next_seq,
            delivered: self.delivered,
            rejected: self.rejected,
            dropped: self.dropped,
            returned: self.returned,
            queued: self.queue.len() as u64,
            in_flight: self.in_flight as u64,
        }
    }

    /// Returns the most bytes that one event may have: it must fit into a batch, and into an empty
    /// buffer.
    fn size_limit(&self) -> usize {
        self.batch_bytes.min(self.capacity_bytes)
    }

    /// Returns whether one more event of `bytes` fits beside the given queue and everything in
    /// flight.
    fn fits(&self, queued: usize, queued_bytes: usize, bytes: usize) -> bool {
        queued + self.in_flight < self.capacity_events
            && bytes
                <= self
                    .capacity_bytes
                    .saturating_sub(queued_bytes + self.in_flight_bytes)
    }

    fn release(&mut self, batch: u64, events: usize, bytes: usize, front: Option<Seq>) {
        let Some(index) = self.batches.iter().position(|out| out.id == batch) else {
            return;
        };
        self.in_flight -= events;
        self.in_flight_bytes -= bytes;
        match front {
            Some(front) => self.batches[index].front = front,
            None => drop(self.batches.swap_remove(index)),
        }
    }

    fn finish_closing(&mut self) {
        if self.phase == Phase::Closing && self.queue.is_empty() && self.in_flight == 0 {
            self.phase = Phase::Closed;
        }
    }
}
