//! `BufferedTracker`: an event buffer, a transport and a clock; flush, shutdown and the background
//! loop.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{Either, select, try_join_all};

use crate::books::{Books, DeliveryReport, FlushReport, Rejection, TrackerReport};
use crate::buffer::EventBuffer;
use crate::clock::Clock;
use crate::config::{Config, Overflow};
use crate::courier::Courier;
use crate::delivery::Stop;
use crate::error::PushError;
use crate::far_end::FarEnd;
use crate::lease::Lease;
use crate::panic::{message, observe};
use crate::state::{Phase, Seq};
use crate::sync::{Mutex, StdArc};
use crate::tracker::{Observer, Tracker};
use crate::transport::{Reason, Transport};

/// How long a shutdown whose time is up waits for other flushes to give their events back.
///
/// A flush that is polled gives back at once; one that nobody polls cannot be waited for.
const RECALL_GRACE: Duration = Duration::from_millis(100);

/// A tracker that buffers events and delivers them over a [`Transport`].
///
/// *Scoped* use is [`flush`](Self::flush) and [`shutdown`](Self::shutdown) on the caller's task and
/// nothing in the background: right for a process that ends soon. *Background* use adds a task that
/// runs [`run`](Self::run). Both follow the same protocol, and can be mixed.
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use tracker_core::testing::{MemoryTransport, TestClock};
/// use tracker_core::{BufferedTracker, Config};
///
/// let (transport, clock) = (Arc::new(MemoryTransport::new()), Arc::new(TestClock::new()));
/// let tracker = BufferedTracker::new(Config::default(), transport.clone(), clock.clone(), 7);
/// tracker.emit("started")?;
/// tracker.emit("completed")?;
/// let report = clock.run(tracker.shutdown(Duration::from_secs(5)));
/// assert_eq!(report.to_string(), "2 accepted = 2 delivered + 0 rejected + 0 dropped + 0 returned + 0 pending");
/// # Ok::<(), tracker_core::PushError<&str>>(())
/// ```
pub struct BufferedTracker<E> {
    buffer: EventBuffer<E>,
    config: Config,
    transport: StdArc<dyn Transport<E>>,
    clock: StdArc<dyn Clock>,
    observer: StdArc<dyn Observer<E>>,
    far_end: FarEnd,
    shared: Mutex<Shared>,
}

struct Shared {
    seeds: fastrand::Rng,
    rejections: Vec<Rejection>,
    /// Why background delivery has ended, if it has although the tracker was open.
    background_ended: Option<Reason>,
}

impl<E: Send + Sync + 'static> BufferedTracker<E> {
    /// Creates a tracker whose events count with their shallow size; `seed` determines the jitter
    /// of its retries.
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
    /// Make both of the same `config`: the buffer's limits are those that it was created with.
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
    /// Something else must make that room meanwhile: a flush on another task, or
    /// [`run`](Self::run). It waits with [`Overflow::DropOldest`], too, and drops nothing.
    ///
    /// # Errors
    ///
    /// [`PushError`] with the event inside; never `Full`.
    ///
    /// # Cancel safety
    ///
    /// **An event whose emit was dropped while it waited was not accepted, and is dropped with the
    /// future.**
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

    /// Closes, delivers for at most `timeout`, and hands the rest back; see [`Tracker::shutdown`].
    ///
    /// If another task holds a flush that it no longer polls, that flush's events are reported as
    /// pending; they can be had by [`drain`](Self::drain) once it is dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn shutdown(&self, timeout: Duration) -> DeliveryReport<E> {
        self.buffer.close();
        // The first caller gets the events; if it is cancelled, the next one does.
        let mut first = self.buffer.try_turn();
        let deadline = self.clock.now().saturating_add(timeout);
        let stop = self.deliver_now(self.buffer.barrier(), deadline).await;
        let mut returned = Vec::new();
        if self.buffer.phase() != Phase::Closed {
            self.buffer.recall();
            if first.is_none() {
                first = match select(pin!(self.buffer.turn()), self.clock.sleep(2 * RECALL_GRACE))
                    .await
                {
                    Either::Left((turn, _)) => Some(turn),
                    Either::Right(_) => None,
                };
            }
            if first.is_some() && self.buffer.phase() != Phase::Closed {
                select(
                    pin!(self.buffer.no_lease_out()),
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

    /// Delivers in the background: whenever a batch is full, or its first event has waited for
    /// [`Config::linger`], or an event has found no room.
    ///
    /// Returns once the tracker is closed and nothing is pending. While the endpoint is failing it
    /// continues to try; while it refuses for a wrong configuration it tries again every
    /// [`Config::max_delay`]. What fails is logged once, and again when it changes;
    /// [`report`](Self::report) and every flush say it, too.
    ///
    /// If it panics, for instance because the clock has no timer, it returns; then emits are
    /// refused with [`PushError::Stopped`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the loop only ever holds leases, so the task that runs it can be aborted at any
    /// time.
    pub async fn run(&self) {
        if let Err(panic) = AssertUnwindSafe(Box::pin(self.run_loop()))
            .catch_unwind()
            .await
        {
            self.background_ended(Reason::new(format!("it panicked: {}", message(&*panic))));
        }
    }

    async fn run_loop(&self) {
        loop {
            self.buffer.arrival(1).await;
            let full = pin!(
                self.buffer.arrival(
                    self.config
                        .batch_events()
                        .min(self.config.capacity_events())
                )
            );
            select(full, self.clock.sleep(self.config.linger())).await;
            // Nobody waits for this delivery, so it has no deadline: it honours a `Retry-After` of
            // up to a day.
            match self
                .deliver_below(self.buffer.barrier(), Duration::MAX)
                .await
            {
                Ok(()) => {}
                Err(Stop::Recalled) => return,
                Err(_) => {
                    let settled = pin!(self.buffer.settled(self.buffer.barrier()));
                    select(settled, self.clock.sleep(self.config.max_delay())).await;
                }
            }
            if self.buffer.phase() == Phase::Closed {
                return;
            }
        }
    }

    /// Notes that the task which ran [`run`](Self::run) has ended while the tracker is open: from
    /// then on emits are refused with [`PushError::Stopped`], and reports say so. Nothing happens
    /// if the tracker is closed.
    pub fn background_ended(&self, reason: Reason) {
        if self.buffer.phase() != Phase::Open {
            return;
        }
        tracing::error!(
            pending = self.books().pending(),
            "background delivery has ended; events are refused from now on"
        );
        self.buffer.stop(reason.clone());
        self.shared.lock().background_ended.get_or_insert(reason);
    }

    /// Returns the state of delivery as it is, without delivering anything.
    pub fn report(&self) -> TrackerReport {
        let (rejections, background_ended) = {
            let shared = self.shared.lock();
            (shared.rejections.clone(), shared.background_ended.clone())
        };
        TrackerReport {
            books: self.books(),
            rejections,
            trouble: self.far_end.trouble(),
            background_ended,
        }
    }

    /// Hands the queued events back, oldest first; they are counted as returned.
    #[must_use = "these events have left the books: nobody else will deliver them"]
    pub fn drain(&self) -> Vec<E> {
        self.buffer.drain()
    }

    /// Returns where every accepted event is.
    pub fn books(&self) -> Books {
        self.buffer.books()
    }

    /// Settles everything below `barrier` for a caller who waits until `deadline`; returns why that
    /// ended early.
    async fn deliver_now(&self, barrier: Seq, deadline: Duration) -> Option<Stop> {
        let hurry = self.far_end.hurry(deadline);
        let stop = self.deliver_below(barrier, deadline).await.err();
        drop(hurry);
        stop.or_else(|| {
            self.shared
                .lock()
                .background_ended
                .clone()
                .map(|reason| Stop::Background { reason })
        })
    }

    /// Settles everything below `barrier`, in as many lanes as batches may be in flight.
    async fn deliver_below(&self, barrier: Seq, deadline: Duration) -> Result<(), Stop> {
        if self.config.in_flight() == 1 {
            return self.lane(barrier, deadline).await;
        }
        // The first lane to stop drops the others, and so their leases.
        try_join_all((0..self.config.in_flight()).map(|_| self.lane(barrier, deadline)))
            .await
            .map(drop)
    }

    async fn lane(&self, barrier: Seq, deadline: Duration) -> Result<(), Stop> {
        while let Some(lease) = self.next_lease(barrier, deadline).await? {
            // Boxed here and below: these futures are large, a batch is rare, and stacks are small
            // where loom runs.
            Box::pin(self.deliver(lease, deadline)).await?;
        }
        Ok(())
    }

    async fn next_lease(&self, barrier: Seq, deadline: Duration) -> Result<Option<Lease<E>>, Stop> {
        let left = deadline.saturating_sub(self.clock.now());
        let recalled = pin!(self.buffer.recalled());
        match select(
            pin!(self.buffer.next_lease(barrier)),
            select(recalled, self.clock.sleep(left)),
        )
        .await
        {
            Either::Left((lease, _)) => Ok(lease),
            Either::Right((Either::Left(_), _)) => Err(Stop::Recalled),
            // Another delivery has the events, and knows what it has met.
            Either::Right((Either::Right(_), _)) => Err(Stop::Deadline {
                last: self.far_end.trouble(),
            }),
        }
    }

    /// Settles every event of `lease`, or drops it, and with it gives the rest back.
    async fn deliver(&self, mut lease: Lease<E>, deadline: Duration) -> Result<(), Stop> {
        let seed = self.shared.lock().seeds.u64(..);
        let mut courier = Courier::new(
            &*self.transport,
            &*self.clock,
            &self.config,
            &self.far_end,
            deadline,
            seed,
        );
        while !lease.events().is_empty() {
            let settlement = {
                let place = |index| lease.place(index).map_or(u64::MAX, Seq::as_u64);
                let deliver = Box::pin(courier.deliver(lease.events(), place));
                match select(deliver, pin!(lease.recalled())).await {
                    Either::Left((outcome, _)) => outcome?,
                    Either::Right(_) => return Err(Stop::Recalled),
                }
            };
            for (seq, event, reason) in lease.settle(settlement) {
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
