//! The one delivery loop: send, wait, split, until the first events of a batch have their fates.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::{Action, Delivery, Settlement, Stop};
use crate::transport::{SendError, Transport};

/// Carries one batch over a [`Transport`], whatever the batch was taken from.
///
/// It holds no events: they stay with the caller's lease, or in the caller's store, and the caller settles them
/// there. [`BufferedTracker`](crate::BufferedTracker) does so with an [`EventBuffer`](crate::EventBuffer), the engine
/// with the outbox that is its history.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tracker_core::testing::{MemoryTransport, TestClock};
/// use tracker_core::{Clock, Config, Courier, Stop};
///
/// let (transport, clock) = (MemoryTransport::new(), TestClock::new());
/// transport.then_status(503);
/// clock.run(async {
///     let deadline = clock.now() + Duration::from_secs(30);
///     let mut courier = Courier::new(&transport, &clock, &Config::default(), deadline, 7);
///     let events = ["started", "completed"];
///     let mut done = 0;
///     while done < events.len() {
///         done += courier.deliver(&events[done..]).await?.events;
///     }
///     Ok::<(), Stop>(())
/// })?;
/// assert_eq!(transport.delivered(), ["started", "completed"]);
/// # Ok::<(), Stop>(())
/// ```
pub struct Courier<'a, E> {
    transport: &'a dyn Transport<E>,
    clock: &'a dyn Clock,
    request_timeout: Duration,
    delivery: Delivery,
}

impl<'a, E> Courier<'a, E> {
    /// Starts the delivery of one batch, to end by `deadline` on `clock`; `seed` determines the jitter.
    pub fn new(
        transport: &'a dyn Transport<E>,
        clock: &'a dyn Clock,
        config: &Config,
        deadline: Duration,
        seed: u64,
    ) -> Self {
        let delivery = Delivery::new(config, deadline, seed);
        Self { transport, clock, request_timeout: config.request_timeout(), delivery }
    }

    /// Sends from the front of `events` until at least the first of them has a fate.
    ///
    /// The caller settles those events, and calls again with the rest of the same batch while any is left.
    ///
    /// # Errors
    ///
    /// [`Stop`]: delivery ended early, and none of `events` has a fate.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event has a fate until this returns. Events that the far end had already received will be
    /// received again.
    pub async fn deliver(&mut self, events: &[E]) -> Result<Settlement, Stop> {
        if events.is_empty() {
            return Ok(Settlement::default());
        }
        let mut last = None;
        loop {
            let Some(left) = self.delivery.time_left(self.clock.now()) else {
                return Err(Stop::Deadline { last });
            };
            let range = self.delivery.range(events.len());
            let answer = {
                let send = self.transport.send(&events[..range], self.delivery.options());
                let timeout = self.request_timeout.min(left);
                match select(send, pin!(self.clock.sleep(timeout))).await {
                    Either::Left((answer, _)) => answer,
                    // An attempt that the deadline cut short says less than the one before it.
                    Either::Right(_) if timeout < self.request_timeout && last.is_some() => {
                        return Err(Stop::Deadline { last });
                    }
                    Either::Right(_) => Err(SendError::no_answer(format!("none within {timeout:?}"))),
                }
            };
            last = answer.as_ref().err().cloned().or(last);
            match self.delivery.on_answer(range, answer, self.clock.now()) {
                Action::Settle(settlement) => return Ok(settlement),
                Action::SendNow => {}
                Action::Wait(delay) => self.clock.sleep(delay).await,
                Action::Stop(stop) => return Err(stop),
            }
        }
    }
}

impl<E> fmt::Debug for Courier<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}
