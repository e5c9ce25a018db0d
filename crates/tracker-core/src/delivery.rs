//! What to do after each answer: settle, send again, wait, split, stop. Pure: `now` is an argument.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::transport::{Reason, Receipt, SendError, SendOptions};

/// The delivery of one run of events: how many to send next, and what each answer means.
///
/// The events of a batch are settled from the front, so their order on the wire survives splits and retries. A
/// range that was refused as a whole is split, and its halves are sent one after the other:
///
/// | answer | action |
/// | --- | --- |
/// | success (2xx) | settle the range, event by event where the receipt lists rejections |
/// | none; 1xx, 408, 425, 429, 5xx but for 501 and 505, and what RFC 9110 does not define | wait, send again |
/// | 413 | halve the range; a single event is rejected |
/// | 400, 422 | halve the range until the poison event stands alone, and reject that one |
/// | 415 for an encoded request | send again without encoding |
/// | every other status | stop, keep the events, tell the caller: the configuration is wrong |
/// | an event cannot be encoded | send what precedes it, then reject that one |
#[derive(Clone, Debug)]
pub struct Delivery {
    backoff: Backoff,
    deadline: Duration,
    plain: bool,
    /// Lengths of the ranges that a split has left to send, the next one last.
    ranges: Vec<usize>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The first events have their fates.
    Settle(Settlement),
    /// Send the next range at once.
    SendNow,
    /// Wait that long, then send the same range again.
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
        Self { events, rejected: Vec::new() }
    }
}

/// Why delivery ended although events are left. They are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// The deadline has come, or would have before the next attempt.
    #[error("the deadline passed{}", last_answer(.last))]
    Deadline {
        /// What the last attempt met; `None` if there was none.
        last: Option<SendError>,
    },
    /// The far end will not take these events until somebody changes the configuration.
    #[error("the endpoint refuses delivery: {0}")]
    Configuration(SendError),
    /// The buffer asked for its events back: another caller's shutdown reached its deadline.
    #[error("a shutdown took the events back")]
    Recalled,
}

fn last_answer(last: &Option<SendError>) -> String {
    last.as_ref().map(|error| format!("; the last attempt: {error}")).unwrap_or_default()
}

/// With less time than this before the deadline no further attempt is made.
const TOO_LATE_TO_RETRY: Duration = Duration::from_millis(10);

/// What a status means for the batch it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Success,
    Retry,
    TooLarge,
    Poison,
    Encoding,
    Configuration,
}

impl Class {
    fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            400 | 422 => Self::Poison,
            408 | 425 | 429 => Self::Retry,
            413 => Self::TooLarge,
            415 => Self::Encoding,
            300..=499 | 501 | 505 => Self::Configuration,
            // 5xx; no final answer (1xx); and undefined codes, which RFC 9110, section 15, treats as 5xx.
            _ => Self::Retry,
        }
    }
}

impl Delivery {
    /// Starts the delivery of a batch that must end by `deadline`.
    pub fn new(config: &Config, deadline: Duration, seed: u64) -> Self {
        let backoff = Backoff::new(config.initial_delay(), config.max_delay(), seed);
        Self { backoff, deadline, plain: false, ranges: Vec::new() }
    }

    /// Returns how many of the `unsettled` events to send next.
    pub fn range(&self, unsettled: usize) -> usize {
        self.ranges.last().map_or(unsettled, |range| unsettled.min(*range))
    }

    /// Returns how to send them.
    pub fn options(&self) -> SendOptions {
        SendOptions { plain: self.plain }
    }

    /// Returns the time left at `now`; `None` when the deadline has come.
    pub fn time_left(&self, now: Duration) -> Option<Duration> {
        self.deadline.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// Decides what follows from the answer to a range of `sent` events that came at `now`.
    pub fn on_answer(&mut self, sent: usize, answer: Result<Receipt, SendError>, now: Duration) -> Action {
        let error = match answer {
            Ok(receipt) => return self.settle(Settlement { events: sent, rejected: receipt.rejected }),
            Err(error) => error,
        };
        match &error {
            SendError::NoAnswer { .. } | SendError::TimedOut { .. } | SendError::Panicked { .. } => {
                self.retry(error, None, now)
            }
            SendError::Unreadable { .. } => Action::Stop(Stop::Configuration(error)),
            SendError::Unencodable { index, .. } => match (*index).min(sent.saturating_sub(1)) {
                0 => self.reject_first(sent, error),
                at => self.split(sent, at),
            },
            SendError::Answer { status, retry_after, encoded, .. } => match Class::of(*status) {
                Class::Success => self.settle(Settlement::delivered(sent)),
                Class::Retry => self.retry(error.clone(), *retry_after, now),
                Class::TooLarge | Class::Poison if sent > 1 => self.split(sent, sent / 2),
                Class::TooLarge | Class::Poison => self.reject_first(sent, error),
                Class::Encoding if *encoded && !self.plain => {
                    self.plain = true;
                    Action::SendNow
                }
                Class::Encoding | Class::Configuration => Action::Stop(Stop::Configuration(error)),
            },
        }
    }

    fn settle(&mut self, settlement: Settlement) -> Action {
        self.ranges.pop();
        self.backoff.reset();
        Action::Settle(settlement)
    }

    fn reject_first(&mut self, sent: usize, error: SendError) -> Action {
        self.ranges.pop();
        if sent > 1 {
            self.ranges.push(sent - 1);
        }
        let reason = match error {
            SendError::Answer { status, reason, .. } => Reason::new(format!("{status}: {reason}")),
            other => Reason::new(other.to_string()),
        };
        Action::Settle(Settlement { events: 1, rejected: vec![(0, reason)] })
    }

    fn split(&mut self, sent: usize, at: usize) -> Action {
        self.ranges.pop();
        self.ranges.push(sent - at);
        self.ranges.push(at);
        Action::SendNow
    }

    fn retry(&mut self, error: SendError, at_least: Option<Duration>, now: Duration) -> Action {
        let left = self.time_left(now).unwrap_or_default();
        // A long delay drawn near the deadline must not waste the time that is left.
        let delay = self.backoff.next_delay().min(left / 2).max(at_least.unwrap_or_default());
        if left < TOO_LATE_TO_RETRY || delay >= left {
            return Action::Stop(Stop::Deadline { last: Some(error) });
        }
        Action::Wait(delay)
    }
}
