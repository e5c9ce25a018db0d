//! The one delivery loop: send, wait, split, until the first events of a batch have their fates.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::action::{Action, DeliveryError};
use crate::delivery::far_end::FarEnd;
use crate::delivery::learned::Sent;
use crate::delivery::policy::Delivery;
use crate::panic::message;
use crate::settlement::Settlement;
use crate::transport::{Reason, Receipt, SendError, Transport};

/// Delivers one batch over a [`Transport`], from any source of batches.
///
/// A courier holds no events: they stay in the caller's batch or store, and the caller settles them
/// there. [`BufferedTracker`](crate::BufferedTracker) does so with an
/// [`EventBuffer`](crate::EventBuffer), the engine with the outbox that is its history.
///
/// A panic of the transport is caught; the attempt counts as one without an answer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tracker_core::testing::{MemoryTransport, TestClock};
/// use tracker_core::{Clock, Config, Courier, FarEnd, DeliveryError};
///
/// let transport = MemoryTransport::new();
/// let clock = TestClock::new();
/// let far_end = FarEnd::new();
/// transport.then_status(503);
/// clock.run(async {
///     let deadline = clock.now() + Duration::from_secs(30);
///     let mut courier = Courier::new(&transport, &clock, &Config::default(), &far_end, deadline, 7);
///     let events = ["started", "completed"];
///     let mut done = 0;
///     while done < events.len() {
///         done += courier.deliver(&events[done..], |index| (done + index) as u64).await?.events;
///     }
///     Ok::<(), DeliveryError>(())
/// })?;
/// assert_eq!(transport.delivered(), ["started", "completed"]);
/// # Ok::<(), DeliveryError>(())
/// ```
pub struct Courier<'a, E> {
    transport: &'a dyn Transport<E>,
    clock: &'a dyn Clock,
    far_end: &'a FarEnd,
    request_timeout: Duration,
    delivery: Delivery,
    /// The number of callers that this delivery knows of.
    calls: u64,
    /// Whether the last attempt was ended before `request_timeout`, so that there is time for this
    /// one.
    was_shortened: bool,
}

/// The least time between two attempts, however many callers come.
const MIN_ATTEMPT_INTERVAL: Duration = Duration::from_millis(50);

impl<'a, E> Courier<'a, E> {
    /// Starts the delivery of one batch, which ends by `deadline` on `clock`. `seed` determines the
    /// jitter.
    ///
    /// `far_end` is the state of the transport's far end; everything that delivers to it shares
    /// one.
    pub fn new(
        transport: &'a dyn Transport<E>,
        clock: &'a dyn Clock,
        config: &Config,
        far_end: &'a FarEnd,
        deadline: Duration,
        seed: u64,
    ) -> Self {
        let delivery = Delivery::new(config, deadline, seed);
        let calls = far_end.calls();
        Self {
            transport,
            clock,
            far_end,
            request_timeout: config.request_timeout(),
            delivery,
            calls,
            was_shortened: false,
        }
    }

    /// Sends `events` from the front until at least the first of them has a fate.
    ///
    /// The caller settles those events, and calls again with the rest of the same batch until none
    /// is left. `place` returns the place of the event with an index in `events`: a number that is
    /// the same in every delivery, and grows from event to event.
    ///
    /// # Errors
    ///
    /// [`DeliveryError`] if delivery ended early; none of `events` has a fate.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event has a fate until this returns. Events that the far end had already
    /// received will be received again.
    pub async fn deliver(
        &mut self,
        events: &[E],
        place: impl Fn(usize) -> u64,
    ) -> Result<Settlement, DeliveryError> {
        if events.is_empty() {
            return Ok(Settlement::default());
        }
        loop {
            let began = self.clock.now();
            let left = self.delivery.time_left(began);
            // The far end has asked for rest, in this delivery or an earlier one.
            let rest = self.far_end.rests_until().saturating_sub(began);
            let Some(left) = left.filter(|left| rest < *left) else {
                return Err(DeliveryError::Deadline {
                    last: self.far_end.last_error(),
                });
            };
            if !rest.is_zero() {
                self.clock.sleep(rest).await;
                continue;
            }
            self.delivery.set_learned(self.far_end.learned());
            let range = self.delivery.range(events.len());
            let places = place(range.start)..=place(range.end.saturating_sub(1));
            // From the first byte on the far end may have the events, even if this future is
            // dropped before the answer.
            let noted = self.far_end.update(&mut self.delivery, |delivery| {
                delivery.begin_request(&places)
            });
            let (answer, cut) = Box::pin(self.attempt(&events[range.clone()], left)).await;
            let now = self.clock.now();
            let sent = Sent {
                events: range.len(),
                places,
                took: now.saturating_sub(began),
            };
            let error = answer.as_ref().err().cloned();
            let action = self.far_end.update(&mut self.delivery, |delivery| {
                if noted {
                    delivery.end_request(&sent);
                }
                delivery.on_answer(sent, answer, now)
            });
            let before = self.far_end.last_error();
            match &action {
                Action::Settle(_) if error.as_ref().is_none_or(is_conclusive) => {
                    self.far_end.record_success()
                }
                Action::Stop(DeliveryError::Configuration(error)) => {
                    self.far_end.record_failure(error, now)
                }
                // An attempt that was shortened says less than the one before it.
                Action::Wait(_) | Action::Stop(_) if !(cut && before.is_some()) => {
                    error
                        .iter()
                        .for_each(|error| self.far_end.record_failure(error, now));
                }
                _ => {}
            }
            match action {
                Action::Settle(settlement) => return Ok(settlement),
                Action::SendNow => {}
                Action::Wait(delay) => self.wait(now.saturating_add(delay)).await,
                Action::Stop(DeliveryError::Deadline { .. }) => {
                    return Err(DeliveryError::Deadline {
                        last: self.far_end.last_error(),
                    });
                }
                Action::Stop(stop) => return Err(stop),
            }
        }
    }

    /// Sends once. Returns the answer, and whether the attempt was shortened to leave time for
    /// another one.
    async fn attempt(
        &mut self,
        events: &[E],
        left: Duration,
    ) -> (Result<Receipt, SendError>, bool) {
        let transport = self.transport;
        let options = self.delivery.options();
        // The call is inside the future, so that its panics are caught too.
        let send = async move { transport.send(events, options).await };
        let mut send = pin!(AssertUnwindSafe(send).catch_unwind());
        let began = self.clock.now();
        let mut until = began.saturating_add(self.attempt_time(left));
        loop {
            let rest = until.saturating_sub(self.clock.now());
            let new_caller = pin!(self.far_end.new_caller(self.calls));
            match select(send.as_mut(), select(self.clock.sleep(rest), new_caller)).await {
                Either::Left((Ok(answer), _)) => {
                    self.was_shortened = false;
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
                    self.was_shortened = cut;
                    return (Err(SendError::TimedOut { after }), cut);
                }
                Either::Right((Either::Right(_), _)) => {
                    self.note_callers();
                    let now = self.clock.now();
                    let left = self.delivery.time_left(now).unwrap_or_default();
                    until = until.min(now.saturating_add(self.attempt_time(left)));
                }
            }
        }
    }

    /// Returns how long an attempt may take if `left` is the time left.
    ///
    /// That is the request timeout. If less is left to the delivery, or to a caller that waits for
    /// it, the attempt gets half of that, so that there is a second attempt. It gets all of it if
    /// the far end is known to need longer, and after an attempt that was shortened, because
    /// otherwise every attempt could fail.
    fn attempt_time(&self, left: Duration) -> Duration {
        let all = self.request_timeout.min(left);
        if self.was_shortened {
            return all;
        }
        let now = self.clock.now();
        let caller = self
            .far_end
            .next_deadline(now)
            .map(|until| until.saturating_sub(now));
        let time = caller.map_or(left, |caller| caller.min(left));
        let needs = self.delivery.learned().min_answer_time;
        // If all of the caller's time is too short, the caller cannot be served.
        let shares = [time / 2, time].map(|share| share.min(self.request_timeout));
        shares
            .into_iter()
            .find(|share| *share > needs)
            .unwrap_or(all)
    }

    /// Waits until `until`, or shorter if a caller waits for the next attempt.
    async fn wait(&mut self, mut until: Duration) {
        let soon = self.clock.now().saturating_add(MIN_ATTEMPT_INTERVAL);
        loop {
            if self.far_end.calls() != self.calls {
                self.note_callers();
                until = until.min(soon);
            }
            let rest = until.saturating_sub(self.clock.now());
            if rest.is_zero() {
                return;
            }
            let new_caller = pin!(self.far_end.new_caller(self.calls));
            select(self.clock.sleep(rest), new_caller).await;
        }
    }

    /// Records that a caller waits, and resets the delays.
    fn note_callers(&mut self) {
        self.calls = self.far_end.calls();
        self.delivery.hurry();
    }
}

/// Returns whether a refusal shows that the far end works, because it has read the event.
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
