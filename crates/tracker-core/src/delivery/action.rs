//! What follows from an answer.

use std::time::Duration;

use crate::settlement::Settlement;
use crate::transport::{Reason, SendError};

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
    Stop(DeliveryError),
}

/// Why delivery ended before every event had a fate. The other events are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The deadline has passed, or would pass before the next attempt.
    #[error("the deadline passed{}", last_answer(.last))]
    Deadline {
        /// The error of the last attempt, also if another caller made it; `None` if no attempt has
        /// failed since the last success.
        last: Option<SendError>,
    },
    /// The far end does not accept these events with this configuration.
    #[error("the endpoint refuses delivery: {0}")]
    Configuration(SendError),
    /// The buffer asked for its events back: another caller's shutdown reached its deadline.
    #[error("a shutdown took the events back")]
    Recalled,
    /// The background loop has ended while the tracker was open. Flushes still deliver events.
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
