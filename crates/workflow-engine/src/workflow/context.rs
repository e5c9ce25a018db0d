//! What a workflow's function is given: the run's ids, and its durable operations.

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

/// The handle through which a workflow does what is durable.
///
/// Code between durable operations must be deterministic: what is not belongs in a step.
pub struct Context {
    execution: Arc<Execution>,
}

impl Context {
    pub(crate) fn new(execution: Arc<Execution>) -> Self {
        Self { execution }
    }

    /// Runs `body` as a step: its result is recorded before it is returned, failures as well as
    /// successes.
    ///
    /// The result is a future: nothing runs before it is awaited, and `join!` and `select!` take it
    /// as it is. `body` may borrow from the workflow, and may run more than once. **A process that
    /// dies after the effect of a step and before its record runs the step again**, so effects must
    /// tolerate that (an idempotency key, for instance).
    ///
    /// A step that takes longer than [`Step::SLOW`] has its start recorded at once, so that it can
    /// be seen running; the start of a quicker one is recorded together with its end.
    ///
    /// # Errors
    ///
    /// [`StepError`](crate::StepError) when the body returns an error, panics, or returns what
    /// cannot be recorded: it has no JSON form that can be read back, or is larger or deeper than
    /// the engine's limits. A name that is empty, longer than
    /// [`STEP_NAME_BYTES`](crate::limits::STEP_NAME_BYTES), or has a control character fails as
    /// well, and the body is not executed. Trouble with the store never comes this way: the run is
    /// then left as it is, and this future does not finish.
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

    /// Sleeps for `duration`; the end is recorded, as a time of day, when the sleep begins.
    ///
    /// A wait that is not short (one second, unless the engine is built otherwise) suspends the
    /// run: its future is dropped, nothing of it stays in memory, and it is replayed when the time
    /// has come, by whichever process works then. A sleep over nothing returns at once and is not
    /// recorded.
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

    /// Sleeps until a time of day; one that has passed returns at once.
    ///
    /// Like [`sleep`](Self::sleep) otherwise.
    pub fn sleep_until(&self, at: Timestamp) -> Sleep<'_> {
        Sleep::new(&self.execution, Length::Until(at))
    }

    /// Returns the time of day as the workflow knows it: when the last operation that it awaited
    /// was recorded, or when it began.
    ///
    /// A replay gets the same times. Nothing is written.
    pub fn now(&self) -> Timestamp {
        self.execution.machine().now()
    }

    /// Returns a random number; each call of a replay gets the same as before.
    ///
    /// It follows from the run and the number of calls before, so that nothing is written. It is
    /// not for secrets.
    pub fn random(&self) -> u64 {
        self.execution.machine().random()
    }

    /// Returns a random UUID (version 4); each call of a replay gets the same as before. A good
    /// idempotency key.
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
