//! The time of day in whole milliseconds, which is what histories and stores hold.

use std::time::Duration;

use tracker_core::Clock;
use workflow_events::Timestamp;

/// Returns the time of day, rounded down.
pub(crate) fn wall(clock: &dyn Clock) -> Timestamp {
    let now = Timestamp::try_from(clock.wall()).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_millis(now.as_millis()).unwrap_or(now)
}

/// Returns `at` rounded up, so that nothing is due too early.
pub(crate) fn ceil(at: Timestamp) -> Timestamp {
    let floor = Timestamp::from_millis(at.as_millis()).unwrap_or(at);
    if floor < at { floor.saturating_add(Duration::from_millis(1)) } else { floor }
}

/// Returns whole milliseconds, rounded down.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
