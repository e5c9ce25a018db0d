//! The accounting identity, and the reports that carry it.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use crate::delivery::action::DeliveryError;
use crate::transport::{Reason, SendError};

/// The number of accepted events in each state.
///
/// `accepted = delivered + rejected + dropped + returned + queued + in_flight` holds at every
/// moment; [`is_balanced`](Self::is_balanced) checks that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Books {
    /// Events that were accepted.
    pub accepted: u64,
    /// Events that the far end acknowledged.
    pub delivered: u64,
    /// Events that the far end or the encoder rejected, each with a reason.
    pub rejected: u64,
    /// Events that were dropped by a policy of the caller
    /// ([`Overflow::DropOldest`](crate::Overflow)).
    pub dropped: u64,
    /// Events that were handed back to the caller.
    pub returned: u64,
    /// Events that wait to be sent.
    pub queued: u64,
    /// Events in batches, which are being sent.
    pub in_flight: u64,
}

impl Books {
    /// Returns the number of events without a fate: queued and in flight.
    pub fn pending(&self) -> u64 {
        self.queued + self.in_flight
    }

    /// Returns whether the identity holds.
    pub fn is_balanced(&self) -> bool {
        self.accepted
            == self.delivered + self.rejected + self.dropped + self.returned + self.pending()
    }

    /// Returns whether every accepted event was delivered.
    pub fn all_delivered(&self) -> bool {
        self.accepted == self.delivered
    }
}

/// One line: `412 accepted = 412 delivered + 0 rejected + 0 dropped + 0 returned + 0 pending`.
impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_balanced() { "=" } else { "!=" };
        write!(
            f,
            "{} accepted {sign} {} delivered + {} rejected + {} dropped + {} returned + {} pending",
            self.accepted,
            self.delivered,
            self.rejected,
            self.dropped,
            self.returned,
            self.pending()
        )
    }
}

impl Add for Books {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            delivered: self.delivered + other.delivered,
            rejected: self.rejected + other.rejected,
            dropped: self.dropped + other.dropped,
            returned: self.returned + other.returned,
            queued: self.queued + other.queued,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}

impl Sum for Books {
    fn sum<I: Iterator<Item = Self>>(books: I) -> Self {
        books.fold(Self::default(), Add::add)
    }
}

/// Report of a flush.
#[derive(Clone, Debug)]
#[must_use = "a flush that did not deliver everything says so only here"]
pub struct FlushReport {
    /// The books at the end of the flush; they count from the tracker's first event.
    pub books: Books,
    /// An upper bound of the events that were accepted before the flush and have no fate.
    ///
    /// With several batches in flight it may include events that were settled out of order.
    pub unsettled: u64,
    /// Events that were rejected while the flush ran.
    pub rejected: u64,
    /// Events that were dropped by policy while the flush ran.
    pub dropped: u64,
    /// Events that were handed back by a drain or a shutdown while the flush ran.
    pub returned: u64,
    /// Why the flush ended before its barrier; `None` if it did not.
    pub stop: Option<DeliveryError>,
}

impl FlushReport {
    /// Returns `Ok` only if every event accepted before the flush has a fate, and every event that
    /// got one during the flush was delivered.
    ///
    /// # Errors
    ///
    /// [`UndeliveredError`] with the counts and the reason otherwise.
    pub fn ok(self) -> Result<Books, UndeliveredError> {
        let Self {
            books,
            unsettled,
            rejected,
            dropped,
            returned,
            stop,
        } = self;
        if unsettled + rejected + dropped + returned == 0 {
            return Ok(books);
        }
        Err(UndeliveredError {
            pending: unsettled,
            rejected,
            dropped,
            returned,
            stop,
        })
    }
}

/// The state of a tracker's delivery.
#[derive(Clone, Debug)]
#[must_use]
pub struct TrackerReport {
    /// The number of accepted events in each state.
    pub books: Books,
    /// The first rejections with their reasons, at most [`DeliveryReport::REJECTIONS_KEPT`]; the
    /// books count all of them.
    pub rejections: Vec<Rejection>,
    /// The error of the last delivery attempt; `None` after a success and before the first attempt.
    pub last_error: Option<SendError>,
    /// Why background delivery has ended although the tracker is open; `None` if it has not.
    pub background_ended: Option<Reason>,
}

/// Report of a shutdown: the final books, and the events that were not delivered.
#[must_use = "the undelivered events are handed back in this report; dropping it drops them"]
pub struct DeliveryReport<E> {
    /// The books at the end of the shutdown.
    pub books: Books,
    /// The undelivered events, in the order in which they were accepted.
    pub returned: Vec<E>,
    /// The first rejections with their reasons, at most [`DeliveryReport::REJECTIONS_KEPT`]; the
    /// books count all of them.
    pub rejections: Vec<Rejection>,
    /// Why the shutdown ended before every event had a fate; `None` if it did not.
    pub stop: Option<DeliveryError>,
}

impl<E> DeliveryReport<E> {
    /// The most rejections that a report lists.
    pub const REJECTIONS_KEPT: usize = 32;

    /// Returns `Ok` only if every event that the tracker ever accepted was delivered.
    ///
    /// # Errors
    ///
    /// [`UndeliveredError`] with the counts and the reason otherwise.
    pub fn ok(&self) -> Result<Books, UndeliveredError> {
        if self.books.all_delivered() {
            return Ok(self.books);
        }
        Err(UndeliveredError {
            pending: self.books.pending(),
            rejected: self.books.rejected,
            dropped: self.books.dropped,
            returned: self.books.returned,
            stop: self.stop.clone(),
        })
    }

    /// Converts the returned events.
    pub fn map<T>(self, convert: impl FnMut(E) -> T) -> DeliveryReport<T> {
        DeliveryReport {
            books: self.books,
            returned: self.returned.into_iter().map(convert).collect(),
            rejections: self.rejections,
            stop: self.stop,
        }
    }
}

/// Shows the counts, and not the returned events, which are payload.
impl<E> fmt::Debug for DeliveryReport<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryReport")
            .field("books", &self.books)
            .field("returned", &self.returned.len())
            .field("rejections", &self.rejections)
            .field("stop", &self.stop)
            .finish()
    }
}

impl<E> fmt::Display for DeliveryReport<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.books.fmt(f)
    }
}

/// A rejected event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The event's place in the order of acceptance, from 0.
    pub seq: u64,
    /// The reason that the far end gave.
    pub reason: Reason,
}

/// Error of a flush or shutdown that did not deliver every event.
#[derive(Clone, Debug, thiserror::Error)]
#[error("not every event was delivered: {pending} pending, {rejected} rejected, {dropped} dropped, {returned} returned{}", why(.stop))]
pub struct UndeliveredError {
    /// Events that still have no fate.
    pub pending: u64,
    /// Events that the far end rejected.
    pub rejected: u64,
    /// Events that were dropped by policy.
    pub dropped: u64,
    /// Events that were handed back.
    pub returned: u64,
    /// Why delivery ended early; `None` if it did not.
    pub stop: Option<DeliveryError>,
}

fn why(stop: &Option<DeliveryError>) -> String {
    stop.as_ref()
        .map(|stop| format!(" ({stop})"))
        .unwrap_or_default()
}
