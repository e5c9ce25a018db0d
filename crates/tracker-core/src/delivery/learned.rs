//! What the answers of a far end have taught. It outlives the delivery that has learned it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::transport::Kind;

/// What the answers so far have taught about a far end.
///
/// A [`Delivery`](crate::Delivery) uses it and adds to it; [`FarEnd`](crate::FarEnd) keeps it for
/// the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Whether the far end accepts no content encoding.
    pub(crate) plain: bool,
    /// The most events of a request that is answered in time; `None` without a limit.
    pub(crate) max_events: Option<usize>,
    /// The number of attempts in a row that had no answer in time.
    pub(crate) timeouts: u32,
    /// The shortest time that an answer takes: the time of the last answer, or the longest wait
    /// without one since.
    pub(crate) min_answer_time: Duration,
    /// The failure that the first event has had repeatedly.
    pub(crate) repeated: Option<RepeatedFailure>,
    /// The places of the last requests without an answer: the far end may have their events.
    pub(crate) unanswered: Vec<RangeInclusive<u64>>,
    /// The number of refusals of each of the first refused events, by place.
    pub(crate) refusals: BTreeMap<u64, u32>,
}

/// The most requests without an answer that are remembered.
const MAX_UNANSWERED_REQUESTS: usize = 64;

/// The most refused events that are remembered.
const MAX_COUNTED_REFUSALS: usize = 256;

/// A failure that requests with the same first event have had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepeatedFailure {
    place: u64,
    kind: Kind,
    /// The number of requests with this failure.
    times: u32,
    /// The number of these requests in which the event was alone.
    alone: u32,
}

/// The request that an answer belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The number of its events.
    pub events: usize,
    /// The places of its first and its last event. A place identifies an event, and grows from
    /// event to event.
    pub places: RangeInclusive<u64>,
    /// How long the answer took.
    pub took: Duration,
}

/// Makes a request whose events have the places from 0, and that was answered at once.
impl From<usize> for Sent {
    fn from(events: usize) -> Self {
        Self {
            events,
            places: 0..=(events as u64).saturating_sub(1),
            took: Duration::ZERO,
        }
    }
}

impl Learned {
    /// Records that a request has no answer, so that the far end may have its events. Returns
    /// whether that was not recorded before.
    pub(crate) fn add_unanswered(&mut self, places: &RangeInclusive<u64>) -> bool {
        if self.unanswered.contains(places) {
            return false;
        }
        if self.unanswered.len() == MAX_UNANSWERED_REQUESTS {
            self.unanswered.remove(0);
        }
        self.unanswered.push(places.clone());
        true
    }

    /// Records that a request has an answer after all.
    pub(crate) fn remove_unanswered(&mut self, places: &RangeInclusive<u64>) {
        self.unanswered.retain(|unanswered| unanswered != places);
    }

    /// Returns whether the far end may have the event from a request that had no answer.
    pub(crate) fn may_have(&self, place: u64) -> bool {
        self.unanswered.iter().any(|places| places.contains(&place))
    }

    /// Counts a refusal of a single event; returns the number of its refusals.
    pub(crate) fn count_refusal(&mut self, place: u64) -> u32 {
        let times = self.refusals.entry(place).or_default();
        *times = times.saturating_add(1);
        let times = *times;
        if self.refusals.len() > MAX_COUNTED_REFUSALS {
            self.refusals.pop_first();
        }
        times
    }

    /// Records the time that an answer took.
    pub(crate) fn record_answer_time(&mut self, sent: &Sent) {
        self.min_answer_time = sent.took;
    }

    /// Records a wait without an answer.
    pub(crate) fn record_wait(&mut self, sent: &Sent) {
        self.min_answer_time = self.min_answer_time.max(sent.took);
    }

    /// Records that a request was not answered in time. From the second time on, the following
    /// requests have half as many events.
    pub(crate) fn record_timeout(&mut self, events: usize) {
        self.timeouts = self.timeouts.saturating_add(1);
        if self.timeouts >= 2 && events > 1 {
            self.max_events = Some(events / 2);
        }
    }

    /// Records a success. After a success within a quarter of the time allowed, the next request
    /// may have twice as many events.
    pub(crate) fn record_success(&mut self, sent: &Sent, had: Duration, batch: usize) {
        self.timeouts = 0;
        self.repeated = None;
        if let Some(max_events) = self.max_events
            && sent.events >= max_events
            && sent.took.saturating_mul(4) <= had
        {
            self.max_events =
                Some(max_events.saturating_mul(2)).filter(|max_events| *max_events < batch);
        }
    }

    /// Counts a failure. Returns how many times in a row the first event has had it, and how many
    /// times alone.
    pub(crate) fn count_failure(&mut self, sent: &Sent, kind: Kind) -> (u32, u32) {
        let place = *sent.places.start();
        let before = self
            .repeated
            .take()
            .filter(|repeated| repeated.place == place && repeated.kind == kind);
        let mut repeated = before.unwrap_or(RepeatedFailure {
            place,
            kind,
            times: 0,
            alone: 0,
        });
        repeated.times = repeated.times.saturating_add(1);
        repeated.alone = repeated.alone.saturating_add(u32::from(sent.events == 1));
        let counts = (repeated.times, repeated.alone);
        self.repeated = Some(repeated);
        counts
    }
}
