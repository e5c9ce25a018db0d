//! The pure machine: `&mut self` in, answers out; no lock, no waker, no clock.
//!
//! The invariant that everything rests on: an accepted event is in `queue`, counted by exactly one
//! entry of `leases`, or counted by exactly one of the fates. Every method keeps it.

use std::collections::VecDeque;

use crate::books::Books;
use crate::config::{Config, Overflow};
use crate::error::PushError;
use crate::transport::Reason;

/// A place in the order of acceptance, from 0: an event's own, or the place before which a barrier
/// waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub(crate) u64);

impl Seq {
    /// Returns the place as a number; the first event accepted has 0.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// Whether a buffer accepts events; it only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Events are accepted.
    Open,
    /// No event is accepted; some are still pending.
    Closing,
    /// No event is accepted and none is pending.
    Closed,
}

/// An accepted event with its place.
pub(crate) struct Entry<E> {
    pub(crate) place: Place,
    pub(crate) event: E,
}

/// Where an event stands in the order, and how many bytes it counts.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) seq: Seq,
    pub(crate) bytes: usize,
}

/// The events of a lease and, side by side, their places.
pub(crate) struct Batch<E> {
    pub(crate) lease: u64,
    pub(crate) events: Vec<E>,
    pub(crate) places: Vec<Place>,
}

/// A lease that is out, and the oldest event that its holder has not settled.
struct Outstanding {
    id: u64,
    front: Seq,
}

/// The answer to [`BufferState::checkout`]; these three are the whole flush loop.
pub(crate) enum Checkout<E> {
    /// The oldest queued events below the barrier are now in flight under this lease.
    Leased(Batch<E>),
    /// Others hold what is left below the barrier, or no further lease may be taken now.
    Busy,
    /// Everything below the barrier has a fate.
    Settled,
}

pub(crate) struct BufferState<E> {
    queue: VecDeque<Entry<E>>,
    queued_bytes: usize,
    leases: Vec<Outstanding>,
    in_flight: usize,
    in_flight_bytes: usize,
    phase: Phase,
    recalled: bool,
    /// Why events are refused although the buffer is open.
    stopped: Option<Reason>,
    turn_taken: bool,
    /// Whether the last event that came did not find room.
    pressed: bool,
    room_waiters: usize,
    next_seq: u64,
    next_lease: u64,
    delivered: u64,
    rejected: u64,
    dropped: u64,
    returned: u64,
    capacity_events: usize,
    capacity_bytes: usize,
    batch_events: usize,
    batch_bytes: usize,
    max_leases: usize,
}

impl<E> BufferState<E> {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            leases: Vec::new(),
            in_flight: 0,
            in_flight_bytes: 0,
            phase: Phase::Open,
            recalled: false,
            stopped: None,
            turn_taken: false,
            pressed: false,
            room_waiters: 0,
            next_seq: 0,
            next_lease: 0,
            delivered: 0,
            rejected: 0,
            dropped: 0,
            returned: 0,
            capacity_events: config.capacity_events(),
            capacity_bytes: config.capacity_bytes(),
            batch_events: config.batch_events(),
            batch_bytes: config.batch_bytes(),
            max_leases: config.in_flight(),
        }
    }

    /// Takes `event`, or refuses it and gives it back. What was evicted for it comes back too.
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
            self.pressed = true;
            // Only what is queued may go, so an eviction that could not make enough room evicts
            // nothing.
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
        self.pressed = !evicted.is_empty();
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        self.queued_bytes += bytes;
        self.queue.push_back(Entry {
            place: Place { seq, bytes },
            event,
        });
        Ok(evicted)
    }

    /// Leases the oldest queued events below `below`, up to the limits of a batch; no accepted
    /// event exceeds them.
    pub(crate) fn checkout(&mut self, below: Seq) -> Checkout<E> {
        if self.watermark() >= below.min(self.next_seq()) {
            return Checkout::Settled;
        }
        if self.recalled || self.leases.len() == self.max_leases {
            return Checkout::Busy;
        }
        let (mut events, mut bytes) = (0, 0);
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
        let mut batch = Batch {
            lease: self.next_lease,
            events: Vec::with_capacity(events),
            places: Vec::with_capacity(events),
        };
        for Entry { place, event } in self.queue.drain(..events) {
            batch.events.push(event);
            batch.places.push(place);
        }
        self.next_lease += 1;
        self.leases.push(Outstanding {
            id: batch.lease,
            front,
        });
        self.queued_bytes -= bytes;
        self.in_flight += events;
        self.in_flight_bytes += bytes;
        Checkout::Leased(batch)
    }

    /// Records the fate of the first `delivered + rejected` events of a lease; `front` is what it
    /// holds next.
    pub(crate) fn settle(
        &mut self,
        lease: u64,
        delivered: usize,
        rejected: usize,
        bytes: usize,
        front: Option<Seq>,
    ) {
        self.release(lease, delivered + rejected, bytes, front);
        self.delivered += delivered as u64;
        self.rejected += rejected as u64;
        self.finish_closing();
    }

    /// Puts everything that a lease still holds back into its place in the order.
    pub(crate) fn give_back(
        &mut self,
        lease: u64,
        entries: impl DoubleEndedIterator<Item = Entry<E>>,
    ) {
        let (mut events, mut bytes) = (0, 0);
        for entry in entries.rev() {
            events += 1;
            bytes += entry.place.bytes;
            // Mostly the front; with several leases out, a younger one may have come back first.
            let place = self
                .queue
                .partition_point(|queued| queued.place.seq < entry.place.seq);
            self.queue.insert(place, entry);
        }
        self.queued_bytes += bytes;
        self.release(lease, events, bytes, None);
    }

    /// Stops accepting.
    pub(crate) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
        self.finish_closing();
    }

    /// Refuses events from now on although the buffer is open; the first reason stands.
    pub(crate) fn stop(&mut self, reason: Reason) {
        self.stopped.get_or_insert(reason);
    }

    /// Asks every lease holder to give back, and hands out no further lease.
    pub(crate) fn recall(&mut self) {
        self.recalled = true;
    }

    /// Takes the turn of the one shutdown that may drain; `false` while another has it.
    pub(crate) fn take_turn(&mut self) -> bool {
        !std::mem::replace(&mut self.turn_taken, true)
    }

    /// Passes the turn on.
    pub(crate) fn end_turn(&mut self) {
        self.turn_taken = false;
    }

    /// Hands the queued events back, oldest first.
    pub(crate) fn drain(&mut self) -> VecDeque<Entry<E>> {
        let drained = std::mem::take(&mut self.queue);
        self.queued_bytes = 0;
        self.returned += drained.len() as u64;
        self.finish_closing();
        drained
    }

    /// Returns the low watermark: every event below it has a fate. It never goes back.
    pub(crate) fn watermark(&self) -> Seq {
        let queued = self.queue.front().map(|entry| entry.place.seq);
        let leased = self.leases.iter().map(|lease| lease.front).min();
        queued
            .into_iter()
            .chain(leased)
            .min()
            .unwrap_or(self.next_seq())
    }

    /// Returns the barrier behind everything accepted so far.
    pub(crate) fn next_seq(&self) -> Seq {
        Seq(self.next_seq)
    }

    /// Returns whether a push of `bytes` would be answered now: taken, or refused for good.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let refuses = self.phase != Phase::Open || self.stopped.is_some();
        refuses
            || bytes > self.size_limit()
            || self.fits(self.queue.len(), self.queued_bytes, bytes)
    }

    /// Notes that somebody begins to wait for room.
    pub(crate) fn waits_for_room(&mut self) {
        self.room_waiters += 1;
    }

    /// Notes that somebody waits for room no longer.
    pub(crate) fn leaves_room(&mut self) {
        self.room_waiters -= 1;
    }

    /// Returns whether there is reason to deliver now: that many events are queued, or a batch's
    /// bytes; or there is no room for more; or nothing more will come.
    pub(crate) fn is_due(&self, events: usize) -> bool {
        let no_room = self.pressed || self.room_waiters > 0;
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

    /// The most bytes that one event may have: it must fit into a batch, and into an empty buffer.
    fn size_limit(&self) -> usize {
        self.batch_bytes.min(self.capacity_bytes)
    }

    /// Returns whether one more event of `bytes` fits beside that much queued and everything in
    /// flight.
    fn fits(&self, queued: usize, queued_bytes: usize, bytes: usize) -> bool {
        queued + self.in_flight < self.capacity_events
            && bytes
                <= self
                    .capacity_bytes
                    .saturating_sub(queued_bytes + self.in_flight_bytes)
    }

    fn release(&mut self, lease: u64, events: usize, bytes: usize, front: Option<Seq>) {
        let Some(index) = self.leases.iter().position(|out| out.id == lease) else {
            return;
        };
        self.in_flight -= events;
        self.in_flight_bytes -= bytes;
        match front {
            Some(front) => self.leases[index].front = front,
            None => drop(self.leases.swap_remove(index)),
        }
    }

    fn finish_closing(&mut self) {
        if self.phase == Phase::Closing && self.queue.is_empty() && self.in_flight == 0 {
            self.phase = Phase::Closed;
        }
    }
}
