//! Waiting: check and register in one critical section, wake all, check again.
//!
//! A waker is somebody else's code: it is cloned before the lock is taken, and woken and dropped
//! after it is released.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use crate::buffer::Shared;
use crate::state::BufferState;

/// What a waiter waits for; each has a set of its own, so that a push wakes no flusher.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitFor {
    /// An event to be settled or given back, or the recall.
    Progress,
    /// Pending events to become fewer, or the close.
    Room,
    /// At least this many events to be queued, a full batch of bytes, or the close.
    Arrival(usize),
}

/// Everybody who waits on one buffer.
#[derive(Debug)]
pub(crate) struct Waiters {
    progress: WakerSet,
    room: WakerSet,
    arrival: WakerSet,
    /// The smallest number of queued events that an arrival waiter asked for; `usize::MAX` without
    /// any.
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

    /// Takes the wakers that a push concerns. Mostly there are none, and it is one comparison.
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

    /// Takes all wakers: after a change that is not a push, everybody checks again.
    pub(crate) fn after_change(&mut self) -> Wakers {
        self.arrival_at = usize::MAX;
        Wakers([self.arrival.take(), self.progress.take(), self.room.take()])
    }

    fn register(
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

    fn set(&mut self, wait_for: WaitFor) -> &mut WakerSet {
        match wait_for {
            WaitFor::Progress => &mut self.progress,
            WaitFor::Room => &mut self.room,
            WaitFor::Arrival(_) => &mut self.arrival,
        }
    }
}

/// Wakers on their way out of the lock.
#[derive(Debug)]
#[must_use = "these waiters were promised a wake-up"]
pub(crate) struct Wakers([BTreeMap<u64, Waker>; 3]);

impl Wakers {
    pub(crate) fn wake(self) {
        self.0
            .into_iter()
            .flat_map(BTreeMap::into_values)
            .for_each(Waker::wake);
    }
}

#[derive(Debug, Default)]
pub(crate) struct WakerSet {
    next_key: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl WakerSet {
    /// Takes all wakers of a set that stands alone.
    pub(crate) fn take_all(&mut self) -> Wakers {
        Wakers([self.take(), BTreeMap::new(), BTreeMap::new()])
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<Waker> {
        self.wakers.remove(&key)
    }

    fn take(&mut self) -> BTreeMap<u64, Waker> {
        std::mem::take(&mut self.wakers)
    }

    /// Registers under `key`, or under a new key; returns the waker that stood there.
    pub(crate) fn register(&mut self, key: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let key = *key.get_or_insert_with(|| {
            self.next_key += 1;
            self.next_key
        });
        self.wakers.insert(key, waker)
    }
}

/// One waiter's place in a set; dropping it gives the place up.
pub(crate) struct Ticket<'a, E> {
    shared: &'a Shared<E>,
    wait_for: WaitFor,
    key: Option<u64>,
}

impl<'a, E> Ticket<'a, E> {
    pub(crate) fn new(shared: &'a Shared<E>, wait_for: WaitFor) -> Self {
        Self {
            shared,
            wait_for,
            key: None,
        }
    }

    /// Completes once `check` answers; it runs, and the waker is registered, under one lock.
    pub(crate) async fn until<T>(
        mut self,
        mut check: impl FnMut(&mut BufferState<E>) -> Option<T>,
    ) -> T {
        std::future::poll_fn(|cx| self.poll(cx, &mut check)).await
    }

    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        check: &mut impl FnMut(&mut BufferState<E>) -> Option<T>,
    ) -> Poll<T> {
        let waker = cx.waker().clone();
        let mut locked = self.shared.lock();
        if let Some(answer) = check(&mut locked.state) {
            return Poll::Ready(answer);
        }
        // Those who deliver learn that room is wanted.
        let deliver = match (self.wait_for, self.key) {
            (WaitFor::Room, None) => {
                locked.state.waits_for_room();
                let queued = locked.state.queued();
                locked.waiters.after_push(queued, true)
            }
            _ => None,
        };
        let replaced = locked.waiters.register(self.wait_for, &mut self.key, waker);
        drop(locked);
        drop(replaced);
        deliver.into_iter().for_each(Wakers::wake);
        Poll::Pending
    }
}

impl<E> Drop for Ticket<'_, E> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut locked = self.shared.lock();
            if let WaitFor::Room = self.wait_for {
                locked.state.leaves_room();
            }
            let own = locked.waiters.set(self.wait_for).remove(key);
            drop(locked);
            drop(own);
        }
    }
}
