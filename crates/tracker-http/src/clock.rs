//! The clock of tokio.

use std::panic;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracker_core::Clock;

/// The [`Clock`] of a program that runs on tokio. In tests, `tokio::time::pause` stops it.
///
/// # Panics
///
/// `sleep` panics outside of a tokio runtime with its time driver enabled.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: Instant,
}

impl TokioClock {
    /// Creates a clock whose origin is now.
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Returns whether this thread is in a tokio runtime with its time driver enabled, where
/// [`TokioClock`] can sleep.
///
/// tokio offers no query, so this function makes a timer and catches the panic. The panic hook may
/// show that panic; its message says how to enable the driver.
pub(crate) fn has_timer() -> bool {
    Handle::try_current().is_ok()
        && panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok()
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_runtime_with_a_timer_is_told_from_one_without() {
        assert!(!has_timer(), "there is no runtime");
        let without = [
            Builder::new_current_thread().build(),
            Builder::new_multi_thread().worker_threads(1).build(),
        ];
        for runtime in without {
            assert!(!runtime.unwrap().block_on(async { has_timer() }));
        }
        let with = [
            Builder::new_current_thread().enable_time().build(),
            Builder::new_multi_thread().enable_all().build(),
        ];
        for runtime in with {
            assert!(runtime.unwrap().block_on(async { has_timer() }));
        }
    }
}
