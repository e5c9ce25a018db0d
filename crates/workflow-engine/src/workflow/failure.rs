//! Errors that are recorded: those that steps and workflows return, and that of a failed step.

use std::error::Error;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use workflow_events::ErrorInfo;
use workflow_events::bounds::{MESSAGE_BYTES, cut};

use crate::payload::Payload;

/// An error of a step or a workflow, which is recorded in its serde form and decoded to its own
/// type.
///
/// Implement it for your own error types, with an empty body, or use [`Failure`]. Only the text is
/// recorded of an error that is larger or deeper than the engine's limits, or whose JSON form
/// cannot be read back: see [`StepFailure::Unrecorded`] and [`WorkflowError`](crate::WorkflowError).
///
/// # Examples
///
/// ```
/// use workflow_engine::DurableError;
///
/// #[derive(Debug, thiserror::Error, serde::Serialize, serde::Deserialize)]
/// enum PaymentError {
///     #[error("the card was declined")]
///     Declined,
/// }
///
/// impl DurableError for PaymentError {}
/// assert_eq!(PaymentError::Declined.info().message, "the card was declined");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a durable error",
    note = "an error of your own: derive serde's traits and write `impl DurableError for {Self} {{}}`",
    note = "any other error: let the step return `Failure`, into which `?` converts every standard error"
)]
pub trait DurableError:
    fmt::Display + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Returns the error as lifecycle events carry it: its text as `message`, its serde form as
    /// `details`.
    fn info(&self) -> ErrorInfo {
        ErrorInfo {
            details: Payload::encode(self).ok(),
            ..ErrorInfo::new(self.to_string())
        }
    }
}

impl DurableError for String {
    fn info(&self) -> ErrorInfo {
        ErrorInfo::new(self)
    }
}

/// The error for workflows and steps that need no type of their own.
///
/// `?` converts every standard error into it, with the causes in the message, and also the error of
/// a failed step. To make that possible, this type does not implement `std::error::Error`, like
/// `anyhow::Error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Failure(Box<ErrorInfo>);

impl Failure {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInfo::new(message)))
    }

    /// Adds a kind: a short word by which programs distinguish failures.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<String>) -> Self {
        self.0.kind = Some(kind.into());
        self
    }

    /// Adds details for the events: a [`Payload`], or a [`serde_json::Value`].
    #[must_use]
    pub fn with_details(mut self, details: impl Into<Payload>) -> Self {
        self.0.details = Some(details.into());
        self
    }

    /// Returns the message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the kind.
    pub fn kind(&self) -> Option<&str> {
        self.0.kind.as_deref()
    }

    /// Returns the details, if there are any.
    pub fn details(&self) -> Option<&Payload> {
        self.0.details.as_ref()
    }

    /// Returns the step that failed, if one did.
    pub fn step(&self) -> Option<&str> {
        self.0.step_name.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl DurableError for Failure {
    fn info(&self) -> ErrorInfo {
        (*self.0).clone()
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::new(message)
    }
}

impl<E: DurableError> From<StepError<E>> for Failure {
    fn from(error: StepError<E>) -> Self {
        // Cut what an event would cut, so that the failure of a large error can itself be recorded.
        Self(Box::new(error.info().bounded()))
    }
}

/// Error of a step whose last attempt has failed. It is recorded, and a replay returns the same
/// error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepError<E> {
    /// The step's name.
    pub step: String,
    /// The attempt that failed last, from 1.
    pub attempt: u32,
    /// The cause.
    pub cause: StepFailure<E>,
}

/// A workflow may return the error of a step: `Workflow<Input, Output, StepError<PaymentError>>`.
impl<E: DurableError> DurableError for StepError<E> {
    fn info(&self) -> ErrorInfo {
        self.info()
    }
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum StepFailure<E> {
    /// The body returned this error.
    Returned(E),
    /// The body panicked with this message.
    Panicked(String),
    /// The attempt took longer than its timeout, and its future was dropped.
    #[serde(rename_all = "camelCase")]
    TimedOut {
        /// The timeout, in milliseconds.
        timeout_ms: u64,
        /// How long the attempt took, in milliseconds.
        elapsed_ms: u64,
    },
    /// The result has no JSON form, or one that cannot be read back, so it is not recorded.
    Unencodable(String),
    /// The result is larger than the engine's limit, so it is not recorded.
    TooLarge {
        /// The size of its JSON form.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The result is nested deeper than [`VALUE_DEPTH`](crate::limits::VALUE_DEPTH), so it is not
    /// recorded.
    TooDeep {
        /// The depth of its JSON form.
        levels: usize,
        /// The limit.
        limit: usize,
    },
    /// The body returned an error that cannot be recorded as its own type, because it is too large,
    /// too deep, or has no JSON form that can be read back. Only the text is recorded.
    Unrecorded {
        /// The error as lifecycle events carry it; long text is cut, with a mark.
        info: Box<ErrorInfo>,
        /// Why the error cannot be recorded.
        problem: String,
    },
    /// The step's name is not accepted, so the body was not executed. The recorded name is cut.
    InvalidName(String),
}

impl<E: DurableError> StepError<E> {
    /// Returns the error as lifecycle events carry it.
    pub fn info(&self) -> ErrorInfo {
        ErrorInfo {
            step_name: Some(self.step.clone()),
            attempt: Some(self.attempt),
            ..self.cause.info()
        }
    }
}

impl<E: DurableError> StepFailure<E> {
    /// Returns the cause as lifecycle events carry it, without the step.
    pub(crate) fn info(&self) -> ErrorInfo {
        match self {
            Self::Returned(error) => error.info(),
            Self::Unrecorded { info, .. } => (**info).clone(),
            other => ErrorInfo {
                kind: Some(other.kind().into()),
                ..ErrorInfo::new(other.to_string())
            },
        }
    }
}

impl<E> StepFailure<E> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Returned(_) => "error",
            Self::Panicked(_) => "panic",
            Self::TimedOut { .. } => "timeout",
            Self::TooLarge { .. } => "tooLarge",
            Self::TooDeep { .. } => "tooDeep",
            Self::Unencodable(_) => "unencodable",
            Self::Unrecorded { .. } => "unrecorded",
            Self::InvalidName(_) => "invalidName",
        }
    }
}

impl<E: fmt::Display> fmt::Display for StepFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned(error) => error.fmt(f),
            Self::Panicked(message) => write!(f, "it panicked: {message}"),
            Self::TimedOut {
                timeout_ms,
                elapsed_ms,
            } => {
                write!(
                    f,
                    "it was cut after {elapsed_ms} ms, its timeout being {timeout_ms} ms"
                )
            }
            Self::Unencodable(message) => write!(f, "its result cannot be recorded: {message}"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "its result has {bytes} bytes, and the limit is {limit}")
            }
            Self::TooDeep { levels, limit } => {
                write!(
                    f,
                    "its result is nested {levels} levels deep, and the limit is {limit}"
                )
            }
            Self::Unrecorded { info, .. } => info.fmt(f),
            Self::InvalidName(problem) => write!(f, "its name is not accepted: {problem}"),
        }
    }
}

impl<E: fmt::Display> fmt::Display for StepError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} failed: {}", self.step, self.cause)
    }
}

/// Returns the text of a caught panic, cut to what an event carries.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    cut(text, MESSAGE_BYTES).into_owned()
}
