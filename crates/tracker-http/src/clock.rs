//! Tokio's clock.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::time::Instant;
use tracker_core::Clock;

/// The [`Clock`] of a program that runs on tokio. It follows `tokio::time::pause` in tests.
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
        Self { origin: Instant::now() }
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
