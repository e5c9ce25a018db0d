//! `BufferedTracker`: an event buffer, a transport and a clock; flush, shutdown and the background
//! loop.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, select, try_join_all};

use crate::books::{Books, DeliveryReport, FlushReport, Rejection, TrackerReport};
use crate::buffer::EventBuffer;
use crate::buffer::batch::Batch;
use crate::buffer::order::Seq;
use crate::buffer::state::Phase;
use crate::clock::Clock;
use crate::config::{Config, Overflow};
use crate::delivery::action::DeliveryError;
use crate::delivery::courier::Courier;
use crate::delivery::far_end::FarEnd;
use crate::error::PushError;
use crate::panic::observe;
use crate::sync::{Mutex, StdArc};
use crate::tracker::{Observer, Tracker};
use crate::transport::{Reason, Transport};

/// How long a shutdown whose time has expired waits for other flushes to give their events back.
///
/// A flush that is polled gives them back at once; a flush that is not polled does not.
const RECALL_GRACE: Duration = Duration::from_millis(100);

/// A tracker that buffers events and delivers them over a [`Transport`].
///
/// *Scoped* use calls [`flush`](Self::flush) and [`shutdown`](Self::shutdown) on the caller's task
/// and has nothing in the background, which suits a process that ends soon. *Background* use adds a
/// task that calls [`run`](Self::run). Both follow the same protocol, and can be mixed.
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use tracker_core::testing::{MemoryTransport, TestClock};
/// use tracker_core::{BufferedTracker, Config};
///
/// let transport = Arc::new(MemoryTransport::new());
/// let clock = Arc::new(TestClock::new());
/// let tracker = BufferedTracker::new(Config::default(), transport.clone(), clock.clone(), 7);
/// tracker.emit("started")?;
/// tracker.emit("completed")?;
/// let report = clock.run(tracker.shutdown(Duration::from_secs(5)));
/// assert_eq!(report.to_string(), "2 accepted = 2 delivered + 0 rejected + 0 dropped + 0 returned + 0 pending");
/// # Ok::<(), tracker_core::PushError<&str>>(())
/// ```
pub struct BufferedTracker<E> {
    pub(super) buffer: EventBuffer<E>,
    pub(super) config: Config,
    transport: StdArc<dyn Transport<E>>,
    pub(super) clock: StdArc<dyn Clock>,
    observer: StdArc<dyn Observer<E>>,
    far_end: FarEnd,
    pub(super) shared: Mutex<Shared>,
}

pub(super) struct Shared {
    seeds: fastrand::Rng,
    rejections: Vec<Rejection>,
    /// Why background delivery has ended although the tracker was open; `None` if it has not.
    pub(super) background_ended: Option<Reason>,
}

impl<E: Send + Sync + 'static> BufferedTracker<E> {
    /// Creates a tracker whose events count with their shallow size. `seed` determines the jitter
    /// of retries.
    pub fn new(
        config: Config,
        transport: StdArc<dyn Transport<E>>,
        clock: StdArc<dyn Clock>,
        seed: u64,
    ) -> Self {
        let buffer = EventBuffer::new(&config);
        Self::with_buffer(buffer, config, transport, clock, seed)
    }

    /// Creates a tracker over `buffer`, which decides how the size of an event is measured.
    ///
    /// Create both with the same `config`, because the buffer keeps the limits that it was created
    /// with.
    pub fn with_buffer(
        buffer: EventBuffer<E>,
        config: Config,
        transport: StdArc<dyn Transport<E>>,
        clock: StdArc<dyn Clock>,
        seed: u64,
    ) -> Self {
        let seeds = fastrand::Rng::with_seed(seed);
        let shared = Mutex::new(Shared {
            seeds,
            rejections: Vec::new(),
            background_ended: None,
        });
        Self {
            buffer,
            config,
            transport,
            clock,
            observer: StdArc::new(()),
            far_end: FarEnd::new(),
            shared,
        }
    }

    /// Hands the events that will not be delivered to `observer`.
    #[must_use]
    pub fn observed_by(mut self, observer: StdArc<dyn Observer<E>>) -> Self {
        self.observer = observer;
        self
    }

    /// Accepts `event`, or gives it back; see [`Tracker::emit`].
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside.
    pub fn emit(&self, event: E) -> Result<(), PushError<E>> {
        if self.config.overflow() == Overflow::Refuse {
            return self.buffer.push(event);
        }
        let evicted = self.buffer.push_evicting(event)?;
        evicted
            .into_iter()
            .for_each(|event| observe(|| self.observer.dropped(event)));
        Ok(())
    }

    /// Waits for room, then accepts `event`; see [`EventBuffer::push_wait`].
    ///
    /// A flush on another task, or [`run`](Self::run), must make that room. This waits with
    /// [`Overflow::DropOldest`] too, and drops nothing.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside; never `Full`.
    ///
    /// # Cancel safety
    ///
    /// **If the future is dropped while it waits, the event was not accepted, and is dropped with
    /// the future.**
    pub async fn emit_wait(&self, event: E) -> Result<(), PushError<E>> {
        self.buffer.push_wait(event).await
    }

    /// Delivers what was accepted before the call, for at most [`Config::flush_timeout`]; see
    /// [`Tracker::flush`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn flush(&self) -> FlushReport {
        let (before, _, barrier) = self.buffer.moment();
        let deadline = self.clock.now().saturating_add(self.config.flush_timeout());
        let stop = self.deliver_now(barrier, deadline).await;
        let (books, watermark, _) = self.buffer.moment();
        let unsettled = barrier
            .as_u64()
            .saturating_sub(watermark.as_u64())
            .min(books.pending());
        FlushReport {
            books,
            unsettled,
            rejected: books.rejected - before.rejected,
            dropped: books.dropped - before.dropped,
            returned: books.returned - before.returned,
            stop,
        }
    }

    /// Closes the tracker, delivers for at most `timeout`, and hands the rest back; see
    /// [`Tracker::shutdown`].
    ///
    /// If another task holds a flush that it does not poll, the events of that flush are reported
    /// as pending; [`drain`](Self::drain) returns them once the flush is dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn shutdown(&self, timeout: Duration) -> DeliveryReport<E> {
        self.buffer.close();
        // The first caller gets the events; if it is cancelled, the next one does.
        let mut first = self.buffer.try_drain_permit();
        let deadline = self.clock.now().saturating_add(timeout);
        let stop = self.deliver_now(self.buffer.barrier(), deadline).await;
        let mut returned = Vec::new();
        if self.buffer.phase() != Phase::Closed {
            self.buffer.recall();
            if first.is_none() {
                first = match select(
                    pin!(self.buffer.drain_permit()),
                    self.clock.sleep(2 * RECALL_GRACE),
                )
                .await
                {
                    Either::Left((turn, _)) => Some(turn),
                    Either::Right(_) => None,
                };
            }
            if first.is_some() && self.buffer.phase() != Phase::Closed {
                select(
                    pin!(self.buffer.no_batch_in_flight()),
                    self.clock.sleep(RECALL_GRACE),
                )
                .await;
                returned = self.buffer.drain();
            }
        }
        let rejections = self.shared.lock().rejections.clone();
        DeliveryReport {
            books: self.buffer.books(),
            returned,
            rejections,
            stop,
        }
    }

    /// Returns the state of delivery without delivering anything.
    pub fn report(&self) -> TrackerReport {
        let (rejections, background_ended) = {
            let shared = self.shared.lock();
            (shared.rejections.clone(), shared.background_ended.clone())
        };
        TrackerReport {
            books: self.books(),
            rejections,
            last_error: self.far_end.last_error(),
            background_ended,
        }
    }

    /// Hands the queued events back, oldest first; they are counted as returned.
    #[must_use = "these events have left the books: nobody else will deliver them"]
    pub fn drain(&self) -> Vec<E> {
        self.buffer.drain()
    }

    /// Returns the books.
    pub fn books(&self) -> Books {
        self.buffer.books()
    }

    /// Settles everything below `barrier` for a caller that waits until `deadline`; returns why
    /// that ended early.
    async fn deliver_now(&self, barrier: Seq, deadline: Duration) -> Option<DeliveryError> {
        let hurry = self.far_end.hurry(deadline);
        let stop = self.deliver_below(barrier, deadline).await.err();
        drop(hurry);
        stop.or_else(|| {
            self.shared
                .lock()
                .background_ended
                .clone()
                .map(|reason| DeliveryError::Background { reason })
        })
    }

    /// Settles everything below `barrier`, with as many batches in flight as the configuration
    /// allows.
    pub(super) async fn deliver_below(
        &self,
        barrier: Seq,
        deadline: Duration,
    ) -> Result<(), DeliveryError> {
        if self.config.in_flight() == 1 {
            return self.deliver_batches(barrier, deadline).await;
        }
        // The first one that stops drops the others, and so their batches.
        try_join_all((0..self.config.in_flight()).map(|_| self.deliver_batches(barrier, deadline)))
            .await
            .map(drop)
    }

    async fn deliver_batches(&self, barrier: Seq, deadline: Duration) -> Result<(), DeliveryError> {
        while let Some(batch) = self.next_batch(barrier, deadline).await? {
            // Boxed here and below: these futures are large, a batch is rare, and stacks are small
            // where loom runs.
            Box::pin(self.deliver(batch, deadline)).await?;
        }
        Ok(())
    }

    async fn next_batch(
        &self,
        barrier: Seq,
        deadline: Duration,
    ) -> Result<Option<Batch<E>>, DeliveryError> {
        let left = deadline.saturating_sub(self.clock.now());
        let recalled = pin!(self.buffer.recalled());
        match select(
            pin!(self.buffer.next_batch(barrier)),
            select(recalled, self.clock.sleep(left)),
        )
        .await
        {
            Either::Left((batch, _)) => Ok(batch),
            Either::Right((Either::Left(_), _)) => Err(DeliveryError::Recalled),
            // Another delivery has the events, and has recorded its failures.
            Either::Right((Either::Right(_), _)) => Err(DeliveryError::Deadline {
                last: self.far_end.last_error(),
            }),
        }
    }

    /// Settles every event of `batch`, or gives the rest back by dropping it.
    async fn deliver(&self, mut batch: Batch<E>, deadline: Duration) -> Result<(), DeliveryError> {
        let seed = self.shared.lock().seeds.u64(..);
        let mut courier = Courier::new(
            &*self.transport,
            &*self.clock,
            &self.config,
            &self.far_end,
            deadline,
            seed,
        );
        while !batch.events().is_empty() {
            let settlement = {
                let place = |index| batch.place(index).map_or(u64::MAX, Seq::as_u64);
                let deliver = Box::pin(courier.deliver(batch.events(), place));
                match select(deliver, pin!(batch.recalled())).await {
                    Either::Left((outcome, _)) => outcome?,
                    Either::Right(_) => return Err(DeliveryError::Recalled),
                }
            };
            for (seq, event, reason) in batch.settle(settlement) {
                let mut shared = self.shared.lock();
                if shared.rejections.len() < DeliveryReport::<E>::REJECTIONS_KEPT {
                    shared.rejections.push(Rejection {
                        seq: seq.as_u64(),
                        reason: reason.clone(),
                    });
                }
                drop(shared);
                observe(|| self.observer.rejected(event, &reason));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl<E: Send + Sync + 'static> Tracker<E> for BufferedTracker<E> {
    fn emit(&self, event: E) -> Result<(), PushError<E>> {
        Self::emit(self, event)
    }

    async fn flush(&self) -> FlushReport {
        Self::flush(self).await
    }

    async fn shutdown(&self, timeout: Duration) -> DeliveryReport<E> {
        Self::shutdown(self, timeout).await
    }

    fn books(&self) -> Books {
        Self::books(self)
    }
}

impl<E> fmt::Debug for BufferedTracker<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedTracker")
            .field("buffer", &self.buffer)
            .field("config", &self.config)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
