//! Retry policies: how often, after which delays, for how long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::millis;
use crate::random::Seed;

/// How a failed step is retried. A policy is checked when it is made, so an invalid one does not
/// exist.
///
/// The number of attempts includes the first one. A delay starts at the failure, never exceeds the
/// cap, and is a whole number of milliseconds. With jitter, which is the default, it is drawn
/// evenly from the upper half of the values up to the delay.
///
/// | preset | delays | cap | attempts |
/// | --- | --- | --- | --- |
/// | [`simple`](Self::simple) | 1 s, each time | 1 s | 3 |
/// | [`standard`](Self::standard) | 1 s, doubled | 30 s | 5 |
/// | [`aggressive`](Self::aggressive) | 100 ms, doubled | 5 s | 10 |
/// | [`patient`](Self::patient) | 5 s, doubled | 2 min | 10 |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use workflow_engine::Retry;
///
/// let retry = Retry::exponential(Duration::from_millis(50), 1.5, Duration::from_secs(10))?
///     .attempts(20)?
///     .within(Duration::from_secs(60));
/// # let _ = retry;
/// # Ok::<(), workflow_engine::RetryError>(())
/// ```
#[derive(Clone)]
pub struct Retry {
    delays: Delays,
    attempts: u32,
    within: Option<Duration>,
    jitter: bool,
}

#[derive(Clone)]
enum Delays {
    Linear {
        first: Duration,
        step: Duration,
        cap: Duration,
    },
    Exponential {
        base: Duration,
        factor: f64,
        cap: Duration,
    },
    Function(Arc<dyn Fn(u32) -> Duration + Send + Sync>),
}

impl Retry {
    /// Waits 1 s before each further attempt; 3 attempts.
    pub fn simple() -> Self {
        Self {
            attempts: 3,
            ..Self::constant(Duration::from_secs(1))
        }
    }

    /// Waits 1 s, then twice as long each time, at most 30 s; 5 attempts.
    pub fn standard() -> Self {
        Self::doubling(1_000, 30_000, 5)
    }

    /// Waits 100 ms, then twice as long each time, at most 5 s; 10 attempts.
    pub fn aggressive() -> Self {
        Self::doubling(100, 5_000, 10)
    }

    /// Waits 5 s, then twice as long each time, at most 2 min; 10 attempts.
    pub fn patient() -> Self {
        Self::doubling(5_000, 120_000, 10)
    }

    /// Waits for the same time before each further attempt; 3 attempts.
    pub fn constant(delay: Duration) -> Self {
        Self::new(Delays::Linear {
            first: delay,
            step: Duration::ZERO,
            cap: delay,
        })
    }

    /// Waits for `step`, then each time longer by `step`, at most `cap`; 3 attempts.
    pub fn linear(step: Duration, cap: Duration) -> Self {
        Self::new(Delays::Linear {
            first: step,
            step,
            cap,
        })
    }

    /// Waits for `base`, then each time `factor` times as long, at most `cap`; 3 attempts.
    ///
    /// # Errors
    ///
    /// [`RetryError::Factor`] if `factor` is below 1 or not finite.
    pub fn exponential(base: Duration, factor: f64, cap: Duration) -> Result<Self, RetryError> {
        if !factor.is_finite() || factor < 1.0 {
            return Err(RetryError::Factor {
                factor: factor.to_string(),
            });
        }
        Ok(Self::new(Delays::Exponential { base, factor, cap }))
    }

    /// Waits for the time that `delay` returns for the number of the failed attempt, from 1; 3
    /// attempts, no jitter.
    pub fn function(delay: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Self {
            jitter: false,
            ..Self::new(Delays::Function(Arc::new(delay)))
        }
    }

    /// Sets the most attempts, including the first; 1 means no retry.
    ///
    /// # Errors
    ///
    /// [`RetryError::NoAttempt`] for 0.
    pub fn attempts(self, attempts: u32) -> Result<Self, RetryError> {
        if attempts == 0 {
            Err(RetryError::NoAttempt)
        } else {
            Ok(Self { attempts, ..self })
        }
    }

    /// Sets a budget of time from the beginning of the first attempt. A retry that would begin
    /// after it is not scheduled.
    #[must_use]
    pub fn within(self, budget: Duration) -> Self {
        Self {
            within: Some(budget),
            ..self
        }
    }

    /// Turns jitter off: every delay is its upper bound.
    #[must_use]
    pub fn without_jitter(self) -> Self {
        Self {
            jitter: false,
            ..self
        }
    }

    fn new(delays: Delays) -> Self {
        Self {
            delays,
            attempts: 3,
            within: None,
            jitter: true,
        }
    }

    fn doubling(base: u64, cap: u64, attempts: u32) -> Self {
        let delays = Delays::Exponential {
            base: Duration::from_millis(base),
            factor: 2.0,
            cap: Duration::from_millis(cap),
        };
        Self {
            attempts,
            ..Self::new(delays)
        }
    }

    /// Returns the delay after the failure of `attempt`, which ended `elapsed` after the first
    /// attempt began; `None` if there is no further attempt.
    pub(crate) fn delay(&self, attempt: u32, elapsed: Duration, seed: Seed) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let bound = millis(self.bound(attempt));
        let delay = Duration::from_millis(if self.jitter {
            upper_half(bound, seed)
        } else {
            bound
        });
        let fits = self
            .within
            .is_none_or(|budget| elapsed.saturating_add(delay) <= budget);
        fits.then_some(delay)
    }

    /// Returns the longest delay after the failure of `attempt`.
    fn bound(&self, attempt: u32) -> Duration {
        let retries = attempt.saturating_sub(1);
        match &self.delays {
            Delays::Linear { first, step, cap } => {
                first.saturating_add(step.saturating_mul(retries)).min(*cap)
            }
            // A product with a factor that has grown beyond every number would be none.
            Delays::Exponential { base, cap, .. } if retries == 0 || base.is_zero() => {
                *base.min(cap)
            }
            Delays::Exponential { base, factor, cap } => {
                let grown =
                    base.as_secs_f64() * factor.powi(i32::try_from(retries).unwrap_or(i32::MAX));
                Duration::try_from_secs_f64(grown).map_or(*cap, |delay| delay.min(*cap))
            }
            Delays::Function(delay) => delay(attempt),
        }
    }
}

/// Draws a whole number evenly from the upper half of the numbers up to `bound`, including `bound`.
fn upper_half(bound: u64, seed: Seed) -> u64 {
    let half = bound.div_ceil(2);
    let others = bound - half;
    // The product may be rounded up to a number that is one too many.
    half + ((seed.unit() * (others as f64 + 1.0)) as u64).min(others)
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut retry = f.debug_struct("Retry");
        match &self.delays {
            Delays::Linear { first, step, cap } => retry
                .field("first", first)
                .field("step", step)
                .field("cap", cap),
            Delays::Exponential { base, factor, cap } => retry
                .field("base", base)
                .field("factor", factor)
                .field("cap", cap),
            Delays::Function(_) => retry.field("delay", &"fn"),
        };
        retry
            .field("attempts", &self.attempts)
            .field("within", &self.within)
            .field("jitter", &self.jitter)
            .finish()
    }
}

/// Error of a retry policy that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// The policy has no attempt.
    #[error("a retry policy needs at least one attempt")]
    NoAttempt,
    /// The delays would shrink, or have no value.
    #[error("the factor of a retry policy must be a finite number from 1, and is {factor}")]
    Factor {
        /// The factor that was given.
        factor: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(retry: &Retry) -> Vec<u128> {
        let delay = |attempt| retry.delay(attempt, Duration::ZERO, Seed::new(attempt.into()));
        (1..)
            .map_while(delay)
            .map(|delay| delay.as_millis())
            .collect()
    }

    #[test]
    fn the_presets_are_what_their_table_says() {
        assert_eq!(delays(&Retry::simple().without_jitter()), [1_000, 1_000]);
        assert_eq!(
            delays(&Retry::standard().without_jitter()),
            [1_000, 2_000, 4_000, 8_000]
        );
        let aggressive = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000];
        assert_eq!(delays(&Retry::aggressive().without_jitter()), aggressive);
        let patient = [
            5_000, 10_000, 20_000, 40_000, 80_000, 120_000, 120_000, 120_000, 120_000,
        ];
        assert_eq!(delays(&Retry::patient().without_jitter()), patient);
    }

    #[test]
    fn jitter_keeps_to_the_upper_half_and_below_the_cap() {
        let retry = Retry::standard().attempts(200).unwrap();
        for (attempt, seed) in (1..200).zip(0..) {
            let (delay, bound) = (
                retry
                    .delay(attempt, Duration::ZERO, Seed::new(seed))
                    .unwrap(),
                retry.bound(attempt),
            );
            assert!(delay <= bound && delay >= bound / 2, "{attempt}: {delay:?}");
            assert_eq!(delay.subsec_nanos() % 1_000_000, 0, "whole milliseconds");
        }
    }

    #[test]
    fn a_budget_is_checked_before_a_delay_is_scheduled() {
        let retry = Retry::constant(Duration::from_secs(10))
            .without_jitter()
            .within(Duration::from_secs(15));
        assert_eq!(
            retry.delay(1, Duration::from_secs(5), Seed::new(0)),
            Some(Duration::from_secs(10))
        );
        assert_eq!(retry.delay(1, Duration::from_secs(6), Seed::new(0)), None);
    }

    #[test]
    fn linear_delays_and_functions_of_the_attempt() {
        let linear = Retry::linear(Duration::from_millis(10), Duration::from_millis(25))
            .attempts(5)
            .unwrap();
        assert_eq!(delays(&linear.without_jitter()), [10, 20, 25, 25]);
        let function = Retry::function(|attempt| Duration::from_micros(u64::from(attempt) * 1_500));
        assert_eq!(delays(&function), [1, 3]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(
            Retry::simple().attempts(0).unwrap_err(),
            RetryError::NoAttempt
        );
        for factor in [0.5, f64::NAN, f64::INFINITY, -1.0] {
            let refused = Retry::exponential(Duration::ZERO, factor, Duration::ZERO);
            assert!(
                matches!(refused, Err(RetryError::Factor { .. })),
                "{factor}"
            );
        }
        let large = Retry::exponential(Duration::MAX, 1e300, Duration::from_secs(7))
            .unwrap()
            .attempts(u32::MAX);
        assert!(
            large
                .unwrap()
                .delay(u32::MAX - 1, Duration::ZERO, Seed::new(0))
                .unwrap()
                <= Duration::from_secs(7)
        );
    }
}
