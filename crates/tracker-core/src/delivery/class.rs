//! The meaning of a status for the events of its request.

use std::time::Duration;

/// The longest wait that a far end's `Retry-After` can ask for: one day. A longer one is a mistake
/// of the far end, or would end delivery.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The rows of the table of answers; see [`Delivery`](crate::Delivery).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Success,
    /// The far end cannot accept events now.
    Retry,
    TooLarge,
    Poison,
    /// The far end has the event, or one that excludes it.
    Conflict,
    Encoding,
    Configuration,
}

impl Class {
    /// Classifies a status; `asks_for_rest` says that a `Retry-After` came with it.
    pub(crate) fn of(status: u16, asks_for_rest: bool) -> Self {
        match status {
            200..=299 => Self::Success,
            415 => Self::Encoding,
            // A far end that names a time will accept the events then, whatever else the status
            // says.
            400.. if asks_for_rest => Self::Retry,
            400 | 422 => Self::Poison,
            408 | 425 | 429 => Self::Retry,
            409 => Self::Conflict,
            413 => Self::TooLarge,
            300..=499 | 501 | 505 => Self::Configuration,
            // 5xx; no final answer (1xx); and undefined codes, which RFC 9110, section 15, treats
            // as 5xx.
            _ => Self::Retry,
        }
    }
}

/// Returns whether a status means that the far end, or a gateway before it, was too slow.
pub(crate) fn means_too_slow(status: u16) -> bool {
    matches!(status, 408 | 504)
}

/// Returns whether a single event can cause a status, so that it does not concern the whole
/// endpoint.
pub(crate) fn may_be_event_fault(status: u16) -> bool {
    match Class::of(status, false) {
        Class::Poison | Class::TooLarge | Class::Conflict => true,
        // Too early, too many requests, unavailable: these concern the far end.
        Class::Retry => !matches!(status, 408 | 425 | 429 | 503) && status >= 400,
        Class::Success | Class::Encoding | Class::Configuration => false,
    }
}
