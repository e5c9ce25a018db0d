//! The time of day, which is the store's where that has a clock, and whole milliseconds, which is
//! what histories hold.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tracker_core::Clock;
use workflow_events::Timestamp;

use crate::store::{Store, StoreError};

/// The clock of an engine. Its time of day is set to that of the store, so that all who share one
/// agree on it; between two settings it goes on by the monotonic clock.
#[derive(Debug)]
pub(crate) struct StoreClock {
    inner: Arc<dyn Clock>,
    /// What the store said, and when by the monotonic clock.
    told: Mutex<Option<(Duration, SystemTime)>>,
}

impl StoreClock {
    pub(crate) fn new(inner: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            told: Mutex::default(),
        }
    }

    /// Sets the time of day.
    pub(crate) async fn set(&self, store: &dyn Store) -> Result<(), StoreError> {
        let asked = self.inner.now();
        let Some(told) = store.now().await? else {
            return Ok(());
        };
        // It was true when the store read its clock, somewhere between the question and the answer.
        let at = asked + self.inner.now().saturating_sub(asked) / 2;
        if let Ok(told) = SystemTime::try_from(told) {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, told));
        }
        Ok(())
    }
}

#[async_trait]
impl Clock for StoreClock {
    fn now(&self) -> Duration {
        self.inner.now()
    }

    fn wall(&self) -> SystemTime {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.and_then(|(at, told)| told.checked_add(self.inner.now().saturating_sub(at)))
            .unwrap_or_else(|| self.inner.wall())
    }

    async fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration).await;
    }
}

/// Returns the time of day, rounded down. One that no timestamp can tell is the first or the last
/// there is.
pub(crate) fn wall(clock: &dyn Clock) -> Timestamp {
    let wall = clock.wall();
    let end = if wall < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    floor(Timestamp::try_from(wall).unwrap_or(end))
}

/// Returns the moment that long after `at`, rounded up, so that nothing is due too early; the last
/// whole millisecond there is, if it would be later.
pub(crate) fn after(at: Timestamp, duration: Duration) -> Timestamp {
    ceil(at.saturating_add(duration))
}

/// Returns `at` rounded up; what cannot be rounded up is rounded down.
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

/// Returns whole milliseconds, rounded down.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
