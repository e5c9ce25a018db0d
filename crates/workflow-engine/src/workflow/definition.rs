//! The definition of a workflow: its name, its types, and the function behind it.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::execution::ending::{RecordedFailure, RunResult, engine_failure};
use crate::limits::{ValueError, check_value};
use crate::payload::Payload;
use crate::workflow::context::Context;
use crate::workflow::failure::{DurableError, Failure, panic_message};

/// The name of a workflow and the types of its input, output and error.
///
/// Declare it as a constant, and use the constant wherever the workflow is registered, started or
/// inspected.
///
/// # Examples
///
/// ```
/// use workflow_engine::Workflow;
///
/// const GREET: Workflow<String, String> = Workflow::new("greet");
/// assert_eq!(GREET.name(), "greet");
/// ```
pub struct Workflow<Input, Output, Error = Failure> {
    name: &'static str,
    types: PhantomData<fn(Input) -> Result<Output, Error>>,
}

impl<Input, Output, Error> Workflow<Input, Output, Error> {
    /// Names a workflow. The name has 1 to 256 bytes and no control characters;
    /// [`EngineBuilder::build`](crate::EngineBuilder::build) checks that.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            types: PhantomData,
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl<Input, Output, Error> Clone for Workflow<Input, Output, Error> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Input, Output, Error> Copy for Workflow<Input, Output, Error> {}

impl<Input, Output, Error> fmt::Debug for Workflow<Input, Output, Error> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Workflow").field(&self.name).finish()
    }
}

/// A workflow's function with its types erased: from the recorded input to the result that is
/// recorded.
pub(crate) struct Body {
    execute: Box<dyn Fn(Context, Payload) -> BoxFuture<'static, RunResult> + Send + Sync>,
    check_input: fn(&Payload) -> Result<(), serde_json::Error>,
}

impl Body {
    pub(crate) fn execute(
        &self,
        context: Context,
        input: Payload,
    ) -> BoxFuture<'static, RunResult> {
        (self.execute)(context, input)
    }

    /// Checks that an input can be decoded as that of the function.
    pub(crate) fn check_input(&self, input: &Payload) -> Result<(), serde_json::Error> {
        (self.check_input)(input)
    }
}

/// Erases the types of `function`. Panics, and values without a JSON form, become failures of the
/// run.
pub(crate) fn body<I, O, E, F, Fut>(function: F, limit: usize) -> Body
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize + DeserializeOwned + Send + 'static,
    E: DurableError,
    F: Fn(Context, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'static,
{
    let function = Arc::new(function);
    let execute = move |context, input: Payload| {
        let function = function.clone();
        let run = async move {
            let input = match input.decode::<I>() {
                Ok(input) => input,
                Err(error) => {
                    return engine_failure(
                        "input",
                        format!("the input cannot be decoded: {error}"),
                    );
                }
            };
            match function(context, input).await {
                Ok(output) => completed(&output, limit),
                Err(error) => returned(&error, limit),
            }
        };
        // Each of these may panic: decoding, the function, encoding, the text of an error.
        let caught = AssertUnwindSafe(run).catch_unwind();
        let panicked = |panic: Box<dyn Any + Send>| {
            engine_failure(
                "panic",
                format!("the workflow panicked: {}", panic_message(&*panic)),
            )
        };
        caught
            .map(move |caught| caught.unwrap_or_else(panicked))
            .boxed()
    };
    Body {
        execute: Box::new(execute),
        check_input: |input| input.decode::<I>().map(drop),
    }
}

/// Returns what is recorded of an output.
fn completed<O: Serialize + DeserializeOwned>(output: &O, limit: usize) -> RunResult {
    let output = match Payload::encode(output) {
        Ok(output) => output,
        Err(error) => {
            return engine_failure(
                "unencodable",
                format!("the output cannot be recorded: {error}"),
            );
        }
    };
    match check_value(&output, limit) {
        Err(ValueError::TooLarge { bytes, limit }) => {
            return engine_failure(
                "tooLarge",
                format!("the output has {bytes} bytes, and the limit is {limit}"),
            );
        }
        Err(ValueError::TooDeep { levels, limit }) => {
            return engine_failure(
                "tooDeep",
                format!("the output is nested {levels} levels deep, and the limit is {limit}"),
            );
        }
        Ok(()) => {}
    }
    match output.decode::<O>() {
        Ok(_) => RunResult::Completed(output),
        Err(error) => engine_failure(
            "unencodable",
            format!("the output's JSON form cannot be read back: {error}"),
        ),
    }
}

/// Returns what is recorded of an error. Only the text is recorded of an error that is too large or
/// too deep, or cannot be read back.
fn returned<E: DurableError>(error: &E, limit: usize) -> RunResult {
    let is_accepted =
        |recorded: &Payload| check_value(recorded, limit).is_ok() && recorded.decode::<E>().is_ok();
    let recorded = Payload::encode(error).ok().filter(is_accepted);
    RunResult::Failed(RecordedFailure {
        info: error.info().bounded(),
        error: recorded,
    })
}
