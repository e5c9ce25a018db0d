//! Which failed attempts of a step are retried, and when.

use std::time::Duration;

use crate::execution::Execution;
use crate::execution::operation::OpKey;
use crate::workflow::failure::StepFailure;
use crate::workflow::retry::Retry;

/// Decides whether a failure is retried.
pub(super) type RetryIf<'a, E> = Box<dyn FnMut(&StepFailure<E>) -> bool + Send + 'a>;

/// The retry policy of a step; without one, no attempt is retried.
pub(super) struct Retries<'a, E> {
    pub(super) policy: Option<Retry>,
    pub(super) decide: Option<RetryIf<'a, E>>,
}

impl<E> Retries<'_, E> {
    /// Returns the wait before the next attempt; `None` if `attempt` was the last.
    ///
    /// `elapsed` is the time since the first attempt began. The step's own decision is the user's
    /// code, which may panic.
    pub(super) fn delay(
        &mut self,
        execution: &Execution,
        key: &OpKey,
        attempt: u32,
        cause: &StepFailure<E>,
        elapsed: Duration,
    ) -> Option<Duration> {
        let policy = self.policy.as_ref()?;
        let is_retried = match (cause, &mut self.decide) {
            (StepFailure::Unencodable(_), _) => false,
            (StepFailure::TooLarge { .. } | StepFailure::TooDeep { .. }, _) => false,
            (StepFailure::InvalidName(_), _) => false,
            (cause, Some(decide)) => decide(cause),
            (cause, None) => !matches!(cause, StepFailure::Panicked(_)),
        };
        if !is_retried {
            return None;
        }
        let seed = execution.seed.with(&format!("{key} {attempt}"));
        policy.delay(attempt, elapsed, seed)
    }
}
