//! The interface through which time comes in.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::sync::StdArc;

/// The only source of time for everything above this crate.
///
/// Tokio's clock lives in `tracker-http` (`TokioClock`); [`TestClock`](crate::testing::TestClock)
/// skips waits.
#[async_trait]
pub trait Clock: Debug + Send + Sync {
    /// Returns the time since a fixed origin of this clock's choice; it never goes back.
    ///
    /// Deadlines and budgets are measured with it.
    fn now(&self) -> Duration;

    /// Returns the time of day, for timestamps that people and other machines read.
    fn wall(&self) -> SystemTime;

    /// Completes once [`now`](Self::now) has advanced by `duration`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future forgets the wait and nothing else.
    async fn sleep(&self, duration: Duration);
}

macro_rules! forward {
    ($pointer:ty) => {
        #[async_trait]
        impl<T: Clock + ?Sized> Clock for $pointer {
            fn now(&self) -> Duration {
                (**self).now()
            }

            fn wall(&self) -> SystemTime {
                (**self).wall()
            }

            async fn sleep(&self, duration: Duration) {
                (**self).sleep(duration).await;
            }
        }
    };
}

forward!(StdArc<T>);
forward!(Box<T>);
