//! The context of a workflow's function: the run's ids, and the durable operations.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;
use workflow_events::Timestamp;

use crate::execution::Execution;
use crate::workflow::failure::DurableError;
use crate::workflow::sleep::{Length, Sleep};
use crate::workflow::step::Step;

/// Handle of a run, through which its workflow calls durable operations.
///
/// The code between durable operations must be deterministic. Put code that is not into a step.
pub struct Context {
    execution: Arc<Execution>,
}

impl Context {
    pub(crate) fn new(execution: Arc<Execution>) -> Self {
        Self { execution }
    }

    /// Runs `body` as a step, whose result is recorded before it is returned, failures as well as
    /// successes.
    ///
    /// This returns a future: nothing runs before it is awaited, and `join!` and `select!` accept
    /// it. `body` may borrow from the workflow, and may run more than once.
    ///
    /// **If the process dies after the effect of a step and before its record, the step runs
    /// again.** An effect must tolerate that, for instance by an idempotency key.
    ///
    /// The start of a step is recorded together with its end. A step that takes longer than
    /// [`Step::SLOW`] has its start recorded before its end, so that it can be seen running.
    ///
    /// # Errors
    ///
    /// [`StepError`](crate::StepError) when the body returns an error, panics, or returns a value
    /// that cannot be recorded, because the value has no JSON form that can be read back, or is
    /// larger or deeper than the engine's limits. A step also fails, without executing the body, if
    /// its name is empty, is longer than [`STEP_NAME_BYTES`](crate::limits::STEP_NAME_BYTES), or
    /// has a control character.
    ///
    /// A failure of the store is never reported here: the run stays as it is, and this future never
    /// completes.
    ///
    /// # Examples
    ///
    /// ```
    /// use workflow_engine::{Context, Failure};
    ///
    /// async fn order(ctx: Context, amount: u64) -> Result<String, Failure> {
    ///     let receipt = ctx.step("charge", || async { Ok::<_, Failure>(format!("charged {amount}")) }).await?;
    ///     ctx.step("mail", || async { println!("mailing {receipt}"); Ok::<_, Failure>(()) }).await?;
    ///     Ok(receipt)
    /// }
    /// ```
    pub fn step<'a, T, E, F, Fut>(
        &'a self,
        name: impl Into<Arc<str>>,
        mut body: F,
    ) -> Step<'a, T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'a,
        E: DurableError,
        F: FnMut() -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
    {
        Step::new(
            &self.execution,
            name.into(),
            Box::new(move || Box::pin(body())),
        )
    }

    /// Sleeps for `duration`. The time of the end is recorded when the sleep begins.
    ///
    /// A wait of at least [`suspend_after`](crate::EngineBuilder::suspend_after) (1 second by
    /// default) suspends the run: its future is dropped, nothing of it stays in memory, and a
    /// worker of any process replays it when the sleep ends. A sleep of zero returns at once and is
    /// not recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use workflow_engine::{Context, Failure};
    ///
    /// async fn remind(ctx: Context, (): ()) -> Result<(), Failure> {
    ///     ctx.sleep(Duration::from_secs(7 * 24 * 3600)).await;
    ///     ctx.step("mail", || async { Ok::<_, Failure>(()) }).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Sleep::new(&self.execution, Length::For(duration))
    }

    /// Sleeps until a time of day; returns at once if that time has passed.
    ///
    /// In every other way this is like [`sleep`](Self::sleep).
    pub fn sleep_until(&self, at: Timestamp) -> Sleep<'_> {
        Sleep::new(&self.execution, Length::Until(at))
    }

    /// Returns the time of day as the workflow knows it: the time at which the last operation that
    /// it awaited was recorded, or the workflow began.
    ///
    /// A replay returns the same times. Nothing is written.
    pub fn now(&self) -> Timestamp {
        self.execution.machine().now()
    }

    /// Returns a random number; a replay returns the same numbers.
    ///
    /// The number is derived from the run and the number of earlier calls, so nothing is written.
    /// Do not use it for secrets.
    pub fn random(&self) -> u64 {
        self.execution.machine().random()
    }

    /// Returns a random UUID (version 4); a replay returns the same UUIDs. It is a good idempotency
    /// key.
    pub fn uuid(&self) -> Uuid {
        self.execution.machine().uuid()
    }

    /// Returns the run's id.
    pub fn run_id(&self) -> &str {
        &self.execution.ids.run
    }

    /// Returns the name of the workflow's definition.
    pub fn workflow_name(&self) -> &str {
        &self.execution.ids.workflow
    }

    /// Returns the correlation id given at the start.
    pub fn execution_id(&self) -> Option<&str> {
        self.execution.ids.execution.as_deref()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("run", &self.execution.ids.run)
            .field("workflow", &self.execution.ids.workflow)
            .finish_non_exhaustive()
    }
}
