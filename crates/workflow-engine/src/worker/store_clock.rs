//! The clock of an engine, whose time of day follows the clock of the store.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tracker_core::Clock;

use crate::store::{Store, StoreError};
use crate::sync::lock;

/// A clock whose time of day is set to that of the store, so that all engines on one store agree.
///
/// Between two settings the time of day advances with the monotonic clock.
#[derive(Debug)]
pub(crate) struct StoreClock {
    inner: Arc<dyn Clock>,
    /// The time of day that the store reported last, and when, by the monotonic clock.
    setting: Mutex<Option<(Duration, SystemTime)>>,
}

impl StoreClock {
    pub(crate) fn new(inner: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            setting: Mutex::default(),
        }
    }

    /// Sets the time of day to that of the store, if the store has a clock.
    pub(crate) async fn set(&self, store: &dyn Store) -> Result<(), StoreError> {
        let before = self.inner.now();
        let Some(wall) = store.now().await? else {
            return Ok(());
        };
        // The store read its clock somewhere between the question and the answer.
        let at = before + self.inner.now().saturating_sub(before) / 2;
        if let Ok(wall) = SystemTime::try_from(wall) {
            *lock(&self.setting) = Some((at, wall));
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
        let setting = *lock(&self.setting);
        setting
            .and_then(|(at, wall)| wall.checked_add(self.inner.now().saturating_sub(at)))
            .unwrap_or_else(|| self.inner.wall())
    }

    async fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration).await;
    }
}
