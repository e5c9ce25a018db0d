//! The delivery policy: what follows from each answer. Pure: `now` is an argument.

use std::num::NonZeroU32;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use crate::config::Config;
use crate::delivery::action::{Action, DeliveryError};
use crate::delivery::backoff::Backoff;
use crate::delivery::class::{Class, MAX_RETRY_AFTER, may_be_event_fault, means_too_slow};
use crate::delivery::learned::{Learned, Sent};
use crate::settlement::Settlement;
use crate::transport::{Kind, Reason, Receipt, SendError, SendOptions};

/// The delivery of one batch of events: which to send next, and what each answer means.
///
/// The events of a batch are settled from the front, so their order on the wire survives splits and
/// retries. A range that was refused as a whole is split, and its halves are sent one after the
/// other:
///
/// | answer | action |
/// | --- | --- |
/// | success (2xx) | settle the range, event by event where the receipt lists rejections |
/// | success whose verdicts cannot be read, or name an event that was not sent | stop, keep the events |
/// | no connection, no answer, none in time; a transport that panics | wait, send again |
/// | 1xx, 408, 425, 429, 5xx except 501 and 505, and what RFC 9110 does not define | wait, send again |
/// | any 4xx or 5xx with a `Retry-After` (but 415) | wait as long as that says (at most a day), send again |
/// | none in time, 408 or 504, for the second time in a row | also halve the following requests, until they are answered quickly |
/// | 413 | halve the range; a single event is refused |
/// | 400, 422 | of an encoded request: send the batch without encoding; halve the range until the poison event stands alone; that one is refused |
/// | 409 | halve the range; a single event whose last request had no answer is there already, and delivered; another one is refused |
/// | 415 for an encoded request | send again without encoding, and never encode again |
/// | every other status | stop, keep the events, tell the caller: the configuration is wrong |
/// | an event cannot be encoded | send what precedes it, then reject that one |
/// | the same failure for the same single event, [`Config::set_aside_after`] times | that event is refused |
///
/// A refused event is rejected once the far end has taken another one of the batch. Until then it
/// is kept: if every event of a batch of several is refused (of a larger one the first 16), the
/// fault lies with the configuration, and delivery stops and keeps them all, unless each has been
/// refused [`Config::set_aside_after`] times. The only event of a batch is rejected at once.
#[derive(Clone, Debug)]
pub struct Delivery {
    backoff: Backoff,
    deadline: Duration,
    batch_events: usize,
    request_timeout: Duration,
    set_aside_after: Option<NonZeroU32>,
    learned: Learned,
    /// The lengths of the ranges that are still to be sent, the next one last. Together they are
    /// the rest of the batch.
    ranges: Vec<usize>,
    /// The refusals of the first events. These events have no fate yet, because no event of the
    /// batch was accepted.
    refused: Vec<Refusal>,
    /// Whether the far end has accepted an event of the batch.
    accepted_any: bool,
    /// Whether the batch seems to have an event that fails each of its requests.
    suspect: bool,
    /// Whether the batch is sent without encoding, because an encoded request was refused.
    plain: bool,
    /// Whether the encoding was dropped because of a 415.
    has_dropped_encoding: bool,
}

/// An event that the far end, or the encoder, has refused.
#[derive(Clone, Debug)]
struct Refusal {
    reason: Reason,
    /// The far end's answer; `None` if the encoder refused the event.
    answer: Option<SendError>,
    /// Whether the event was refused as many times as [`Config::set_aside_after`] says, including
    /// earlier deliveries.
    at_limit: bool,
}

/// The least time before the deadline for a further attempt.
const MIN_TIME_FOR_ATTEMPT: Duration = Duration::from_millis(10);

/// The number of refused events, with none accepted, from which on the configuration is the cause.
const MIN_REFUSALS_TO_STOP: usize = 16;

impl Delivery {
    /// Starts the delivery of a batch that must end by `deadline`.
    pub fn new(config: &Config, deadline: Duration, seed: u64) -> Self {
        Self {
            backoff: Backoff::new(config.initial_delay(), config.max_delay(), seed),
            deadline,
            batch_events: config.batch_events(),
            request_timeout: config.request_timeout(),
            set_aside_after: config.set_aside_after(),
            learned: Learned::default(),
            ranges: Vec::new(),
            refused: Vec::new(),
            accepted_any: false,
            suspect: false,
            plain: false,
            has_dropped_encoding: false,
        }
    }

    /// Returns what was learned of the far end.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Sets what was learned of the far end.
    pub fn set_learned(&mut self, learned: Learned) {
        self.learned = learned;
    }

    /// Returns the range of the `unsettled` events, the rest of the batch, to send next.
    pub fn range(&mut self, unsettled: usize) -> Range<usize> {
        let first = self.refused.len().min(unsettled);
        let rest = unsettled - first;
        let range = self.ranges.pop().map_or(rest, |range| range.min(rest));
        let now = self
            .learned
            .max_events
            .map_or(range, |max_events| range.min(max_events.max(1)));
        if range > now {
            self.ranges.push(range - now);
        }
        self.ranges.push(now);
        first..first + now
    }

    /// Returns how to send that range.
    pub fn options(&self) -> SendOptions {
        SendOptions {
            plain: self.plain || self.learned.plain,
        }
    }

    /// Returns the time left at `now`; `None` when the deadline has come.
    pub fn time_left(&self, now: Duration) -> Option<Duration> {
        self.deadline
            .checked_sub(now)
            .filter(|left| !left.is_zero())
    }

    /// Resets the delays, because a caller waits for the next attempt.
    pub fn hurry(&mut self) {
        self.backoff.reset();
    }

    /// Records that a request begins. Returns whether [`end_request`](Self::end_request) must
    /// follow.
    pub(crate) fn begin_request(&mut self, places: &RangeInclusive<u64>) -> bool {
        self.learned.add_unanswered(places)
    }

    /// Records that a request has ended. Its answer is handled next.
    pub(crate) fn end_request(&mut self, sent: &Sent) {
        self.learned.remove_unanswered(&sent.places);
    }

    /// Decides what follows from the answer to a range that came at `now`.
    pub fn on_answer(
        &mut self,
        sent: impl Into<Sent>,
        answer: Result<Receipt, SendError>,
        now: Duration,
    ) -> Action {
        let sent = sent.into();
        let range = self.ranges.pop().unwrap_or(sent.events);
        if range > sent.events {
            self.ranges.push(range - sent.events);
        }
        let error = match answer {
            Ok(receipt) => return self.on_receipt(&sent, receipt),
            Err(error) => error,
        };
        match &error {
            SendError::Unreachable { .. } => self.retry(&sent, error, None, now),
            SendError::NoAnswer { .. } | SendError::Panicked { .. } => {
                self.learned.add_unanswered(&sent.places);
                self.retry(&sent, error, None, now)
            }
            SendError::TimedOut { .. } => {
                self.learned.add_unanswered(&sent.places);
                self.learned.record_wait(&sent);
                self.learned.record_timeout(sent.events);
                self.retry(&sent, error, None, now)
            }
            SendError::Unreadable { .. } => {
                // The answer is not an acceptance, but the far end may have accepted the events.
                self.learned.add_unanswered(&sent.places);
                self.count_failure(&sent, &error)
                    .unwrap_or_else(|| self.stop(error))
            }
            SendError::Unencodable { index, .. } => {
                match (*index).min(sent.events.saturating_sub(1)) {
                    0 => {
                        self.ranges
                            .extend(Some(sent.events - 1).filter(|rest| *rest > 0));
                        self.refuse(&sent, Reason::new(error.to_string()), None)
                    }
                    at => self.split(&sent, at),
                }
            }
            SendError::Answer {
                status,
                retry_after,
                encoded,
                ..
            } => {
                let status = *status;
                let retry_after = *retry_after;
                let encoded = *encoded;
                self.learned.record_answer_time(&sent);
                match Class::of(status, retry_after.is_some()) {
                    Class::Success => self.on_receipt(&sent, Receipt::default()),
                    Class::Retry => {
                        // A gateway may have sent this status, and the far end may have the events.
                        if matches!(status, 408 | 502 | 504) {
                            self.learned.add_unanswered(&sent.places);
                        }
                        if means_too_slow(status) {
                            self.learned.record_timeout(sent.events);
                        }
                        self.retry(&sent, error, retry_after, now)
                    }
                    // The far end may not understand the encoding.
                    Class::Poison if encoded && !self.plain => {
                        self.plain = true;
                        self.ranges.push(sent.events);
                        Action::SendNow
                    }
                    Class::TooLarge | Class::Poison | Class::Conflict if sent.events > 1 => {
                        self.split(&sent, sent.events / 2)
                    }
                    Class::Conflict if self.learned.may_have(*sent.places.start()) => {
                        self.on_receipt(&sent, Receipt::default())
                    }
                    Class::TooLarge | Class::Poison | Class::Conflict => {
                        self.refuse(&sent, answer_text(&error), Some(error))
                    }
                    Class::Encoding if encoded && !self.has_dropped_encoding => {
                        (self.has_dropped_encoding, self.learned.plain) = (true, true);
                        self.ranges.push(sent.events);
                        Action::SendNow
                    }
                    Class::Encoding | Class::Configuration => self.stop(error),
                }
            }
        }
    }

    /// Settles a range that the far end has accepted, with the events before it.
    fn on_receipt(&mut self, sent: &Sent, receipt: Receipt) -> Action {
        if let Some((index, _)) = receipt
            .rejected
            .iter()
            .find(|(index, _)| *index >= sent.events)
        {
            let reason = Reason::new(format!(
                "it rejects event {index} of a batch of {}",
                sent.events
            ));
            return self.stop(SendError::Unreadable {
                status: 200,
                reason,
            });
        }
        self.learned.record_answer_time(sent);
        self.learned
            .record_success(sent, self.request_timeout, self.batch_events);
        self.accepted_any = true;
        self.settle(sent.events, receipt.rejected)
    }

    /// Settles the refused events in front, and the `events` events after them.
    fn settle(&mut self, events: usize, rejected: Vec<(usize, Reason)>) -> Action {
        self.backoff.reset();
        let refused = std::mem::take(&mut self.refused);
        let before = refused.len();
        let in_front = refused
            .into_iter()
            .map(|refusal| refusal.reason)
            .enumerate();
        let rejected = in_front.chain(
            rejected
                .into_iter()
                .map(|(index, reason)| (before + index, reason)),
        );
        Action::Settle(Settlement {
            events: before + events,
            rejected: rejected.collect(),
        })
    }

    /// Handles the refusal of the next event: rejects the event, or keeps it until it is known
    /// whether the event is the cause.
    fn refuse(&mut self, sent: &Sent, reason: Reason, answer: Option<SendError>) -> Action {
        let by_encoder = answer.is_none() && self.refused.is_empty();
        let times = self.learned.count_refusal(*sent.places.start());
        let at_limit =
            answer.is_none() || self.set_aside_after.is_some_and(|most| times >= most.get());
        self.refused.push(Refusal {
            reason,
            answer,
            at_limit,
        });
        if self.accepted_any || by_encoder {
            return self.settle(0, Vec::new());
        }
        if !self.ranges.is_empty() && self.refused.len() < MIN_REFUSALS_TO_STOP {
            return Action::SendNow;
        }
        let mut answers = self
            .refused
            .iter()
            .filter_map(|refusal| refusal.answer.as_ref());
        let first = answers.next().cloned();
        let another = answers.next();
        match first {
            // If each event is at its limit, the events are the cause and not the configuration.
            Some(first)
                if another.is_some() && !self.refused.iter().all(|refusal| refusal.at_limit) =>
            {
                self.stop(first)
            }
            _ => self.settle(0, Vec::new()),
        }
    }

    fn split(&mut self, sent: &Sent, at: usize) -> Action {
        self.ranges.push(sent.events - at);
        self.ranges.push(at);
        Action::SendNow
    }

    fn stop(&mut self, error: SendError) -> Action {
        self.ranges.clear();
        self.refused.clear();
        Action::Stop(DeliveryError::Configuration(error))
    }

    /// Counts a failure that an event may have caused. Returns what follows, once there are enough
    /// of them.
    fn count_failure(&mut self, sent: &Sent, error: &SendError) -> Option<Action> {
        let most = self.set_aside_after?.get();
        let counts = match error.kind() {
            Kind::Status(status) => may_be_event_fault(status),
            // An attempt that was shortened says nothing about the event.
            Kind::TimedOut if sent.took < self.request_timeout => false,
            Kind::Unreachable | Kind::Unencodable => false,
            Kind::NoAnswer | Kind::TimedOut | Kind::Unreadable | Kind::Panicked => true,
        };
        if !counts {
            return None;
        }
        let (times, alone) = self.learned.count_failure(sent, error.kind());
        if sent.events > 1 && (self.suspect || times >= most) {
            self.suspect = true;
            return Some(self.split(sent, sent.events / 2));
        }
        (alone >= most).then(|| {
            let reason = Reason::new(format!("set aside after {alone} equal answers: {error}"));
            self.refuse(sent, reason, Some(error.clone()))
        })
    }

    fn retry(
        &mut self,
        sent: &Sent,
        error: SendError,
        at_least: Option<Duration>,
        now: Duration,
    ) -> Action {
        match self.count_failure(sent, &error) {
            None => self.ranges.push(sent.events),
            // The far end is failing, so the next attempt waits too.
            Some(Action::SendNow) => {}
            Some(action) => return action,
        }
        let left = self.time_left(now).unwrap_or_default();
        // A long delay near the deadline must not waste the time that is left.
        let delay = self
            .backoff
            .next_delay()
            .min(left / 2)
            .max(at_least.unwrap_or_default().min(MAX_RETRY_AFTER));
        if left < MIN_TIME_FOR_ATTEMPT || delay >= left {
            return Action::Stop(DeliveryError::Deadline { last: Some(error) });
        }
        Action::Wait(delay)
    }
}

/// Returns the text of an answer, with its status.
fn answer_text(error: &SendError) -> Reason {
    match error {
        SendError::Answer { status, reason, .. } => Reason::new(format!("{status}: {reason}")),
        other => Reason::new(other.to_string()),
    }
}
