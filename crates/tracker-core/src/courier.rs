//! The one delivery loop: send, wait, split, until the first events of a batch have their fates.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::{Action, Delivery, Settlement, Stop};
use crate::far_end::FarEnd;
use crate::learned::Sent;
use crate::panic::message;
use crate::transport::{Reason, Receipt, SendError, Transport};

/// Carries one batch over a [`Transport`], whatever the batch was taken from.
///
/// It holds no events: they stay with the caller's lease, or in the caller's store, and the caller
/// settles them there. [`BufferedTracker`](crate::BufferedTracker) does so with an
/// [`EventBuffer`](crate::EventBuffer), the engine with the outbox that is its history.
///
/// A transport that panics has failed to send: the panic is caught, and the attempt is one without
/// an answer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tracker_core::testing::{MemoryTransport, TestClock};
/// use tracker_core::{Clock, Config, Courier, FarEnd, Stop};
///
/// let (transport, clock, far_end) = (MemoryTransport::new(), TestClock::new(), FarEnd::new());
/// transport.then_status(503);
/// clock.run(async {
///     let deadline = clock.now() + Duration::from_secs(30);
///     let mut courier = Courier::new(&transport, &clock, &Config::default(), &far_end, deadline, 7);
///     let events = ["started", "completed"];
///     let mut done = 0;
///     while done < events.len() {
///         done += courier.deliver(&events[done..], |index| (done + index) as u64).await?.events;
///     }
///     Ok::<(), Stop>(())
/// })?;
/// assert_eq!(transport.delivered(), ["started", "completed"]);
/// # Ok::<(), Stop>(())
/// ```
pub struct Courier<'a, E> {
    transport: &'a dyn Transport<E>,
    clock: &'a dyn Clock,
    far_end: &'a FarEnd,
    request_timeout: Duration,
    delivery: Delivery,
    /// The callers that this delivery knows of.
    calls: u64,
    /// Whether the last attempt was cut before `request_timeout`, so that there is time for this
    /// one.
    shared: bool,
}

/// However many callers come, there is so much time between two attempts.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

impl<'a, E> Courier<'a, E> {
    /// Starts the delivery of one batch, to end by `deadline` on `clock`; `seed` determines the
    /// jitter.
    ///
    /// `far_end` is what is known of the transport's far end; everything that delivers to it shares
    /// one.
    pub fn new(
        transport: &'a dyn Transport<E>,
        clock: &'a dyn Clock,
        config: &Config,
        far_end: &'a FarEnd,
        deadline: Duration,
        seed: u64,
    ) -> Self {
        let (delivery, calls) = (Delivery::new(config, deadline, seed), far_end.calls());
        Self {
            transport,
            clock,
            far_end,
            request_timeout: config.request_timeout(),
            delivery,
            calls,
            shared: false,
        }
    }

    /// Sends from the front of `events` until at least the first of them has a fate.
    ///
    /// The caller settles those events, and calls again with the rest of the same batch while any
    /// is left. `place` names an event by its index in `events`: the name is the same in every
    /// delivery, and grows from event to event.
    ///
    /// # Errors
    ///
    /// [`Stop`]: delivery ended early, and none of `events` has a fate.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event has a fate until this returns. Events that the far end had already
    /// received will be received again.
    pub async fn deliver(
        &mut self,
        events: &[E],
        place: impl Fn(usize) -> u64,
    ) -> Result<Settlement, Stop> {
        if events.is_empty() {
            return Ok(Settlement::default());
        }
        loop {
            let began = self.clock.now();
            let left = self.delivery.time_left(began);
            // The far end has asked for rest, in this delivery or an earlier one.
            let rest = self.far_end.rests_until().saturating_sub(began);
            let Some(left) = left.filter(|left| rest < *left) else {
                return Err(Stop::Deadline {
                    last: self.far_end.trouble(),
                });
            };
            if !rest.is_zero() {
                self.clock.sleep(rest).await;
                continue;
            }
            self.delivery.set_learned(self.far_end.learned());
            let range = self.delivery.range(events.len());
            let places = place(range.start)..=place(range.end.saturating_sub(1));
            // From the first byte on the far end may have them, also if this future is dropped
            // before the answer.
            let noted = self
                .far_end
                .teach(&mut self.delivery, |delivery| delivery.sends(&places));
            let (answer, cut) = Box::pin(self.attempt(&events[range.clone()], left)).await;
            let now = self.clock.now();
            let sent = Sent {
                events: range.len(),
                places,
                took: now.saturating_sub(began),
            };
            let error = answer.as_ref().err().cloned();
            let action = self.far_end.teach(&mut self.delivery, |delivery| {
                if noted {
                    delivery.has_ended(&sent);
                }
                delivery.on_answer(sent, answer, now)
            });
            let before = self.far_end.trouble();
            match &action {
                Action::Settle(_) if error.as_ref().is_none_or(is_conclusive) => {
                    self.far_end.well()
                }
                Action::Stop(Stop::Configuration(error)) => self.far_end.ails(error, now),
                // An attempt that was cut short says less than the one before it.
                Action::Wait(_) | Action::Stop(_) if !(cut && before.is_some()) => {
                    error.iter().for_each(|error| self.far_end.ails(error, now));
                }
                _ => {}
            }
            match action {
                Action::Settle(settlement) => return Ok(settlement),
                Action::SendNow => {}
                Action::Wait(delay) => self.wait(now.saturating_add(delay)).await,
                Action::Stop(Stop::Deadline { .. }) => {
                    return Err(Stop::Deadline {
                        last: self.far_end.trouble(),
                    });
                }
                Action::Stop(stop) => return Err(stop),
            }
        }
    }

    /// Sends once; says with the answer whether it was cut short, so that there is time for another
    /// attempt.
    async fn attempt(
        &mut self,
        events: &[E],
        left: Duration,
    ) -> (Result<Receipt, SendError>, bool) {
        let (transport, options) = (self.transport, self.delivery.options());
        // The call is inside the future, so that its panics are caught, too.
        let send = async move { transport.send(events, options).await };
        let mut send = pin!(AssertUnwindSafe(send).catch_unwind());
        let began = self.clock.now();
        let mut until = began.saturating_add(self.share(left));
        loop {
            let rest = until.saturating_sub(self.clock.now());
            let demanded = pin!(self.far_end.demanded(self.calls));
            match select(send.as_mut(), select(self.clock.sleep(rest), demanded)).await {
                Either::Left((Ok(answer), _)) => {
                    self.shared = false;
                    return (answer, false);
                }
                Either::Left((Err(panic), _)) => {
                    return (
                        Err(SendError::Panicked {
                            reason: Reason::new(message(&*panic)),
                        }),
                        false,
                    );
                }
                Either::Right((Either::Left(_), _)) => {
                    let after = self.clock.now().saturating_sub(began);
                    let cut = after < self.request_timeout;
                    self.shared = cut;
                    return (Err(SendError::TimedOut { after }), cut);
                }
                Either::Right((Either::Right(_), _)) => {
                    self.note_callers();
                    let now = self.clock.now();
                    let left = self.delivery.time_left(now).unwrap_or_default();
                    until = until.min(now.saturating_add(self.share(left)));
                }
            }
        }
    }

    /// Returns how long an attempt may take with that much time left.
    ///
    /// It is as long as a request may take. Where less is left, to the delivery or to a caller that
    /// waits for it, it is half of that, so that there is a second attempt; but not if the far end
    /// needs longer, as far as is known, and not after an attempt that was cut: then every attempt
    /// would be in vain.
    fn share(&self, left: Duration) -> Duration {
        let all = self.request_timeout.min(left);
        if self.shared {
            return all;
        }
        let now = self.clock.now();
        let caller = self
            .far_end
            .next_deadline(now)
            .map(|until| until.saturating_sub(now));
        let time = caller.map_or(left, |caller| caller.min(left));
        let needs = self.delivery.learned().needs;
        // If even all of the caller's time is too short, it cannot be helped.
        let shares = [time / 2, time].map(|share| share.min(self.request_timeout));
        shares
            .into_iter()
            .find(|share| *share > needs)
            .unwrap_or(all)
    }

    /// Waits until `until`, or until soon if somebody waits for the next attempt.
    async fn wait(&mut self, mut until: Duration) {
        let soon = self.clock.now().saturating_add(LEAST_PAUSE);
        loop {
            if self.far_end.calls() != self.calls {
                self.note_callers();
                until = until.min(soon);
            }
            let rest = until.saturating_sub(self.clock.now());
            if rest.is_zero() {
                return;
            }
            let demanded = pin!(self.far_end.demanded(self.calls));
            select(self.clock.sleep(rest), demanded).await;
        }
    }

    /// Notes that somebody waits: the delays start at the beginning.
    fn note_callers(&mut self) {
        self.calls = self.far_end.calls();
        self.delivery.hurry();
    }
}

/// Whether a refusal says that the far end is well: it has read the event.
fn is_conclusive(error: &SendError) -> bool {
    matches!(
        error,
        SendError::Answer {
            status: 400..=499,
            ..
        }
    )
}

impl<E> fmt::Debug for Courier<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier")
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}
