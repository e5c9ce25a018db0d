//! The time of day, which is the store's where that has a clock, and whole milliseconds, which is what histories hold.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tracker_core::Clock;
use workflow_events::Timestamp;

use crate::store::{Store, StoreError};

/// The clock of an engine. Its time of day is set to that of the store, so that all who share one agree on it; between
/// two settings it goes on by the monotonic clock.
#[derive(Debug)]
pub(crate) struct StoreClock {
    inner: Arc<dyn Clock>,
    /// What the store said, and when by the monotonic clock.
    told: Mutex<Option<(Duration, SystemTime)>>,
}

impl StoreClock {
    pub(crate) fn new(inner: Arc<dyn Clock>) -> Self {
        Self { inner, told: Mutex::default() }
    }

    /// Sets the time of day.
    pub(crate) async fn set(&self, store: &dyn Store) -> Result<(), StoreError> {
        let asked = self.inner.now();
        let Some(told) = store.now().await? else { return Ok(()) };
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
