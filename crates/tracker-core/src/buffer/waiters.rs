//! The waiters of a buffer, by what they wait for.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::wakers::{WakerSet, Wakers};

/// What a waiter waits for. Each kind has a set of its own, so that a push wakes no flush.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitFor {
    /// The settlement or return of an event, or the recall.
    Progress,
    /// A decrease of the pending events, or the close.
    Room,
    /// The arrival of this many queued events or of a full batch of bytes, or the close.
    Arrival(usize),
}

/// The waiters of one buffer.
#[derive(Debug)]
pub(crate) struct Waiters {
    progress: WakerSet,
    room: WakerSet,
    arrival: WakerSet,
    /// The smallest number of queued events that a waiter waits for; `usize::MAX` without such a
    /// waiter.
    arrival_at: usize,
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self {
            progress: WakerSet::default(),
            room: WakerSet::default(),
            arrival: WakerSet::default(),
            arrival_at: usize::MAX,
        }
    }

    /// Takes the wakers that a push concerns. Mostly there are none, and this is one comparison.
    pub(crate) fn after_push(&mut self, queued: usize, batch_is_full: bool) -> Option<Wakers> {
        if queued < self.arrival_at && !(batch_is_full && self.arrival_at < usize::MAX) {
            return None;
        }
        self.arrival_at = usize::MAX;
        Some(Wakers([
            self.arrival.take(),
            BTreeMap::new(),
            BTreeMap::new(),
        ]))
    }

    /// Takes all wakers, because after a change that is not a push every waiter checks again.
    pub(crate) fn after_change(&mut self) -> Wakers {
        self.arrival_at = usize::MAX;
        Wakers([self.arrival.take(), self.progress.take(), self.room.take()])
    }

    pub(crate) fn register(
        &mut self,
        wait_for: WaitFor,
        key: &mut Option<u64>,
        waker: Waker,
    ) -> Option<Waker> {
        if let WaitFor::Arrival(events) = wait_for {
            self.arrival_at = self.arrival_at.min(events);
        }
        self.set(wait_for).register(key, waker)
    }

    pub(crate) fn set(&mut self, wait_for: WaitFor) -> &mut WakerSet {
        match wait_for {
            WaitFor::Progress => &mut self.progress,
            WaitFor::Room => &mut self.room,
            WaitFor::Arrival(_) => &mut self.arrival,
        }
    }
}
