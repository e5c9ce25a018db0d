//! Delays between attempts: exponential, capped, with full jitter.

use std::time::Duration;

/// A sequence of retry delays.
///
/// The n-th delay (from 0) is drawn evenly from zero to `min(cap, initial · 2^n)`: "full jitter",
/// which spreads the retries of many clients best (M. Brooker, "Exponential Backoff And Jitter",
/// AWS Architecture Blog, 2015). The same seed gives the same delays.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    cap: Duration,
    retries: u32,
    rng: fastrand::Rng,
}

impl Backoff {
    /// Creates a sequence whose first delay is at most `initial` and whose later ones are at most
    /// `cap`.
    pub fn new(initial: Duration, cap: Duration, seed: u64) -> Self {
        Self {
            initial,
            cap,
            retries: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Returns the next delay, in whole microseconds.
    pub fn next_delay(&mut self) -> Duration {
        let bound = self.bound();
        self.retries = self.retries.saturating_add(1);
        Duration::from_micros(
            self.rng
                .u64(..=u64::try_from(bound.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns the upper bound of the next delay.
    pub fn bound(&self) -> Duration {
        let doubled = self
            .initial
            .as_nanos()
            .saturating_mul(1 << self.retries.min(127));
        Duration::from_nanos_u128(doubled.min(self.cap.as_nanos()))
    }

    /// Restarts the sequence after a success.
    pub fn reset(&mut self) {
        self.retries = 0;
    }
}
