//! The shared handle and its one lock.
//!
//! Every critical section is a few moves. No code of a user runs inside one: wakers are woken and
//! events are dropped after the lock is released.

use std::fmt;

use crate::books::Books;
use crate::config::{Config, Overflow};
use crate::error::PushError;
use crate::lease::Lease;
use crate::state::{BufferState, Checkout, Entry, Phase, Seq};
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::transport::Reason;
use crate::wait::{Ticket, WaitFor, Waiters};

/// A bounded event buffer in which an event stays on the books until its fate is known.
///
/// Cloning it makes another handle to the same buffer. When the last handle and the last lease go
/// while events are pending, those events are dropped with them, and an error is logged that says
/// how many.
///
/// # Examples
///
/// ```
/// use tracker_core::{Config, EventBuffer};
///
/// # futures::executor::block_on(async {
/// let buffer = EventBuffer::new(&Config::default());
/// buffer.push("started")?;
/// buffer.push("completed")?;
///
/// // A flush: settle everything that was accepted before it began.
/// let barrier = buffer.barrier();
/// while let Some(lease) = buffer.next_lease(barrier).await {
///     // Send `lease.events()`; if this future is dropped meanwhile, the lease gives them back.
///     lease.ack();
/// }
/// assert_eq!(buffer.books().delivered, 2);
/// # Ok::<(), tracker_core::PushError<&str>>(())
/// # }).unwrap();
/// ```
pub struct EventBuffer<E> {
    shared: Arc<Shared<E>>,
}

pub(crate) struct Shared<E> {
    locked: Mutex<Locked<E>>,
    size_of: fn(&E) -> usize,
}

pub(crate) struct Locked<E> {
    pub(crate) state: BufferState<E>,
    pub(crate) waiters: Waiters,
}

impl<E> EventBuffer<E> {
    /// Creates an empty, open buffer that counts each event with its shallow size,
    /// `size_of::<E>()`.
    ///
    /// Events that own memory elsewhere are larger than that: use
    /// [`with_size_of`](Self::with_size_of) to bound it.
    pub fn new(config: &Config) -> Self {
        Self::with_size_of(config, |_| size_of::<E>())
    }

    /// Creates an empty, open buffer that asks `size_of` for each event's size in bytes.
    ///
    /// It is called once per push, before the lock is taken.
    pub fn with_size_of(config: &Config, size_of: fn(&E) -> usize) -> Self {
        let locked = Locked {
            state: BufferState::new(config),
            waiters: Waiters::new(),
        };
        Self {
            shared: Arc::new(Shared {
                locked: Mutex::new(locked),
                size_of,
            }),
        }
    }

    /// Accepts `event`, or gives it back.
    ///
    /// Accepting and closing exclude each other: an event is accepted and will be settled, or it
    /// comes back.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside: the buffer is closed, it is full, or the event is too
    /// large.
    pub fn push(&self, event: E) -> Result<(), PushError<E>> {
        self.push_with(event, Overflow::Refuse).map(drop)
    }

    /// Accepts `event`, and evicts the oldest queued events if that is what it takes.
    ///
    /// Returns the evicted events, oldest first; they are counted as dropped. Events in flight are
    /// never evicted.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside; it is `Full` only if what is in flight leaves no room,
    /// and then nothing was evicted.
    pub fn push_evicting(&self, event: E) -> Result<Vec<E>, PushError<E>> {
        let evicted = self.push_with(event, Overflow::DropOldest)?;
        Ok(evicted.into_iter().map(|entry| entry.event).collect())
    }

    /// Waits for room, then accepts `event`.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside: the buffer was closed, or the event is too large. Never
    /// `Full`.
    ///
    /// # Cancel safety
    ///
    /// **An event whose push was dropped while it waited was not accepted, and is dropped with the
    /// future.** To keep it, wait with [`room`](Self::room) and then [`push`](Self::push).
    pub async fn push_wait(&self, event: E) -> Result<(), PushError<E>> {
        let bytes = (self.shared.size_of)(&event);
        let mut event = event;
        loop {
            match self.push(event) {
                Err(PushError::Full(refused)) => event = refused,
                answer => return answer,
            }
            self.room(bytes).await;
        }
    }

    /// Waits until a push of an event of `bytes` would not be refused as full. Others may be
    /// quicker to use the room.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn room(&self, bytes: usize) {
        Ticket::new(&self.shared, WaitFor::Room)
            .until(|state| state.has_room(bytes).then_some(()))
            .await;
    }

    /// Takes the next batch below `below`; `None` when every event below it has a fate.
    ///
    /// Waits while other leases hold what is left below the barrier, and while the most leases
    /// allowed are out.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a lease that was taken is returned, and a lease that is dropped gives its
    /// events back.
    pub async fn next_lease(&self, below: Seq) -> Option<Lease<E>> {
        let batch = Ticket::new(&self.shared, WaitFor::Progress)
            .until(|state| match state.checkout(below) {
                Checkout::Leased(batch) => Some(Some(batch)),
                Checkout::Settled => Some(None),
                Checkout::Busy => None,
            })
            .await;
        batch.map(|batch| Lease::new(self.shared.clone(), batch))
    }

    /// Waits until every event below `below` has a fate, and takes no part in settling them.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settled(&self, below: Seq) {
        Ticket::new(&self.shared, WaitFor::Progress)
            .until(|state| (state.watermark() >= below.min(state.next_seq())).then_some(()))
            .await;
    }

    /// Waits until at least `events` events are queued, or the bytes of a batch or of the whole
    /// capacity are; or events are queued and the last one that came found no room, or somebody
    /// waits for room; or the buffer no longer accepts.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn arrival(&self, events: usize) {
        Ticket::new(&self.shared, WaitFor::Arrival(events))
            .until(|state| state.is_due(events).then_some(()))
            .await;
    }

    /// Waits until no lease is out.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn no_lease_out(&self) {
        Ticket::new(&self.shared, WaitFor::Progress)
            .until(|state| (state.in_flight() == 0).then_some(()))
            .await;
    }

    /// Stops accepting events. Idempotent; what was accepted stays and can still be leased.
    pub fn close(&self) {
        self.shared.change(BufferState::close);
    }

    /// Refuses events from now on with [`PushError::Stopped`] although the buffer is open; those
    /// that wait for room, too.
    pub(crate) fn stop(&self, reason: Reason) {
        self.shared.change(|state| state.stop(reason));
    }

    /// Asks every lease holder to give back (see [`Lease::recalled`]), and hands out no further
    /// lease.
    ///
    /// Leases that are out can still be settled. This is the last word before a
    /// [`drain`](Self::drain).
    pub fn recall(&self) {
        self.shared.change(BufferState::recall);
    }

    /// Waits until [`recall`](Self::recall) has been called.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn recalled(&self) {
        self.shared.recalled().await;
    }

    /// Hands the queued events back, oldest first; they are counted as returned.
    ///
    /// Events in flight stay with their leases; if those give them back, a later drain returns
    /// them.
    #[must_use = "these events have left the books: nobody else will deliver them"]
    pub fn drain(&self) -> Vec<E> {
        self.shared
            .change(BufferState::drain)
            .into_iter()
            .map(|entry| entry.event)
            .collect()
    }

    /// Returns the barrier behind every event accepted so far.
    pub fn barrier(&self) -> Seq {
        self.shared.lock().state.next_seq()
    }

    /// Returns the low watermark: every event below it has a fate. It never goes back.
    pub fn watermark(&self) -> Seq {
        self.shared.lock().state.watermark()
    }

    /// Returns where every accepted event is, as of one moment.
    pub fn books(&self) -> Books {
        self.shared.lock().state.books()
    }

    /// Returns the bytes of the pending events.
    pub fn pending_bytes(&self) -> usize {
        self.shared.lock().state.pending_bytes()
    }

    /// Returns whether the buffer accepts events, and if not whether any is left.
    pub fn phase(&self) -> Phase {
        self.shared.lock().state.phase()
    }

    /// Returns the books, the low watermark and the barrier as of one moment.
    pub(crate) fn moment(&self) -> (Books, Seq, Seq) {
        let locked = self.shared.lock();
        (
            locked.state.books(),
            locked.state.watermark(),
            locked.state.next_seq(),
        )
    }

    /// Takes the turn of the one shutdown that may drain, unless another has it.
    pub(crate) fn try_turn(&self) -> Option<Turn<'_, E>> {
        self.shared.lock().state.take_turn().then(|| Turn {
            shared: &self.shared,
        })
    }

    /// Waits for that turn; cancel safe.
    pub(crate) async fn turn(&self) -> Turn<'_, E> {
        Ticket::new(&self.shared, WaitFor::Progress)
            .until(|state| state.take_turn().then_some(()))
            .await;
        Turn {
            shared: &self.shared,
        }
    }

    fn push_with(&self, event: E, overflow: Overflow) -> Result<Vec<Entry<E>>, PushError<E>> {
        let bytes = (self.shared.size_of)(&event);
        let mut locked = self.shared.lock();
        let Locked { state, waiters } = &mut *locked;
        let pushed = state.push(event, bytes, overflow);
        let wakers = match &pushed {
            Ok(evicted) if evicted.is_empty() => {
                waiters.after_push(state.queued(), state.is_due(usize::MAX))
            }
            Ok(_) => Some(waiters.after_change()),
            // What is queued is to be delivered now, so that there is room.
            Err(PushError::Full(_)) => waiters.after_push(state.queued(), true),
            Err(_) => None,
        };
        drop(locked);
        if let Some(wakers) = wakers {
            wakers.wake();
        }
        pushed
    }
}

/// The turn of the one shutdown that may drain; dropping it passes it on.
pub(crate) struct Turn<'a, E> {
    shared: &'a Shared<E>,
}

impl<E> Drop for Turn<'_, E> {
    fn drop(&mut self) {
        self.shared.change(BufferState::end_turn);
    }
}

impl<E> Shared<E> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Locked<E>> {
        self.locked.lock()
    }

    /// Waits until the buffer asks for its events back.
    pub(crate) async fn recalled(&self) {
        Ticket::new(self, WaitFor::Progress)
            .until(|state| state.recalled().then_some(()))
            .await;
    }

    /// Applies an operation that is not a push, and wakes everybody once the lock is released.
    pub(crate) fn change<T>(&self, operation: impl FnOnce(&mut BufferState<E>) -> T) -> T {
        let mut locked = self.lock();
        let answer = operation(&mut locked.state);
        let wakers = locked.waiters.after_change();
        drop(locked);
        wakers.wake();
        answer
    }
}

impl<E> Drop for Shared<E> {
    fn drop(&mut self) {
        let books = self.lock().state.books();
        if books.pending() > 0 {
            tracing::error!(unsettled = books.pending(), %books, "an event buffer was dropped with unsettled events");
        }
    }
}

impl<E> Clone for EventBuffer<E> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<E> fmt::Debug for EventBuffer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let locked = self.shared.lock();
        let (phase, books) = (locked.state.phase(), locked.state.books());
        drop(locked);
        f.debug_struct("EventBuffer")
            .field("phase", &phase)
            .field("books", &books)
            .finish()
    }
}
