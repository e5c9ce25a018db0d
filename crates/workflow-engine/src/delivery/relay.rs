//! The relay: delivers the outbox to one sink, and keeps its place as a cursor in the store.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{Either, select};
use futures::lock::Mutex;
use tracker_core::{
    Books, Clock, Config, Courier, DeliveryError, FarEnd, Hurry, Reason, Settlement, Transport,
};

use crate::clock::wall;
use crate::delivery::report::{RejectedEvent, SinkError, SinkReport};
use crate::payload::EncodedEvent;
use crate::random::Seed;
use crate::store::{Cursor, Page, Position, SinkClaim, Store, StoreError};
use crate::sync::lock;
use crate::worker::lease::Lease;
use crate::worker::store_clock::StoreClock;

/// The wait before the store is asked again for events that cannot be read yet, or that another
/// worker delivers; it doubles up to 1 second.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Delivers the outbox to one sink. A relay holds no events: after a crash delivery continues at
/// the cursor.
pub(crate) struct Relay {
    name: String,
    transport: Arc<dyn Transport<EncodedEvent>>,
    store: Arc<dyn Store>,
    clock: Arc<StoreClock>,
    lease: Arc<Lease>,
    config: Config,
    far_end: FarEnd,
    /// The first events that the sink has rejected since this engine was built.
    rejections: StdMutex<Vec<RejectedEvent>>,
    /// The claim on the sink while this worker holds it. The lock admits one delivery at a time,
    /// and the claim one worker, so that a sink receives events in one order.
    claim: Mutex<Option<SinkClaim>>,
    /// The number of tasks that deliver continuously.
    serving: AtomicUsize,
}

impl Relay {
    pub(crate) fn new(
        name: String,
        transport: Arc<dyn Transport<EncodedEvent>>,
        store: Arc<dyn Store>,
        clock: Arc<StoreClock>,
        lease: Arc<Lease>,
        config: Config,
    ) -> Self {
        Self {
            name,
            transport,
            store,
            clock,
            lease,
            config,
            far_end: FarEnd::new(),
            rejections: StdMutex::default(),
            claim: Mutex::new(None),
            serving: AtomicUsize::new(0),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Announces that a caller waits for the delivery until `deadline`; see [`FarEnd::hurry`].
    pub(crate) fn hurry(&self, deadline: Duration) -> Hurry<'_> {
        self.far_end.hurry(deadline)
    }

    /// Delivers everything up to `barrier`, or waits for another task or process that does.
    pub(crate) async fn deliver(
        &self,
        barrier: Position,
        deadline: Duration,
    ) -> Result<(), SinkError> {
        // A delivery that is under way makes its next attempt soon.
        let _hurry = (deadline < Duration::MAX).then(|| self.hurry(deadline));
        let left = deadline.saturating_sub(self.clock.now());
        let mut held = match select(pin!(self.claim.lock()), self.clock.sleep(left)).await {
            Either::Left((held, _)) => held,
            Either::Right(_) => {
                return Err(SinkError::Delivery(DeliveryError::Deadline {
                    last: self.far_end.last_error(),
                }));
            }
        };
        let mut pauses = Pauses::until(deadline);
        loop {
            let mut cursor = self.store.open_cursor(&self.name).await?;
            if cursor.position >= barrier {
                return Ok(());
            }
            match &*held {
                None => {
                    self.lease.ensure().await?;
                    *held = self
                        .store
                        .claim_sink(&self.name, &self.lease.worker_id, wall(&*self.clock))
                        .await?;
                    if held.is_none() {
                        pauses.pause(&*self.clock).await?;
                    }
                    // The cursor is read again, because it is valid only while the sink is held.
                }
                // This worker holds the sink for as long as its lease lasts.
                Some(claim) => match self
                    .lease
                    .keep_during(self.deliver_held(claim, &mut cursor, barrier, deadline))
                    .await
                {
                    // Another worker took over, while this one was silent.
                    Err(SinkError::Store(StoreError::SinkFenced { .. })) => *held = None,
                    outcome => return outcome,
                },
            }
        }
    }

    async fn deliver_held(
        &self,
        claim: &SinkClaim,
        cursor: &mut Cursor,
        barrier: Position,
        deadline: Duration,
    ) -> Result<(), SinkError> {
        let (mut pauses, mut readable) = (Pauses::until(deadline), false);
        let page = Page {
            events: self.config.batch_events(),
            bytes: self.config.batch_bytes(),
        };
        while cursor.position < barrier {
            let batch = self.store.outbox(cursor.position, page).await?;
            let (positions, events): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            if !events.is_empty() {
                self.deliver_batch(claim, &positions, &events, cursor, deadline)
                    .await?;
                pauses = Pauses::until(deadline);
            } else if readable {
                // Everything up to the barrier was readable before this read, so the rest was
                // purged.
                return Ok(());
            } else {
                let end = self.store.outbox_end().await?;
                // An end before the barrier belongs to a history that was cut: its server failed
                // over to a standby that had less.
                readable = end.readable >= barrier.min(end.position);
                if !readable {
                    // A write that began before has not ended.
                    pauses.pause(&*self.clock).await?;
                }
            }
        }
        Ok(())
    }

    /// Keeps the claim on the sink between deliveries until the guard is dropped.
    pub(crate) fn serve(&self) -> Serving<'_> {
        self.serving.fetch_add(1, Ordering::AcqRel);
        Serving(self)
    }

    /// Releases the claim on the sink, unless a task here delivers continuously.
    pub(crate) async fn release(&self) {
        if self.serving.load(Ordering::Acquire) > 0 {
            return;
        }
        let Some(mut held) = self.claim.try_lock() else {
            return;
        };
        if let Some(claim) = held.take()
            && let Err(error) = self.store.release_sink(&claim).await
        {
            tracing::warn!(
                sink = self.name, %error,
                "failed to release a sink; its claim will expire with the lease"
            );
        }
    }

    async fn deliver_batch(
        &self,
        claim: &SinkClaim,
        positions: &[Position],
        events: &[EncodedEvent],
        cursor: &mut Cursor,
        deadline: Duration,
    ) -> Result<(), SinkError> {
        // The jitter must differ between processes; the first event's id does.
        let seed = Seed::of(events[0].as_str()).value();
        let mut courier = Courier::new(
            &*self.transport,
            &*self.clock,
            &self.config,
            &self.far_end,
            deadline,
            seed,
        );
        let mut done = 0;
        while done < events.len() {
            let Settlement {
                events: settled,
                rejected,
            } = courier
                .deliver(&events[done..], |index| positions[done + index].0)
                .await?;
            let settled = settled.min(events.len() - done);
            done += settled;
            let begin = done - settled;
            let rejected: Vec<_> = rejected
                .into_iter()
                .filter(|(index, _)| *index < settled)
                .collect();
            let refused = rejected.len() as u64;
            self.reject(
                rejected
                    .into_iter()
                    .map(|(index, reason)| (&events[begin + index], reason)),
            );
            cursor.position = positions[done - 1];
            cursor.delivered += settled as u64 - refused;
            cursor.rejected += refused;
            self.store.set_cursor(claim, *cursor).await?;
        }
        Ok(())
    }

    /// Keeps the reasons of the first events that the sink has rejected.
    fn reject<'a>(&self, rejected: impl Iterator<Item = (&'a EncodedEvent, Reason)>) {
        let mut kept = lock(&self.rejections);
        let mut events = 0_u64;
        for (event, reason) in rejected {
            events += 1;
            if kept.len() < SinkReport::REJECTIONS_KEPT {
                kept.push(RejectedEvent::new(event, reason));
            }
        }
        drop(kept);
        if events > 0 {
            tracing::warn!(
                sink = self.name,
                events,
                "a sink rejected events for good; the report has its reasons"
            );
        }
    }

    async fn books(&self) -> Result<Books, StoreError> {
        // Read the cursor first: after the end it could be ahead of the end.
        let cursor = self.store.open_cursor(&self.name).await?;
        Ok(books(cursor, self.store.outbox_end().await?.accepted))
    }

    pub(crate) async fn report(&self, outcome: Result<(), SinkError>) -> SinkReport {
        let books = self.books().await;
        let (books, unread) = match books {
            Ok(books) => (books, None),
            Err(error) => (Books::default(), Some(SinkError::Store(error))),
        };
        SinkReport {
            sink: self.name.clone(),
            books,
            stop: outcome.err().or(unread),
            last_error: self.far_end.last_error(),
            rejections: lock(&self.rejections).clone(),
        }
    }
}

/// Returns the books of one sink: `accepted` events were ever put into the outbox, and `cursor` is
/// the sink's place.
pub(crate) fn books(cursor: Cursor, accepted: u64) -> Books {
    let Cursor {
        delivered,
        rejected,
        missed,
        ..
    } = cursor;
    let queued = accepted.saturating_sub(delivered + rejected + missed);
    Books {
        accepted,
        delivered,
        rejected,
        dropped: missed,
        queued,
        ..Books::default()
    }
}

/// Counts a task that delivers continuously, until it is dropped.
#[derive(Debug)]
pub(crate) struct Serving<'a>(&'a Relay);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.serving.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Waits whose length doubles, until a deadline.
struct Pauses {
    next: Duration,
    deadline: Duration,
}

impl Pauses {
    fn until(deadline: Duration) -> Self {
        Self {
            next: FIRST_PAUSE,
            deadline,
        }
    }

    async fn pause(&mut self, clock: &dyn Clock) -> Result<(), SinkError> {
        let left = self.deadline.saturating_sub(clock.now());
        if left.is_zero() {
            return Err(SinkError::Delivery(DeliveryError::Deadline { last: None }));
        }
        clock.sleep(self.next.min(left)).await;
        self.next = (self.next * 2).min(Duration::from_secs(1));
        Ok(())
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("sink", &self.name)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
