//! What the answers of a far end have taught; it outlives the delivery that has learned it.

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
    /// It takes no content encoding.
    pub(crate) plain: bool,
    /// How many events a request may have, so that it is answered in time; `None` without a limit.
    pub(crate) at_most: Option<usize>,
    /// How many attempts in a row had no answer in time.
    pub(crate) timeouts: u32,
    /// How long an answer takes at least: as long as the last one did, or as was waited in vain
    /// since.
    pub(crate) needs: Duration,
    /// The answer that the event in front has had again and again.
    pub(crate) equal: Option<Equal>,
    /// The events of requests that had no answer: the far end may have them. The last ones only.
    pub(crate) unanswered: Vec<RangeInclusive<u64>>,
    /// How often each of the first refused events was refused, by its place.
    pub(crate) refusals: BTreeMap<u64, u32>,
}

/// The most requests without an answer that are remembered.
const MOST_UNANSWERED: usize = 64;

/// The most refused events that are remembered.
const MOST_REFUSALS: usize = 256;

/// The same failure again, of requests with the same event in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Equal {
    place: u64,
    kind: Kind,
    /// In how many requests.
    times: u32,
    /// In how many of them the event was alone.
    alone: u32,
}

/// The request that an answer belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How many events it had.
    pub events: usize,
    /// The places of its first and its last event; a place names an event, and grows from event to
    /// event.
    pub places: RangeInclusive<u64>,
    /// How long the answer took.
    pub took: Duration,
}

/// A request whose events have the places from 0, and that was answered at once.
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
    /// Notes that a request has no answer, so that the far end may have its events; returns whether
    /// that is new.
    pub(crate) fn has_no_answer(&mut self, places: &RangeInclusive<u64>) -> bool {
        if self.unanswered.contains(places) {
            return false;
        }
        if self.unanswered.len() == MOST_UNANSWERED {
            self.unanswered.remove(0);
        }
        self.unanswered.push(places.clone());
        true
    }

    /// Notes that a request has an answer after all.
    pub(crate) fn has_an_answer(&mut self, places: &RangeInclusive<u64>) {
        self.unanswered.retain(|unanswered| unanswered != places);
    }

    /// Returns whether the far end may have the event from a request that had no answer.
    pub(crate) fn may_be_there(&self, place: u64) -> bool {
        self.unanswered.iter().any(|places| places.contains(&place))
    }

    /// Counts a refusal of a single event; returns how often it was refused.
    pub(crate) fn was_refused(&mut self, place: u64) -> u32 {
        let times = self.refusals.entry(place).or_default();
        *times = times.saturating_add(1);
        let times = *times;
        if self.refusals.len() > MOST_REFUSALS {
            self.refusals.pop_first();
        }
        times
    }

    /// Notes how long an answer took.
    pub(crate) fn was_answered(&mut self, sent: &Sent) {
        self.needs = sent.took;
    }

    /// Notes for how long an answer did not come.
    pub(crate) fn was_not_answered(&mut self, sent: &Sent) {
        self.needs = self.needs.max(sent.took);
    }

    /// Notes that a request was not answered in time: from the second time on the next ones are
    /// half as large.
    pub(crate) fn was_slow(&mut self, events: usize) {
        self.timeouts = self.timeouts.saturating_add(1);
        if self.timeouts >= 2 && events > 1 {
            self.at_most = Some(events / 2);
        }
    }

    /// Notes a success. One that took less than a quarter of the time that it had lets the next be
    /// twice as large.
    pub(crate) fn was_taken(&mut self, sent: &Sent, had: Duration, batch: usize) {
        self.timeouts = 0;
        self.equal = None;
        if let Some(at_most) = self.at_most
            && sent.events >= at_most
            && sent.took.saturating_mul(4) <= had
        {
            self.at_most = Some(at_most.saturating_mul(2)).filter(|at_most| *at_most < batch);
        }
    }

    /// Counts a failure; returns how often the event in front has had it, and how often alone.
    pub(crate) fn again(&mut self, sent: &Sent, kind: Kind) -> (u32, u32) {
        let place = *sent.places.start();
        let before = self
            .equal
            .take()
            .filter(|equal| equal.place == place && equal.kind == kind);
        let mut equal = before.unwrap_or(Equal {
            place,
            kind,
            times: 0,
            alone: 0,
        });
        equal.times = equal.times.saturating_add(1);
        equal.alone = equal.alone.saturating_add(u32::from(sent.events == 1));
        let counts = (equal.times, equal.alone);
        self.equal = Some(equal);
        counts
    }
}
