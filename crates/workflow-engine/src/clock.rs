//! Times of day in whole milliseconds, which is what histories hold.

use std::time::{Duration, SystemTime};

use tracker_core::Clock;
use workflow_events::Timestamp;

/// Returns the time of day, rounded down. A time outside the range of [`Timestamp`] becomes the
/// nearest end of that range.
pub(crate) fn wall(clock: &dyn Clock) -> Timestamp {
    let wall = clock.wall();
    let end = if wall < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    floor(Timestamp::try_from(wall).unwrap_or(end))
}

/// Returns the time `duration` after `at`, rounded up so that nothing is due too early, and at most
/// the last whole millisecond that a [`Timestamp`] holds.
pub(crate) fn after(at: Timestamp, duration: Duration) -> Timestamp {
    ceil(at.saturating_add(duration))
}

/// Returns `at` rounded up, or down where the range of [`Timestamp`] ends.
pub(crate) fn ceil(at: Timestamp) -> Timestamp {
    let floor = floor(at);
    if floor < at {
        floor.checked_add(Duration::from_millis(1)).unwrap_or(floor)
    } else {
        floor
    }
}

fn floor(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis()).unwrap_or(at)
}

/// Returns a duration in whole milliseconds, rounded down.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
