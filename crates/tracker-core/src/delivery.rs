//! What to do after each answer: settle, send again, wait, split, stop. Pure: `now` is an argument.

use std::num::NonZeroU32;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::class::{Class, LONGEST_REST, may_be_the_events, says_too_slow};
use crate::config::Config;
use crate::learned::{Learned, Sent};
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
    /// Lengths of the ranges that are left to send, the next one last. Together they are the rest
    /// of the batch.
    ranges: Vec<usize>,
    /// The refusals of the first events, which have no fate yet: nothing of the batch has been
    /// taken.
    refused: Vec<Refusal>,
    /// Whether the far end has taken an event of the batch.
    taken: bool,
    /// Whether the batch has an event that fails every request it is in.
    suspect: bool,
    /// Whether the batch is sent without encoding from now on: a request with it was refused.
    plain: bool,
    /// Whether a 415 was answered by leaving the encoding out.
    heeded: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The first events have their fates.
    Settle(Settlement),
    /// Send the next range at once.
    SendNow,
    /// Wait that long, then send the next range.
    Wait(Duration),
    /// Give the events back.
    Stop(Stop),
}

/// The fates of the first events of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// How many events, from the front of the batch, have a fate.
    pub events: usize,
    /// Those of them that were rejected, by index. All others were delivered.
    pub rejected: Vec<(usize, Reason)>,
}

impl Settlement {
    /// The first `events` events were delivered.
    pub fn delivered(events: usize) -> Self {
        Self {
            events,
            rejected: Vec::new(),
        }
    }
}

/// Why delivery ended although events are left. They are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// The deadline has come, or would have before the next attempt.
    #[error("the deadline passed{}", last_answer(.last))]
    Deadline {
        /// How the last attempt failed, also if another caller made it; `None` if none has failed
        /// since the last success.
        last: Option<SendError>,
    },
    /// The far end will not take these events until somebody changes the configuration.
    #[error("the endpoint refuses delivery: {0}")]
    Configuration(SendError),
    /// The buffer asked for its events back: another caller's shutdown reached its deadline.
    #[error("a shutdown took the events back")]
    Recalled,
    /// The background loop has ended while the tracker was open. What can still be delivered is
    /// delivered by flushes.
    #[error("background delivery has ended: {reason}")]
    Background {
        /// Why.
        reason: Reason,
    },
}

fn last_answer(last: &Option<SendError>) -> String {
    last.as_ref()
        .map(|error| format!("; the last attempt: {error}"))
        .unwrap_or_default()
}

/// An event that the far end, or the encoder, does not take.
#[derive(Clone, Debug)]
struct Refusal {
    reason: Reason,
    /// The far end's answer; `None` for the encoder.
    answer: Option<SendError>,
    /// Whether it was refused as often as [`Config::set_aside_after`] says, now and in earlier
    /// deliveries.
    often: bool,
}

/// With less time than this before the deadline no further attempt is made.
const TOO_LATE_TO_RETRY: Duration = Duration::from_millis(10);

/// How many events must be refused, and none taken, before the configuration is to blame.
const ENOUGH_REFUSALS: usize = 16;

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
            taken: false,
            suspect: false,
            plain: false,
            heeded: false,
        }
    }

    /// Returns what is known of the far end.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Sets what is known of the far end.
    pub fn set_learned(&mut self, learned: Learned) {
        self.learned = learned;
    }

    /// Returns which of the `unsettled` events, the rest of the batch, to send next.
    pub fn range(&mut self, unsettled: usize) -> Range<usize> {
        let first = self.refused.len().min(unsettled);
        let rest = unsettled - first;
        let range = self.ranges.pop().map_or(rest, |range| range.min(rest));
        let now = self
            .learned
            .at_most
            .map_or(range, |at_most| range.min(at_most.max(1)));
        if range > now {
            self.ranges.push(range - now);
        }
        self.ranges.push(now);
        first..first + now
    }

    /// Returns how to send them.
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

    /// Starts the delays at the beginning: somebody waits for the next attempt.
    pub fn hurry(&mut self) {
        self.backoff.reset();
    }

    /// Notes that a request begins; returns whether that is to be taken back with
    /// [`has_ended`](Self::has_ended).
    pub(crate) fn sends(&mut self, places: &RangeInclusive<u64>) -> bool {
        self.learned.has_no_answer(places)
    }

    /// Notes that a request has ended; what its answer says of the events comes next.
    pub(crate) fn has_ended(&mut self, sent: &Sent) {
        self.learned.has_an_answer(&sent.places);
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
                self.learned.has_no_answer(&sent.places);
                self.retry(&sent, error, None, now)
            }
            SendError::TimedOut { .. } => {
                self.learned.has_no_answer(&sent.places);
                self.learned.was_not_answered(&sent);
                self.learned.was_slow(sent.events);
                self.retry(&sent, error, None, now)
            }
            SendError::Unreadable { .. } => {
                // It is no consent, and the far end may have taken the events all the same.
                self.learned.has_no_answer(&sent.places);
                self.strike(&sent, &error)
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
                let (status, retry_after, encoded) = (*status, *retry_after, *encoded);
                self.learned.was_answered(&sent);
                match Class::of(status, retry_after.is_some()) {
                    Class::Success => self.on_receipt(&sent, Receipt::default()),
                    Class::Retry => {
                        // Others than the far end itself have said so.
                        if matches!(status, 408 | 502 | 504) {
                            self.learned.has_no_answer(&sent.places);
                        }
                        if says_too_slow(status) {
                            self.learned.was_slow(sent.events);
                        }
                        self.retry(&sent, error, retry_after, now)
                    }
                    // It may be the encoding that is not understood.
                    Class::Poison if encoded && !self.plain => {
                        self.plain = true;
                        self.ranges.push(sent.events);
                        Action::SendNow
                    }
                    Class::TooLarge | Class::Poison | Class::Conflict if sent.events > 1 => {
                        self.split(&sent, sent.events / 2)
                    }
                    Class::Conflict if self.learned.may_be_there(*sent.places.start()) => {
                        self.on_receipt(&sent, Receipt::default())
                    }
                    Class::TooLarge | Class::Poison | Class::Conflict => {
                        self.refuse(&sent, words(&error), Some(error))
                    }
                    Class::Encoding if encoded && !self.heeded => {
                        (self.heeded, self.learned.plain) = (true, true);
                        self.ranges.push(sent.events);
                        Action::SendNow
                    }
                    Class::Encoding | Class::Configuration => self.stop(error),
                }
            }
        }
    }

    /// The far end took the range: settles it, with what precedes it.
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
        self.learned.was_answered(sent);
        self.learned
            .was_taken(sent, self.request_timeout, self.batch_events);
        self.taken = true;
        self.settle(sent.events, receipt.rejected)
    }

    /// Settles the refused events in front, and `events` that follow them.
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

    /// The next event is refused: rejects it, or keeps it until it is known whether it is to blame.
    fn refuse(&mut self, sent: &Sent, reason: Reason, answer: Option<SendError>) -> Action {
        let by_encoder = answer.is_none() && self.refused.is_empty();
        let times = self.learned.was_refused(*sent.places.start());
        let often =
            answer.is_none() || self.set_aside_after.is_some_and(|most| times >= most.get());
        self.refused.push(Refusal {
            reason,
            answer,
            often,
        });
        if self.taken || by_encoder {
            return self.settle(0, Vec::new());
        }
        if !self.ranges.is_empty() && self.refused.len() < ENOUGH_REFUSALS {
            return Action::SendNow;
        }
        let mut answers = self
            .refused
            .iter()
            .filter_map(|refusal| refusal.answer.as_ref());
        let (first, another) = (answers.next().cloned(), answers.next());
        match first {
            // Each has been refused often enough to be to blame itself.
            Some(first)
                if another.is_some() && !self.refused.iter().all(|refusal| refusal.often) =>
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
        Action::Stop(Stop::Configuration(error))
    }

    /// Counts a failure that may be an event's fault; returns what follows if that is enough.
    fn strike(&mut self, sent: &Sent, error: &SendError) -> Option<Action> {
        let most = self.set_aside_after?.get();
        let counts = match error.kind() {
            Kind::Status(status) => may_be_the_events(status),
            // An attempt that was cut for want of time says nothing about the event.
            Kind::TimedOut if sent.took < self.request_timeout => false,
            Kind::Unreachable | Kind::Unencodable => false,
            Kind::NoAnswer | Kind::TimedOut | Kind::Unreadable | Kind::Panicked => true,
        };
        if !counts {
            return None;
        }
        let (times, alone) = self.learned.again(sent, error.kind());
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
        match self.strike(sent, &error) {
            None => self.ranges.push(sent.events),
            // The far end fails, so its next attempt waits, too.
            Some(Action::SendNow) => {}
            Some(action) => return action,
        }
        let left = self.time_left(now).unwrap_or_default();
        // A long delay drawn near the deadline must not waste the time that is left.
        let delay = self
            .backoff
            .next_delay()
            .min(left / 2)
            .max(at_least.unwrap_or_default().min(LONGEST_REST));
        if left < TOO_LATE_TO_RETRY || delay >= left {
            return Action::Stop(Stop::Deadline { last: Some(error) });
        }
        Action::Wait(delay)
    }
}

/// Returns the words of an answer, with its status.
fn words(error: &SendError) -> Reason {
    match error {
        SendError::Answer { status, reason, .. } => Reason::new(format!("{status}: {reason}")),
        other => Reason::new(other.to_string()),
    }
}
