//! What a workflow's function is given: the run's ids, and its durable operations.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::execution::Execution;
use crate::failure::DurableError;
use crate::step::Step;

/// The handle through which a workflow does what is durable.
///
/// Code between durable operations must be deterministic: what is not belongs in a step.
pub struct Context {
    run: Arc<Execution>,
    id: String,
    workflow: String,
    execution_id: Option<String>,
}

impl Context {
    pub(crate) fn new(run: Arc<Execution>) -> Self {
        let (id, workflow, execution_id) = run.history.ids();
        Self { run, id, workflow, execution_id }
    }

    /// Runs `body` as a step: its result is recorded before it is returned, failures as well as successes.
    ///
    /// The result is a future: nothing runs before it is awaited, and `join!` and `select!` take it as it is. `body`
    /// may borrow from the workflow, and may run more than once. **A process that dies after the effect of a step
    /// and before its record runs the step again**, so effects must tolerate that (an idempotency key, for
    /// instance).
    ///
    /// A step that takes longer than [`Step::SLOW`] has its start recorded at once, so that it can be seen running;
    /// the start of a quicker one is recorded together with its end.
    ///
    /// # Errors
    ///
    /// [`StepError`](crate::StepError) when the body returns an error, panics, or returns what has no JSON form.
    /// Trouble with the store never comes this way: the run is then left as it is, and this future does not finish.
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
    pub fn step<'a, T, E, F, Fut>(&'a self, name: impl Into<String>, mut body: F) -> Step<'a, T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'a,
        E: DurableError,
        F: FnMut() -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
    {
        Step::new(&self.run, name.into(), Box::new(move || Box::pin(body())))
    }

    /// Returns the run's id.
    pub fn run_id(&self) -> &str {
        &self.id
    }

    /// Returns the name of the workflow's definition.
    pub fn workflow_name(&self) -> &str {
        &self.workflow
    }

    /// Returns the correlation id given at the start.
    pub fn execution_id(&self) -> Option<&str> {
        self.execution_id.as_deref()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("run", &self.id).field("workflow", &self.workflow).finish_non_exhaustive()
    }
}
