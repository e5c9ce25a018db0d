//! Trackers, into which a program emits events.

mod background;
pub(crate) mod buffered;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::books::{Books, DeliveryReport, FlushReport};
use crate::error::PushError;
use crate::sync::{Mutex, StdArc};

/// Accepts events, and ensures that each gets a fate.
///
/// Object safe: hold it as `Arc<dyn Tracker<E>>`.
#[async_trait]
pub trait Tracker<E: Send + 'static>: fmt::Debug + Send + Sync {
    /// Accepts `event`, or gives it back. Never waits, neither for room nor for the network.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside.
    fn emit(&self, event: E) -> Result<(), PushError<E>>;

    /// Waits until every event accepted before the call has a fate, including events in other
    /// flushes.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: events whose sending was interrupted are queued again.
    async fn flush(&self) -> FlushReport;

    /// Stops accepting, delivers what is pending for at most `timeout`, and hands the rest back.
    ///
    /// Idempotent: a second caller waits for the first, and its report has the same books and
    /// returns no events. The shorter timeout ends both.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the tracker stays closed, the events stay pending, and the call can be
    /// repeated.
    async fn shutdown(&self, timeout: Duration) -> DeliveryReport<E>;

    /// Returns the books.
    fn books(&self) -> Books;
}

/// Receives the events that will not be delivered.
///
/// An observer is called on the task that emits or flushes, without any lock held. It must not
/// block.
pub trait Observer<E>: Send + Sync {
    /// An event was dropped because the buffer was full and the policy is to drop the oldest.
    fn dropped(&self, event: E) {
        drop(event);
    }

    /// An event was rejected by the far end.
    fn rejected(&self, event: E, reason: &crate::Reason) {
        let _ = reason;
        drop(event);
    }
}

/// Observes nothing: events that are not delivered are only counted.
impl<E> Observer<E> for () {}

/// A tracker that accepts every event and drops it by policy, as its books say.
///
/// For programs whose tracking is switched off.
#[derive(Debug, Default)]
pub struct NoopTracker {
    books: Mutex<(Books, bool)>,
}

impl NoopTracker {
    /// Creates a tracker.
    pub fn new() -> Self {
        Self {
            books: Mutex::new((Books::default(), false)),
        }
    }
}

#[async_trait]
impl<E: Send + 'static> Tracker<E> for NoopTracker {
    fn emit(&self, event: E) -> Result<(), PushError<E>> {
        let mut locked = self.books.lock();
        let (books, closed) = &mut *locked;
        if *closed {
            return Err(PushError::Closed(event));
        }
        books.accepted += 1;
        books.dropped += 1;
        drop(locked);
        drop(event);
        Ok(())
    }

    async fn flush(&self) -> FlushReport {
        FlushReport {
            books: Tracker::<E>::books(self),
            unsettled: 0,
            rejected: 0,
            dropped: 0,
            returned: 0,
            stop: None,
        }
    }

    async fn shutdown(&self, _timeout: Duration) -> DeliveryReport<E> {
        let mut locked = self.books.lock();
        locked.1 = true;
        DeliveryReport {
            books: locked.0,
            returned: Vec::new(),
            rejections: Vec::new(),
            stop: None,
        }
    }

    fn books(&self) -> Books {
        self.books.lock().0
    }
}

macro_rules! forward {
    ($pointer:ty) => {
        #[async_trait]
        impl<E: Send + 'static, T: Tracker<E> + ?Sized> Tracker<E> for $pointer {
            fn emit(&self, event: E) -> Result<(), PushError<E>> {
                (**self).emit(event)
            }

            async fn flush(&self) -> FlushReport {
                (**self).flush().await
            }

            async fn shutdown(&self, timeout: Duration) -> DeliveryReport<E> {
                (**self).shutdown(timeout).await
            }

            fn books(&self) -> Books {
                (**self).books()
            }
        }
    };
}

forward!(StdArc<T>);
forward!(Box<T>);
