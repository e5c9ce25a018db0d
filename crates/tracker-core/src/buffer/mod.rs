//! The event buffer: a handle to a state behind one lock.
//!
//! Every critical section is short. No code of a user runs inside one: wakers are woken and events
//! are dropped after the lock is released.

pub(crate) mod batch;

mod wait;

mod shared;

mod waiters;

pub(crate) mod state;

pub(crate) mod order;

use std::fmt;

use batch::Batch;
use order::{Entry, Seq};
use shared::{Locked, Shared};
use state::{BufferState, Checkout, Phase};
use wait::{Ticket, recalled};
use waiters::{WaitFor, Waiters};

use crate::books::Books;
use crate::config::{Config, Overflow};
use crate::error::PushError;
use crate::sync::{Arc, Mutex};
use crate::transport::Reason;

/// A bounded event buffer in which an event stays on the books until its fate is known.
///
/// A clone is another handle to the same buffer. If the last handle and the last batch are dropped
/// while events are pending, those events are dropped with them, and an error with their number is
/// logged.
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
/// while let Some(batch) = buffer.next_batch(barrier).await {
///     // Send `batch.events()`. If this future is dropped, the batch gives its events back.
///     batch.ack();
/// }
/// assert_eq!(buffer.books().delivered, 2);
/// # Ok::<(), tracker_core::PushError<&str>>(())
/// # }).unwrap();
/// ```
pub struct EventBuffer<E> {
    shared: Arc<Shared<E>>,
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
    /// `size_of` is called once per push, before the lock is taken.
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
    /// Accepting and closing exclude each other: an event is either accepted, and gets a fate, or
    /// given back.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside: the buffer is closed, it is full, or the event is too
    /// large.
    pub fn push(&self, event: E) -> Result<(), PushError<E>> {
        self.push_with(event, Overflow::Refuse).map(drop)
    }

    /// Accepts `event`, and evicts the oldest queued events if there is no room otherwise.
    ///
    /// Returns the evicted events, oldest first; they are counted as dropped. Events in flight are
    /// never evicted.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside. It is `Full` only if the events in flight leave no
    /// room, and then nothing was evicted.
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

    /// Waits until a push of an event of `bytes` would not be refused as full. Other pushes may use
    /// the room first.
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
    /// Waits while other batches hold the rest below the barrier, and while the most batches
    /// allowed are in flight.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a batch that is dropped gives its events back.
    pub async fn next_batch(&self, below: Seq) -> Option<Batch<E>> {
        let leased = Ticket::new(&self.shared, WaitFor::Progress)
            .until(|state| match state.checkout(below) {
                Checkout::Leased(leased) => Some(Some(leased)),
                Checkout::Settled => Some(None),
                Checkout::Busy => None,
            })
            .await;
        leased.map(|leased| Batch::new(self.shared.clone(), leased))
    }

    /// Waits until every event below `below` has a fate. Does not settle any.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settled(&self, below: Seq) {
        Ticket::new(&self.shared, WaitFor::Progress)
            .until(|state| (state.watermark() >= below.min(state.next_seq())).then_some(()))
            .await;
    }

    /// Waits until one of these is true: at least `events` events are queued; the bytes of a batch,
    /// or of the whole capacity, are queued; events are queued, and the last push found no room or
    /// a push waits for room; the buffer is closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn arrival(&self, events: usize) {
        Ticket::new(&self.shared, WaitFor::Arrival(events))
            .until(|state| state.is_due(events).then_some(()))
            .await;
    }

    /// Waits until no batch is in flight.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn no_batch_in_flight(&self) {
        Ticket::new(&self.shared, WaitFor::Progress)
            .until(|state| (state.in_flight() == 0).then_some(()))
            .await;
    }

    /// Stops accepting events. Idempotent. Events that were accepted stay, and can still be taken
    /// in batches.
    pub fn close(&self) {
        self.shared.change(BufferState::close);
    }

    /// Refuses events from now on with [`PushError::Stopped`] although the buffer is open,
    /// including those that wait for room.
    pub(crate) fn stop(&self, reason: Reason) {
        self.shared.change(|state| state.stop(reason));
    }

    /// Asks every holder of a batch to give it back (see [`Batch::recalled`]), and hands out no
    /// further batch.
    ///
    /// Batches in flight can still be settled. Call this before a [`drain`](Self::drain).
    pub fn recall(&self) {
        self.shared.change(BufferState::recall);
    }

    /// Waits until [`recall`](Self::recall) has been called.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn recalled(&self) {
        recalled(&self.shared).await;
    }

    /// Hands the queued events back, oldest first; they are counted as returned.
    ///
    /// Events in flight stay in their batches; if a batch gives them back, a later drain returns
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

    /// Returns the low watermark: every event below it has a fate. It never decreases.
    pub fn watermark(&self) -> Seq {
        self.shared.lock().state.watermark()
    }

    /// Returns the books, as of one moment.
    pub fn books(&self) -> Books {
        self.shared.lock().state.books()
    }

    /// Returns the bytes of the pending events.
    pub fn pending_bytes(&self) -> usize {
        self.shared.lock().state.pending_bytes()
    }

    /// Returns whether the buffer is open, closing or closed.
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

    /// Takes the permit to drain, which one shutdown at a time has; `None` while another has it.
    pub(crate) fn try_drain_permit(&self) -> Option<DrainPermit<'_, E>> {
        self.shared
            .lock()
            .state
            .take_drain_permit()
            .then(|| DrainPermit {
                shared: &self.shared,
            })
    }

    /// Waits for the permit to drain; cancel safe.
    pub(crate) async fn drain_permit(&self) -> DrainPermit<'_, E> {
        Ticket::new(&self.shared, WaitFor::Progress)
            .until(|state| state.take_drain_permit().then_some(()))
            .await;
        DrainPermit {
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
            // Deliver what is queued now, so that there is room.
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

/// The permit to drain, which another shutdown can take once this is dropped.
pub(crate) struct DrainPermit<'a, E> {
    shared: &'a Shared<E>,
}

impl<E> Drop for DrainPermit<'_, E> {
    fn drop(&mut self) {
        self.shared.change(BufferState::return_drain_permit);
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
        let phase = locked.state.phase();
        let books = locked.state.books();
        drop(locked);
        f.debug_struct("EventBuffer")
            .field("phase", &phase)
            .field("books", &books)
            .finish()
    }
}
